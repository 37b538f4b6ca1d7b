//! `host clean`: removes what dead runs of ours left on a host; foreign things are only told of.

use std::fmt::Write as _;
use std::path::Path;

use backup::BackupErrorKind;
use backup::vm::{Leftovers, clean};
use clap::Args;
use selftest::{Cleaned, CleanedVms, Connected};
use serde_json::{Value, json};
use time_and_chance::Timestamp;

use crate::answer::Answer;
use crate::failure::{FAILED, Failure};
use crate::hosts::HostArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  e3-backup-agent host clean --dry-run --host sim:/tmp/host\n\nWhat other products left is shown and stays."
)]
pub struct Clean {
    /// Only tell what would be removed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    host: HostArguments,
}

impl Clean {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let on = self.host.open_with_probes(world)?;
        let state = world.state()?;
        let state_folder = world.state_folder()?;
        let mut text = String::new();
        let mut documents = Vec::new();
        let (mut failed, mut count) = (0, 0);
        // A VM that a self-test made goes as a whole.
        let own = self.clean_own_vms(&on, &state_folder, world.clock().now(), &mut text);
        if own.is_failure {
            failed += 1;
            count += 1;
        }
        let host = on.host;
        for vm in host.vms()? {
            count += 1;
            let cleaned = state.lock(vm.id).and_then(|_lock| {
                // What a self-test left comes first: its checkpoints bear a backup's name too.
                let tested = selftest::clean(&*host, &state_folder, vm.id, self.dry_run);
                let found = clean(
                    host.as_ref(),
                    &state,
                    vm.id,
                    world.clock().now(),
                    self.dry_run,
                )?;
                Ok((tested, found))
            });
            match cleaned {
                Ok((Err(error), _)) => {
                    failed += 1;
                    let failure = Failure::from(error);
                    failure.tell_of(&vm.name);
                    documents.push(
                        json!({ "name": vm.name, "guid": vm.id, "error": failure.document() }),
                    );
                }
                Ok((Ok(tested), found)) => {
                    let found = with_self_test(found, &tested);
                    let what = self.what_is_done();
                    for checkpoint in &found.removed_checkpoints {
                        let _ = writeln!(text, "{}: {what} checkpoint {checkpoint}", vm.name);
                    }
                    for point in &found.removed_reference_points {
                        let _ = writeln!(text, "{}: {what} reference point {point}", vm.name);
                    }
                    for planned in &tested.planned_vms {
                        let _ = writeln!(text, "{}: {what} planned VM {planned}", vm.name);
                    }
                    for name in &found.foreign_checkpoints {
                        let _ = writeln!(
                            text,
                            "{}: left alone: another product's checkpoint {name}",
                            vm.name
                        );
                    }
                    for warning in &found.warnings {
                        let _ = writeln!(text, "{}: warning: {warning}", vm.name);
                    }
                    documents.push(json!({
                        "name": vm.name,
                        "guid": vm.id,
                        "checkpoints": found.removed_checkpoints,
                        "reference_points": found.removed_reference_points,
                        "planned_vms": tested.planned_vms,
                        "foreign_checkpoints": found.foreign_checkpoints,
                        "warnings": found.warnings,
                    }));
                }
                Err(error) if error.kind() == BackupErrorKind::Locked => {
                    let _ = writeln!(
                        text,
                        "{}: a run works on it right now; nothing of it is a leftover",
                        vm.name
                    );
                    documents
                        .push(json!({ "name": vm.name, "guid": vm.id, "run_in_progress": true }));
                }
                Err(error) => {
                    failed += 1;
                    let failure = Failure::from(error);
                    failure.tell_of(&vm.name);
                    documents.push(
                        json!({ "name": vm.name, "guid": vm.id, "error": failure.document() }),
                    );
                }
            }
        }
        if text.is_empty() && failed == 0 {
            text.push_str("nothing of ours was left behind\n");
        }
        let document =
            json!({ "dry_run": self.dry_run, "vms": documents, "self_test_vms": own.document });
        Ok(match failed {
            0 => Answer::new(text, document),
            failed if failed < count => Answer::in_part(text, document),
            _ => Answer::with_status(text, document, FAILED),
        })
    }
}

impl Clean {
    fn what_is_done(&self) -> &'static str {
        match self.dry_run {
            true => "would remove",
            false => "removed",
        }
    }

    /// Removes VMs that self-tests made; what stands in the way of that keeps nothing else from being
    /// cleaned.
    fn clean_own_vms(
        &self,
        on: &Connected,
        state_folder: &Path,
        now: Timestamp,
        text: &mut String,
    ) -> OwnVms {
        match selftest::clean_vms(on, state_folder, now, self.dry_run) {
            Ok(own) => {
                self.tell_of_own_vms(&own, text);
                OwnVms {
                    document: json!({ "removed": own.vms, "warnings": own.warnings }),
                    is_failure: false,
                }
            }
            Err(error) => {
                let failure = Failure::from(error);
                failure.tell_of("the VM of a self-test");
                OwnVms {
                    document: json!({ "error": failure.document() }),
                    is_failure: true,
                }
            }
        }
    }

    fn tell_of_own_vms(&self, own: &CleanedVms, text: &mut String) {
        for vm in &own.vms {
            let what = self.what_is_done();
            let _ = writeln!(text, "{what} VM {vm}, which a self-test had made");
        }
        for warning in &own.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
    }
}

/// What became of the VMs that self-tests made.
struct OwnVms {
    document: Value,
    is_failure: bool,
}

/// Adds what a self-test left to what backups left; a checkpoint that both know is one.
fn with_self_test(mut found: Leftovers, tested: &Cleaned) -> Leftovers {
    for checkpoint in &tested.checkpoints {
        if !found.removed_checkpoints.contains(checkpoint) {
            found.removed_checkpoints.push(*checkpoint);
        }
    }
    let points = tested.reference_points.iter().cloned();
    found.removed_reference_points.extend(points);
    found.warnings.extend(tested.warnings.iter().cloned());
    found
}
