//! Removing what runs of a dead service left on the Hyper-V host: checkpoints that grow.

use backup::vm::clean;

use crate::parts::Parts;

/// Removes what the journals of dead runs name. The next run of each VM would do so too, but that
/// may be a night away.
pub fn remove(parts: &Parts) {
    let journals = std::fs::read_dir(parts.ports.places.state.join("journal"));
    let has_journals = journals.is_ok_and(|mut entries| entries.next().is_some());
    if !has_journals {
        return;
    }
    let host = match parts.open_host() {
        Ok(host) => host,
        Err(error) => {
            parts.log.warn(&format!(
                "an earlier run left something on the Hyper-V host, which cannot be opened: {error}"
            ));
            return;
        }
    };
    let vms = match host.vms() {
        Ok(vms) => vms,
        Err(error) => {
            parts
                .log
                .warn(&format!("failed to list the host's VMs: {error}"));
            return;
        }
    };
    for vm in vms {
        if parts.stop.is_stopped() {
            return;
        }
        if !matches!(parts.state.journal(vm.id), Ok(Some(_))) {
            continue;
        }
        // Under the lock only: what a run holds right now is no leftover.
        let Ok(_lock) = parts.state.lock(vm.id) else {
            continue;
        };
        let now = parts.ports.clock.now();
        match clean(host.as_ref(), &parts.state, vm.id, now, false) {
            Ok(found) => {
                let count = found.removed_checkpoints.len();
                parts.log.info(&format!(
                    "removed {count} checkpoints that an earlier run left on {}",
                    vm.name
                ));
                found.warnings.iter().for_each(|it| parts.log.warn(it));
            }
            Err(error) => parts.log.warn(&format!(
                "what an earlier run left on {} stays until its next run: {error}",
                vm.name
            )),
        }
    }
}
