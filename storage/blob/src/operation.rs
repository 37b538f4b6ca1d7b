//! The port's operations as a value, for wrappers that count or pick them.

/// What a store was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// [`BlobStore::put`](crate::BlobStore::put)
    Put,
    /// [`BlobStore::get`](crate::BlobStore::get)
    Get,
    /// [`BlobStore::get_range`](crate::BlobStore::get_range)
    GetRange,
    /// [`BlobStore::metadata`](crate::BlobStore::metadata)
    Metadata,
    /// [`BlobStore::list`](crate::BlobStore::list)
    List,
    /// [`BlobStore::delete`](crate::BlobStore::delete)
    Delete,
    /// [`BlobStore::extend_lock`](crate::BlobStore::extend_lock)
    ExtendLock,
}
