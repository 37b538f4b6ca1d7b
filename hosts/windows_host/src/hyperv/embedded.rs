//! Embedded instances that Hyper-V hands out: XML text (CIM DTD 2.0), or an object.
//!
//! Guests fill some of them, so nothing in them is trusted: what cannot be read is missing.

use crate::wmi::{Value, WmiObject};

/// The properties of an embedded instance, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Embedded {
    properties: Vec<(String, String)>,
}

impl Embedded {
    /// Reads an embedded instance in whatever form it came.
    pub(super) fn read(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::parse(text),
            Value::Object(object) => Self::of(object),
            _ => Self::default(),
        }
    }

    /// Reads every instance in a text, each with its class.
    pub(super) fn all(text: &str) -> Vec<(String, Self)> {
        let pieces = text.split("<INSTANCE").skip(1);
        let instances = pieces.filter_map(|piece| {
            let (attributes, body) = piece.split_once('>')?;
            let class = attribute(attributes, "CLASSNAME")?;
            Some((unescaped(class), Self::parse(body)))
        });
        instances.collect()
    }

    fn of(object: &WmiObject) -> Self {
        let properties = object.properties.iter().filter_map(|(name, value)| {
            let text = match value {
                Value::Text(text) => text.clone(),
                Value::I32(number) => number.to_string(),
                Value::I16(number) => number.to_string(),
                Value::U8(number) => number.to_string(),
                _ => return None,
            };
            Some((name.clone(), text))
        });
        Self {
            properties: properties.collect(),
        }
    }

    fn parse(text: &str) -> Self {
        let mut properties = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once("<PROPERTY") {
            rest = after;
            // `<PROPERTY.ARRAY` and the like hold no single value.
            if !after.starts_with(char::is_whitespace) {
                continue;
            }
            let Some((attributes, body)) = after.split_once('>') else {
                break;
            };
            rest = body;
            let Some(name) = attribute(attributes, "NAME") else {
                continue;
            };
            if attributes.ends_with('/') {
                continue;
            }
            let Some((inner, behind)) = body.split_once("</PROPERTY>") else {
                break;
            };
            rest = behind;
            let value = inner
                .split_once("<VALUE>")
                .and_then(|(_, value)| value.split_once("</VALUE>"));
            if let Some((value, _)) = value {
                properties.push((unescaped(name), unescaped(value)));
            }
        }
        Self { properties }
    }

    /// Returns a property.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self
            .properties
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns a number.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.text(name)?.trim().parse().ok()
    }
}

/// Returns the value of an attribute, in either kind of quotes.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = attributes;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, behind) = after[1..].split_once(quote)?;
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = behind;
    }
}

/// Replaces the five named entities and numeric ones; anything else stays as it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let character = after.split_once(';').and_then(|(name, behind)| {
            let character = match name {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                "apos" => '\'',
                _ => numeric(name)?,
            };
            Some((character, behind))
        });
        match character {
            Some((character, behind)) => {
                plain.push(character);
                rest = behind;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn numeric(name: &str) -> Option<char> {
    let number = name.strip_prefix('#')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ITEM: &str = r#"<INSTANCE CLASSNAME="Msvm_KvpExchangeDataItem"><PROPERTY NAME="Caption" PROPAGATED="true" TYPE="string"></PROPERTY><PROPERTY NAME="Data" TYPE="string"><VALUE>Debian &amp; &quot;friends&quot; &#252; &unknown; 5 &lt; 6</VALUE></PROPERTY><PROPERTY NAME='Name' TYPE="string"><VALUE>OSName</VALUE></PROPERTY><PROPERTY NAME="Empty" TYPE="string"/><PROPERTY.ARRAY NAME="List" TYPE="string"><VALUE.ARRAY><VALUE>x</VALUE></VALUE.ARRAY></PROPERTY.ARRAY><PROPERTY NAME="Source" TYPE="uint16"><VALUE>2</VALUE></PROPERTY></INSTANCE>"#;

    #[test]
    fn properties_are_found_in_the_text() {
        let item = Embedded::read(&Value::text(ITEM));
        assert_eq!(item.text("name"), Some("OSName"));
        assert_eq!(
            item.text("Data"),
            Some("Debian & \"friends\" ü &unknown; 5 < 6")
        );
        assert_eq!(item.number("Source"), Some(2));
        for missing in ["Caption", "Empty", "List", "Other"] {
            assert_eq!(item.text(missing), None, "{missing}");
        }
    }

    #[test]
    fn an_object_serves_as_well() {
        let mut object = WmiObject::default();
        object.set("Name", "OSName");
        object.set("Source", 2u16);
        let item = Embedded::read(&Value::Object(Box::new(object)));
        assert_eq!(
            (item.text("Name"), item.number("source")),
            (Some("OSName"), Some(2))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn nothing_a_guest_says_ends_in_a_panic(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("<PROPERTY ".to_owned()), Just("NAME=\"".to_owned()), Just("\">".to_owned()),
                    Just("<VALUE>".to_owned()), Just("</VALUE>".to_owned()), Just("</PROPERTY>".to_owned()),
                    Just("&#x".to_owned()), Just("&".to_owned()), Just("'=".to_owned()), ".{0,4}",
                ],
                0..20,
            )
        ) {
            let text = pieces.concat();
            Embedded::all(&format!("<INSTANCE CLASSNAME='X'>{text}<INSTANCE {text}"));
            Embedded::read(&Value::Text(text));
        }
    }
}
