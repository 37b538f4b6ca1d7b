//! Contents that cannot be read, packs whose own index is damaged, and the maintenance schedule.

use std::collections::BTreeMap;

use kopia::blob_name::MAINTENANCE;
use kopia::content_id::ContentId;
use kopia::record::ContentRecord;
use repo::ScheduleKeeper;

use super::mended::MendedKind;
use super::run::{DOING, Run, is_refused};
use crate::error::{VerifyError, repo_error, stopped};
use crate::pack_scan::PackScan;
use crate::report::{BlobRole, Verification};

/// Copies of one content that are tried.
const COPIES_MAX: usize = 16;

/// Places where contents lie, or lay.
type Copies = BTreeMap<ContentId, Vec<ContentRecord>>;

impl Run<'_> {
    /// Stores contents that cannot be read anew from whichever copy is sound; returns those, or those
    /// that could be. They are wanted in order.
    pub(super) fn mend_contents(
        &mut self,
        wanted: &[ContentId],
    ) -> Result<Vec<ContentId>, VerifyError> {
        let mut mended = Vec::new();
        let mut restored = BTreeMap::new();
        for wanted in wanted.chunks(self.searched_max) {
            self.mend_together(wanted, &mut mended, &mut restored)?;
        }
        for (pack, count) in restored {
            self.note(MendedKind::Contents, pack, count);
        }
        Ok(mended)
    }

    /// Searches the packs once for all of these; adds what came back, and how much of which pack.
    fn mend_together(
        &self,
        wanted: &[ContentId],
        mended: &mut Vec<ContentId>,
        restored: &mut BTreeMap<String, u64>,
    ) -> Result<(), VerifyError> {
        self.progress
            .phase("looking for other copies of what is damaged");
        let mut copies = self.copies_in_packs(wanted)?;
        self.add_superseded_copies(wanted, &mut copies)?;
        for id in wanted {
            self.progress.stop.check().map_err(stopped)?;
            let known = self.repo.records_of(id).map_err(repo_error(DOING))?;
            let from = match known.first() {
                Some(newest) => newest.pack_blob.to_string(),
                // A dry run has said already that its pack is put back into the index.
                None if self.writer.is_none() && copies.contains_key(id) => continue,
                None => "no pack".to_owned(),
            };
            let mut tried = known;
            tried.extend(copies.remove(id).unwrap_or_default());
            for copy in &tried {
                if self.store_copy(copy)? {
                    mended.push(*id);
                    *restored.entry(from).or_default() += 1;
                    break;
                }
            }
        }
        self.flush()
    }

    fn copies_in_packs(&self, wanted: &[ContentId]) -> Result<Copies, VerifyError> {
        let mut copies = Copies::new();
        PackScan::new(self.repo, self.progress)?.each(&mut |pack, records| {
            for record in records.unwrap_or_default() {
                if *record.pack_blob == *pack && wanted.binary_search(&record.id).is_ok() {
                    add_copy(&mut copies, record);
                }
            }
            Ok(())
        })?;
        Ok(copies)
    }

    /// Adds places that index blobs name which were compacted and are still there: packs whose own
    /// index is damaged do not tell of them.
    fn add_superseded_copies(
        &self,
        wanted: &[ContentId],
        copies: &mut Copies,
    ) -> Result<(), VerifyError> {
        let superseded = self.repo.superseded_indexes().map_err(repo_error(DOING))?;
        for (blob, bytes) in &superseded {
            self.progress.stop.check().map_err(stopped)?;
            let read = self.repo.for_each_in_index(blob, *bytes, &mut |record| {
                if wanted.binary_search(&record.id).is_ok() {
                    add_copy(copies, record);
                }
                Ok(())
            });
            match read {
                Err(error) if error.kind().is_damage() => {}
                read => read.map_err(repo_error(DOING))?,
            }
        }
        Ok(())
    }

    fn store_copy(&self, copy: &ContentRecord) -> Result<bool, VerifyError> {
        let Some(writer) = &self.writer else {
            return match self.repo.read_record(copy) {
                Ok(_) => Ok(true),
                Err(error) if error.kind().is_damage() => Ok(false),
                Err(error) => Err(repo_error(DOING)(error)),
            };
        };
        match writer.store_copy(copy) {
            Err(error) if error.kind().is_damage() => Ok(false),
            stored => stored.map_err(repo_error(DOING)),
        }
    }

    /// Mends what no point needs: the schedule, and packs that could not be searched next time.
    pub(super) fn mend_rest(&mut self, found: &Verification) -> Result<(), VerifyError> {
        for damage in &found.blobs {
            match damage.role {
                BlobRole::Schedule => self.begin_schedule()?,
                BlobRole::PackIndex => {
                    let moved = self.move_out_of(&damage.blob)?;
                    if moved > 0 {
                        self.note(MendedKind::PackIndex, damage.blob.clone(), moved);
                    }
                }
                BlobRole::Index
                | BlobRole::EpochMarker
                | BlobRole::Session
                | BlobRole::Log
                | BlobRole::Unindexed
                | BlobRole::IndexGone => {}
            }
        }
        self.flush()
    }

    /// Stores everything alive in a pack anew, so far as it is sound; returns how many contents.
    fn move_out_of(&self, pack: &str) -> Result<u64, VerifyError> {
        let mut records = Vec::new();
        let collected = self.repo.for_each_content(None, &mut |record| {
            if !record.deleted && *record.pack_blob == *pack {
                records.push(record);
            }
            Ok(())
        });
        collected.map_err(repo_error(DOING))?;
        records.sort_by_key(|record| record.pack_offset);
        let mut moved = 0;
        for record in &records {
            moved += u64::from(self.store_copy(record)?);
        }
        Ok(moved)
    }

    fn begin_schedule(&mut self) -> Result<(), VerifyError> {
        if self.writer.is_some() {
            let keeper = ScheduleKeeper::new(self.repo).map_err(repo_error(DOING))?;
            let schedule = maintain::schedule_anew(self.repo.clock().now());
            match keeper.write(&schedule) {
                Err(error) if is_refused(&error) => {
                    let reason = "these keys may not overwrite it; maintenance waits until keys that may have mended it";
                    self.left.push((MAINTENANCE.to_owned(), reason.to_owned()));
                    self.needs_other_keys.push(MAINTENANCE.to_owned());
                    return Ok(());
                }
                written => drop(written.map_err(repo_error(DOING))?),
            }
        }
        self.note(MendedKind::Schedule, MAINTENANCE, 1);
        Ok(())
    }
}

fn add_copy(copies: &mut Copies, record: ContentRecord) {
    let known = copies.entry(record.id).or_default();
    if known.len() < COPIES_MAX && !known.contains(&record) {
        known.push(record);
    }
}
