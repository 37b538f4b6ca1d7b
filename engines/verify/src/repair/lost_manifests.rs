//! Manifests that nobody can read any more: given up where the operator says so, and listed again
//! where their content comes back.
//!
//! Whoever meets a manifest that cannot be read stops, since it may be a point. So a content of
//! manifests that is lost for good stands in the way of everything, until somebody who is answerable
//! says that it is lost.

use std::collections::BTreeSet;

use kopia::content_id::{ContentId, prefix};
use kopia::record::ContentRecord;
use snapshot::Snapshots;
use time_and_chance::Timestamp;

use super::gone::add_what_cannot_be_there;
use super::manifests::Deleted;
use super::run::{DOING, Run};
use crate::error::{VerifyError, repo_error};
use crate::report::{BlobRole, Verification};

/// What can be done about manifests that are lost.
const LOST: &str = "cannot be had from anywhere, and nothing is collected while points may be in it; put its pack back from a copy of the store, or accept the loss: `repo verify --repair --give-up-lost-manifests`";
/// Why manifests are not given up although they are to be.
const INDEX_FIRST: &str = "no manifests are given up while it is damaged: it may name another copy";
/// Why a content of manifests stays that is what its name says.
const NOT_LOST: &str = "its bytes are what was stored, and make no sense to this program; a newer one may have written them, so that they are not given up";

/// A content with manifests that cannot be had from anywhere. How many it held, and which, nobody can
/// say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostManifests {
    /// Its id.
    pub content: ContentId,
    /// The pack that it lies in by what the index says.
    pub pack: String,
    /// Where it begins there.
    pub offset: u64,
    /// How long it is there.
    pub packed_bytes: u64,
    /// When it was put into the index.
    pub written: Timestamp,
    /// Why it cannot be read.
    pub reason: String,
}

impl Run<'_> {
    /// Returns contents of manifests that were given up and can be read again, as they were.
    pub(super) fn manifests_that_came_back(&self) -> Result<Vec<ContentRecord>, VerifyError> {
        let snapshots = Snapshots::load(self.repo).map_err(repo_error(DOING))?;
        let mut records = Vec::new();
        for id in snapshots.verified().given_up().keys() {
            let known = self.repo.newest_record(id).map_err(repo_error(DOING))?;
            if let Some(record) = known.filter(|record| record.deleted)
                && self.is_readable(&record)?.is_ok()
            {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Returns contents of manifests that cannot be read and are in none of what was `mended`, having
    /// looked for copies of those that were not `searched` for.
    pub(super) fn lost_manifests(
        &mut self,
        searched: &BTreeSet<ContentId>,
        mut mended: BTreeSet<ContentId>,
    ) -> Result<Vec<LostManifests>, VerifyError> {
        let manifests = self.repo.manifests().map_err(repo_error(DOING))?;
        let unreadable = manifests.unreadable().iter().map(|(id, _)| *id);
        let unreadable: BTreeSet<ContentId> = unreadable.collect();
        let rest: Vec<_> = unreadable.difference(searched).copied().collect();
        mended.extend(self.mend_contents(&rest)?);
        let mut lost = Vec::new();
        for id in unreadable.difference(&mended) {
            let known = self.repo.find(id).map_err(repo_error(DOING))?;
            let Some(record) = known.filter(|record| !record.deleted) else {
                continue;
            };
            match self.is_readable(&record)? {
                Ok(()) => self.left.push((id.to_string(), NOT_LOST.to_owned())),
                Err(reason) => lost.push(LostManifests {
                    content: *id,
                    pack: record.pack_blob.to_string(),
                    offset: u64::from(record.pack_offset),
                    packed_bytes: u64::from(record.packed_bytes),
                    written: Timestamp::from_second(record.timestamp_seconds).unwrap_or_default(),
                    reason,
                }),
            }
        }
        Ok(lost)
    }

    /// Names what is lost as not mended.
    pub(super) fn leave(&mut self, lost: &[LostManifests]) {
        let named = lost.iter().map(|lost| {
            let what = format!("{}, which holds manifests,", lost.content);
            (what, LOST.to_owned())
        });
        self.left.extend(named);
    }

    /// Gives manifests up: what earlier contents of manifests still tell of is listed again, then
    /// those that are lost are marked deleted, and nothing else. Returns which were given up.
    pub(super) fn give_up(
        &mut self,
        found: &Verification,
        lost: Vec<LostManifests>,
    ) -> Result<Vec<LostManifests>, VerifyError> {
        if lost.is_empty() {
            return Ok(lost);
        }
        let is_index = |role| matches!(role, BlobRole::Index | BlobRole::EpochMarker);
        let mut indexes = found.blobs.iter().filter(|blob| is_index(blob.role));
        // A dry run has not mended it.
        let damaged = indexes.find(|it| !self.needs_other_keys.contains(&it.blob));
        if let Some(damaged) = damaged.filter(|_| self.writer.is_some()) {
            let left = (damaged.blob.clone(), INDEX_FIRST.to_owned());
            self.left.push(left);
            self.leave(&lost);
            return Ok(Vec::new());
        }
        let superseded = self.superseded_manifests()?;
        self.list_again(superseded, Deleted::IsGone)?;
        if let Some(writer) = &self.writer {
            let snapshots = Snapshots::load(self.repo).map_err(repo_error(DOING))?;
            let mut verified = snapshots.verified().clone();
            let mut lost_contents = verified.lost().clone();
            add_what_cannot_be_there(self.repo, &mut lost_contents)?;
            for LostManifests { content, pack, .. } in &lost {
                let known = self.repo.find(content).map_err(repo_error(DOING))?;
                if let Some(record) = known.filter(|record| *record.pack_blob == **pack) {
                    writer.bury(&record).map_err(repo_error(DOING))?;
                    verified.note_given_up(*content, &record.pack_blob);
                    lost_contents.packs.insert(record.pack_blob);
                }
            }
            verified.note_lost(lost_contents);
            // One flush for both: nothing is buried that is not remembered.
            verified.save(writer).map_err(repo_error(DOING))?;
        }
        Ok(lost)
    }

    /// Returns contents of manifests that others took the place of and that can still be read.
    fn superseded_manifests(&self) -> Result<Vec<ContentRecord>, VerifyError> {
        let mut deleted = Vec::new();
        self.repo
            .for_each_content(Some(prefix::MANIFEST), &mut |record| {
                if record.deleted {
                    deleted.push(record);
                }
                Ok(())
            })
            .map_err(repo_error(DOING))?;
        let mut readable = Vec::new();
        for record in deleted {
            if self.is_readable(&record)?.is_ok() {
                readable.push(record);
            }
        }
        Ok(readable)
    }

    /// Says why a content cannot be read where it lies.
    fn is_readable(&self, record: &ContentRecord) -> Result<Result<(), String>, VerifyError> {
        match self.repo.read_record(record) {
            Ok(_) => Ok(Ok(())),
            Err(error) if error.kind().is_damage() => Ok(Err(error.to_string())),
            Err(error) => Err(repo_error(DOING)(error)),
        }
    }
}
