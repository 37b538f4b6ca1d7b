//! A wrapper that answers nothing any more from one request on, as after a kill or a pulled cable.
//!
//! For tests that let a piece of work die at each of its requests.

use std::sync::atomic::{AtomicU64, Ordering};

use time_and_chance::Timestamp;

use crate::{
    BlobError, BlobErrorKind, BlobMetadata, BlobStore, PutOptions, SharedBlobStore, Space,
};

/// A store that dies at a request of a given number.
#[derive(Debug)]
pub struct Dying {
    inner: SharedBlobStore,
    left: AtomicU64,
    asked: AtomicU64,
}

impl Dying {
    /// Wraps a store, which lives until it is told to die.
    pub fn new(inner: SharedBlobStore) -> Self {
        Self {
            inner,
            left: AtomicU64::new(u64::MAX),
            asked: AtomicU64::new(0),
        }
    }

    /// Lets the store die at the request of this number, counted from 1 and from now on. That one
    /// is still done, and nobody hears of it.
    pub fn die_at(&self, request: u64) {
        self.asked.store(0, Ordering::Relaxed);
        self.left.store(request, Ordering::Relaxed);
    }

    /// Returns how many requests there were, since the store was last told when to die.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask<T>(&self, work: impl FnOnce() -> Result<T, BlobError>) -> Result<T, BlobError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let dead = || Err(BlobError::new(BlobErrorKind::Stopped, "go on: it is dead"));
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        match left {
            Ok(1) => work().and_then(|_| dead()),
            Ok(_) => work(),
            Err(_) => dead(),
        }
    }
}

impl BlobStore for Dying {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        self.ask(|| self.inner.put(name, parts, options))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.ask(|| self.inner.get(name))
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.ask(|| self.inner.get_range(name, offset, bytes))
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        self.ask(|| self.inner.metadata(name))
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        self.ask(|| self.inner.list(prefix, each))
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.ask(|| self.inner.delete(name))
    }

    fn extend_lock(&self, name: &str, mode: &str, until: Timestamp) -> Result<(), BlobError> {
        self.ask(|| self.inner.extend_lock(name, mode, until))
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        self.inner.space()
    }

    fn time(&self) -> Result<Option<Timestamp>, BlobError> {
        self.ask(|| self.inner.time())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use time_and_chance::ManualClock;

    use super::*;
    use crate::{MemoryStore, contract};

    #[test]
    fn a_living_store_keeps_the_contract() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        contract::check_all(&Dying::new(Arc::new(MemoryStore::new(clock))));
    }

    #[test]
    fn the_last_request_is_done_and_nobody_hears_of_it() {
        let inner = Arc::new(MemoryStore::new(ManualClock::at(Timestamp::UNIX_EPOCH)));
        let store = Dying::new(inner.clone());
        let put = |name| store.put(name, &[b"x"], &PutOptions::default());
        store.die_at(2);
        assert!(put("a").is_ok());
        assert!(put("b").is_err());
        assert!(put("c").is_err());
        let there: Vec<String> = inner
            .list_all("")
            .unwrap()
            .into_iter()
            .map(|it| it.name)
            .collect();
        assert_eq!(there, ["a", "b"]);
        assert_eq!(store.asked(), 3);
    }
}
