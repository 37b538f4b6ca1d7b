//! Locks of blobs in use, made longer by every full maintenance (Kopia spec 8.2,
//! `extend-blob-retention-time`).
//!
//! A blob is locked when it is written, for the repository's period; what is still in use when
//! that ends would be free to delete. So every full maintenance lets each blob be locked for the
//! period from now on, one request each. What this run would have deleted and was not let go is
//! left out: its lock may end.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use blob::BlobMetadata;
use progress::{Progress, side_by_side};
use repo::{LOCKED_PREFIXES, RepoErrorKind, Repository};
use time_and_chance::{SignedDuration, Timestamp};

use crate::error::{MaintainError, stopped, store_error};
use crate::report::Locked;

const DOING: &str = "make the locks of blobs longer";
const WORKERS: usize = 16;
/// Names waiting for a worker.
const WAITING_MAX: usize = 256;

/// Lets every blob that is locked when it is written be locked for the repository's period from
/// `start` on, save those in `leaving`.
///
/// A blob whose lock the store will not change is counted and does not keep others from theirs.
pub(crate) fn extend(
    repo: &Arc<Repository>,
    start: Timestamp,
    leaving: &HashSet<String>,
    dry_run: bool,
    progress: &Progress,
) -> Result<Locked, MaintainError> {
    let config = repo.blob_config();
    if !config.locks_blobs() {
        return Ok(Locked::default());
    }
    progress.phase("making the locks of blobs longer");
    let period = SignedDuration::from_nanos(config.retention_period_ns);
    let until = start.saturating_add(period).unwrap_or(Timestamp::MAX);
    let locked = Mutex::new(Locked::default());
    let count = |work: &dyn Fn(&mut Locked)| {
        work(&mut locked.lock().expect("no thread panics while it counts"));
    };
    let (sender, receiver) = sync_channel::<BlobMetadata>(WAITING_MAX);
    let receiver = Mutex::new(receiver);
    let listed = std::thread::scope(|scope| {
        let workers = scope.spawn(|| {
            let step = |_: &mut ()| {
                let next = receiver
                    .lock()
                    .expect("no thread panics while it waits for a name")
                    .recv();
                let Ok(blob) = next else {
                    return Ok::<_, std::convert::Infallible>(ControlFlow::Break(()));
                };
                let done = match dry_run || progress.stop.is_stopped() {
                    true => Ok(()),
                    false => repo.extend_lock(&blob.name, until),
                };
                match done {
                    Ok(()) => count(&|locked| locked.extended.add(blob.bytes)),
                    // Another client deleted it meanwhile.
                    Err(error) if error.kind().is_gone() => {}
                    Err(error) if error.kind() == RepoErrorKind::Stopped => {}
                    Err(error) => count(&|locked| {
                        locked.failed += 1;
                        locked.first_failure.get_or_insert(error.to_string());
                    }),
                }
                Ok(ControlFlow::Continue(()))
            };
            match side_by_side(WORKERS, || (), step) {
                Ok(()) => {}
                Err(never) => match never {},
            }
        });
        let mut listed = Ok(());
        for prefix in LOCKED_PREFIXES {
            listed = listed.and_then(|()| {
                repo.store().list(prefix, &mut |blob| {
                    if !leaving.contains(&blob.name) {
                        // The workers go on until this end is closed.
                        let _ = sender.send(blob);
                    }
                    Ok(())
                })
            });
        }
        drop(sender);
        // A worker that panicked has told why.
        let _ = workers.join();
        listed
    });
    listed.map_err(store_error(DOING))?;
    progress.stop.check().map_err(stopped)?;
    Ok(locked
        .into_inner()
        .expect("no thread panics while it counts"))
}

impl Locked {
    /// Returns why not all locks are as they should be, if so.
    pub(crate) fn objection(&self) -> Option<String> {
        (self.failed > 0).then(|| {
            let why = self.first_failure.as_deref().unwrap_or_default();
            format!(
                "{DOING}: {} were refused (do the keys have s3:PutObjectRetention? was the period made shorter?), the first: failed to {why}",
                self.failed
            )
        })
    }
}
