//! Disks as backup and restore see them: reading, writing, what changed, which ranges.
//!
//! Offsets are always those of the *virtual disk*, never of the file that holds it. This crate
//! knows neither Hyper-V nor repositories.

mod error;
mod memory;
mod port;
mod range;
mod zeros;

pub use error::{DiskError, DiskErrorKind, out_of_range};
pub use memory::MemoryDisk;
pub use port::{BlockRead, BlockWrite, ChangeId, Changes, DiskSource, Geometry, UnknownReason};
pub use range::{ByteRange, RangeSet};
pub use zeros::is_zero;
