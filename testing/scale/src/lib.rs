//! Repositories with indexes of any size, and what it takes to open them.
//!
//! Only indexes are made: there are no packs behind them. They are what stock Kopia leaves
//! behind: compacted ranges of epochs, in shards where there are many records, compacted single
//! epochs, and uncompacted blobs of the last epochs.

mod contents;
mod index_blobs;
mod memory;

pub use contents::Contents;
pub use index_blobs::{Made, PASSWORD, make, newest_record, surroundings};
pub use memory::{AnonymousMemory, folder_bytes};
