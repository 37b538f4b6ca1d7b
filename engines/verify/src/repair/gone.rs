//! Places that the index names and that cannot be there, whether a point needs them or not.
//!
//! With an index blob goes what it said of deletions. What was deleted is named again then, by older
//! index blobs, although its pack is gone; and the next backup must not take that for stored.

use std::sync::Arc;

use kopia::record::ContentRecord;
use repo::{LostContents, Repository};
use snapshot::Snapshots;

use super::mended::{Mended, MendedKind};
use super::run::{DOING, Run};
use crate::error::{VerifyError, repo_error};
use crate::packs::Packs;

impl Run<'_> {
    /// Remembers what cannot be there as lost, if anything of the index was.
    pub(super) fn remember_what_cannot_be_there(&self) -> Result<(), VerifyError> {
        let is_of_index =
            |it: &Mended| matches!(it.what, MendedKind::IndexBlob | MendedKind::Unindexed);
        // A damaged index blob that these keys may not delete is left.
        let is_index_lost = !self.left.is_empty() || self.mended.iter().any(is_of_index);
        let Some(writer) = self.writer.as_ref().filter(|_| is_index_lost) else {
            return Ok(());
        };
        let snapshots = Snapshots::load(self.repo).map_err(repo_error(DOING))?;
        let mut verified = snapshots.verified().clone();
        let mut lost = verified.lost().clone();
        add_what_cannot_be_there(self.repo, &mut lost)?;
        if lost == *verified.lost() {
            return Ok(());
        }
        verified.note_lost(lost);
        verified.save(writer).map_err(repo_error(DOING))
    }
}

/// Adds contents whose packs are gone or end before them, whether a point needs them or not: those
/// that only lost points needed are named nowhere else.
pub(super) fn add_what_cannot_be_there(
    repo: &Arc<Repository>,
    lost: &mut LostContents,
) -> Result<(), VerifyError> {
    let index = repo.walk_index();
    let packs = Packs::list(repo.store())?;
    let mut bytes = index.per_pack::<Option<u64>>();
    let named = index.for_each_pack(&mut |place, pack| {
        bytes[place] = packs.bytes_of(pack);
        Ok(())
    });
    named.map_err(repo_error(DOING))?;
    let walked = index.for_each(&mut |row| {
        if row.is_deleted() {
            return Ok(());
        }
        let record = row.record()?;
        match bytes[row.pack()] {
            None => drop(lost.packs.insert(record.pack_blob)),
            Some(bytes) if end_of(&record) > bytes => lost.add(record.id, &record.pack_blob),
            Some(_) => {}
        }
        Ok(())
    });
    walked.map_err(repo_error(DOING))
}

fn end_of(record: &ContentRecord) -> u64 {
    u64::from(record.pack_offset) + u64::from(record.packed_bytes)
}
