//! `.storageconfig`: which blobs are kept in which storage class (Kopia spec 1.4).

use serde::Deserialize;

use crate::{BlobError, BlobErrorKind};

/// The object's name behind the prefix.
pub const FILE: &str = ".storageconfig";

/// Storage classes by prefix of the blob's name; the first that matches counts.
#[derive(Debug, Default, Deserialize)]
pub struct StorageClasses {
    #[serde(rename = "blobOptions", default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    #[serde(default)]
    prefix: String,
    #[serde(rename = "storageClass", default)]
    class: String,
}

impl StorageClasses {
    /// Reads the object's text.
    pub fn parse(text: &[u8]) -> Result<Self, BlobError> {
        serde_json::from_slice(text).map_err(|error| {
            BlobError::new(BlobErrorKind::Invalid, format!("understand {FILE}")).caused_by(error)
        })
    }

    /// Returns the class for a blob, or `None` for the bucket's own.
    pub fn of(&self, name: &str) -> Option<&str> {
        let rule = self
            .rules
            .iter()
            .find(|rule| name.starts_with(&rule.prefix))?;
        Some(rule.class.as_str()).filter(|class| !class.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_prefix_counts() {
        let text = br#"{"blobOptions":[{"prefix":"p","storageClass":"STANDARD_IA"},{"prefix":"q"},{"storageClass":"X"}]}"#;
        let classes = StorageClasses::parse(text).unwrap();
        assert_eq!(classes.of("p1"), Some("STANDARD_IA"));
        assert_eq!(classes.of("q1"), None);
        assert_eq!(classes.of("n1"), Some("X"));
        assert_eq!(StorageClasses::default().of("p1"), None);
        assert!(StorageClasses::parse(b"[").is_err());
    }
}
