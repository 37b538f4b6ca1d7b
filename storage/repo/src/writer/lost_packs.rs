//! Asking the store whether packs are still there.
//!
//! Maintenance of another client deletes packs that no index names. Its safety margins protect
//! packs of sessions that are alive; `--safety=none` does not (Kopia spec 8.3).

use std::collections::HashSet;
use std::sync::Arc;

use blob::BlobErrorKind;

use crate::Repository;
use crate::error::{RepoError, store_error};

/// Above this many packs one listing is cheaper than asking for each.
const ASKED_ONE_BY_ONE_MAX: usize = 200;

/// Returns those of `packs` that are gone, asking with up to `threads` requests in flight.
pub(super) fn find(
    repo: &Repository,
    packs: &[Arc<str>],
    threads: usize,
) -> Result<Vec<Arc<str>>, RepoError> {
    if packs.len() > ASKED_ONE_BY_ONE_MAX {
        return find_by_listing(repo, packs);
    }
    let share = packs.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let asking: Vec<_> = packs
            .chunks(share)
            .map(|share| scope.spawn(|| find_by_asking(repo, share)))
            .collect();
        let mut lost = Vec::new();
        for answer in asking {
            lost.extend(answer.join().expect("asking for packs does not panic")?);
        }
        Ok(lost)
    })
}

fn find_by_asking(repo: &Repository, packs: &[Arc<str>]) -> Result<Vec<Arc<str>>, RepoError> {
    let mut lost = Vec::new();
    for pack in packs {
        match repo.store.metadata(pack) {
            Ok(_) => {}
            Err(error) if error.kind() == BlobErrorKind::NotFound => lost.push(Arc::clone(pack)),
            Err(error) => return Err(store_error(format!("look for pack {pack}"))(error)),
        }
    }
    Ok(lost)
}

fn find_by_listing(repo: &Repository, packs: &[Arc<str>]) -> Result<Vec<Arc<str>>, RepoError> {
    let mut missing: HashSet<Arc<str>> = packs.iter().cloned().collect();
    for prefix in ["p", "q"] {
        repo.store
            .list(prefix, &mut |blob| {
                missing.remove(blob.name.as_str());
                Ok(())
            })
            .map_err(store_error("list the repository's packs"))?;
    }
    Ok(missing.into_iter().collect())
}
