//! Reading a list in pieces.

use serde::Deserialize;

use super::{Contiguity, IndirectEntry, STREAM, StoredEntry};
use crate::decode_error::DecodeError;

const STRUCTURE: &str = "indirect object";

/// The most bytes of JSON that one entry, or one other member of the list, may have.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Reads a list from pieces of any size and hands out its entries as they are complete. Holds one
/// entry at a time.
pub struct ListParser {
    expect: Expect,
    value: ValueScanner,
    key: String,
    stream_seen: bool,
    entries_seen: bool,
    contiguity: Contiguity,
}

/// What may follow in the list's JSON, white space apart.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Expect {
    Object,
    FirstKey,
    Key,
    Colon,
    Member,
    Array,
    FirstEntry,
    Entry,
    EntryEnd,
    MemberEnd,
    Nothing,
}

impl Default for ListParser {
    fn default() -> Self {
        Self::new()
    }
}

impl ListParser {
    /// Returns a parser that has seen nothing.
    pub fn new() -> Self {
        Self {
            expect: Expect::Object,
            value: ValueScanner::default(),
            key: String::new(),
            stream_seen: false,
            entries_seen: false,
            contiguity: Contiguity::default(),
        }
    }

    /// Reads the next bytes of the list and hands over the entries that they complete. After an
    /// error, the parser must be dropped.
    pub fn push(
        &mut self,
        piece: &[u8],
        mut on_entry: impl FnMut(IndirectEntry),
    ) -> Result<(), DecodeError> {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = if self.value.begun() {
                self.continue_value(rest, &mut on_entry)?
            } else {
                self.structural(rest)?
            };
        }
        Ok(())
    }

    /// Checks that the list is whole, and returns the length of the object that it makes up.
    pub fn finish(self) -> Result<u64, DecodeError> {
        if self.expect != Expect::Nothing {
            return Err(DecodeError::malformed(STRUCTURE, "cut short"));
        }
        if !self.stream_seen {
            return Err(DecodeError::unsupported(STRUCTURE, "not marked as one"));
        }
        self.contiguity
            .finish()
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))
    }

    /// Reads one byte between values, or none if a value begins with it.
    fn structural<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8], DecodeError> {
        let (&byte, rest) = piece.split_first().expect("the caller has bytes left");
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(rest);
        }
        self.expect = match (self.expect, byte) {
            (Expect::Object, b'{') => Expect::FirstKey,
            (Expect::FirstKey | Expect::MemberEnd, b'}') => Expect::Nothing,
            (Expect::MemberEnd, b',') => Expect::Key,
            (Expect::Colon, b':') if self.key == "entries" => Expect::Array,
            (Expect::Colon, b':') => Expect::Member,
            (Expect::Array, b'[') if !self.entries_seen => {
                self.entries_seen = true;
                Expect::FirstEntry
            }
            (Expect::FirstEntry | Expect::EntryEnd, b']') => Expect::MemberEnd,
            (Expect::EntryEnd, b',') => Expect::Entry,
            (Expect::FirstKey | Expect::Key, b'"')
            | (Expect::FirstEntry | Expect::Entry, b'{')
            | (Expect::Member, _) => {
                self.value.begin();
                return Ok(piece);
            }
            _ => {
                let reason = format!("unexpected {:?}", char::from(byte));
                return Err(DecodeError::malformed(STRUCTURE, reason));
            }
        };
        Ok(rest)
    }

    fn continue_value<'p>(
        &mut self,
        piece: &'p [u8],
        on_entry: &mut impl FnMut(IndirectEntry),
    ) -> Result<&'p [u8], DecodeError> {
        let (rest, complete) = self.value.take(piece)?;
        if complete {
            let json = self.value.end();
            self.finish_value(&json, on_entry)?;
            self.value.reuse(json);
        }
        Ok(rest)
    }

    fn finish_value(
        &mut self,
        json: &[u8],
        on_entry: &mut impl FnMut(IndirectEntry),
    ) -> Result<(), DecodeError> {
        self.expect = match self.expect {
            Expect::FirstKey | Expect::Key => {
                self.key = decode(json)?;
                Expect::Colon
            }
            Expect::FirstEntry | Expect::Entry => {
                let stored: StoredEntry = decode(json)?;
                let entry = IndirectEntry {
                    start: stored.start,
                    bytes: stored.bytes,
                    object: stored.object,
                };
                self.contiguity
                    .add(&entry)
                    .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))?;
                on_entry(entry);
                Expect::EntryEnd
            }
            Expect::Member if self.key == "stream" => {
                if decode::<String>(json)? != STREAM {
                    return Err(DecodeError::unsupported(
                        STRUCTURE,
                        "marked as another stream",
                    ));
                }
                self.stream_seen = true;
                Expect::MemberEnd
            }
            _ => {
                decode::<serde::de::IgnoredAny>(json)?;
                Expect::MemberEnd
            }
        };
        Ok(())
    }
}

fn decode<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(json)
        .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))
}

/// Finds where a JSON value ends, without judging what is in it.
#[derive(Default)]
struct ValueScanner {
    begun: bool,
    json: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl ValueScanner {
    fn begun(&self) -> bool {
        self.begun
    }

    fn begin(&mut self) {
        self.begun = true;
        self.json.clear();
        (self.depth, self.in_string, self.escaped) = (0, false, false);
    }

    /// Takes what belongs to the value; returns the rest and whether the value is complete.
    fn take<'p>(&mut self, piece: &'p [u8]) -> Result<(&'p [u8], bool), DecodeError> {
        let mut complete = false;
        let mut taken = 0;
        for &byte in piece {
            // A bare number or word ends before what follows it.
            if self.is_bare(byte) {
                complete = true;
                break;
            }
            taken += 1;
            if self.closes(byte) {
                complete = true;
                break;
            }
        }
        if self.json.len() + taken > VALUE_BYTES_MAX {
            return Err(DecodeError::too_large(STRUCTURE, "member over 64 KiB"));
        }
        let (own, rest) = piece.split_at(taken);
        self.json.extend(own);
        Ok((rest, complete))
    }

    /// Says whether this byte ends a value that has no end mark of its own.
    fn is_bare(&self, byte: u8) -> bool {
        self.depth == 0 && !self.in_string && matches!(byte, b',' | b'}' | b']')
    }

    /// Says whether this byte is the last of the value.
    fn closes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return !self.in_string && self.depth == 0;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0 && matches!(byte, b'}' | b']')
    }

    fn end(&mut self) -> Vec<u8> {
        self.begun = false;
        std::mem::take(&mut self.json)
    }

    fn reuse(&mut self, json: Vec<u8>) {
        self.json = json;
    }
}
