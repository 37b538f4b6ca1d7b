//! What is remembered as lost, looked at again.

use std::sync::Arc;

use kopia::record::ContentRecord;
use repo::{LostContents, RepoError, Repository};

/// Takes a content and why it cannot be read.
type TakesUnreadable<'a> = &'a mut dyn FnMut(&ContentRecord, RepoError) -> Result<(), RepoError>;

/// Hands what is remembered as lost and cannot be read where it lies to `take`: single contents, and
/// those that the index names in packs of which all counts as lost.
pub(crate) fn each(
    repo: &Arc<Repository>,
    lost: &LostContents,
    take: TakesUnreadable<'_>,
) -> Result<(), RepoError> {
    let mut look = |record: &ContentRecord| match repo.read_record(record) {
        Ok(_) => Ok(()),
        Err(error) => take(record, error),
    };
    for (id, pack) in &lost.contents {
        if let Some(record) = repo.find(id)?.filter(|record| record.pack_blob == *pack) {
            look(&record)?;
        }
    }
    if lost.packs.is_empty() {
        return Ok(());
    }
    let index = repo.walk_index();
    let mut is_lost = index.per_pack::<bool>();
    index.for_each_pack(&mut |place, pack| {
        is_lost[place] = lost.packs.contains(pack);
        Ok(())
    })?;
    index.for_each(&mut |row| match is_lost[row.pack()] {
        true => look(&row.record()?),
        false => Ok(()),
    })
}
