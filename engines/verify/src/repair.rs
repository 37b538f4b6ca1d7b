//! Repair: what is damaged and can be had from elsewhere is written anew.
//!
//! ```text
//! index   lost records ◄─ the cache, superseded index blobs, the packs' own indexes
//!         └─► a new index blob ─► the damaged one goes
//! points  manifests that no index named ─► listed again if they are whole
//! data    contents that cannot be read ◄─ any sound copy in any pack ─► stored anew
//! loss    manifests that cannot be had from anywhere ─► given up, if the operator says so
//! gone    places that the index names anew though their packs are gone: nobody takes them for stored
//! rest    the epoch's marker, the maintenance schedule, packs whose own index is damaged
//! ```
//!
//! Everything is added before anything is deleted, and nothing is deleted but index blobs that nobody
//! can read and whose records stand elsewhere by then; so a repair may end at any moment. As it
//! deletes, only the owner of the maintenance may do it, and not beside a maintenance of this
//! machine.

mod contents;
mod gone;
mod indexes;
mod lost_manifests;
mod manifests;
mod mended;
mod run;

use std::collections::BTreeSet;
use std::sync::Arc;

use kopia::blob_name::EPOCH_MARKER_PREFIX;
use kopia::content_id::{ContentId, prefix};
use progress::Progress;
use repo::{Repository, Writer};

use self::manifests::Deleted;
use self::run::{DOING, Run};
use crate::blobs;
use crate::bounds::Bounds;
use crate::error::{VerifyError, VerifyErrorKind, maintain_error, repo_error};
use crate::report::{Verification, VerifyOptions};
use crate::verification::verify_within;

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

/// What was searched for so far.
#[derive(Debug, Default)]
struct Search {
    /// All of it, until it is full: nothing is searched for twice.
    searched: BTreeSet<ContentId>,
    /// More was searched for than is remembered; what shows up behind it is left for the next run.
    is_full: bool,
    /// Contents of manifests that came back.
    mended_manifests: BTreeSet<ContentId>,
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
        self.run_within(&Bounds::default())
    }

    /// Does so within these bounds.
    pub(crate) fn run_within(&self, bounds: &Bounds) -> Result<Repaired, VerifyError> {
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
            searched_max: bounds.searched,
        };
        let manifests = run.mend_index()?;
        run.list_again(manifests, Deleted::IsGone)?;
        let came_back = run.manifests_that_came_back()?;
        run.list_again(came_back, Deleted::IsThere)?;
        run.join_owners()?;
        run.remember_what_cannot_be_there()?;
        let mut search = Search::default();
        let mut found = loop {
            let (found, back) = self.search_all(&mut run, &mut search, bounds)?;
            // What lies below a folder shows only once the folder is back.
            let may_be_deeper = back > 0 && run.writer.is_some();
            if !may_be_deeper || search.is_full {
                break found;
            }
        };
        let before = run.mended.len();
        run.mend_rest(&found)?;
        let lost = run.lost_manifests(&search.searched, search.mended_manifests)?;
        let given_up = match self.give_up_lost_manifests {
            true => run.give_up(&found, lost)?,
            false => {
                run.leave(&lost);
                Vec::new()
            }
        };
        let changed = run.mended.len() > before || !given_up.is_empty() || search.is_full;
        if run.writer.is_some() && changed {
            found = self.verify(bounds, None)?;
        }
        Ok(Repaired {
            mended: run.mended,
            left: run.left,
            needs_other_keys: run.needs_other_keys,
            given_up,
            found,
        })
    }

    fn verify(
        &self,
        bounds: &Bounds,
        behind: Option<ContentId>,
    ) -> Result<Verification, VerifyError> {
        let window = bounds.window_behind(behind);
        verify_within(self.repo, self.options, bounds, window, self.progress)
    }

    /// Searches everything that is wanted now, window by window; returns what the last look found, and
    /// how many contents came back.
    fn search_all(
        &self,
        run: &mut Run<'_>,
        search: &mut Search,
        bounds: &Bounds,
    ) -> Result<(Verification, usize), VerifyError> {
        let mut behind = None;
        let mut count = 0;
        loop {
            let mut found = self.verify(bounds, behind)?;
            let wanted = std::mem::take(&mut found.harm.wanted);
            behind = wanted.last().copied().filter(|_| found.harm.is_cut);
            let is_new = |id: &ContentId| !search.searched.contains(id);
            let wanted: Vec<ContentId> = wanted.into_iter().filter(is_new).collect();
            let back = run.mend_contents(&wanted)?;
            count += back.len();
            if search.searched.len() + wanted.len() <= bounds.wanted {
                search.searched.extend(wanted);
            } else {
                search.is_full = true;
            }
            let manifests = back.into_iter().filter(is_manifest);
            search.mended_manifests.extend(manifests);
            if behind.is_none() {
                return Ok((found, count));
            }
        }
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

fn is_manifest(id: &ContentId) -> bool {
    id.prefix() == Some(prefix::MANIFEST)
}
