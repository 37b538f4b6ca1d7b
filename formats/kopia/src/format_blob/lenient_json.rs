//! Reading JSON as Kopia's reader does: names match in any case, unknown members are ignored, and
//! `null` is as good as absent. A list in an object's place is refused, though serde would take it.

use serde::de::{DeserializeOwned, Error};
use serde_json::{Map, Value};

/// Reads a document whose objects, at any depth, have members of these names; only those in
/// `lists` may be lists.
pub(super) fn from_slice<T: DeserializeOwned>(
    bytes: &[u8],
    names: &[&str],
    lists: &[&str],
) -> Result<T, serde_json::Error> {
    let document = with_exact_names(serde_json::from_slice(bytes)?, names, lists)?;
    serde_json::from_value(document)
}

/// Writes the members' names as we know them. Where a name comes in several spellings, the exact
/// one counts. Nesting is bounded by what the parser lets through.
fn with_exact_names(
    value: Value,
    names: &[&str],
    lists: &[&str],
) -> Result<Value, serde_json::Error> {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(_) => return Err(Error::custom("a list stands where none belongs")),
        other => return Ok(other),
    };
    let mut exact = Map::new();
    for (found, member) in members {
        let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(&found)) else {
            continue;
        };
        let member = match member {
            Value::Null => continue,
            Value::Array(elements) if lists.contains(name) => elements
                .into_iter()
                .map(|element| with_exact_names(element, names, lists))
                .collect::<Result<_, _>>()?,
            other => with_exact_names(other, names, lists)?,
        };
        if *name == found {
            exact.insert(found, member);
        } else {
            exact.entry(*name).or_insert(member);
        }
    }
    Ok(Value::Object(exact))
}

/// Byte strings, which are base64 in JSON.
pub(super) mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Ignores line breaks, as Kopia does. The message says nothing of the bytes, which may be
    /// secret.
    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        text.retain(|c| c != '\r' && c != '\n');
        STANDARD
            .decode(text)
            .map_err(|_| D::Error::custom("a byte string is not valid base64"))
    }
}
