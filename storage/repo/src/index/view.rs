//! What all active index blobs say together: one answer per content.
//!
//! Records of the same content are merged by Kopia spec 4.6, so an answer does not depend on
//! the order in which tables are asked.

use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

use super::table::{Cursor, Table};
use crate::error::RepoError;

/// The merged view at one moment; never changes.
#[derive(Debug, Clone)]
pub(crate) struct IndexView {
    /// Tables with the names of the index blobs each one holds.
    pub(crate) tables: Vec<ViewTable>,
    /// Tombstones up to here are forgotten (Kopia spec 5.5).
    pub(crate) watermark_seconds: i64,
}

/// A table and the index blobs it was made from.
#[derive(Debug, Clone)]
pub(crate) struct ViewTable {
    pub(crate) table: Arc<Table>,
    pub(crate) blobs: Arc<[String]>,
}

impl IndexView {
    /// Returns the view of a repository nobody has written to.
    pub(crate) fn empty() -> Self {
        Self {
            tables: Vec::new(),
            watermark_seconds: 0,
        }
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
        for ViewTable { table, .. } in &self.tables {
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
        let from: Vec<u8> = prefix.into_iter().collect();
        merge(
            self.tables
                .iter()
                .map(|view| view.table.cursor(&from))
                .collect(),
            &mut |record| match prefix {
                Some(prefix) if record.id.prefix().unwrap_or(0) != prefix => Ok(false),
                _ if self.is_forgotten(&record) => Ok(true),
                _ => each(record).map(|()| true),
            },
        )
    }

    fn is_forgotten(&self, record: &ContentRecord) -> bool {
        record.deleted && record.timestamp_seconds <= self.watermark_seconds
    }
}

/// Merges sorted cursors and hands the winner of each content to `each`, until it says `false`.
pub(crate) fn merge(
    cursors: Vec<Cursor>,
    each: &mut dyn FnMut(ContentRecord) -> Result<bool, RepoError>,
) -> Result<(), RepoError> {
    let mut heads = Vec::with_capacity(cursors.len());
    for mut cursor in cursors {
        if let Some(record) = cursor.next()? {
            heads.push((record, cursor));
        }
    }
    while let Some(lowest) = heads.iter().map(|(record, _)| record.id).min() {
        let mut winner: Option<ContentRecord> = None;
        let mut place = 0;
        while place < heads.len() {
            let (head, cursor) = &mut heads[place];
            if head.id != lowest {
                place += 1;
                continue;
            }
            let following = cursor.next()?;
            let record = match following {
                Some(following) => {
                    place += 1;
                    std::mem::replace(&mut heads[place - 1].0, following)
                }
                None => heads.swap_remove(place).0,
            };
            if winner
                .as_ref()
                .is_none_or(|winner| record.supersedes(winner))
            {
                winner = Some(record);
            }
        }
        let winner = winner.expect("some head had the lowest id");
        if !each(winner)? {
            return Ok(());
        }
    }
    Ok(())
}
