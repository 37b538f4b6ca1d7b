//! JSON as the format uses it: an ordered tree that refuses doubled names, typed access to fields, and strings as Go prints them.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value; objects keep the order of their members.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((name, value)) = members.next_entry::<String, Json>()? {
            if !seen.insert(name.to_lowercase()) {
                return Err(A::Error::custom(format!("member {name:?} occurs twice")));
            }
            object.push((name, value));
        }
        Ok(Json::Object(object))
    }
}

impl Json {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Json, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))
    }

    pub(crate) fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Json::Null => Value::Null,
            Json::Bool(value) => (*value).into(),
            Json::Integer(value) => match u64::try_from(*value) {
                Ok(unsigned) => unsigned.into(),
                Err(_) => i64::try_from(*value).map_or(Value::Null, Value::from),
            },
            Json::Float(value) => (*value).into(),
            Json::Text(value) => value.clone().into(),
            Json::List(items) => items.iter().map(Json::to_value).collect(),
            Json::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), value.to_value()))
                    .collect(),
            ),
        }
    }

    /// The members of an object, all of whose names are among `known`.
    pub(crate) fn fields(&self, what: &str, known: &[&str]) -> Result<Fields<'_>, String> {
        let fields = self.loose_fields(what)?;
        match fields
            .members
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            Some((name, _)) => Err(format!("{what} has the unknown member {name:?}")),
            None => Ok(fields),
        }
    }

    /// The members of an object that may have more than we know.
    pub(crate) fn loose_fields(&self, what: &str) -> Result<Fields<'_>, String> {
        match self {
            Json::Object(members) => Ok(Fields {
                what: what.to_owned(),
                members,
            }),
            _ => Err(format!("{what} is not a JSON object")),
        }
    }

    pub(crate) fn text(&self, what: &str) -> Result<&str, String> {
        match self {
            Json::Text(text) => Ok(text),
            _ => Err(format!("{what} is not a string")),
        }
    }

    pub(crate) fn list(&self, what: &str) -> Result<&[Json], String> {
        match self {
            Json::List(items) => Ok(items),
            _ => Err(format!("{what} is not a list")),
        }
    }

    /// The members of an object, all of them strings.
    pub(crate) fn text_map(
        &self,
        what: &str,
    ) -> Result<std::collections::BTreeMap<String, String>, String> {
        Ok(self
            .text_members(what)?
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect())
    }

    /// The same in their order.
    pub(crate) fn text_members(&self, what: &str) -> Result<Vec<(&str, &str)>, String> {
        self.loose_fields(what)?
            .members
            .iter()
            .map(|(name, value)| Ok((name.as_str(), value.text(&format!("{what}.{name}"))?)))
            .collect()
    }
}

/// Typed access to the members of one object.
pub(crate) struct Fields<'a> {
    what: String,
    members: &'a [(String, Json)],
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a Json> {
        self.members
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn need(&self, name: &str) -> Result<&'a Json, String> {
        self.get(name)
            .ok_or_else(|| format!("{} has no member {name:?}", self.what))
    }

    pub(crate) fn need_text(&self, name: &str) -> Result<&'a str, String> {
        self.need(name)?.text(&self.path(name))
    }

    /// A string, empty if absent.
    pub(crate) fn text(&self, name: &str) -> Result<&'a str, String> {
        self.get(name)
            .map_or(Ok(""), |value| value.text(&self.path(name)))
    }

    /// An unsigned integer, 0 if absent.
    pub(crate) fn number(&self, name: &str) -> Result<u64, String> {
        match self.get(name) {
            None => Ok(0),
            Some(Json::Integer(value)) => {
                u64::try_from(*value).map_err(|_| format!("{} is out of range", self.path(name)))
            }
            Some(_) => Err(format!("{} is not an integer", self.path(name))),
        }
    }

    pub(crate) fn need_number(&self, name: &str) -> Result<u64, String> {
        self.need(name)?;
        self.number(name)
    }

    /// A boolean, false if absent.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            None => Ok(false),
            Some(Json::Bool(value)) => Ok(*value),
            Some(_) => Err(format!("{} is not a boolean", self.path(name))),
        }
    }

    /// A byte string in base64, empty if absent.
    pub(crate) fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD
            .decode(self.text(name)?)
            .map_err(|error| format!("{} is not base64: {error}", self.path(name)))
    }

    fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.what)
    }
}

/// Prints a string in JSON as Go does by default.
pub(crate) fn go_string(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{0}'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
