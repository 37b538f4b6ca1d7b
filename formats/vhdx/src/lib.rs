//! VHDX files: parsed, resolved, written. Knows no paths and opens no files: callers hand in
//! something that reads and writes at offsets ([`ReadAt`], [`WriteAt`]).
//!
//! ```text
//! Vhdx        one file: metadata, and where each piece of the virtual disk is
//! Chain       a file with its parents: what the guest sees
//! canonical   one content, one sequence of bytes: what restore points hold
//! ThinWriter  a new dynamic file, as restores write it
//! LiveDisk    a disk in use: written in place, merged, made larger
//! ```
//!
//! A log that is not empty is replayed in memory; only writers touch the file. Everything read
//! from a file is checked before it is believed: a bad file gives an error, never a panic and
//! never memory or time out of proportion.

mod bat;
pub mod canonical;
mod chain;
mod checksum;
mod create;
mod create_options;
mod error;
mod file;
mod frame;
pub mod fuzzing;
mod header;
mod live;
mod locator;
mod log;
pub mod memory;
mod merge;
mod metadata;
mod occupancy;
mod pages;
mod region;
mod replayed;
mod resize;
mod resolve;
mod thin;
mod vhdx;

pub use chain::{AllocatedRanges, Chain};
pub use create::{ChildOptions, create_differencing, create_dynamic, create_fixed};
pub use create_options::{CreateOptions, suggested_block_size_bytes};
pub use error::{VhdxError, VhdxErrorKind};
pub use file::{ReadAt, WriteAt};
pub use live::{LiveDisk, WriteGuids};
pub use locator::ParentLocator;
pub use metadata::Metadata;
pub use resolve::{Extent, Piece};
pub use thin::ThinWriter;
pub use vhdx::Vhdx;
