//! Secrets on the wire: keys, passwords and tokens.

use std::fmt;

use secrets::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::lenient;

/// A secret text: written to the wire, and shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Secret);

impl SecretText {
    /// Takes over a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Secret::new(text.into().into_bytes()))
    }

    /// Returns what nobody else is to see.
    pub fn reveal(&self) -> &str {
        str::from_utf8(self.0.reveal()).expect("it was made of text")
    }

    /// Tells whether there is no secret: the server sends none, or could not decrypt it.
    pub fn is_empty(&self) -> bool {
        self.0.reveal().is_empty()
    }
}

impl Default for SecretText {
    fn default() -> Self {
        Self::new(String::new())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.reveal())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::text(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sent_and_never_shown() {
        let secret: SecretText = serde_json::from_str("\"hush\"").unwrap();
        assert_eq!(secret.reveal(), "hush");
        assert_eq!(format!("{secret:?}"), "SecretText");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"hush\"");
    }

    #[test]
    fn an_error_does_not_repeat_the_secret() {
        let error = serde_json::from_str::<SecretText>("[\"hush\"]").unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
