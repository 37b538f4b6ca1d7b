//! A wrapper that writes down what a store is asked: cost is behaviour, and so is order.

use std::sync::{Mutex, MutexGuard};

use time_and_chance::Timestamp;

use crate::{
    BlobError, BlobErrorKind, BlobMetadata, BlobStore, Operation, PutOptions, SharedBlobStore,
    Space,
};

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was asked.
    pub operation: Operation,
    /// The blob's name; for a listing its prefix.
    pub name: String,
    /// Bytes written or read; for a listing the number of blobs it found. 0 if it failed.
    pub moved: u64,
    /// Why it failed, if it did.
    pub failure: Option<BlobErrorKind>,
}

/// A store whose requests are kept, in the order in which they ended.
#[derive(Debug)]
pub struct Recorded {
    inner: SharedBlobStore,
    requests: Mutex<Vec<Request>>,
}

impl Recorded {
    /// Wraps a store.
    pub fn new(inner: SharedBlobStore) -> Self {
        Self {
            inner,
            requests: Mutex::default(),
        }
    }

    /// Returns the requests since the beginning or since they were last taken, and forgets them.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.lock())
    }

    /// Returns how many requests of this operation there were.
    pub fn count(&self, operation: Operation) -> usize {
        self.lock()
            .iter()
            .filter(|it| it.operation == operation)
            .count()
    }

    /// Returns how much requests of this operation moved (see [`Request::moved`]).
    pub fn moved(&self, operation: Operation) -> u64 {
        let requests = self.lock();
        let these = requests.iter().filter(|it| it.operation == operation);
        these.map(|it| it.moved).sum()
    }

    fn note<T>(
        &self,
        operation: Operation,
        name: &str,
        result: Result<T, BlobError>,
        moved: impl FnOnce(&T) -> u64,
    ) -> Result<T, BlobError> {
        self.lock().push(Request {
            operation,
            name: name.to_owned(),
            moved: result.as_ref().map_or(0, moved),
            failure: result.as_ref().err().map(BlobError::kind),
        });
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests
            .lock()
            .expect("no thread panics while it notes")
    }
}

impl BlobStore for Recorded {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        let result = self.inner.put(name, parts, options);
        self.note(Operation::Put, name, result, |()| {
            parts.iter().map(|part| part.len() as u64).sum()
        })
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.note(Operation::Get, name, self.inner.get(name), |content| {
            content.len() as u64
        })
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        let result = self.inner.get_range(name, offset, bytes);
        self.note(Operation::GetRange, name, result, |content| {
            content.len() as u64
        })
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        self.note(Operation::Metadata, name, self.inner.metadata(name), |_| 0)
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        let mut found = 0;
        let result = self.inner.list(prefix, &mut |blob| {
            found += 1;
            each(blob)
        });
        self.note(Operation::List, prefix, result, |()| found)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.note(Operation::Delete, name, self.inner.delete(name), |()| 0)
    }

    fn extend_lock(&self, name: &str, mode: &str, until: Timestamp) -> Result<(), BlobError> {
        let result = self.inner.extend_lock(name, mode, until);
        self.note(Operation::ExtendLock, name, result, |()| 0)
    }

    fn time(&self) -> Result<Option<Timestamp>, BlobError> {
        self.inner.time()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        self.inner.space()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use time_and_chance::{ManualClock, Timestamp};

    use super::*;
    use crate::{MemoryStore, contract};

    fn recorded() -> Recorded {
        Recorded::new(Arc::new(MemoryStore::new(ManualClock::at(
            Timestamp::UNIX_EPOCH,
        ))))
    }

    #[test]
    fn a_recorded_store_keeps_the_contract() {
        contract::check_all(&recorded());
    }

    #[test]
    fn requests_are_kept_in_order_with_their_cost() {
        let store = recorded();
        store
            .put("a", &[b"one", b"two"], &PutOptions::default())
            .unwrap();
        store.get("a").unwrap();
        store.get_range("a", 1, 2).unwrap();
        store.metadata("a").unwrap();
        store.list_all("").unwrap();
        store.delete("a").unwrap();
        store.get("a").unwrap_err();
        assert_eq!(
            (store.count(Operation::Get), store.moved(Operation::Get)),
            (2, 6)
        );
        let seen: Vec<_> = store
            .take()
            .into_iter()
            .map(|it| (it.operation, it.name, it.moved, it.failure))
            .collect();
        let wanted = [
            (Operation::Put, "a", 6, None),
            (Operation::Get, "a", 6, None),
            (Operation::GetRange, "a", 2, None),
            (Operation::Metadata, "a", 0, None),
            (Operation::List, "", 1, None),
            (Operation::Delete, "a", 0, None),
            (Operation::Get, "a", 0, Some(BlobErrorKind::NotFound)),
        ];
        assert_eq!(
            seen,
            wanted.map(|(operation, name, moved, failure)| (
                operation,
                name.to_owned(),
                moved,
                failure
            ))
        );
        assert!(store.take().is_empty());
    }
}
