//! Repositories with indexes of any size and any number of snapshots, and what it takes to open them.
//!
//! A large index is made alone: there are no packs behind it. It is what stock Kopia leaves
//! behind: compacted ranges of epochs, in shards where there are many records, compacted single
//! epochs, and uncompacted blobs of the last epochs. Images may name what is in it. Many snapshots are made with all that they
//! name.

mod contents;
mod images;
mod index_blobs;
mod memory;
mod points;

pub use contents::Contents;
pub use images::{add_images, add_packs};
pub use index_blobs::{Made, PASSWORD, make, newest_record, surroundings};
pub use memory::{AnonymousMemory, folder_bytes};
pub use points::add_points;
