//! A store that forgets: for tests and simulated worlds.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use time_and_chance::{SharedClock, Timestamp};

use crate::error::already_there;
use crate::{BlobError, BlobErrorKind, BlobMetadata, BlobStore, PutOptions, Space, name};

/// A store in memory whose times are those of the clock it was given.
///
/// Object locks are accepted and remembered ([`MemoryStore::retention`]) but stop nobody: on a
/// real store they guard old versions, and versions are not part of the port.
#[derive(Debug)]
pub struct MemoryStore {
    clock: SharedClock,
    blobs: Mutex<BTreeMap<String, Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    content: Arc<[u8]>,
    modified: Timestamp,
    retention: Option<(String, Timestamp)>,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            blobs: Mutex::default(),
        }
    }

    /// Returns the object lock that the blob's last `put` asked for.
    pub fn retention(&self, name: &str) -> Option<(String, Timestamp)> {
        self.lock()
            .get(name)
            .and_then(|held| held.retention.clone())
    }

    /// Returns another store with the same blobs and their times, and a clock of its own: what
    /// happens to one does not happen to the other.
    pub fn copy_with(&self, clock: SharedClock) -> Self {
        Self {
            clock,
            blobs: Mutex::new(self.lock().clone()),
        }
    }

    fn held(&self, name: &str) -> Result<Held, BlobError> {
        name::check(name)?;
        let held = self.lock().get(name).cloned();
        held.ok_or_else(|| BlobError::new(BlobErrorKind::NotFound, format!("find blob {name}")))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.blobs
            .lock()
            .expect("no thread panics while it holds the blobs")
    }
}

impl BlobStore for MemoryStore {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        name::check(name)?;
        let held = Held {
            content: parts.concat().into(),
            modified: self.clock.now(),
            retention: options.retention.clone(),
        };
        let mut blobs = self.lock();
        if options.if_absent && blobs.contains_key(name) {
            return Err(already_there(name));
        }
        blobs.insert(name.to_owned(), held);
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        Ok(self.held(name)?.content.to_vec())
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        let content = self.held(name)?.content;
        let start = usize::try_from(offset).ok();
        let end = offset
            .checked_add(bytes)
            .and_then(|end| usize::try_from(end).ok());
        let range = start
            .zip(end)
            .and_then(|(start, end)| content.get(start..end));
        range.map(<[u8]>::to_vec).ok_or_else(|| {
            let length_bytes = content.len();
            BlobError::new(
                BlobErrorKind::Invalid,
                format!("read {bytes} bytes at {offset} of blob {name}: it has {length_bytes}"),
            )
        })
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        Ok(metadata(name, &self.held(name)?))
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        // Listed first and handed over later, so that `each` may use the store.
        let all: Vec<_> = self
            .lock()
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, held)| metadata(name, held))
            .collect();
        all.into_iter().try_for_each(each)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        name::check(name)?;
        self.lock().remove(name);
        Ok(())
    }

    fn extend_lock(&self, name: &str, mode: &str, until: Timestamp) -> Result<(), BlobError> {
        self.held(name)?;
        if let Some(held) = self.lock().get_mut(name) {
            held.retention = Some((mode.to_owned(), until));
        }
        Ok(())
    }

    fn time(&self) -> Result<Option<Timestamp>, BlobError> {
        Ok(Some(self.clock.now()))
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        Ok(None)
    }
}

fn metadata(name: &str, held: &Held) -> BlobMetadata {
    BlobMetadata {
        name: name.to_owned(),
        bytes: held.content.len() as u64,
        modified: held.modified,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time_and_chance::ManualClock;

    use super::*;

    #[test]
    fn times_are_the_clocks() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let store = MemoryStore::new(clock.clone());
        clock.advance(Duration::from_secs(5));
        store
            .put("a", &[], &PutOptions::default())
            .expect("a valid name");
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            store.metadata("a").expect("just put").modified.as_second(),
            5
        );
    }

    #[test]
    fn a_copy_keeps_times_and_goes_its_own_way() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let store = MemoryStore::new(clock.clone());
        let put = |store: &MemoryStore, name| store.put(name, &[b"x"], &PutOptions::default());
        put(&store, "a").expect("a valid name");
        clock.advance(Duration::from_secs(5));
        let copy = store.copy_with(clock);
        put(&copy, "b").expect("a valid name");
        let copied = copy.metadata("a").expect("it was copied");
        assert_eq!(copied.modified, Timestamp::UNIX_EPOCH);
        assert!(store.metadata("b").is_err());
    }

    #[test]
    fn object_locks_are_remembered_until_the_blob_is_overwritten() {
        let store = MemoryStore::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let lock = ("GOVERNANCE".to_owned(), Timestamp::UNIX_EPOCH);
        let options = PutOptions {
            retention: Some(lock.clone()),
            ..PutOptions::default()
        };
        store.put("p1", &[b"x"], &options).expect("a valid name");
        assert_eq!(store.retention("p1"), Some(lock));
        store
            .put("p1", &[b"x"], &PutOptions::default())
            .expect("a valid name");
        assert_eq!(store.retention("p1"), None);
    }
}
