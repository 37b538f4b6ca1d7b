//! Advancing epochs, compacting their indexes, and removing what is superseded (Kopia spec 5.5).

use std::sync::Arc;

use blob::BlobMetadata;
use kopia::blob_name::{EPOCH_PREFIX, uncompacted_prefix};
use kopia::epoch::{BlobListing, EpochListing};
use kopia::record::ContentRecord;

use crate::Repository;
use crate::error::{RepoError, RepoErrorKind, stopped, store_error};
use crate::index::merge::merge;
use crate::index::table::Table;
use crate::writer::current_epoch;

/// A compacted set has blobs of so many records: what is encoded at a time stays below 64 MiB.
const BLOB_RECORDS_MAX: u64 = 1 << 18;

/// A compaction that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// The first epoch in it.
    pub first: u64,
    /// The last epoch in it.
    pub last: u64,
    /// How many index blobs were merged.
    pub from_blobs: u64,
    /// Into how many.
    pub to_blobs: u64,
    /// How many records they hold.
    pub records: u64,
}

impl Repository {
    /// Lists everything the epoch manager keeps.
    pub fn list_epochs(&self) -> Result<EpochListing, RepoError> {
        self.check_may_go_on()?;
        let doing = "list the repository's epochs";
        let mut blobs = Vec::new();
        self.store
            .list(EPOCH_PREFIX, &mut |blob| {
                blobs.push(listed(blob));
                Ok(())
            })
            .map_err(store_error(doing))?;
        EpochListing::new(blobs)
            .map_err(|error| RepoError::new(RepoErrorKind::Damaged, doing).caused_by(error))
    }

    /// Begins the next epoch if the current one is old and full enough; any client may. Returns
    /// the epoch that began.
    pub fn advance_epoch_if_due(&self) -> Result<Option<u64>, RepoError> {
        self.check_may_write()?;
        let parameters = self.format().epoch_parameters.clone();
        let doing = "list the repository's current epoch";
        let current = current_epoch(self)?;
        let own = self.store.list_all(&uncompacted_prefix(current));
        let own = own.map_err(store_error(doing))?;
        let blobs: Vec<BlobListing> = own.into_iter().map(listed).collect();
        if !kopia::epoch::is_epoch_over(&blobs, &parameters) {
            return Ok(None);
        }
        let next = current.saturating_add(1);
        self.put_blob(&format!("xe{next}"), b"epoch-marker")?;
        Ok(Some(next))
    }

    /// Compacts the index of one epoch, or of several, that is settled: nobody adds to it any
    /// more. `None` if it holds nothing.
    ///
    /// The set counts for readers when its last blob is there; one that was begun and not
    /// finished is ignored by everyone.
    pub fn compact_epochs(
        &self,
        first: u64,
        last: u64,
        blobs: &[BlobListing],
    ) -> Result<Option<Compaction>, RepoError> {
        self.check_may_write()?;
        let stop = &self.surroundings.stop;
        let blobs_with_bytes = blobs.iter().map(|blob| (blob.name.as_str(), blob.length));
        let tables = self
            .index_cache
            .tables_of(self.store.as_ref(), blobs_with_bytes, stop)?;
        let mut records = 0u64;
        merge(&tables, &[], &mut |_, _| {
            records += 1;
            Ok(true)
        })?;
        if records == 0 {
            return Ok(None);
        }
        let stem = match first == last {
            true => format!("xs{first}"),
            false => format!("xr{first}_{last}"),
        };
        let to_blobs = records.div_ceil(BLOB_RECORDS_MAX);
        self.write_set(&tables, &stem, to_blobs)?;
        Ok(Some(Compaction {
            first,
            last,
            from_blobs: blobs.len() as u64,
            to_blobs,
            records,
        }))
    }

    fn write_set(&self, tables: &[Arc<Table>], stem: &str, count: u64) -> Result<(), RepoError> {
        let set = hex::encode(self.chance().bytes::<8>());
        let mut records: Vec<ContentRecord> = Vec::new();
        let put = |records: &mut Vec<ContentRecord>| {
            self.surroundings.stop.check().map_err(stopped)?;
            let version = self.format().effective_index_version();
            let payload = kopia::index::write_index(version, records).map_err(|error| {
                RepoError::new(RepoErrorKind::Invalid, "encode a compacted index").caused_by(error)
            })?;
            records.clear();
            let hash = self.hasher.hash(&payload);
            let mut sealed = Vec::new();
            self.cipher
                .seal_into(&hash.iv(), self.chance().bytes(), &payload, &mut sealed);
            let name = format!("{stem}_{}-s{set}-c{count}", hash.to_hex());
            self.put_blob(&name, &sealed)
        };
        merge(tables, &[], &mut |place, row| {
            records.push(tables[place].decode(row)?);
            if records.len() as u64 == BLOB_RECORDS_MAX {
                put(&mut records)?;
            }
            Ok(true)
        })?;
        match records.is_empty() {
            true => Ok(()),
            false => put(&mut records),
        }
    }
}

fn listed(blob: BlobMetadata) -> BlobListing {
    BlobListing {
        name: blob.name,
        length: blob.bytes,
        modified: blob.modified,
    }
}
