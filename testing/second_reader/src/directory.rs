//! Directory objects and their entries (Kopia spec 7.3, 7.4): parsed strictly, and printed as Kopia prints them.

use std::collections::BTreeSet;

use crate::json::{Fields, Json, go_string};
use crate::moment::Moment;

/// One entry of a directory, or a snapshot's root.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DirectoryEntry {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// In Go's bits; 0 if absent.
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) mtime: Moment,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) object: String,
    pub(crate) summary: Option<Summary>,
}

/// Totals over a subtree.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Bytes in files.
    pub size: u64,
    /// Files, symbolic links not among them.
    pub files: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Directories, this one among them.
    pub dirs: u64,
    /// The latest modification in the subtree.
    pub max_time: Moment,
    /// Why the subtree is incomplete; empty if it is complete.
    pub incomplete: String,
    /// Errors that made entries fail.
    pub failed: u64,
    /// Errors that were ignored.
    pub ignored_errors: u64,
    /// The first errors: path and text.
    pub errors: Vec<(String, String)>,
}

/// A parsed directory object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Directory {
    /// Kopia writes `null` for a directory it did not look into, `[]` for one it found empty.
    null_entries: bool,
    pub(crate) entries: Vec<DirectoryEntry>,
    pub(crate) summary: Summary,
}

impl Directory {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Directory, String> {
        let json = Json::parse(bytes)?;
        let fields = json.fields("directory", &["stream", "entries", "summary"])?;
        if fields.need_text("stream")? != "kopia:directory" {
            return Err("directory has a wrong stream type".to_owned());
        }
        let entries = fields.need("entries")?;
        let null_entries = *entries == Json::Null;
        let entries = if null_entries {
            &[]
        } else {
            entries.list("entries")?
        };
        let entries = entries
            .iter()
            .map(DirectoryEntry::parse)
            .collect::<Result<_, _>>()?;
        Ok(Directory {
            null_entries,
            entries,
            summary: Summary::parse(fields.need("summary")?)?,
        })
    }

    /// The stored form: field order, omissions and escapes as Kopia's.
    pub(crate) fn print(&self) -> String {
        let entries: Vec<String> = self.entries.iter().map(DirectoryEntry::print).collect();
        let entries = if self.null_entries {
            "null".to_owned()
        } else {
            format!("[{}]", entries.join(","))
        };
        let summary = self.summary.print();
        format!("{{\"stream\":\"kopia:directory\",\"entries\":{entries},\"summary\":{summary}}}\n")
    }

    /// What is wrong with the names and their order: directories first, then the rest, each in byte order, none twice.
    pub(crate) fn wrong_names(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let rank = |entry: &DirectoryEntry| (entry.kind != "d", entry.name.clone().into_bytes());
        if !self.entries.is_sorted_by_key(rank) {
            wrong.push("is a directory out of order".to_owned());
        }
        let mut seen = BTreeSet::new();
        for entry in &self.entries {
            if !seen.insert(&entry.name) {
                wrong.push(format!("has {:?} twice", entry.name));
            }
            if matches!(entry.name.as_str(), "" | "." | "..") || entry.name.contains(['/', '\0']) {
                wrong.push(format!("has an entry named {:?}", entry.name));
            }
        }
        wrong
    }

    /// The summary that the entries add up to, for a directory modified at `mtime`; errors are at least those below.
    pub(crate) fn totals(&self, mtime: &Moment) -> Summary {
        let mut total = Summary {
            size: 0,
            files: 0,
            symlinks: 0,
            dirs: 1,
            failed: 0,
            ignored_errors: 0,
            ..self.summary.clone()
        };
        let mut latest: Option<&Moment> = None;
        let mut see = |time| {
            latest = latest
                .into_iter()
                .chain([time])
                .max_by_key(|time: &&Moment| time.unix_ns)
        };
        for entry in &self.entries {
            see(&entry.mtime);
            match (entry.kind.as_str(), &entry.summary) {
                ("f", _) => {
                    total.files = total.files.saturating_add(1);
                    total.size = total.size.saturating_add(entry.size);
                }
                ("s", _) => total.symlinks = total.symlinks.saturating_add(1),
                ("d", Some(below)) => {
                    total.size = total.size.saturating_add(below.size);
                    total.files = total.files.saturating_add(below.files);
                    total.symlinks = total.symlinks.saturating_add(below.symlinks);
                    total.dirs = total.dirs.saturating_add(below.dirs);
                    total.failed = total.failed.saturating_add(below.failed);
                    total.ignored_errors =
                        total.ignored_errors.saturating_add(below.ignored_errors);
                    see(&below.max_time);
                }
                _ => {}
            }
        }
        total.max_time = latest.unwrap_or(mtime).clone();
        total.failed = total.failed.max(self.summary.failed);
        total.ignored_errors = total.ignored_errors.max(self.summary.ignored_errors);
        total
    }
}

impl DirectoryEntry {
    pub(crate) fn parse(json: &Json) -> Result<DirectoryEntry, String> {
        let known = [
            "name", "type", "mode", "size", "mtime", "uid", "gid", "obj", "summ",
        ];
        let fields = json.fields("directory entry", &known)?;
        let owner = |name: &str| {
            u32::try_from(fields.number(name)?)
                .map_err(|_| format!("{name} of a directory entry is out of range"))
        };
        Ok(DirectoryEntry {
            name: fields.text("name")?.to_owned(),
            kind: fields.need_text("type")?.to_owned(),
            mode: mode(&fields)?,
            size: fields.number("size")?,
            mtime: match fields.get("mtime") {
                None => Moment::epoch(),
                Some(mtime) => Moment::parse(mtime.text("mtime")?)?,
            },
            uid: owner("uid")?,
            gid: owner("gid")?,
            object: fields.need_text("obj")?.to_owned(),
            summary: fields.get("summ").map(Summary::parse).transpose()?,
        })
    }

    fn print(&self) -> String {
        let mut members = Vec::new();
        if !self.name.is_empty() {
            members.push(format!("\"name\":{}", go_string(&self.name)));
        }
        members.push(format!("\"type\":{}", go_string(&self.kind)));
        if self.mode != 0 {
            members.push(format!("\"mode\":\"0{:o}\"", self.mode));
        }
        if self.size != 0 {
            members.push(format!("\"size\":{}", self.size));
        }
        if self.mtime.unix_ns != 0 {
            members.push(format!("\"mtime\":{}", go_string(&self.mtime.text)));
        }
        for (name, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id != 0 {
                members.push(format!("\"{name}\":{id}"));
            }
        }
        members.push(format!("\"obj\":{}", go_string(&self.object)));
        if let Some(summary) = &self.summary {
            members.push(format!("\"summ\":{}", summary.print()));
        }
        format!("{{{}}}", members.join(","))
    }
}

/// Go's bits for permissions, setuid, setgid and sticky.
const MODE_BITS: u32 = 0o777 | 0o40_000_000 | 0o20_000_000 | 0o4_000_000;

fn mode(fields: &Fields<'_>) -> Result<u32, String> {
    let Some(json) = fields.get("mode") else {
        return Ok(0);
    };
    let text = json.text("mode")?;
    let mode = text
        .strip_prefix('0')
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .filter(|mode| mode & !MODE_BITS == 0)
        .ok_or_else(|| format!("mode {text:?} is none"))?;
    if text == format!("0{mode:o}") {
        Ok(mode)
    } else {
        Err(format!("mode {text:?} is padded"))
    }
}

impl Summary {
    fn parse(json: &Json) -> Result<Summary, String> {
        let known = [
            "size",
            "files",
            "symlinks",
            "dirs",
            "maxTime",
            "incomplete",
            "numFailed",
            "numIgnoredErrors",
            "errors",
        ];
        let fields = json.fields("directory summary", &known)?;
        let mut errors = Vec::new();
        if let Some(list) = fields.get("errors") {
            for error in list.list("errors of a summary")? {
                let error = error.fields("error of a summary", &["path", "error"])?;
                errors.push((
                    error.need_text("path")?.to_owned(),
                    error.need_text("error")?.to_owned(),
                ));
            }
        }
        Ok(Summary {
            size: fields.need_number("size")?,
            files: fields.need_number("files")?,
            symlinks: fields.need_number("symlinks")?,
            dirs: fields.need_number("dirs")?,
            max_time: Moment::parse(fields.need_text("maxTime")?)?,
            incomplete: fields.text("incomplete")?.to_owned(),
            failed: fields.need_number("numFailed")?,
            ignored_errors: fields.number("numIgnoredErrors")?,
            errors,
        })
    }

    fn print(&self) -> String {
        let mut out = format!(
            "{{\"size\":{},\"files\":{},\"symlinks\":{},\"dirs\":{},\"maxTime\":{}",
            self.size,
            self.files,
            self.symlinks,
            self.dirs,
            go_string(&self.max_time.text)
        );
        if !self.incomplete.is_empty() {
            out.push_str(&format!(",\"incomplete\":{}", go_string(&self.incomplete)));
        }
        out.push_str(&format!(",\"numFailed\":{}", self.failed));
        if self.ignored_errors != 0 {
            out.push_str(&format!(",\"numIgnoredErrors\":{}", self.ignored_errors));
        }
        if !self.errors.is_empty() {
            let errors: Vec<String> = self
                .errors
                .iter()
                .map(|(path, error)| {
                    format!(
                        "{{\"path\":{},\"error\":{}}}",
                        go_string(path),
                        go_string(error)
                    )
                })
                .collect();
            out.push_str(&format!(",\"errors\":[{}]", errors.join(",")));
        }
        out.push('}');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2024-01-02T03:04:05.1Z";

    fn summary(size: u64, files: u64, symlinks: u64, dirs: u64, time: &str) -> String {
        format!(
            r#"{{"size":{size},"files":{files},"symlinks":{symlinks},"dirs":{dirs},"maxTime":"{time}","numFailed":0}}"#
        )
    }

    fn directory(entries: &str, summary: &str) -> String {
        format!(
            "{{\"stream\":\"kopia:directory\",\"entries\":[{entries}],\"summary\":{summary}}}\n"
        )
    }

    fn entry(name: &str, kind: &str, more: &str) -> String {
        format!(r#"{{"name":"{name}","type":"{kind}","mode":"0644",{more}"obj":"00"}}"#)
    }

    #[test]
    fn a_good_directory_prints_and_adds_up_as_it_is() {
        let below = summary(7, 2, 1, 3, "2030-01-01T00:00:00Z");
        let entries = [
            format!(
                r#"{{"name":"z","type":"d","mode":"04000777","mtime":"{TIME}","obj":"k00","summ":{below}}}"#
            ),
            entry(
                r"a\u003cb\\",
                "f",
                &format!(r#""size":5,"mtime":"{TIME}","uid":1,"#),
            ),
            entry("b", "s", r#""size":1,"#),
        ];
        let text = directory(
            &entries.join(","),
            &summary(12, 3, 2, 4, "2030-01-01T00:00:00Z"),
        );
        let parsed = Directory::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.print(), text);
        assert_eq!(parsed.wrong_names(), Vec::<String>::new());
        assert_eq!(parsed.totals(&Moment::epoch()), parsed.summary);
        assert_eq!(
            (parsed.entries[0].mode, parsed.entries[1].name.as_str()),
            (0o4_000_777, "a<b\\")
        );
    }

    #[test]
    fn an_empty_directory_has_its_own_time() {
        let parsed =
            Directory::parse(directory("", &summary(0, 0, 0, 1, TIME)).as_bytes()).unwrap();
        assert_eq!(parsed.totals(&Moment::parse(TIME).unwrap()), parsed.summary);
        assert_ne!(parsed.totals(&Moment::epoch()), parsed.summary);
    }

    #[test]
    fn wrong_names_and_orders_are_seen() {
        for names in [
            ["b", "a"],
            ["a", "a"],
            ["", "a"],
            [".", "a"],
            ["..", "a"],
            ["a", "b/c"],
        ] {
            let entries = names.map(|name| entry(name, "f", ""));
            let text = directory(&entries.join(","), &summary(0, 2, 0, 1, TIME));
            assert!(
                !Directory::parse(text.as_bytes())
                    .unwrap()
                    .wrong_names()
                    .is_empty(),
                "{names:?}"
            );
        }
        let entries = [entry("a", "f", ""), entry("b", "d", "")].join(",");
        let text = directory(&entries, &summary(0, 2, 0, 1, TIME));
        assert!(
            !Directory::parse(text.as_bytes())
                .unwrap()
                .wrong_names()
                .is_empty()
        );
    }

    #[test]
    fn other_spellings_are_refused_or_print_differently() {
        for wrong in [
            r#"{"name":"a","type":"f","mode":"644","obj":"00"}"#,
            r#"{"name":"a","type":"f","mode":"00644","obj":"00"}"#,
            r#"{"name":"a","type":"f","mode":420,"obj":"00"}"#,
            r#"{"name":"a","type":"f","mode":"0100644","obj":"00"}"#,
            r#"{"name":"a","type":"f"}"#,
            r#"{"name":"a","obj":"00"}"#,
            r#"{"name":"a","type":"f","obj":"00","x":1}"#,
            r#"{"name":"a","type":"f","obj":"00","obj":"00"}"#,
            r#"{"name":"a","type":"f","size":-1,"obj":"00"}"#,
            r#"{"name":"a","type":"f","size":"1","obj":"00"}"#,
            r#"{"name":"a","type":"f","uid":4294967296,"obj":"00"}"#,
            r#"{"name":"a","type":"f","mtime":"yesterday","obj":"00"}"#,
            r#"{"type":"f","name":"a","obj":"00"}"#,
            r#"{"name":"a","type":"f","size":0,"obj":"00"}"#,
            r#"{"name":"a","type":"f","mtime":"1970-01-01T00:00:00Z","obj":"00"}"#,
            r#"{"name":"a","type":"f","obj":"00" }"#,
            r#"{"name":"<","type":"f","obj":"00"}"#,
        ] {
            let text = directory(wrong, &summary(0, 1, 0, 1, TIME));
            let prints_the_same =
                Directory::parse(text.as_bytes()).is_ok_and(|parsed| parsed.print() == text);
            assert!(!prints_the_same, "{wrong}");
        }
    }
}
