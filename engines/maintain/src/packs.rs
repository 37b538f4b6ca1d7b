//! Packs: which there are, which nobody names, which are worth rewriting.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use blob::{BlobMetadata, SharedBlobStore};
use kopia::blob_name::{BlobName, METADATA_PACK_PREFIX, PACK_PREFIX, SESSION_PREFIX};
use kopia::content_id::prefix;
use kopia::record::ContentRecord;
use kopia::session::SessionId;
use progress::Progress;
use repo::{IndexRow, IndexWalk, PACK_BYTES_MAX, RepoError, RepoErrorKind, Repository, Writer};

use crate::error::{MaintainError, repo_error, stopped, store_error};
use crate::plan::{Limits, PackUse, is_short};
use crate::removal::remove;
use crate::report::{Deleted, Rewritten};

/// So many contents are moved in one run; packs beyond that wait for the next.
const MOVED_MAX: u64 = 1 << 18;
const DELETING: &str = "delete packs that no index names";
const REWRITING: &str = "rewrite short packs";

/// The packs of a store as far as their age matters.
#[derive(Debug, Default)]
pub(crate) struct Packs {
    /// Packs too young for their contents to be collected.
    young: HashSet<String>,
    /// Packs too young for their contents to be moved.
    too_young_to_move: HashSet<String>,
}

impl Packs {
    /// Lists the packs, by the store's times.
    pub(crate) fn list(store: &SharedBlobStore, limits: Limits) -> Result<Self, MaintainError> {
        let mut packs = Self::default();
        for prefix in [PACK_PREFIX, METADATA_PACK_PREFIX] {
            store
                .list(prefix, &mut |blob| {
                    if limits.is_too_young_to_move(blob.modified) {
                        packs.too_young_to_move.insert(blob.name.clone());
                    }
                    if limits.is_young(blob.modified) {
                        packs.young.insert(blob.name);
                    }
                    Ok(())
                })
                .map_err(store_error("list the packs"))?;
        }
        Ok(packs)
    }

    /// Says whether a pack was stored within the last day, whatever the clock of its writer said.
    pub(crate) fn is_young(&self, pack: &str) -> bool {
        self.young.contains(pack)
    }
}

/// Deletes packs that no record names, and markers of sessions that died; with `dry_run`, counts
/// them.
pub(crate) fn delete_unreferenced(
    repo: &Arc<Repository>,
    limits: Limits,
    dry_run: bool,
    progress: &Progress,
    deleted: &mut Deleted,
) -> Result<(), MaintainError> {
    progress.phase("looking for packs that no index names");
    let (alive, dead) = sessions(repo, limits)?;
    // Listed before the index is read: what is in an index by now was old before.
    let mut candidates = HashMap::new();
    for prefix in [PACK_PREFIX, METADATA_PACK_PREFIX] {
        repo.store()
            .list(prefix, &mut |blob| {
                if may_go(&blob, limits, &alive) {
                    candidates.insert(blob.name, blob.bytes);
                }
                Ok(())
            })
            .map_err(store_error(DELETING))?;
    }
    repo.refresh().map_err(repo_error(DELETING))?;
    let walk = repo.walk_index();
    let mut in_use = walk.per_pack::<bool>();
    walk.for_each(&mut |row| {
        in_use[row.pack()] = true;
        check(progress)
    })
    .map_err(repo_error(DELETING))?;
    walk.for_each_pack(&mut |place, pack| {
        if in_use[place] {
            candidates.remove(pack);
        }
        Ok(())
    })
    .map_err(repo_error(DELETING))?;
    for (pack, bytes) in candidates {
        progress.stop.check().map_err(stopped)?;
        match remove(repo, &pack, dry_run, DELETING)? {
            true => deleted.packs.add(bytes),
            false => drop(deleted.refused.insert(pack)),
        }
    }
    for marker in dead {
        match remove(repo, &marker.name, dry_run, DELETING)? {
            true => deleted.sessions.add(marker.bytes),
            false => drop(deleted.refused.insert(marker.name)),
        }
    }
    Ok(())
}

/// Returns the sessions that count as alive, and the markers of the others.
fn sessions(
    repo: &Arc<Repository>,
    limits: Limits,
) -> Result<(HashSet<SessionId>, Vec<BlobMetadata>), MaintainError> {
    let markers = repo.store().list_all(SESSION_PREFIX);
    let mut alive = HashSet::new();
    let mut dead = Vec::new();
    for marker in markers.map_err(store_error(DELETING))? {
        let BlobName::Session { session, .. } = BlobName::parse(&marker.name) else {
            continue;
        };
        let sign = repo.session_alive_at(&marker);
        match sign.map_err(repo_error(DELETING))? {
            Some(sign) if limits.is_alive(sign) => drop(alive.insert(session)),
            Some(_) => dead.push(marker),
            None => {}
        }
    }
    Ok((alive, dead))
}

/// Says whether a pack may be deleted if no record names it. A name that is no pack's is left
/// alone.
fn may_go(blob: &BlobMetadata, limits: Limits, alive: &HashSet<SessionId>) -> bool {
    let (BlobName::Pack { session } | BlobName::MetadataPack { session }) =
        BlobName::parse(&blob.name)
    else {
        return false;
    };
    limits.may_delete(blob.modified) && session.is_none_or(|session| !alive.contains(&session))
}

/// Moves the contents of short packs together; without a writer, counts them.
///
/// Tombstones stay where they are: their packs go when they are forgotten. So do manifests: who
/// moved one while another client replaced it would bring it back; they are compacted on their
/// own.
pub(crate) fn rewrite_short(
    repo: &Arc<Repository>,
    writer: Option<&Writer>,
    limits: Limits,
    progress: &Progress,
) -> Result<Rewritten, MaintainError> {
    progress.phase("looking for short packs");
    repo.refresh().map_err(repo_error(REWRITING))?;
    let packs = Packs::list(repo.store(), limits)?;
    let walk = repo.walk_index();
    let (chosen, left) = choose_short(repo, &walk, &packs, limits, progress)?;
    let mut rewritten = Rewritten {
        packs: chosen.len() as u64,
        packs_left: left,
        ..Rewritten::default()
    };
    let mut records: Vec<ContentRecord> = Vec::new();
    let mut is_chosen = walk.per_pack::<bool>();
    walk.for_each_pack(&mut |place, pack| {
        is_chosen[place] = chosen.contains(pack);
        Ok(())
    })
    .map_err(repo_error(REWRITING))?;
    walk.for_each(&mut |row| {
        check(progress)?;
        if is_chosen[row.pack()] && is_movable(row, limits) {
            records.push(row.record()?);
        }
        Ok(())
    })
    .map_err(repo_error(REWRITING))?;
    records.sort_by(|a, b| (&a.pack_blob, a.pack_offset).cmp(&(&b.pack_blob, b.pack_offset)));
    let Some(writer) = writer else {
        records
            .iter()
            .for_each(|record| rewritten.contents.add(u64::from(record.packed_bytes)));
        return Ok(rewritten);
    };
    progress.phase("rewriting short packs");
    for share in records.chunks(1024) {
        progress.stop.check().map_err(stopped)?;
        let moved = writer.move_contents(share).map_err(repo_error(REWRITING))?;
        rewritten.contents.count += moved.contents;
        rewritten.contents.bytes += moved.bytes;
        rewritten.damaged.extend(moved.damaged);
    }
    writer.flush().map_err(repo_error(REWRITING))?;
    Ok(rewritten)
}

/// Returns the packs to be rewritten in this run, and how many short ones are left.
fn choose_short(
    repo: &Arc<Repository>,
    walk: &IndexWalk,
    packs: &Packs,
    limits: Limits,
    progress: &Progress,
) -> Result<(HashSet<Arc<str>>, u64), MaintainError> {
    let mut of_places = walk.per_pack::<PackUse>();
    walk.for_each(&mut |row| {
        if !row.is_deleted() {
            let pack = &mut of_places[row.pack()];
            pack.live_bytes += row.packed_bytes();
            pack.movable += u64::from(is_movable(row, limits));
        }
        check(progress)
    })
    .map_err(repo_error(REWRITING))?;
    let mut uses: HashMap<Arc<str>, PackUse> = HashMap::new();
    walk.for_each_pack(&mut |place, name| {
        let part = of_places[place];
        match uses.get_mut(name) {
            Some(pack) => {
                pack.live_bytes += part.live_bytes;
                pack.movable += part.movable;
            }
            None if part.live_bytes > 0 => drop(uses.insert(Arc::from(name), part)),
            None => {}
        }
        Ok(())
    })
    .map_err(repo_error(REWRITING))?;
    drop(of_places);
    // Our own packs are closed at a length of their own: they would be short for ever.
    let pack_bytes_max = repo.format().max_pack_bytes().min(PACK_BYTES_MAX);
    uses.retain(|name, pack| {
        is_short(*pack, pack_bytes_max) && !packs.too_young_to_move.contains(name.as_ref())
    });
    let (mut chosen, mut left, mut moved) = (HashSet::new(), 0, 0);
    for class in [PACK_PREFIX, METADATA_PACK_PREFIX] {
        let mut short: Vec<_> = uses
            .iter()
            .filter(|(name, _)| name.starts_with(class))
            .collect();
        if short.len() < 2 {
            continue;
        }
        short.sort_by_key(|(name, pack)| (pack.live_bytes, (*name).clone()));
        for (name, pack) in short {
            if moved + pack.movable <= MOVED_MAX || chosen.is_empty() {
                moved += pack.movable;
                chosen.insert(Arc::clone(name));
            } else {
                left += 1;
            }
        }
    }
    Ok((chosen, left))
}

fn is_movable(row: &IndexRow<'_>, limits: Limits) -> bool {
    !row.is_deleted()
        && row.id().prefix() != Some(prefix::MANIFEST)
        && limits.may_move(row.timestamp_seconds())
}

fn check(progress: &Progress) -> Result<(), RepoError> {
    progress
        .stop
        .check()
        .map_err(|_| RepoError::new(RepoErrorKind::Stopped, "go on: stopped on request"))
}
