//! Kopia's repository format: bytes and meaning, no input or output.

pub mod blob_name;
pub mod cipher;
pub mod compression;
pub mod content_id;
pub mod decode_error;
pub mod directory;
pub mod epoch;
pub mod error_correction;
pub mod format_blob;
pub mod hash;
pub mod index;
pub mod indirect;
pub mod key;
pub mod legacy_index;
pub mod maintenance;
pub mod manifest;
pub mod object_id;
pub mod pack;
pub mod policy;
pub mod record;
pub mod retention;
pub mod session;
pub mod snapshot;
pub mod splitter;
pub mod time_text;

mod go_json;

#[cfg(test)]
mod test_vectors;
