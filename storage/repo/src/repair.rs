//! What verification and repair need from inside a repository.
//!
//! Steps only, each safe by itself and at any moment beside other clients. Nothing here overwrites
//! a blob: what is mended is written anew, under a name of its own. What is damaged, what it hurts
//! and who may mend it is decided by whoever calls: the `verify` engine.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kopia::blob_name::{EPOCH_MARKER_PREFIX, LOG_PREFIX, SESSION_PREFIX};
use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

use crate::error::{RepoError, RepoErrorKind, store_error};
use crate::index::index_blob::open_blob;
use crate::index::merge::merge;
use crate::index::table::Table;
use crate::writer::{SealedContent, local_index};
use crate::{Repository, Writer};

/// What the store says of a range that a blob does not have.
const TOO_SHORT: RepoErrorKind = RepoErrorKind::Store(blob::BlobErrorKind::Invalid);

impl Repository {
    /// Returns the damaged index blobs that this repository was opened without, with the reason.
    pub fn left_out_indexes(&self) -> BTreeMap<String, String> {
        self.index_cache.left_out()
    }

    /// Returns the names and lengths of the index blobs that count now.
    pub fn active_indexes(&self) -> Result<BTreeMap<String, u64>, RepoError> {
        self.check_may_go_on()?;
        self.index_cache.active(self.store.as_ref())
    }

    /// Reads an index blob from the store, whether the cache has it or not; `Damaged` if it makes
    /// no sense.
    pub fn check_index(&self, blob: &str, bytes: u64) -> Result<(), RepoError> {
        self.check_may_go_on()?;
        self.index_cache.check(self.store.as_ref(), blob, bytes)
    }

    /// Returns whether the cache still knows what an index blob held.
    pub fn is_cached(&self, index_blob: &str) -> bool {
        self.index_cache.cached(index_blob).is_some()
    }

    /// Hands every record that an index blob is known to have held to `each`: by the cache or, where
    /// another process cleaned that, by a table that is open here, which may tell of other blobs, too.
    pub fn for_each_cached(
        &self,
        index_blob: &str,
        each: &mut dyn FnMut(ContentRecord) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let is_of_it = |table: &&Arc<Table>| table.blobs().iter().any(|held| held == index_blob);
        let open = || self.view().tables.iter().find(is_of_it).cloned();
        let Some(table) = self.index_cache.cached(index_blob).or_else(open) else {
            return Ok(());
        };
        let tables = [table];
        merge(&tables, &[], &mut |place, row| {
            each(tables[place].decode(row)?).map(|()| true)
        })
    }

    /// Returns the names and lengths of the index blobs that lie in the store and do not count: what
    /// was compacted and is not deleted yet, and sets that are not whole.
    pub fn superseded_indexes(&self) -> Result<BTreeMap<String, u64>, RepoError> {
        self.check_may_go_on()?;
        self.index_cache.superseded(self.store.as_ref())
    }

    /// Hands every record of an index blob of this length to `each`, whether the blob counts or not.
    pub fn for_each_in_index(
        &self,
        index_blob: &str,
        bytes: u64,
        each: &mut dyn FnMut(ContentRecord) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        self.check_may_go_on()?;
        let blob = std::iter::once((index_blob, bytes));
        let stop = &self.surroundings.stop;
        let tables = self
            .index_cache
            .tables_of(self.store.as_ref(), blob, stop)?;
        merge(&tables, &[], &mut |place, row| {
            each(tables[place].decode(row)?).map(|()| true)
        })
    }

    /// Returns every record of a content that this client's index tables still tell apart, hidden
    /// and superseded ones included, the winning one first.
    pub fn records_of(&self, id: &ContentId) -> Result<Vec<ContentRecord>, RepoError> {
        let mut records = Vec::new();
        for table in &self.view().tables {
            records.extend(table.find(id)?);
        }
        records.sort_by(|a, b| match a.supersedes(b) {
            true => std::cmp::Ordering::Less,
            false => std::cmp::Ordering::Greater,
        });
        records.dedup();
        Ok(records)
    }

    /// Returns the record that wins, even if it is a tombstone that is forgotten by now.
    pub fn newest_record(&self, id: &ContentId) -> Result<Option<ContentRecord>, RepoError> {
        self.view().newest(id)
    }

    /// Reads the index of its own that a pack ends with; `None` if it has none that makes sense, or
    /// is gone.
    pub fn local_index(
        &self,
        pack: &str,
        pack_bytes: u64,
    ) -> Result<Option<Vec<ContentRecord>>, RepoError> {
        self.check_may_go_on()?;
        local_index(self, pack, pack_bytes)
    }

    /// Returns the content that lies where a record says, if it is what its id says.
    ///
    /// # Errors
    /// `Damaged` if it is not.
    pub fn read_record(&self, record: &ContentRecord) -> Result<Vec<u8>, RepoError> {
        let sealed = self.sealed_of(record)?;
        self.opened_and_compared(record, &sealed)
    }

    fn sealed_of(&self, record: &ContentRecord) -> Result<Vec<u8>, RepoError> {
        self.check_may_go_on()?;
        let (offset, bytes) = (
            u64::from(record.pack_offset),
            u64::from(record.packed_bytes),
        );
        self.store
            .get_range(&record.pack_blob, offset, bytes)
            .map_err(store_error(format!("read pack {}", record.pack_blob)))
    }

    fn opened_and_compared(
        &self,
        record: &ContentRecord,
        sealed: &[u8],
    ) -> Result<Vec<u8>, RepoError> {
        let plain = self.unseal_content(record, sealed)?;
        match self.content_id(record.id.prefix(), &plain) == record.id {
            true => Ok(plain),
            false => Err(RepoError::new(
                RepoErrorKind::Damaged,
                format!("read content {}: its bytes have another hash", record.id),
            )),
        }
    }

    /// Says why a session marker or a log makes no sense, if it does not; `None` if it does, or is
    /// gone.
    pub fn objection_to_sealed(&self, blob: &str) -> Result<Option<String>, RepoError> {
        debug_assert!(blob.starts_with(SESSION_PREFIX) || blob.starts_with(LOG_PREFIX));
        let sealed = match self.store.get(blob) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == blob::BlobErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store_error(format!("read blob {blob}"))(error)),
        };
        let opened = open_blob(&self.opener, &self.hasher, blob, &sealed);
        Ok(opened.err().map(|error| error.to_string()))
    }

    /// Returns the ids of the sessions whose marker is there: what their packs hold may be in no
    /// index yet.
    pub fn open_sessions(&self) -> Result<HashSet<String>, RepoError> {
        let markers = self
            .store
            .list_all(SESSION_PREFIX)
            .map_err(store_error("list the sessions that are under way"))?;
        let session = |name: &str| Some(name.split_once('-')?.1.to_owned());
        Ok(markers
            .iter()
            .filter_map(|marker| session(&marker.name))
            .collect())
    }

    /// Puts the marker of an epoch that has begun, as its index blobs show.
    pub fn mark_epoch_begun(&self, epoch: u64) -> Result<(), RepoError> {
        self.check_may_write()?;
        self.put_blob(&format!("{EPOCH_MARKER_PREFIX}{epoch}"), b"epoch-marker")?;
        self.refresh()
    }
}

impl Writer {
    /// Adds records to the index as they are; visible after a flush. They were in an index blob
    /// before, so every client agrees on which wins.
    pub fn index_again(
        &self,
        records: impl IntoIterator<Item = ContentRecord>,
    ) -> Result<(), RepoError> {
        for record in records {
            self.flush_if_due()?;
            self.add_record(record)?;
        }
        Ok(())
    }

    /// Stores a content again from a sound copy, wherever that lies; visible after a flush. Returns
    /// whether it was sound.
    ///
    /// It becomes newer than every record that is known of it, tombstones included.
    pub fn store_copy(&self, copy: &ContentRecord) -> Result<bool, RepoError> {
        self.flush_if_due()?;
        let repo = self.repository();
        let sealed = match repo.sealed_of(copy) {
            Err(error) if error.kind().is_gone() || error.kind() == TOO_SHORT => return Ok(false),
            sealed => sealed?,
        };
        match repo.opened_and_compared(copy, &sealed) {
            Err(error) if error.kind() == RepoErrorKind::Damaged => return Ok(false),
            opened => drop(opened?),
        }
        let newest = repo.view().newest(&copy.id)?;
        let known_seconds = newest.map_or(0, |known| known.timestamp_seconds);
        let now = repo.clock().now().as_second();
        let content = SealedContent {
            id: copy.id,
            sealed,
            original_bytes: copy.original_bytes,
            compression_header_id: copy.compression_header_id,
            timestamp_seconds: now.max(known_seconds.max(copy.timestamp_seconds) + 1),
        };
        self.append(content, copy.id.is_metadata())?;
        Ok(true)
    }
}
