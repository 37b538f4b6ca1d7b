//! Reading JSON as Kopia's reader does: names match in any case, unknown members are ignored, and
//! `null` is as good as absent.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads a document whose objects, at any depth, have members of these names.
pub(super) fn from_slice<T: DeserializeOwned>(
    bytes: &[u8],
    names: &[&str],
) -> Result<T, serde_json::Error> {
    let document = with_exact_names(serde_json::from_slice(bytes)?, names);
    serde_json::from_value(document)
}

/// Writes the members' names as we know them. Where a name comes in several spellings, the exact
/// one counts. Nesting is bounded by what the parser lets through.
fn with_exact_names(value: Value, names: &[&str]) -> Value {
    match value {
        Value::Object(members) => {
            let mut exact = Map::new();
            for (found, member) in members {
                if member.is_null() {
                    continue;
                }
                let member = with_exact_names(member, names);
                match names.iter().find(|name| name.eq_ignore_ascii_case(&found)) {
                    Some(name) if *name == found => {
                        exact.insert(found, member);
                    }
                    Some(name) => {
                        exact.entry(*name).or_insert(member);
                    }
                    None => {}
                }
            }
            Value::Object(exact)
        }
        Value::Array(elements) => elements
            .into_iter()
            .map(|element| with_exact_names(element, names))
            .collect(),
        other => other,
    }
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
