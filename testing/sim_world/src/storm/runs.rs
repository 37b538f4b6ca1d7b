//! What the agents do: backups that end in every way, restores, cleaning.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup::vm::{ConsistencyPolicy, Options, PointReport, Step, VmBackup, clean};
use backup::{BackupError, BackupErrorKind};
use blob::{BlobErrorKind, Operation, Rule, Strike};
use hyperv::sim::{FaultRecord, SimFault};
use maintain::Report;
use point::{BackupType, Points};
use progress::Progress;
use repo::{Repository, Writer};
use restore::RestoreOptions;
use restore::vm::{HostTarget, to_host};
use uuid::Uuid;

use super::checks::{assert_same, read_all};
use super::{MACHINES_MAX, Storm, upkeep};
use crate::outside;
use crate::truth::{Disks, Machine};

/// How a run ends, if nothing else ends it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// By itself.
    Whole,
    /// Its process is killed after a step.
    Killed(Step),
    /// It is told to stop after a step.
    Stopped(Step),
    /// The host stops answering after so many of its own steps.
    HostDies(u64),
    /// The repository stops answering after so many requests.
    StoreDies(u64),
}

impl Storm {
    fn draw_end(&self) -> End {
        let step = Step::ALL[self.draw(Step::ALL.len())];
        match self.chance.below(12) {
            0..6 => End::Whole,
            6 | 7 => End::Killed(step),
            8 => End::Stopped(step),
            9 | 10 => End::HostDies(self.chance.below(60)),
            _ => End::StoreDies(self.chance.below(30)),
        }
    }

    fn draw_options(&self) -> Options {
        let policies = [
            ConsistencyPolicy::Application,
            ConsistencyPolicy::Application,
            ConsistencyPolicy::RequireApplication,
            ConsistencyPolicy::Crash,
        ];
        Options {
            full: self.draw(12) == 0,
            consistency: policies[self.draw(policies.len())],
            ..peaceful()
        }
    }

    fn repository(&mut self, repository: usize, host: usize) -> Option<Arc<Repository>> {
        let held = &mut self.agents[host][repository];
        if held.is_none() {
            *held = self.place.open(repository, host).ok();
        }
        held.clone()
    }

    pub(super) fn back_up(&mut self) -> String {
        let number = self.draw(self.truth.machines.len());
        let (repository, end, options) = (self.draw(2), self.draw_end(), self.draw_options());
        let busy = self.chance.below(3) == 0;
        let what = format!("machine {number} into repository {repository}, {end:?}, busy: {busy}");
        let Some((result, during)) = self.run(number, repository, end, &options, busy) else {
            return format!("{what}: the repository does not open");
        };
        let mut told = format!("{what}: {}{during}", outcome(&result));
        if let Ok(report) = &result {
            told.extend(
                report
                    .warnings
                    .iter()
                    .map(|warning| format!("\n     warned: {warning}")),
            );
        }
        told
    }

    /// Backs a machine up; returns what came of it, and what happened meanwhile.
    fn run(
        &mut self,
        number: usize,
        repository: usize,
        end: End,
        options: &Options,
        busy: bool,
    ) -> Option<(Result<PointReport, BackupError>, String)> {
        let host_number = self.truth.machines[number].host;
        let repo = self.repository(repository, host_number)?;
        let writer = Writer::new(&repo, 1).ok()?;
        let (host, state) = (self.place.host(host_number), self.place.state(host_number));
        match end {
            End::HostDies(steps) => host.die_after(steps),
            End::StoreDies(requests) => self.kill_store(repository, requests),
            _ => {}
        }
        let struck = self.place.faulty[repository].struck();
        let progress = Progress::silent();
        let outsider = self.place.host(host_number);
        let vm = self.truth.machines[number].vm;
        let during = Mutex::new(During {
            machine: &mut self.truth.machines[number],
            frozen: None,
            told: String::new(),
            upkeep: Vec::new(),
        });
        let (place, chance) = (&self.place, &self.chance);
        let goes_on = |step: Step| {
            let mut during = during.lock().expect("nobody panicked in here");
            if step == Step::CheckpointTaken {
                during.frozen = Some(during.machine.disks.clone());
            }
            if busy && chance.below(2) == 0 {
                let what = outside::disturb(&outsider, during.machine, chance);
                during.told += &format!("\n     after {step:?}: {what}");
            }
            if busy && chance.below(8) == 0 {
                let (what, report) = upkeep::run(place, repository, chance);
                during.told += &format!("\n     after {step:?}: {what}");
                during.upkeep.extend(report);
            }
            if end == End::Stopped(step) {
                progress.stop.stop();
            }
            end != End::Killed(step)
        };
        let backup = VmBackup {
            host: &host,
            writer: &writer,
            state: &state,
            options,
            goes_on: &goes_on,
        };
        let result = backup.run(vm, &progress);
        drop(writer);
        let During {
            frozen,
            told,
            upkeep,
            ..
        } = during.into_inner().expect("nobody panicked in here");
        for report in &upkeep {
            self.count_upkeep(Some(report));
        }
        if let End::StoreDies(_) = end {
            self.place.faulty[repository].clear();
        }
        if matches!(end, End::Killed(_)) {
            // The process is gone, and with it what it held open.
            self.agents[host_number] = Default::default();
        }
        let struck = self.place.faulty[repository].struck() > struck;
        self.account(number, repository, &result, frozen, struck);
        Some((result, told))
    }

    fn kill_store(&self, repository: usize, requests: u64) {
        let operations = [
            Operation::Put,
            Operation::Get,
            Operation::GetRange,
            Operation::List,
            Operation::Metadata,
            Operation::Delete,
        ];
        for operation in operations {
            let rule = Rule::on(operation, Strike::Fail(BlobErrorKind::Denied));
            self.place.faulty[repository].add(rule.after(requests / 2).times(u64::MAX));
        }
    }

    /// Takes what a run did into the truth, and checks what it says of itself.
    fn account(
        &mut self,
        number: usize,
        repository: usize,
        result: &Result<PointReport, BackupError>,
        frozen: Option<Disks>,
        store_struck: bool,
    ) {
        let points = Points::load(&self.observers[repository]).expect("points can be listed");
        let listed: BTreeSet<Uuid> = points.iter().filter_map(|point| point.point()).collect();
        let known = &mut self.truth.points[repository];
        let new: Vec<Uuid> = listed
            .into_iter()
            .filter(|point| !known.contains_key(point))
            .collect();
        assert!(new.len() <= 1, "one run publishes one point: {new:?}");
        if let [point] = new[..] {
            let frozen = frozen.expect("nothing is published without a checkpoint");
            known.insert(point, frozen);
        }
        match result {
            Ok(report) => {
                assert_eq!(new, [report.descriptor.point], "a success has its point");
                match report.descriptor.backup_type() {
                    BackupType::Full => self.tally.fulls += 1,
                    BackupType::Incremental => self.tally.increments += 1,
                }
                // Whoever could not take something away says so.
                if report
                    .warnings
                    .iter()
                    .all(|text| !text.contains("checkpoint"))
                {
                    self.assert_nothing_of_ours(number);
                }
            }
            Err(error) if error.kind() == BackupErrorKind::Killed => {
                self.tally.killed += 1;
                self.tally.orphan_points += new.len() as u32;
            }
            Err(error) => {
                self.tally.failed += 1;
                // Where the store did not tell what it did, the run cannot know.
                let knows = !store_struck;
                assert!(
                    new.is_empty() || !knows,
                    "a failure published {new:?}: {error}"
                );
            }
        }
    }

    /// Backs a machine up when nothing stands against it.
    pub(super) fn back_up_in_peace(&mut self, number: usize, repository: usize) {
        let run = self.run(number, repository, End::Whole, &peaceful(), false);
        let (result, _) = run.expect("the repository opens");
        let report = result.unwrap_or_else(|error| panic!("a backup in peace: failed to {error}"));
        assert_eq!(report.warnings, Vec::<String>::new());
    }

    pub(super) fn clean_host(&mut self) -> String {
        let number = self.draw(self.truth.machines.len());
        let Machine { vm, host, .. } = self.truth.machines[number];
        let state = self.place.state(host);
        let _lock = state.lock(vm).expect("nobody else works on the VM");
        let now = self.place.now();
        let cleaned = clean(&self.place.host(host), &state, vm, now, false);
        if let Ok(found) = &cleaned
            && found.warnings.is_empty()
        {
            self.assert_nothing_of_ours(number);
        }
        format!("machine {number} is cleaned: {cleaned:?}")
    }

    pub(super) fn restore(&mut self) -> String {
        let (repository, host_number) = (self.draw(2), self.draw(2));
        let (new_id, keep) = (self.draw(2) == 0, self.draw(2) == 0);
        let points: Vec<Uuid> = self.truth.points[repository].keys().copied().collect();
        if points.is_empty() {
            return "nothing: there is no point to restore".to_owned();
        }
        let point = points[self.draw(points.len())];
        let what = format!("point {point} is restored to host {host_number}, new id: {new_id}");
        let Some(repo) = self.repository(repository, host_number) else {
            return format!("{what}: the repository does not open");
        };
        let host = self.place.host(host_number);
        let before = host.show().expect("the host can be shown");
        let target = HostTarget {
            new_id,
            ..HostTarget::default()
        };
        let restored = Points::load(&repo)
            .map_err(|error| error.to_string())
            .and_then(|points| {
                let found = points.by_point(point).ok_or("the point is not listed")?;
                let opened = found.open(&repo).map_err(|error| error.to_string())?;
                let vm = opened.descriptor().guid;
                // One that left may come back, and would meet its double.
                let leaves = before.vms.iter().any(|view| {
                    let will =
                        |record: &FaultRecord| matches!(record.fault, SimFault::MoveAway { .. });
                    view.vm.id == vm && (view.away || view.faults.iter().any(will))
                });
                if leaves && !new_id {
                    return Err("nothing: the machine may come back".to_owned());
                }
                let options = RestoreOptions {
                    workers: 2,
                    ..RestoreOptions::default()
                };
                to_host(
                    &repo,
                    &opened,
                    &host,
                    &target,
                    &options,
                    &Progress::silent(),
                )
                .map_err(|error| error.to_string())
            });
        let restored = match restored {
            Ok(restored) => restored,
            Err(error) => {
                self.tally.restores_failed += 1;
                let after = host.show().expect("the host can be shown");
                assert_eq!(
                    before.vms.len(),
                    after.vms.len(),
                    "{what}: failed to {error}"
                );
                return format!("{what}: failed to {error}");
            }
        };
        self.tally.restored += 1;
        let held = self.truth.points[repository][&point].clone();
        let machine = self.restored_machine(restored.id, host_number, &restored.disks, &held);
        if keep && self.truth.machines.len() < MACHINES_MAX {
            self.truth.machines.push(machine);
            return format!("{what}: done, and it stays");
        }
        host.delete_vm(restored.id, false)
            .expect("the copy can be deleted");
        format!("{what}: done, and it goes")
    }

    /// Compares a restored machine with its point and returns it as part of the truth.
    fn restored_machine(
        &self,
        vm: hyperv::VmId,
        host_number: usize,
        disks: &[restore::RestoredDisk],
        held: &Disks,
    ) -> Machine {
        let host = self.place.host(host_number);
        let mut machine = Machine::new(vm, host_number);
        let view = outside::look(&host, &machine).expect("the machine is there");
        assert_eq!(view.vm.disks.len(), disks.len());
        let mut found: Vec<_> = Vec::new();
        for (number, disk) in view.vm.disks.iter().enumerate() {
            let reader = host
                .open_live_disk(vm, number as u32)
                .expect("the disk opens");
            found.push((disk.original_path.display().to_string(), read_all(&reader)));
        }
        // Restored files have new places; their contents say which is which.
        let as_a_whole = |contents: Vec<Arc<Vec<u8>>>| -> Disks {
            let mut contents = contents;
            contents.sort();
            let numbered = contents.into_iter().enumerate();
            numbered
                .map(|(number, content)| (number.to_string(), content))
                .collect()
        };
        let contents = found.iter().map(|(_, content)| content.clone()).collect();
        let wanted = held.values().cloned().collect();
        assert_same(
            &as_a_whole(contents),
            &as_a_whole(wanted),
            "a restored machine",
        );
        machine.disks = found.into_iter().collect();
        machine
    }
}

/// What happens during a run.
struct During<'a> {
    machine: &'a mut Machine,
    /// The disks at the instant of the run's checkpoint.
    frozen: Option<Disks>,
    told: String,
    upkeep: Vec<Report>,
}

fn peaceful() -> Options {
    Options {
        workers: 1,
        flush_patience: Duration::ZERO,
        merge_wait: Duration::from_secs(30),
        free_bytes_min: 1 << 20,
        ..Options::default()
    }
}

fn outcome(result: &Result<PointReport, BackupError>) -> String {
    match result {
        Ok(report) => {
            let reasons: Vec<_> = report
                .descriptor
                .disks
                .iter()
                .map(|disk| disk.full_reason.as_deref().unwrap_or("incremental"))
                .collect();
            format!("point {}: {}", report.descriptor.point, reasons.join("; "))
        }
        Err(error) => format!("failed to {error}"),
    }
}
