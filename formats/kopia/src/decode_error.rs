//! Why bytes from a repository could not be understood.
//!
//! One type for every parser in this crate, since a caller does the same with all of them: it
//! cannot repair the bytes, only say which structure is damaged. Knows nothing of what is parsed.

use std::borrow::Cow;
use std::error::Error;

/// What to make of a [`DecodeError`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The bytes are not what the format says.
    Malformed,
    /// The bytes may be right, but exceed what we are willing to hold.
    TooLarge,
    /// The bytes use something that we do not know: a newer version, another type.
    Unsupported,
}

/// A structure of the repository that could not be decoded. Reading it again does not help.
#[derive(Debug, thiserror::Error)]
#[error("decode {structure}: {reason}")]
pub struct DecodeError {
    kind: DecodeErrorKind,
    structure: &'static str,
    reason: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl DecodeError {
    /// Returns what to make of it.
    pub fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// Returns the name of the structure that was being decoded.
    pub fn structure(&self) -> &'static str {
        self.structure
    }

    pub(crate) fn malformed(structure: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::of(DecodeErrorKind::Malformed, structure, reason)
    }

    pub(crate) fn too_large(structure: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::of(DecodeErrorKind::TooLarge, structure, reason)
    }

    pub(crate) fn unsupported(
        structure: &'static str,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::of(DecodeErrorKind::Unsupported, structure, reason)
    }

    pub(crate) fn because(
        structure: &'static str,
        reason: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let mut error = Self::of(DecodeErrorKind::Malformed, structure, reason);
        error.source = Some(source.into());
        error
    }

    fn of(
        kind: DecodeErrorKind,
        structure: &'static str,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            structure,
            reason: reason.into(),
            source: None,
        }
    }
}
