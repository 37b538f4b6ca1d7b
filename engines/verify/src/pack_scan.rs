//! The index that each pack ends with: a copy of what index blobs say of it, for repair (Kopia spec
//! 4.4).
//!
//! A session deletes its marker once its index is written. So whatever a pack of an ended session
//! holds was in an index blob, and what no index has any more was in one that is lost. Compactions
//! keep every record, tombstones included.

use std::collections::HashSet;
use std::sync::Arc;

use blob::BlobErrorKind;
use kopia::blob_name::BlobName;
use kopia::content_id::prefix;
use kopia::record::ContentRecord;
use progress::Progress;
use repo::Repository;

use crate::error::{VerifyError, repo_error, stopped, store_error};
use crate::packs::Packs;
use crate::reading::Draw;
use crate::report::{BlobDamage, BlobRole};

const DOING: &str = "read the indexes at the ends of packs";

/// Takes a pack's name and what it says that it holds, if that makes sense.
type TakesPack<'a> = &'a mut dyn FnMut(&str, Option<Vec<ContentRecord>>) -> Result<(), VerifyError>;

/// Reads packs' own indexes.
pub(crate) struct PackScan<'a> {
    repo: &'a Arc<Repository>,
    progress: &'a Progress,
    packs: Packs,
    /// Sessions that are under way.
    open: HashSet<String>,
}

impl<'a> PackScan<'a> {
    /// Lists packs, then the sessions that are under way, then the index anew: a session that had
    /// ended by then has its index there.
    pub(crate) fn new(
        repo: &'a Arc<Repository>,
        progress: &'a Progress,
    ) -> Result<Self, VerifyError> {
        let packs = Packs::list(repo.store())?;
        let open = repo.open_sessions().map_err(repo_error(DOING))?;
        repo.refresh().map_err(repo_error(DOING))?;
        Ok(Self {
            repo,
            progress,
            packs,
            open,
        })
    }

    /// Looks at the packs that are drawn and tells what is wrong with their indexes.
    pub(crate) fn look(&self, draw: &Draw, found: &mut Vec<BlobDamage>) -> Result<(), VerifyError> {
        let mut damage = |blob: &str, role, reason: String| {
            found.push(BlobDamage {
                blob: blob.to_owned(),
                role,
                reason,
            });
        };
        if self.repo.index_is_empty()
            && let Some((pack, _)) = self.packs.iter().find(|(pack, _)| !self.is_open(pack))
        {
            damage(
                pack,
                BlobRole::IndexGone,
                "it is there, its session ended, and there is no index blob at all: they are lost, and every point with them; `repo verify --repair` rebuilds them from the packs"
                    .to_owned(),
            );
        }
        for (pack, bytes) in self.packs.iter().filter(|(pack, _)| draw.takes_blob(pack)) {
            match self.records(pack, bytes)? {
                None if self.is_there(pack)? => damage(
                    pack,
                    BlobRole::PackIndex,
                    "the index at its end makes no sense; nothing but repair needs it".to_owned(),
                ),
                None => {}
                Some(records) => {
                    let mut lost = 0;
                    // Manifests whose publication failed stay behind in packs, and nobody misses them.
                    for record in records.iter().filter(|record| !is_manifest(record)) {
                        lost += u64::from(self.was_lost(record)?);
                    }
                    if lost > 0 {
                        damage(
                            pack,
                            BlobRole::Unindexed,
                            format!(
                                "no index names {lost} of its contents, though its session ended: an index blob is lost"
                            ),
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands what each pack of an ended session says that it holds, and each pack that says nothing,
    /// to the caller.
    pub(crate) fn each(&self, take: TakesPack<'_>) -> Result<(), VerifyError> {
        for (pack, bytes) in self.packs.iter() {
            match self.records(pack, bytes)? {
                None if !self.is_there(pack)? => {}
                records => take(pack, records)?,
            }
        }
        Ok(())
    }

    /// Says whether a record was in an index blob and is in none any more.
    pub(crate) fn was_lost(&self, record: &ContentRecord) -> Result<bool, VerifyError> {
        let known = self.repo.newest_record(&record.id);
        let known = known.map_err(repo_error(DOING))?;
        Ok(known.is_none_or(|known| record.supersedes(&known)))
    }

    fn records(&self, pack: &str, bytes: u64) -> Result<Option<Vec<ContentRecord>>, VerifyError> {
        self.progress.stop.check().map_err(stopped)?;
        if self.is_open(pack) {
            return Ok(Some(Vec::new()));
        }
        self.repo
            .local_index(pack, bytes)
            .map_err(repo_error(DOING))
    }

    /// Says whether a pack belongs to a session that is under way.
    fn is_open(&self, pack: &str) -> bool {
        match BlobName::parse(pack) {
            BlobName::Pack { session } | BlobName::MetadataPack { session } => {
                session.is_some_and(|session| self.open.contains(session.as_str()))
            }
            _ => true,
        }
    }

    fn is_there(&self, pack: &str) -> Result<bool, VerifyError> {
        match self.repo.store().metadata(pack) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == BlobErrorKind::NotFound => Ok(false),
            Err(error) => Err(store_error(DOING)(error)),
        }
    }
}

/// Says whether a content holds manifests.
pub(crate) fn is_manifest(record: &ContentRecord) -> bool {
    record.id.prefix() == Some(prefix::MANIFEST)
}
