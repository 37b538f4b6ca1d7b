//! As much of XML as an embedded instance is made of.

/// An element with its own text; text beside child elements counts only if it is not blank.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let found = attributes.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// How deep elements may lie in one another.
const DEPTH_MAX: usize = 16;

/// Reads one element and nothing after it; none if it is not well formed.
pub(super) fn parse(text: &str) -> Option<Element> {
    let mut rest = text.trim();
    if let Some(declared) = rest.strip_prefix("<?xml") {
        rest = declared.split_once("?>")?.1.trim_start();
    }
    let (element, left) = element(rest, 0)?;
    left.trim().is_empty().then_some(element)
}

fn element(text: &str, depth: usize) -> Option<(Element, &str)> {
    if depth > DEPTH_MAX {
        return None;
    }
    let (name, mut rest) = name(text.strip_prefix('<')?)?;
    let mut element = Element {
        name: name.to_owned(),
        ..Element::default()
    };
    loop {
        rest = rest.trim_start();
        if let Some(left) = rest.strip_prefix("/>") {
            return Some((element, left));
        }
        if let Some(left) = rest.strip_prefix('>') {
            rest = left;
            break;
        }
        let (key, left) = self::name(rest)?;
        let left = left.trim_start().strip_prefix('=')?.trim_start();
        let quote = left.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, left) = left[1..].split_once(quote)?;
        if element.attribute(key).is_some() || value.contains('<') {
            return None;
        }
        element.attributes.push((key.to_owned(), unescaped(value)?));
        rest = left;
    }
    loop {
        let (text, at) = rest.split_at(rest.find('<')?);
        element.text += &unescaped(text)?;
        if let Some(cdata) = at.strip_prefix("<![CDATA[") {
            let (raw, left) = cdata.split_once("]]>")?;
            element.text += raw;
            rest = left;
        } else if let Some(end) = at.strip_prefix("</") {
            let left = end.strip_prefix(name)?.trim_start().strip_prefix('>')?;
            let mixed = !element.children.is_empty() && !element.text.trim().is_empty();
            return (!mixed).then_some((element, left));
        } else {
            let (child, left) = self::element(at, depth + 1)?;
            element.children.push(child);
            rest = left;
        }
    }
}

fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))?;
    (end > 0).then(|| text.split_at(end))
}

fn unescaped(text: &str) -> Option<String> {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        clean += before;
        let (entity, left) = after.split_once(';')?;
        clean.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            number => {
                let number = number.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = left;
    }
    clean += rest;
    Some(clean)
}

/// Returns text with everything escaped that means something in XML.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '"' => safe += "&quot;",
            '\'' => safe += "&apos;",
            control if control < ' ' => safe += &format!("&#{};", control as u32),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_escaping() {
        for text in ["", "a<b>&'\"", "line\nline\t", "Bücher 𝄞"] {
            let read = parse(&format!("<A X='{0}'>{0}</A>", escaped(text))).unwrap();
            assert_eq!(read.text, text);
            assert_eq!(read.attribute("X"), Some(text));
        }
        assert_eq!(
            parse("<A>x<![CDATA[<&>]]>&#65;&#x42;</A>").unwrap().text,
            "x<&>AB"
        );
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in [
            "",
            "A",
            "<A>",
            "<A></B>",
            "<A/><B/>",
            "<A x></A>",
            "<A x=1></A>",
            "<A x='1' x='2'></A>",
            "<A>&nothing;</A>",
            "<A>&amp</A>",
            "<A>text<B/></A>",
            "< A></A>",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"<A>".repeat(100_000)), None);
    }
}
