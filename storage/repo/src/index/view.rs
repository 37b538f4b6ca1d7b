//! What all active index blobs say together: one answer per content.
//!
//! Records of the same content are merged by Kopia spec 4.6, so an answer does not depend on
//! the order in which tables are asked.

use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

use super::merge::merge;
use super::table::Table;
use crate::error::RepoError;

/// The merged view at one moment; never changes.
#[derive(Debug, Clone)]
pub(crate) struct IndexView {
    /// Tables that together hold every active index blob once.
    pub(crate) tables: Vec<Arc<Table>>,
    /// Tombstones up to here are forgotten (Kopia spec 5.5).
    pub(crate) watermark_seconds: i64,
}

/// A winning record, with the place of its table among those of the view.
#[derive(Debug)]
pub(crate) struct UnnamedRow {
    /// The record; its pack's name is empty.
    pub(crate) record: ContentRecord,
    pub(crate) table: usize,
    /// The pack's number in that table.
    pub(crate) pack: u32,
}

impl IndexView {
    /// Returns the view of a repository nobody has written to.
    pub(crate) fn empty() -> Self {
        Self {
            tables: Vec::new(),
            watermark_seconds: 0,
        }
    }

    /// Returns whether a table holds this index blob.
    pub(crate) fn holds(&self, blob: &str) -> bool {
        self.tables
            .iter()
            .any(|table| table.blobs().iter().any(|held| held == blob))
    }

    /// Returns the winning record of `id`, tombstones included, or `None` if there is none.
    ///
    /// A tombstone still locates its data (Kopia spec 4.6); whoever deduplicates must not count
    /// it as present.
    pub(crate) fn find(&self, id: &ContentId) -> Result<Option<ContentRecord>, RepoError> {
        Ok(self.newest(id)?.filter(|record| !self.is_forgotten(record)))
    }

    /// Returns the winning record of `id` even if the watermark hides it: a rewritten content
    /// must be newer than that.
    pub(crate) fn newest(&self, id: &ContentId) -> Result<Option<ContentRecord>, RepoError> {
        let mut best: Option<ContentRecord> = None;
        for table in &self.tables {
            if let Some(record) = table.find(id)?
                && best.as_ref().is_none_or(|best| record.supersedes(best))
            {
                best = Some(record);
            }
        }
        Ok(best)
    }

    /// Hands every winning record with the given id prefix (0 for none) to `each`, in order of
    /// keys; `None` takes all.
    pub(crate) fn for_each(
        &self,
        prefix: Option<u8>,
        each: &mut dyn FnMut(ContentRecord) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        self.for_each_unnamed(prefix, &mut |row| each(self.name(&row)?))
    }

    /// Like [`for_each`](Self::for_each), without looking up which pack each record names.
    pub(crate) fn for_each_unnamed(
        &self,
        prefix: Option<u8>,
        each: &mut dyn FnMut(UnnamedRow) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let from: Vec<u8> = prefix.into_iter().collect();
        let nameless: Arc<str> = Arc::from("");
        merge(&self.tables, &from, &mut |table, row| {
            let (record, pack) = self.tables[table].decode_unnamed(row, &nameless)?;
            match prefix {
                Some(prefix) if record.id.prefix().unwrap_or(0) != prefix => Ok(false),
                _ if self.is_forgotten(&record) => Ok(true),
                _ => each(UnnamedRow {
                    record,
                    table,
                    pack,
                })
                .map(|()| true),
            }
        })
    }

    /// Looks up which pack a record names.
    pub(crate) fn name(&self, row: &UnnamedRow) -> Result<ContentRecord, RepoError> {
        Ok(ContentRecord {
            pack_blob: self.tables[row.table].pack_name(row.pack)?,
            ..row.record.clone()
        })
    }

    fn is_forgotten(&self, record: &ContentRecord) -> bool {
        record.is_hidden_by(self.watermark_seconds)
    }
}
