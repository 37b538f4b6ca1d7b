//! A store that lets a test do something before each write, as another client may.

use std::sync::Mutex;

use blob::{BlobError, BlobMetadata, BlobStore, Operation, PutOptions, SharedBlobStore, Space};

/// What is done before the write of this number, counted from 0.
pub type BeforeWrite = dyn Fn(usize, Operation, &str) + Send + Sync;

/// A store that calls back before every put and every delete.
pub struct HookedStore {
    inner: SharedBlobStore,
    before_write: Box<BeforeWrite>,
    writes: Mutex<usize>,
}

impl HookedStore {
    /// Wraps a store.
    pub fn new(inner: SharedBlobStore, before_write: Box<BeforeWrite>) -> Self {
        Self {
            inner,
            before_write,
            writes: Mutex::new(0),
        }
    }

    /// Writes of other threads wait meanwhile: what is done happens at one point in time.
    fn about_to(&self, operation: Operation, name: &str) {
        let mut writes = self.writes.lock().expect("a test that failed ends here");
        (self.before_write)(*writes, operation, name);
        *writes += 1;
    }
}

impl std::fmt::Debug for HookedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookedStore")
    }
}

impl BlobStore for HookedStore {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        self.about_to(Operation::Put, name);
        self.inner.put(name, parts, options)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.inner.get(name)
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.inner.get_range(name, offset, bytes)
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        self.inner.metadata(name)
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        self.inner.list(prefix, each)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.about_to(Operation::Delete, name);
        self.inner.delete(name)
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        self.inner.space()
    }
}
