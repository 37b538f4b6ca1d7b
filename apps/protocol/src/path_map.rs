//! Maps from a disk's path to a text, in the order in which they were made: the first entry counts
//! as the primary one.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::lenient;

/// A map from a disk's path to a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMap(Vec<(String, String)>);

impl PathMap {
    /// Sets the text of `path`, behind those that are there.
    pub fn insert(&mut self, path: impl Into<String>, text: impl Into<String>) {
        let (path, text) = (path.into(), text.into());
        match self.0.iter_mut().find(|(known, _)| *known == path) {
            Some(entry) => entry.1 = text,
            None => self.0.push((path, text)),
        }
    }

    /// Returns the text of exactly this path.
    pub fn get(&self, path: &str) -> Option<&str> {
        let entry = self.0.iter().find(|(known, _)| known == path)?;
        Some(&entry.1)
    }

    /// Returns all entries, the primary one first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<P: Into<String>, T: Into<String>> FromIterator<(P, T)> for PathMap {
    fn from_iter<I: IntoIterator<Item = (P, T)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (path, text) in entries {
            map.insert(path, text);
        }
        map
    }
}

impl Serialize for PathMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for PathMap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PathMapVisitor)
    }
}

struct PathMapVisitor;

impl<'de> Visitor<'de> for PathMapVisitor {
    type Value = PathMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from paths to texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<PathMap, A::Error> {
        let mut entries = Vec::new();
        while let Some((path, value)) = members.next_entry::<String, Value>()? {
            entries.push((path, lenient::text_of(value).map_err(A::Error::custom)?));
        }
        // The last one of a path counts, as in every JSON reader.
        let mut seen = std::collections::HashSet::new();
        let mut kept: Vec<_> = entries
            .into_iter()
            .rev()
            .filter(|(path, _)| seen.insert(path.clone()))
            .collect();
        kept.reverse();
        Ok(PathMap(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PathMap, A::Error> {
        match list.next_element::<IgnoredAny>()? {
            None => Ok(PathMap::default()),
            Some(_) => Err(A::Error::custom("a list, not a map from paths")),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<PathMap, E> {
        Ok(PathMap::default())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<PathMap, E> {
        if text.trim().is_empty() {
            return Ok(PathMap::default());
        }
        let from_text = serde_json::from_str::<Value>(text)
            .ok()
            .filter(|inner| !inner.is_string())
            .and_then(|inner| serde_json::from_value(inner).ok());
        from_text.ok_or_else(|| E::custom("a text, not a map from paths"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_order() {
        let json = r#"{"D:\\z.vhdx":"1","C:\\a.vhdx":"2"}"#;
        let map: PathMap = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&map).unwrap(), json);
        assert_eq!(map.get("C:\\a.vhdx"), Some("2"));
    }

    #[test]
    fn nothing_in_any_form_is_an_empty_map_and_is_sent_as_a_map() {
        for json in ["[]", "{}", "null", "\"\"", "\"[]\""] {
            let map: PathMap = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&map).unwrap(), "{}", "{json}");
        }
        assert!(serde_json::from_str::<PathMap>("[1]").is_err());
        assert!(serde_json::from_str::<PathMap>(r#""\"\"""#).is_err());
    }
}
