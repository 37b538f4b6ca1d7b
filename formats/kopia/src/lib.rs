//! Kopia's repository format: bytes and meaning, no input or output.
pub mod content_id;
pub mod decode_error;
pub mod index;
pub mod pack;
pub mod record;
pub mod session;
pub mod time_text;
pub mod hash;
mod go_json;
pub mod blob_name;
pub mod epoch;
pub mod legacy_index;
pub mod object_id;
