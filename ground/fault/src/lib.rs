//! One shape for errors: a kind to act on, a message to read, a cause underneath.
//!
//! Each boundary defines its own kinds and calls its error `Fault<ThatKind>`. Nobody matches on
//! text; messages are lower-case fragments that read after "failed to …".

use std::error::Error;
use std::fmt::{self, Debug};

/// An error of one boundary.
#[derive(Debug)]
pub struct Fault<K> {
    kind: K,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl<K: Copy> Fault<K> {
    /// Returns an error of `kind` that says `message`.
    pub fn new(kind: K, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Adds what lies underneath; its text is shown behind the message.
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what a caller can act on.
    pub fn kind(&self) -> K {
        self.kind
    }
}

impl<K> fmt::Display for Fault<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl<K: Debug> Error for Fault<K> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_shown_behind_the_message() {
        let fault = Fault::new((), "read block 7").caused_by(std::io::Error::other("cable"));
        assert_eq!(fault.to_string(), "read block 7: cable");
        assert!(fault.source().is_some());
    }
}
