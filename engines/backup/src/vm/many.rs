//! Several VMs in one run: side by side, and none ends another's work.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyperv::{Vm, VmId};
use progress::Progress;

use super::run::PointReport;
use super::vm_backup::VmBackup;
use crate::error::{BackupError, BackupErrorKind};

/// What became of one VM of a run.
#[derive(Debug)]
pub struct VmOutcome {
    /// The VM's GUID.
    pub vm: VmId,
    /// The VM's name.
    pub name: String,
    /// Its point, or why there is none.
    pub result: Result<PointReport, BackupError>,
}

/// Backs up `vms`, `parallel` at a time; the outcomes come in the order of `vms`. Each is shown to `see`,
/// with its place among `vms`, as soon as it is there.
///
/// After a stop, packs that are stored already are indexed, so that they serve the next run.
pub fn run_all(
    backup: &VmBackup<'_>,
    vms: &[Vm],
    parallel: usize,
    progress: &Progress,
    see: &(dyn Fn(usize, &VmOutcome) + Sync),
) -> Vec<VmOutcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<VmOutcome>>> = vms.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, vms.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(vm) = vms.get(place) else { return };
                    let progress = progress.about(&vm.name);
                    let result = match progress.stop.check() {
                        Ok(()) => backup.run(vm.id, &progress),
                        Err(_) => Err(BackupError::new(
                            BackupErrorKind::Stopped,
                            "begin: stopped on request",
                        )),
                    };
                    progress.ends(result.is_ok());
                    let outcome = VmOutcome {
                        vm: vm.id,
                        name: vm.name.clone(),
                        result,
                    };
                    see(place, &outcome);
                    *outcomes[place]
                        .lock()
                        .expect("no run panics while it reports") = Some(outcome);
                }
            });
        }
    });
    if progress.stop.is_stopped() {
        // Best effort: without it the next run stores a little again.
        let _ = backup.writer.flush();
    }
    outcomes
        .into_iter()
        .map(|outcome| {
            outcome
                .into_inner()
                .expect("every run ended")
                .expect("every VM has an outcome")
        })
        .collect()
}
