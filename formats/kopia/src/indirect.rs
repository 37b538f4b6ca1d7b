//! The lists that make large objects of small ones.
//!
//! Kopia spec 6.2. Knows the JSON of one list, in whole or in pieces: the list of a large disk has
//! tens of megabytes, of which neither side needs more than an entry at a time. Does not follow
//! the objects that a list names.

mod parser;

pub use parser::ListParser;

use serde::{Deserialize, Serialize};

use crate::decode_error::DecodeError;
use crate::go_json::{self, is_default};
use crate::object_id::ObjectId;

const STREAM: &str = "kopia:indirect";
const HEAD: &[u8] = b"{\"stream\":\"kopia:indirect\",\"entries\":[";
const TAIL: &[u8] = b"]}\n";

/// One part of an object.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct IndirectEntry {
    /// Where it begins in the object.
    pub start: u64,
    /// How long it is.
    pub bytes: u64,
    /// The object that is this part, whole.
    pub object: ObjectId,
}

/// An entry in Kopia's JSON, whose numbers are signed 64-bit ones.
#[derive(Serialize, Deserialize)]
struct StoredEntry {
    #[serde(rename = "s", default, skip_serializing_if = "is_default")]
    start: u64,
    #[serde(rename = "l", default, skip_serializing_if = "is_default")]
    bytes: u64,
    #[serde(rename = "o")]
    object: ObjectId,
}

/// Entries that do not make up an object.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// An entry does not begin where the one before it ended.
    #[error("list parts of an object: a part begins at {start} instead of {expected}")]
    NotContiguous {
        /// Where it begins.
        start: u64,
        /// Where the one before it ended.
        expected: u64,
    },
    /// There are no entries. Kopia cannot read such a list.
    #[error("list parts of an object: there are none")]
    Empty,
    /// The object would be longer than 2^63 − 1 bytes.
    #[error("list parts of an object: the object is too long")]
    TooLong,
}

/// Follows the entries of one list, each of which must begin where the last one ended.
#[derive(Default)]
struct Contiguity {
    end: u64,
    entries: u64,
}

impl Contiguity {
    fn add(&mut self, entry: &IndirectEntry) -> Result<(), ListError> {
        if entry.start != self.end {
            return Err(ListError::NotContiguous {
                start: entry.start,
                expected: self.end,
            });
        }
        self.end = entry
            .start
            .checked_add(entry.bytes)
            .filter(|end| i64::try_from(*end).is_ok())
            .ok_or(ListError::TooLong)?;
        self.entries += 1;
        Ok(())
    }

    fn finish(&self) -> Result<u64, ListError> {
        if self.entries == 0 {
            return Err(ListError::Empty);
        }
        Ok(self.end)
    }
}

/// Returns the entries of a whole list: at least one, contiguous from 0.
pub fn parse(json: &[u8]) -> Result<Vec<IndirectEntry>, DecodeError> {
    let mut entries = Vec::new();
    let mut parser = ListParser::new();
    parser.push(json, |entry| entries.push(entry))?;
    parser.finish()?;
    Ok(entries)
}

/// Writes a list entry by entry, in Kopia's very bytes. The caller may take bytes out of the
/// vector between calls.
pub struct ListWriter {
    contiguity: Contiguity,
}

impl ListWriter {
    /// Begins a list.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        out.extend(HEAD);
        Self {
            contiguity: Contiguity::default(),
        }
    }

    /// Adds an entry, which must begin where the last one ended.
    pub fn entry(&mut self, out: &mut Vec<u8>, entry: &IndirectEntry) -> Result<(), ListError> {
        let first = self.contiguity.entries == 0;
        self.contiguity.add(entry)?;
        if !first {
            out.push(b',');
        }
        let json = go_json::to_vec(&StoredEntry {
            start: entry.start,
            bytes: entry.bytes,
            object: entry.object,
        });
        out.extend(json.expect("numbers and object IDs have JSON"));
        Ok(())
    }

    /// Ends the list and returns the length of the object that it makes up.
    pub fn end(self, out: &mut Vec<u8>) -> Result<u64, ListError> {
        let object_bytes = self.contiguity.finish()?;
        out.extend(TAIL);
        Ok(object_bytes)
    }
}

#[cfg(test)]
mod tests;
