//! What was found is remembered, in the repository itself: every client of ours sees it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kopia::content_id::ContentId;
use point::Points;
use repo::{LostContents, Repository, Writer};
use snapshot::{KnownDamage, Verified};
use time_and_chance::Timestamp;

use crate::error::{VerifyError, point_error, repo_error};
use crate::report::Verification;
use crate::still_lost;

const DOING: &str = "remember what was found";

impl Verification {
    /// Returns what is to be remembered from now on: what was, and what this look found at `time`,
    /// having read `percent` of the data.
    ///
    /// # Errors
    /// What the repository says.
    pub fn remembered(
        &self,
        repo: &Arc<Repository>,
        time: Timestamp,
        percent: f64,
    ) -> Result<Verified, VerifyError> {
        let points = Points::load(repo).map_err(point_error(DOING))?;
        let mut verified = points.snapshots().verified().clone();
        self.tell(repo, &mut verified, time, percent)?;
        let roots: BTreeSet<_> = points
            .iter()
            .filter_map(|point| point.root().ok())
            .map(|root| root.object)
            .collect();
        forget_what_came_back(repo, &mut verified)?;
        // A snapshot that cannot be read now may be listed again later.
        if points.snapshots().unreadable().is_empty() {
            verified.keep_only(&roots);
        }
        Ok(verified)
    }

    fn tell(
        &self,
        repo: &Arc<Repository>,
        verified: &mut Verified,
        time: Timestamp,
        percent: f64,
    ) -> Result<(), VerifyError> {
        for (root, found) in &self.roots {
            match found.files.is_empty() {
                true => verified.note_proof(*root, time, percent),
                false => {
                    let more = found.files_not_listed;
                    let damage = KnownDamage::new(time, found.files.clone(), more);
                    verified.note_damage(*root, damage);
                }
            }
        }
        let mut lost = self.harm.lost.clone();
        keep_what_is_still_lost(repo, verified.lost(), &mut lost)?;
        verified.note_lost(lost);
        Ok(())
    }
}

/// Forgets manifests that were given up and are there again, or not even known as deleted any more.
fn forget_what_came_back(
    repo: &Arc<Repository>,
    verified: &mut Verified,
) -> Result<(), VerifyError> {
    let ids: Vec<ContentId> = verified.given_up().keys().copied().collect();
    for id in ids {
        let known = repo.newest_record(&id).map_err(repo_error(DOING))?;
        if !known.is_some_and(|record| record.deleted) {
            verified.forget_given_up(&id);
        }
    }
    Ok(())
}

/// Adds what was known to be lost, and was perhaps not looked at this time, unless it can be read.
fn keep_what_is_still_lost(
    repo: &Arc<Repository>,
    known: &LostContents,
    lost: &mut LostContents,
) -> Result<(), VerifyError> {
    let mut rest = LostContents::default();
    for pack in &known.packs {
        if lost.packs.contains(pack) {
            continue;
        }
        // A store that does not answer has not found it either.
        match repo.store().metadata(pack) {
            Err(_) => lost.packs.insert(Arc::clone(pack)),
            Ok(_) => rest.packs.insert(Arc::clone(pack)),
        };
    }
    for (id, pack) in &known.contents {
        if !lost.contents.contains_key(id) {
            rest.add(*id, pack);
        }
    }
    still_lost::each(repo, &rest, &mut |record, _| {
        lost.add(record.id, &record.pack_blob);
        Ok(())
    })
    .map_err(repo_error(DOING))
}

/// Stores what is to be remembered in the repository.
///
/// # Errors
/// What the repository says, `Unsupported` among it if this program does not write to it.
pub fn remember(repo: &Arc<Repository>, verified: &Verified) -> Result<(), VerifyError> {
    let writer = Writer::new(repo, 1).map_err(repo_error(DOING))?;
    verified.save(&writer).map_err(repo_error(DOING))
}
