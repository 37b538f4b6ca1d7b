//! The port: what a store of blobs must offer.

use std::fmt::Debug;
use std::sync::Arc;

use time_and_chance::Timestamp;

use crate::{BlobError, BlobErrorKind};

/// A store shared by everything that works on one repository.
pub type SharedBlobStore = Arc<dyn BlobStore>;

/// What a store knows about a blob without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobMetadata {
    /// The blob's name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When the *store* says it was written. Epochs and clean-up compare these times.
    pub modified: Timestamp,
}

/// How a blob is to be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Object lock: mode (`GOVERNANCE` or `COMPLIANCE`) and until when (Kopia spec 2.5).
    pub retention: Option<(String, Timestamp)>,
    /// Nothing is overwritten: of several who put the same name at once, one succeeds. Some servers of
    /// buckets cannot do this, and a few overwrite all the same, so whoever depends on it reads the blob
    /// again.
    pub if_absent: bool,
}

/// Room on the store, where it can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What can still be written.
    pub free_bytes: u64,
    /// What the store holds when empty.
    pub total_bytes: u64,
}

/// A store of blobs.
///
/// Implementers promise: `put` is atomic, durable when it returns, and overwrites; what was put
/// is at once read and listed; deleting a missing blob succeeds; every method may be called
/// from many threads.
pub trait BlobStore: Send + Sync + Debug {
    /// Writes a blob whose content is `parts`, one after the other.
    ///
    /// # Errors
    /// `AlreadyThere` if there is one and that was not to be; it may be this very one, if an earlier
    /// answer was lost.
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError>;

    /// Reads a whole blob.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError>;

    /// Reads `bytes` bytes at `offset`: all of them or an error.
    ///
    /// # Errors
    /// `NotFound` if the blob does not exist, `Invalid` if it is shorter.
    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError>;

    /// Returns length and time of a blob.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError>;

    /// Hands every blob whose name begins with `prefix` to `each`, in order of names where the
    /// store has one; an error of `each` ends the listing.
    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError>;

    /// Deletes a blob; a missing one is fine.
    fn delete(&self, name: &str) -> Result<(), BlobError>;

    /// Lets a blob be locked for longer: in `mode` (`GOVERNANCE` or `COMPLIANCE`) until `until`.
    ///
    /// # Errors
    /// `NotFound` if it does not exist, `Unsupported` if the store has no object locks.
    fn extend_lock(&self, name: &str, _mode: &str, _until: Timestamp) -> Result<(), BlobError> {
        Err(BlobError::new(
            BlobErrorKind::Unsupported,
            format!("lock blob {name}: {} has no object locks", self.location()),
        ))
    }

    /// Returns where this is, for people; never with secrets.
    fn location(&self) -> String;

    /// Returns the room left, or `None` where the store cannot tell.
    fn space(&self) -> Result<Option<Space>, BlobError>;

    /// Returns the store's time, or `None` where it does not tell without a blob being written.
    fn time(&self) -> Result<Option<Timestamp>, BlobError> {
        Ok(None)
    }

    /// Returns all blobs whose name begins with `prefix`; for prefixes with few blobs.
    fn list_all(&self, prefix: &str) -> Result<Vec<BlobMetadata>, BlobError> {
        let mut all = Vec::new();
        self.list(prefix, &mut |blob| {
            all.push(blob);
            Ok(())
        })?;
        Ok(all)
    }
}
