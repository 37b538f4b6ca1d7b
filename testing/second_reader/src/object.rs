//! Object IDs and lists of indirect objects (Kopia spec 6.1, 6.2).

use crate::blob_name::is_hex;
use crate::json::{Json, go_string};

/// An object ID taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectId {
    pub(crate) indirections: usize,
    /// Whether the content's plain bytes are themselves compressed.
    pub(crate) zipped: bool,
    pub(crate) content: String,
}

impl ObjectId {
    pub(crate) fn parse(text: &str, hash_bytes: usize) -> Result<ObjectId, String> {
        let fail = |why: &str| Err(format!("object ID {text:?} {why}"));
        let content = text.trim_start_matches('I');
        let indirections = text.len() - content.len();
        let (zipped, content) = match content.strip_prefix('Z') {
            Some(content) => (true, content),
            None => (false, content),
        };
        let content = content.strip_prefix('D').unwrap_or(content);
        let hash = content
            .strip_prefix(|first| matches!(first, 'g'..='z'))
            .unwrap_or(content);
        if !is_hex(hash, hash_bytes * 2) {
            return fail("has no content ID");
        }
        if zipped && indirections > 0 {
            return fail("is both indirect and compressed");
        }
        if indirections > 8 {
            return fail("is indirect too many times");
        }
        Ok(ObjectId {
            indirections,
            zipped,
            content: content.to_owned(),
        })
    }

    /// The content prefix, empty or one letter.
    pub(crate) fn prefix(&self) -> &str {
        self.content
            .get(..self.content.len() % 2)
            .unwrap_or_default()
    }
}

/// One entry of an indirect object's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListEntry {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) object: String,
}

impl ListEntry {
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// Parses a list; its entries must be contiguous from 0.
pub(crate) fn parse_list(bytes: &[u8]) -> Result<Vec<ListEntry>, String> {
    let json = Json::parse(bytes)?;
    let fields = json.fields("indirect object", &["stream", "entries"])?;
    if fields.need_text("stream")? != "kopia:indirect" {
        return Err("indirect object has a wrong stream type".to_owned());
    }
    let mut entries = Vec::new();
    let mut next = 0_u64;
    for item in fields
        .need("entries")?
        .list("entries of an indirect object")?
    {
        let item = item.fields("entry of an indirect object", &["s", "l", "o"])?;
        let entry = ListEntry {
            start: item.number("s")?,
            length: item.number("l")?,
            object: item.need_text("o")?.to_owned(),
        };
        if entry.start != next {
            return Err(format!(
                "indirect object has an entry at {} instead of {next}",
                entry.start
            ));
        }
        next = next
            .checked_add(entry.length)
            .ok_or("indirect object is too long")?;
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err("indirect object has no entries".to_owned());
    }
    Ok(entries)
}

/// Prints a list as Kopia does.
pub(crate) fn print_list(entries: &[ListEntry]) -> String {
    let mut out = String::from("{\"stream\":\"kopia:indirect\",\"entries\":[");
    for (at, entry) in entries.iter().enumerate() {
        out.push_str(if at > 0 { ",{" } else { "{" });
        if entry.start != 0 {
            out.push_str(&format!("\"s\":{},", entry.start));
        }
        if entry.length != 0 {
            out.push_str(&format!("\"l\":{},", entry.length));
        }
        out.push_str(&format!("\"o\":{}}}", go_string(&entry.object)));
    }
    out.push_str("]}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_break_a_rule_are_refused() {
        for entries in [
            "",
            r#"{"s":1,"l":2,"o":"a"}"#,
            r#"{"l":2,"o":"a"},{"s":3,"l":2,"o":"a"}"#,
            r#"{"l":2,"o":"a"},{"s":1,"l":2,"o":"a"}"#,
            r#"{"l":2}"#,
            r#"{"l":-2,"o":"a"}"#,
            r#"{"l":2,"o":"a","x":1}"#,
            r#"{"l":18446744073709551615,"o":"a"},{"s":18446744073709551615,"l":1,"o":"a"}"#,
        ] {
            let list = format!(r#"{{"stream":"kopia:indirect","entries":[{entries}]}}"#);
            assert!(parse_list(list.as_bytes()).is_err(), "{list}");
        }
        assert!(
            parse_list(br#"{"stream":"kopia:directory","entries":[{"l":1,"o":"a"}]}"#).is_err()
        );
    }

    #[test]
    fn object_ids_are_taken_apart() {
        let hash = "00112233445566778899aabbccddeeff";
        let parse = |text: String| ObjectId::parse(&text, 16);
        let id = parse(format!("IIx{hash}")).unwrap();
        assert_eq!((id.indirections, id.prefix(), id.zipped), (2, "x", false));
        assert_eq!(
            parse(format!("ZD{hash}")).unwrap(),
            ObjectId {
                indirections: 0,
                zipped: true,
                content: hash.into()
            }
        );
        for wrong in [
            format!("IZ{hash}"),
            format!("a{hash}"),
            format!("kk{hash}"),
            hash[1..].to_owned(),
            String::new(),
        ] {
            assert!(parse(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
