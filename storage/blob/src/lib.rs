//! Blob stores: where a repository's blobs rest, and wrappers that add one behaviour each.
//!
//! A store knows names and bytes (Kopia spec 1.1). It does not know what a pack or an index is.

pub mod contract;
mod error;
mod filesystem;
mod memory;
mod name;
mod port;

pub use error::{BlobError, BlobErrorKind};
pub use filesystem::{FilesystemStore, NewLayout};
pub use memory::MemoryStore;
pub use port::{BlobMetadata, BlobStore, PutOptions, SharedBlobStore, Space};
