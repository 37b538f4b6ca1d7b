//! Repair: what is damaged and can be had from elsewhere is written anew.
//!
//! ```text
//! index   lost records ◄─ the cache, superseded index blobs, the packs' own indexes
//!         └─► a new index blob ─► the damaged one goes
//! points  manifests that no index named ─► listed again if they are whole
//! data    contents that cannot be read ◄─ any sound copy in any pack ─► stored anew
//! loss    manifests that cannot be had from anywhere ─► given up, if the operator says so
//! rest    the epoch's marker, the maintenance schedule, packs whose own index is damaged
//! ```
//!
//! Everything is added before anything is deleted, and nothing is deleted but index blobs that nobody
//! can read and whose records stand elsewhere by then; so a repair may end at any moment. As it
//! deletes, only the owner of the maintenance may do it, and not beside a maintenance of this
//! machine.

mod contents;
mod indexes;
mod lost_manifests;
mod manifests;
mod mended;
mod run;

use std::sync::Arc;

use kopia::blob_name::EPOCH_MARKER_PREFIX;
use progress::Progress;
use repo::{Repository, Writer};

use self::manifests::Deleted;
use self::run::{DOING, Run};
use crate::blobs;
use crate::error::{VerifyError, VerifyErrorKind, maintain_error, repo_error};
use crate::report::{Verification, VerifyOptions};
use crate::verification::verify;

pub use self::lost_manifests::LostManifests;
pub use self::mended::{Mended, MendedKind};

const UPLOAD_THREADS: usize = 4;

/// A repair to be carried out.
#[derive(Debug)]
pub struct Repair<'a> {
    /// The repository, opened despite its damage.
    pub repo: &'a Arc<Repository>,
    /// How thoroughly to look for damage.
    pub options: &'a VerifyOptions,
    /// Change nothing and tell what would be done.
    pub dry_run: bool,
    /// Become the owner of the maintenance first.
    pub take_ownership: bool,
    /// Mark contents of manifests deleted that cannot be had from anywhere: what is only in them is
    /// lost, and whatever points it was.
    pub give_up_lost_manifests: bool,
    /// Whom to tell, and who may stop it.
    pub progress: &'a Progress,
}

/// What a repair did, and how the repository is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Repaired {
    /// What was mended.
    pub mended: Vec<Mended>,
    /// What could not be mended, beside contents that are lost, with the reason.
    pub left: Vec<(String, String)>,
    /// Blobs among what is left that keys with more rights can delete or overwrite; all that can be
    /// done about them without is done.
    pub needs_other_keys: Vec<String>,
    /// Manifests that were given up, or would be.
    pub given_up: Vec<LostManifests>,
    /// How the repository is afterwards; of a dry run, how it is.
    pub found: Verification,
}

impl Repaired {
    /// Returns whether nothing is damaged any more but blobs that need keys with more rights.
    pub fn only_needs_other_keys(&self) -> bool {
        let mut needed = self.found.blobs.iter().filter(|it| it.role.is_needed());
        !self.needs_other_keys.is_empty()
            && self.found.damages.is_empty()
            && needed.all(|damage| self.needs_other_keys.contains(&damage.blob))
    }
}

impl Repair<'_> {
    /// Repairs the repository, then verifies it.
    ///
    /// # Errors
    /// `NotOwner` and `Locked` before anything is done, or what the repository says. Whatever was
    /// done until then is whole.
    pub fn run(&self) -> Result<Repaired, VerifyError> {
        let lock = self.repo.lock_maintenance().map_err(repo_error(DOING))?;
        let _only_one = lock.ok_or_else(|| {
            VerifyError::new(
                VerifyErrorKind::Locked,
                format!("{DOING}: a maintenance or another repair runs on this machine"),
            )
        })?;
        // Any client may do that, and what others write before is overlooked.
        let marker = self.mend_marker()?;
        maintain::be_owner(self.repo, self.take_ownership, self.dry_run)
            .map_err(maintain_error(DOING))?;
        let writer = match self.dry_run {
            true => None,
            false => Some(Writer::new(self.repo, UPLOAD_THREADS).map_err(repo_error(DOING))?),
        };
        let mut run = Run {
            repo: self.repo,
            writer,
            progress: self.progress,
            mended: Vec::from_iter(marker),
            left: Vec::new(),
            needs_other_keys: Vec::new(),
        };
        let manifests = run.mend_index()?;
        run.list_again(manifests, Deleted::IsGone)?;
        let came_back = run.manifests_that_came_back()?;
        run.list_again(came_back, Deleted::IsThere)?;
        run.join_owners()?;
        let mut found = verify(self.repo, self.options, self.progress)?;
        let mut searched = found.harm.wanted.clone();
        let mut mended = run.mend_contents(&searched)?;
        let mut may_be_deeper = !mended.is_empty() && run.writer.is_some();
        while may_be_deeper {
            // What lies below a folder shows only once the folder is back.
            found = verify(self.repo, self.options, self.progress)?;
            let deeper = found.harm.wanted.difference(&searched).copied().collect();
            let back = run.mend_contents(&deeper)?;
            may_be_deeper = !back.is_empty();
            searched.extend(deeper);
            mended.extend(back);
        }
        let before = run.mended.len();
        run.mend_rest(&found)?;
        let lost = run.lost_manifests(&searched, mended)?;
        let given_up = match self.give_up_lost_manifests {
            true => run.give_up(&found, lost)?,
            false => {
                run.leave(&lost);
                Vec::new()
            }
        };
        let changed = run.mended.len() > before || !given_up.is_empty();
        if run.writer.is_some() && changed {
            found = verify(self.repo, self.options, self.progress)?;
        }
        Ok(Repaired {
            mended: run.mended,
            left: run.left,
            needs_other_keys: run.needs_other_keys,
            given_up,
            found,
        })
    }

    /// Puts the marker of the last epoch back: all clients overlook its index blobs otherwise.
    fn mend_marker(&self) -> Result<Option<Mended>, VerifyError> {
        let Some(epoch) = blobs::epoch_without_marker(self.repo)? else {
            return Ok(None);
        };
        if !self.dry_run {
            let put = self.repo.mark_epoch_begun(epoch);
            put.map_err(repo_error(DOING))?;
        }
        Ok(Some(Mended {
            what: MendedKind::EpochMarker,
            name: format!("{EPOCH_MARKER_PREFIX}{epoch}"),
            count: 1,
        }))
    }
}
