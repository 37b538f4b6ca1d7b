//! A second reader of Kopia repositories, small and slow, written from the format's specification alone; used only in tests.
//!
//! It is the judge of what the product writes, so it shares nothing with it: neither code nor, where there is a choice,
//! libraries. It reads a repository in a folder, and it is strict: [`SecondReader::audit`] reports everything a writer
//! was obliged to do and did not. It deliberately knows nothing of writing, caching, other stores, time or retries.
//!
//! ```text
//! blob_folder, blob_name ─ format, crypto, ecc ─ index, active_index ─ reader ─ object, manifest, directory
//!                                                        audit: blobs and indexes ─ packs ─ contents ─ trees
//! ```

mod active_index;
mod audit;
mod audit_packs;
mod audit_trees;
mod blob_folder;
mod blob_name;
mod compression;
mod crypto;
mod directory;
mod ecc;
mod format;
mod index;
mod json;
mod manifest;
mod moment;
mod object;
mod object_reader;
mod reader;
mod s2;
mod snapshot;

pub use directory::Summary;
pub use index::ContentRecord;
pub use manifest::Manifest;
pub use moment::Moment;
pub use object_reader::{Leaf, ObjectReader};
pub use reader::SecondReader;
pub use snapshot::{Entry, Snapshot};
