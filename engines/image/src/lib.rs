//! Disks as objects in a repository.
//!
//! A disk rests as a canonical VHDX (DESIGN section 3): metadata in front, then one slot per
//! 32 MiB of the virtual disk. The object is a list of segments, one per slot, each a list of
//! chunks of equal size, so that an increment rewrites only the lists it touches.
//!
//! ```text
//! object ─ list ─┬─ front segment(s)          headers, block table
//!                ├─ segment 0 ─ list ─┬─ chunk   256 KiB
//!                │                    ├─ chunk
//!                ├─ zero segment ─────┴─ zero chunk, shared by all holes
//!                └─ …
//! ```

mod chunk_log;
mod difference;
mod error;
mod plan;
mod proof;
mod reader;
mod segments;
mod slot;
mod stored_slots;
mod writer;

pub use difference::{ImageDifference, StoredImage, differing_ranges};
pub use error::{ImageError, ImageErrorKind};
pub use reader::ImageReader;
pub use segments::{Segments, read_segments};
pub use slot::{CHUNK_BYTES, SLOT_BYTES};
pub use stored_slots::{PartialImage, StoredSlots};
pub use writer::{
    Base, ImageWriter, Onlooker, READ_BYTES_MAX, SlotNews, WrittenImage, bytes_to_read,
};
