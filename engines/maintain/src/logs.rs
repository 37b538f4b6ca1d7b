//! The logs that clients left in the repository.

use std::sync::Arc;

use kopia::blob_name::LOG_PREFIX;
use kopia::maintenance::LogRetention;
use progress::Progress;
use repo::Repository;

use crate::error::{MaintainError, stopped, store_error};
use crate::plan::{Limits, logs_to_delete};
use crate::removal::remove;
use crate::report::Freed;

const DOING: &str = "delete old logs";

/// Deletes what is beyond the retention; with `dry_run`, counts it.
pub(crate) fn clean_up(
    repo: &Arc<Repository>,
    kept: &LogRetention,
    limits: Limits,
    dry_run: bool,
    progress: &Progress,
) -> Result<Freed, MaintainError> {
    let mut freed = Freed::default();
    let logs = repo
        .store()
        .list_all(LOG_PREFIX)
        .map_err(store_error(DOING))?;
    for log in logs_to_delete(logs, kept, limits.start) {
        progress.stop.check().map_err(stopped)?;
        if remove(repo, &log.name, dry_run, DOING)? {
            freed.add(log.bytes);
        }
    }
    Ok(freed)
}
