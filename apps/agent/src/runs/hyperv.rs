//! Runs of whole VMs.

use std::sync::{Arc, Mutex};

use backup::tidy_up;
use backup::vm::{Options, PointReport, Threads, VmBackup, VmOutcome, run_all};
use hyperv::{HypervHost, Vm, VmId, VmState};
use kopia::snapshot::SnapshotSource;
use protocol::event::{
    Event, HypervBackupComplete, HypervNoVms, HypervReferencePointFailed, HypervVmComplete,
    HypervVmFailed, Severity,
};
use protocol::hyperv_results::{
    BackupType, Consistency, HypervResult, WarningCode, checkpoint_key,
};
use protocol::next_run::Run;
use protocol::path_map::PathMap;
use protocol::update_run::{Ending, Progress as Told, RunStatus};
use repo::Writer;

use super::hyperv_choice::{Choice, ChosenVm, choose};
use super::hyperv_news::{KnownVms, disk_paths};
use super::hyperv_options::options;
use super::hyperv_stats::DiskStats;
use super::{failed, stages, starting, vm_registration};
use crate::meter::Meter;
use crate::parts::{Parts, SOURCE_USER};
use crate::repositories::Lease;
use crate::storage;
use crate::supervision::{Ended, Kind, Work, supervise};

/// Threads that put packs, unless the job says otherwise.
const UPLOAD_THREADS: usize = 8;

/// Carries out a run of VMs.
pub fn carry_out(parts: &Parts, run: &Run, kind: &Kind) {
    let known = Arc::new(KnownVms::new(parts.ports.clock.clone()));
    let heard = Arc::clone(&known);
    let (events, run_id) = (Arc::clone(&parts.events), run.run_id.clone());
    let meter = Arc::new(Meter::new(0, move |news| {
        if let Some(event) = heard.event(news) {
            events.push(&run_id, event);
        }
    }));
    supervise(parts, &run.run_id, kind, &meter, |work| {
        let backup = VmRun {
            work,
            run,
            known: &known,
            stats: DiskStats::default(),
        };
        work.reporter.event(starting(&kind.name));
        backup.carry_out().unwrap_or_else(|why| {
            let mut ended = failed(work.fails(&why), &kind.name);
            if !work.cancellation.is_cancelled() {
                let no_vms = HypervNoVms { error: why };
                ended.last_events.insert(0, no_vms.into());
            }
            ended
        })
    });
}

/// One run of VMs.
struct VmRun<'w> {
    work: &'w Work<'w>,
    run: &'w Run,
    known: &'w KnownVms,
    stats: DiskStats,
}

/// What became of one VM.
struct Outcome {
    name: String,
    result: Result<HypervResult, String>,
    /// Whether it was stopped before it was done.
    is_cut_off: bool,
    uploaded_bytes: u64,
}

impl VmRun<'_> {
    fn carry_out(&self) -> Result<Ended, String> {
        let (work, run) = (self.work, self.run);
        work.meter.is_at("", "looking at the host");
        let host = work.parts.open_host();
        let host = host.map_err(|error| format!("failed to open the Hyper-V host: {error}"))?;
        let here = host.vms();
        let here = here.map_err(|error| format!("failed to list the host's VMs: {error}"))?;
        let mut choice = choose(run, &here);
        if choice.chosen.is_empty() && choice.missing.is_empty() {
            return Err("failed to choose VMs: the job names none that is on this host".to_owned());
        }
        vm_registration::register_new(work.parts, run.job_id.as_ref(), &mut choice.chosen);
        self.known.add(&choice.chosen);
        for ChosenVm { vm, .. } in &choice.chosen {
            work.meter.name_disks(&vm.name, disk_paths(vm));
        }
        work.meter
            .expect_subjects((choice.chosen.len() + choice.missing.len()) as u64);
        let mut outcomes = self.missing(&choice);
        if !choice.chosen.is_empty() {
            let _shares = work.parts.shares.reach(run, &work.parts.log)?;
            let lease = stages::open_repository(work, run)?;
            outcomes.extend(self.back_up(host.as_ref(), &choice.chosen, &lease)?);
            let sources = self.sources(host.as_ref(), &choice.chosen, &outcomes);
            if !work.cancellation.stop().is_stopped() && !sources.is_empty() {
                let retained = stages::retain(work, &lease, run, &sources);
                self.stats.note_retained(retained);
            }
        }
        Ok(self.ended(outcomes))
    }

    /// Returns the outcomes of VMs that are not there.
    fn missing(&self, choice: &Choice) -> Vec<Outcome> {
        let outcomes = choice.missing.iter().map(|vm| {
            self.work.reporter.event(vm_failed(&vm.name, &vm.why));
            Outcome {
                name: vm.name.clone(),
                result: Err(vm.why.clone()),
                is_cut_off: false,
                uploaded_bytes: 0,
            }
        });
        outcomes.collect()
    }

    fn back_up(
        &self,
        host: &dyn HypervHost,
        chosen: &[ChosenVm],
        lease: &Lease<'_>,
    ) -> Result<Vec<Outcome>, String> {
        let (parts, run) = (self.work.parts, self.run);
        let uploads = usize::try_from(run.policy_json.parallel_uploads_within()).unwrap_or(1);
        let workers = match run.policy_json.reads_disks_in_parallel() {
            true => Options::default().workers,
            false => 1,
        };
        let wanted = Threads {
            vms_at_once: parts.config.vms_at_once.max(1),
            workers,
            uploads: uploads.min(UPLOAD_THREADS),
        };
        let threads = Threads::within(u64::from(parts.config.memory_mib) << 20, wanted);
        let writer = Writer::new(lease.repository(), threads.uploads);
        let writer =
            writer.map_err(|error| storage::because(self.work, &run.destination, &error))?;
        let options = options(
            run,
            u64::from(parts.config.min_free_gib) << 30,
            threads.workers,
        );
        let backup = VmBackup {
            host,
            writer: &writer,
            state: &parts.state,
            options: &options,
            goes_on: &|_| true,
        };
        let vms: Vec<Vm> = chosen.iter().map(|it| it.vm.clone()).collect();
        let progress = self.work.progress();
        let names: Vec<&str> = vms.iter().map(|vm| &*vm.name).collect();
        let call = stages::UploadCall::begin(self.work, run, &names.join(", "));
        let repository = lease.repository().unique_id_hex();
        let seen: Vec<Mutex<Option<Outcome>>> = vms.iter().map(|_| Mutex::default()).collect();
        // Each VM's end is told when it is there, however long others take.
        let see = |place: usize, outcome: &VmOutcome| {
            let outcome = self.outcome(outcome, &chosen[place], &repository);
            *seen[place].lock().expect("nobody panics while he notes it") = Some(outcome);
        };
        run_all(&backup, &vms, threads.vms_at_once, &progress, &see);
        drop(call);
        let outcomes = seen.into_iter().map(|outcome| {
            let outcome = outcome.into_inner();
            outcome
                .expect("nobody panics while he notes it")
                .expect("every VM has an outcome")
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        if outcomes.iter().any(|outcome| outcome.result.is_ok()) {
            self.work.meter.is_at("", "tidying up the repository");
            tidy_up(&writer).iter().for_each(|it| parts.log.warn(it));
        }
        Ok(outcomes)
    }

    fn outcome(&self, outcome: &VmOutcome, chosen: &ChosenVm, repository: &str) -> Outcome {
        let name = outcome.name.clone();
        match &outcome.result {
            Ok(report) => {
                let uploaded = report
                    .descriptor
                    .disks
                    .iter()
                    .map(|disk| disk.uploaded_bytes);
                let uploaded_bytes = uploaded.sum();
                self.stats.note(&report.descriptor);
                let result = self.result(outcome.vm, chosen, repository, report);
                self.tell_of_point(&result);
                Outcome {
                    name,
                    result: Ok(result),
                    is_cut_off: false,
                    uploaded_bytes,
                }
            }
            Err(error) => {
                let is_cut_off = error.kind() == backup::BackupErrorKind::Stopped;
                let why = self.work.parts.log.redacted(&format!("failed to {error}"));
                match (is_cut_off, self.work.cancellation.is_cancelled()) {
                    (true, true) => self.work.reporter.event(stages::cancelled(&name)),
                    // It goes on when the service is back.
                    (true, false) => {}
                    (false, _) => {
                        storage::tell(self.work, &self.run.destination, error);
                        self.work.reporter.event(vm_failed(&name, &why));
                    }
                }
                Outcome {
                    name,
                    result: Err(why),
                    is_cut_off,
                    uploaded_bytes: 0,
                }
            }
        }
    }

    /// Returns what the server records of a VM that has a point: all of its disks are in one snapshot,
    /// so they share its manifest.
    fn result(
        &self,
        vm: VmId,
        chosen: &ChosenVm,
        repository: &str,
        report: &PointReport,
    ) -> HypervResult {
        let descriptor = &report.descriptor;
        let disks = &descriptor.disks;
        // The base is told as a hint alone; what counts is what the state folder remembers.
        let base = self.work.parts.state.base(repository, vm);
        let base = base.ok().and_then(|file| file.base);
        let base = base.filter(|base| base.point == descriptor.point);
        let rct_ids = base
            .iter()
            .flat_map(|base| &base.disks)
            .filter_map(|tracked| {
                let disk = disks.iter().find(|disk| disk.number == tracked.number)?;
                Some((disk.original_path.clone(), tracked.change_id.clone()))
            });
        let manifests = disks
            .iter()
            .map(|disk| (disk.original_path.clone(), report.point_id.clone()));
        let consistency_level = match descriptor.consistency {
            hyperv::Consistency::Crash => Consistency::Crash,
            _ => Consistency::Application,
        };
        let mut warnings = report.warnings.clone();
        let is_running = chosen.vm.state == VmState::Running;
        if self.run.hyperv_config.wants_application_consistency()
            && consistency_level == Consistency::Crash
            && is_running
        {
            warnings.push(format!(
                "the point is crash-consistent: {}",
                descriptor.consistency_reason
            ));
        }
        let omitted = descriptor.omitted_disks.iter();
        warnings.extend(
            omitted.map(|disk| format!("not in the point: {} ({})", disk.name, disk.reason)),
        );
        HypervResult {
            vm_id: chosen.number,
            vm_name: descriptor.name.clone(),
            backup_type: self.backup_type(chosen, report),
            checkpoint_id: base
                .as_ref()
                .and_then(|base| checkpoint_key(&base.reference_point.0))
                .unwrap_or_default(),
            rct_ids: rct_ids.collect(),
            disk_manifests: manifests.collect(),
            total_bytes: disks.iter().map(|disk| disk.virtual_bytes).sum(),
            changed_bytes: disks.iter().map(|disk| disk.changed_bytes).sum(),
            consistency_level,
            duration_seconds: report.duration.as_secs(),
            error: String::new(),
            warnings: warnings
                .iter()
                .map(|warning| self.work.parts.log.redacted(warning))
                .collect(),
            warning_code: base.is_none().then_some(WarningCode::ReferencePointFailed),
        }
    }

    /// Every point is complete. It is called incremental only where the server knows a point before
    /// it, for the portal restores no chain that has no beginning.
    fn backup_type(&self, chosen: &ChosenVm, report: &PointReport) -> BackupType {
        match report.descriptor.backup_type() {
            point::BackupType::Incremental if chosen.has_point_there => BackupType::Incremental,
            _ => BackupType::Full,
        }
    }

    fn tell_of_point(&self, result: &HypervResult) {
        if result.warning_code == Some(WarningCode::ReferencePointFailed) {
            self.work.reporter.event(HypervReferencePointFailed {
                vm_name: result.vm_name.clone(),
                message: format!(
                    "{} is backed up, but its changes could not be tracked from here on; the next backup reads more.",
                    result.vm_name
                ),
            });
        }
        self.work.reporter.event(HypervVmComplete {
            vm_name: result.vm_name.clone(),
            backup_type: result.backup_type,
            changed_bytes: result.changed_bytes,
            total_bytes: result.total_bytes,
            consistency: result.consistency_level,
            message: format!("Backup of {} is complete.", result.vm_name),
            warnings: result.warnings.clone(),
        });
    }

    /// Returns what the points that were made are filed under.
    fn sources(
        &self,
        host: &dyn HypervHost,
        chosen: &[ChosenVm],
        outcomes: &[Outcome],
    ) -> Vec<SnapshotSource> {
        let Ok(host_name) = host.name() else {
            return Vec::new();
        };
        let is_done = |it: &&ChosenVm| {
            let of_vm = |outcome: &Outcome| outcome.name == it.vm.name && outcome.result.is_ok();
            outcomes.iter().any(of_vm)
        };
        let sources = chosen.iter().filter(is_done).map(|it| SnapshotSource {
            host: host_name.to_lowercase(),
            user_name: SOURCE_USER.to_owned(),
            path: format!("hyperv/{}", it.vm.id),
        });
        sources.collect()
    }

    fn ended(&self, outcomes: Vec<Outcome>) -> Ended {
        let now = self.work.parts.ports.clock.now();
        let total = outcomes.len() as u64;
        let names = |wanted: &dyn Fn(&Outcome) -> bool| -> Vec<String> {
            let wanted = outcomes.iter().filter(|outcome| wanted(outcome));
            wanted.map(|outcome| outcome.name.clone()).collect()
        };
        let good = names(&|it| it.result.is_ok());
        let bad = names(&|it| it.result.is_err());
        let warned = names(&|it| it.result.as_ref().is_ok_and(has_warning));
        let is_cut_off = outcomes.iter().any(|outcome| outcome.is_cut_off);
        let is_cancelled = self.work.cancellation.is_cancelled() && is_cut_off;
        let summary = summary(&outcomes, good.len(), &warned);
        let status = match (good.len(), bad.len()) {
            _ if is_cancelled => RunStatus::Cancelled,
            (0, _) => RunStatus::Failed,
            (_, 0) if warned.is_empty() => RunStatus::Success,
            _ => RunStatus::Warning,
        };
        let mut ending = Ending {
            error_summary: summary.clone(),
            progress: Told {
                progress_pct: (!good.is_empty()).then_some(100.0),
                objects_transferred: Some(good.len() as u64),
                objects_total: Some(total),
                bytes_transferred: Some(outcomes.iter().map(|it| it.uploaded_bytes).sum()),
                ..Told::default()
            },
            stats: self.stats.document(),
            ..Ending::new(status, now)
        };
        let mut manifests = PathMap::default();
        for result in outcomes.into_iter().filter_map(|it| it.result.ok()) {
            for (path, manifest) in result.disk_manifests.iter() {
                manifests.insert(path, manifest);
                if ending.manifest_id.is_empty() {
                    manifest.clone_into(&mut ending.manifest_id);
                }
            }
            ending.hyperv_results.push(result);
        }
        ending.disk_manifests = manifests;
        let complete = complete_event(status, total, good, bad, warned, &summary);
        Ended {
            is_cut_off,
            ..Ended::new(ending, vec![complete])
        }
    }
}

fn has_warning(result: &HypervResult) -> bool {
    result.warning_code.is_some()
        || result
            .warnings
            .iter()
            .any(|it| it.starts_with("the point is crash-consistent"))
}

/// Returns why VMs have no point, or which have one with a warning; nothing if all is well.
fn summary(outcomes: &[Outcome], good: usize, warned: &[String]) -> String {
    let reasons: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| {
            let why = outcome.result.as_ref().err()?;
            Some(format!("{}: {why}", outcome.name))
        })
        .collect();
    match reasons.len() {
        0 if warned.is_empty() => String::new(),
        0 => format!(
            "all VMs are backed up, with warnings: {}",
            warned.join(", ")
        ),
        bad => format!(
            "{bad} of {} VMs have no backup. {}",
            bad + good,
            reasons.join("; ")
        ),
    }
}

fn complete_event(
    status: RunStatus,
    total_count: u64,
    success_vms: Vec<String>,
    failed_vms: Vec<String>,
    warning_vms: Vec<String>,
    summary: &str,
) -> Event {
    let message = match status {
        RunStatus::Success => format!("All {total_count} VMs are backed up."),
        RunStatus::Cancelled => "The backup was cancelled on request.".to_owned(),
        _ if summary.is_empty() => format!("All {total_count} VMs are backed up, with warnings."),
        _ => summary.to_owned(),
    };
    let severity = match status {
        RunStatus::Success => Severity::Info,
        RunStatus::Failed => Severity::Error,
        _ => Severity::Warning,
    };
    HypervBackupComplete {
        severity,
        message,
        status: status.as_str().to_owned(),
        success_vms,
        failed_vms,
        warning_vms,
        total_count,
    }
    .into()
}

fn vm_failed(vm_name: &str, why: &str) -> HypervVmFailed {
    HypervVmFailed {
        vm_name: vm_name.to_owned(),
        message: format!("Backup of {vm_name} failed."),
        error: why.to_owned(),
        technical_log: why.to_owned(),
    }
}
