//! `restore`: files of a snapshot, to a folder of this machine.

use protocol::commands::{Command, Restore};
use protocol::event::{
    KopiaRestoreSnapshotLoaded, KopiaRestoreStarted, KopiaRestoreStats, RestoreCompleted,
    RestoreFailed, RestoreStarting,
};
use protocol::moment::rfc3339;
use protocol::update_run::{Ending, Progress as Told, RunStatus};
use restore::files::{Existing, FilesOptions, RestoredFiles, to_folder};

use super::restoring::{self, Source, at_most};
use super::{Reply, context, failed};
use crate::meter::Meter;
use crate::parts::Parts;
use crate::storage;
use crate::supervision::{Ended, Work};

/// Carries a restore out, and reports to its run.
pub fn carry_out(parts: &Parts, command: &Command, order: &Restore) -> Result<Reply, String> {
    restoring::carry_out(parts, command, Meter::new(1, |_| {}), |work| {
        let restoring = Restoring {
            work,
            command,
            order,
        };
        restoring.carry_out()
    })
}

struct Restoring<'a> {
    work: &'a Work<'a>,
    command: &'a Command,
    order: &'a Restore,
}

impl Restoring<'_> {
    fn carry_out(&self) -> Ended {
        let (work, order) = (self.work, self.order);
        match self.restore() {
            Ok((manifest_id, restored)) => {
                let event = RestoreCompleted {
                    manifest_id,
                    target_path: order.target_path.clone(),
                };
                Ended::new(self.succeeded(&restored), vec![event.into()])
            }
            Err(why) => {
                let event = RestoreFailed {
                    error: why.clone(),
                    manifest_id: order.manifest_id.clone(),
                    target_path: order.target_path.clone(),
                };
                Ended::new(work.fails(&why), vec![event.into()])
            }
        }
    }

    fn restore(&self) -> Result<(String, RestoredFiles), String> {
        let (work, order) = (self.work, self.order);
        if order.mount {
            return Err(
                "mounting a restore point is not in this version; restore it to a folder"
                    .to_owned(),
            );
        }
        let target = restoring::target(&order.target_path)?;
        let context = context(self.command)?;
        let manifest_id = match order.manifest_id.as_str() {
            "" => context.manifest_id.clone(),
            named => named.to_owned(),
        };
        work.reporter.event(RestoreStarting {
            manifest_id: manifest_id.clone(),
            target_path: order.target_path.clone(),
            mount: false,
        });
        let Source { lease, points } = restoring::open(work, &context)?;
        let point = points.find(&manifest_id).map_err(failed)?;
        let manifest = &point.snapshot().manifest;
        work.reporter.event(KopiaRestoreSnapshotLoaded {
            manifest_id: point.id().to_owned(),
            source_path: manifest.source.path.clone(),
            start_time: rfc3339(manifest.start_time),
        });
        work.reporter.event(KopiaRestoreStarted {
            manifest_id: point.id().to_owned(),
            target_path: order.target_path.clone(),
            disk_name: String::new(),
        });
        let mut options = FilesOptions {
            existing: Existing::ReplaceDifferent,
            skip_failing: true,
            ..FilesOptions::default()
        };
        let wanted = context.policy_json.restored_files_at_once();
        options.workers = at_most(wanted, options.workers);
        let progress = work.progress().about("files");
        let root = point.root().map_err(failed)?;
        let paths: Vec<String> = order
            .selected_paths
            .iter()
            .map(|path| below_root(path))
            .collect();
        let restored = to_folder(
            lease.repository(),
            root,
            &paths,
            &target,
            &options,
            &progress,
        );
        let restored =
            restored.map_err(|error| storage::because(work, &context.destination, &error))?;
        work.reporter.event(KopiaRestoreStats {
            files_restored: restored.files,
            dirs_restored: restored.folders,
            bytes_restored: restored.bytes,
            files_skipped: restored.kept,
            errors: restored.failed,
            disk_name: None,
        });
        Ok((point.id().to_owned(), restored))
    }

    fn succeeded(&self, restored: &RestoredFiles) -> Ending {
        let status = match restored.failed {
            0 => RunStatus::Success,
            _ => RunStatus::Warning,
        };
        let first = restored.failed_first.first();
        let why =
            first.map(|first| format!("{}: failed to {}", first.path.display(), first.reason));
        let error_summary = match (restored.failed, why) {
            (0, _) => String::new(),
            (failed, why) => format!(
                "{failed} entries could not be restored; the first is {}",
                why.unwrap_or_default()
            ),
        };
        Ending {
            error_summary,
            progress: Told {
                progress_pct: Some(100.0),
                bytes_transferred: Some(restored.bytes),
                objects_transferred: Some(restored.files),
                ..Told::default()
            },
            ..Ending::new(status, self.work.parts.ports.clock.now())
        }
    }
}

/// Returns a selected path as snapshots have it.
fn below_root(path: &str) -> String {
    path.replace('\\', "/").trim_matches('/').to_owned()
}
