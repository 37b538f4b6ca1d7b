//! Object IDs: a content, or a list of objects kept in one.
//!
//! Kopia spec 6.1. Knows their text; `indirect` knows the lists.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::content_id::ContentId;
use crate::decode_error::DecodeError;

const STRUCTURE: &str = "object id";

/// How deep lists of lists may be. Each level multiplies the size by tens of thousands.
pub const INDIRECTION_MAX: u32 = 8;

/// The name of an object.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// How many levels of lists lead to the bytes; 0 is none.
    pub indirection: u32,
    /// Whether the content's plain bytes are compressed once more, within the object (`Z`).
    pub compressed: bool,
    /// The content that holds the bytes or the list.
    pub content: ContentId,
}

impl ObjectId {
    /// Returns the object that is one content.
    pub fn direct(content: ContentId) -> Self {
        Self {
            indirection: 0,
            compressed: false,
            content,
        }
    }

    /// Returns the object whose list is this object, unless lists are too deep already or this is
    /// compressed within the object, which a list never is.
    pub fn listed_by(list: Self) -> Option<Self> {
        (list.indirection < INDIRECTION_MAX && !list.compressed).then_some(Self {
            indirection: list.indirection + 1,
            ..list
        })
    }

    /// Returns the object that is the list of this one, if this one has a list.
    pub fn list_of(&self) -> Option<Self> {
        Some(Self {
            indirection: self.indirection.checked_sub(1)?,
            ..*self
        })
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in 0..self.indirection {
            f.write_str("I")?;
        }
        if self.compressed {
            f.write_str("Z")?;
        }
        self.content.fmt(f)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let content = text.trim_start_matches('I');
        let indirection = u32::try_from(text.len() - content.len())
            .ok()
            .filter(|&depth| depth <= INDIRECTION_MAX)
            .ok_or_else(|| DecodeError::too_large(STRUCTURE, format!("{text:.80?}")))?;
        let (compressed, content) = match content.strip_prefix('Z') {
            Some(content) => (true, content),
            None => (false, content),
        };
        if compressed && indirection > 0 {
            return Err(DecodeError::malformed(STRUCTURE, format!("{text:.80?}")));
        }
        let content = content.strip_prefix('D').unwrap_or(content);
        Ok(Self {
            indirection,
            compressed,
            content: content.parse()?,
        })
    }
}

impl From<ContentId> for ObjectId {
    fn from(content: ContentId) -> Self {
        Self::direct(content)
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &str = "x00112233445566778899aabbccddeeff";

    fn parse(prefix: &str) -> Result<ObjectId, DecodeError> {
        format!("{prefix}{CONTENT}").parse()
    }

    #[test]
    fn text_leads_back_to_the_same_id() {
        for prefix in ["", "I", "II", "Z", "IIIIIIII"] {
            let id = parse(prefix).unwrap();
            assert_eq!(id.to_string(), format!("{prefix}{CONTENT}"));
            assert_eq!(id.content.to_string(), CONTENT);
        }
    }

    #[test]
    fn obsolete_marks_are_dropped() {
        assert_eq!(parse("D").unwrap(), parse("").unwrap());
        assert_eq!(parse("ID").unwrap(), parse("I").unwrap());
        assert_eq!(parse("ZD").unwrap(), parse("Z").unwrap());
    }

    #[test]
    fn other_marks_are_refused() {
        for prefix in ["IZ", "ZI", "ZZ", "DD", "DZ", "DI", "i", "IIIIIIIII", " "] {
            assert!(parse(prefix).is_err(), "{prefix}");
        }
        for text in ["", "I", "Z", "D", "I0"] {
            assert!(text.parse::<ObjectId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_is_one_level_less() {
        let twice = parse("II").unwrap();
        assert_eq!(twice.list_of(), Some(parse("I").unwrap()));
        assert_eq!(parse("").unwrap().list_of(), None);
        assert_eq!(ObjectId::listed_by(parse("I").unwrap()), Some(twice));
        assert_eq!(ObjectId::listed_by(parse("Z").unwrap()), None);
        assert_eq!(ObjectId::listed_by(parse("IIIIIIII").unwrap()), None);
    }
}
