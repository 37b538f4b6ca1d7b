//! Blob stores: where a repository's blobs rest, and wrappers that add one behaviour each.
//!
//! A store knows names and bytes (Kopia spec 1.1). It does not know what a pack or an index is.

pub mod contract;
mod dying;
mod error;
mod faulty;
mod filesystem;
mod memory;
mod name;
mod open;
mod operation;
mod port;
mod recorded;
mod retrying;
mod s3;
mod throttled;
mod trouble;

pub use dying::Dying;
pub use error::{BlobError, BlobErrorKind};
pub use faulty::{Faulty, Rule, Strike};
pub use filesystem::{FilesystemStore, NewLayout};
pub use memory::MemoryStore;
pub use open::{Location, Opening, create, open};
pub use operation::Operation;
pub use port::{BlobMetadata, BlobStore, PutOptions, SharedBlobStore, Space};
pub use recorded::{Recorded, Request};
pub use retrying::{OutageListener, RetryLimits, Retrying};
pub use s3::{Environment, S3Credentials, S3Identity, S3Limits, S3Location, S3Store, S3Style};
pub use throttled::{Bandwidth, ThrottleLimits, Throttled};
pub use trouble::Trouble;
