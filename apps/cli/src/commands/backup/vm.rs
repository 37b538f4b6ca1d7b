//! `backup vm`: whole virtual machines, from their host into a repository.

use std::fmt::Write as _;
use std::time::Duration;

use backup::tidy_up;
use backup::vm::{ConsistencyPolicy, Options, SELF_TEST_VM, Threads, VmBackup, VmOutcome, run_all};
use clap::{Args, ValueEnum};
use hyperv::{HypervHost, Vm as HostVm};
use kopia::compression::CompressionAlgorithm;
use kopia::snapshot::SnapshotSource;
use point::VmDescriptor;
use repo::{Manifests, Writer};
use serde_json::{Value, json};
use snapshot::compression_for;

use crate::amounts;
use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::{CANCELLED, FAILED, Failure, FailureKind};
use crate::hosts::HostArguments;
use crate::repositories::RepoArguments;
use crate::stderr;
use crate::vm_names;
use crate::world::World;

/// Requests in flight to the store, memory allowing.
const UPLOAD_THREADS: usize = 8;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent backup vm web db --repo /srv/backup
  e3-backup-agent backup vm --all --repo s3://bucket/hv01 --consistency require-application
  e3-backup-agent backup vm web --host sim:/tmp/host --repo /srv/backup --json

The first backup of a VM reads all of its disks; later ones read what changed since, by Hyper-V's
own change tracking, and still make a complete restore point. If some VMs fail the others go on,
and the exit status is 3. A backup too long for one checkpoint takes several passes.")]
pub struct Vm {
    /// The VMs: names (whole, in any case) or GUIDs.
    #[arg(
        value_name = "NAME|GUID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    vms: Vec<String>,
    /// Back up every VM of the host.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    repo: RepoArguments,
    #[command(flatten)]
    host: HostArguments,
    /// Read all of every disk, whatever changed.
    #[arg(long)]
    full: bool,
    /// How consistent the point has to be.
    #[arg(long, value_enum, default_value_t = Consistency::Application)]
    consistency: Consistency,
    /// Leave out disks whose file has this name; * and ? stand for any letters.
    #[arg(long, value_name = "PATTERN")]
    exclude_disk: Vec<String>,
    /// Give a checkpoint up when it gets older than this, and go on with another one from what is
    /// stored, as long as each pass brings a tenth of what is missing.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_hours: u32,
    /// Give a checkpoint up when a volume of the VM has less room than this.
    #[arg(long, value_name = "N", default_value_t = 4)]
    min_free_gib: u32,
    /// Protect what a long backup has stored so far from maintenance this often.
    #[arg(long, value_name = "N", default_value_t = 45, value_parser = clap::value_parser!(u32).range(1..=720))]
    checkpoint_manifest_minutes: u32,
    /// Read every disk in full this often, to prove that tracking missed nothing.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    full_proof_days: u32,
    /// Wait so long for somebody else who works on the same, then fail and say who it is.
    #[arg(long, value_name = "N", default_value_t = 10)]
    wait_minutes: u32,
    /// VMs backed up at once; fewer where memory would not do.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// Threads that read, hash and compress, per VM [default: twice the processors]; fewer where memory would not do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// The memory that all of it may take, whatever the disks and the repository; fewer threads work if it is little.
    #[arg(long, value_name = "N", default_value_t = Threads::MEMORY_MIB, value_parser = clap::value_parser!(u32).range(i64::from(Threads::MEMORY_MIB_MIN)..))]
    memory_mib: u32,
}

/// How consistent a point has to be.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Consistency {
    /// Ask the guest; where it refuses, take crash consistency and say so.
    Application,
    /// Ask the guest; where it refuses, fail that VM.
    RequireApplication,
    /// Do not ask the guest.
    Crash,
}

/// What became of one VM that was asked for.
struct Outcome {
    name: String,
    vm: Option<HostVm>,
    result: Result<backup::vm::PointReport, Failure>,
}

impl Vm {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let host = self.host.open(world)?;
        let (vms, mut outcomes) = self.chosen(&host.vms()?)?;
        let state = world.state()?;
        let repo = self.repo.open(world)?;
        let threads = self.threads();
        let writer = Writer::new(&repo, threads.uploads)?;
        let progress = world.progress(Subjects::Disks);
        // Before the run: afterwards nothing may stand between the VMs and what became of them.
        let manifests = repo.manifests()?;
        let mut warnings = lost_manifests(&manifests);
        for (compression, group) in by_compression(&manifests, host.as_ref(), vms)? {
            let options = self.options(compression, threads.workers);
            let backup = VmBackup {
                host: host.as_ref(),
                writer: &writer,
                state: &state,
                options: &options,
                goes_on: &|_| true,
            };
            let done = run_all(&backup, &group, threads.vms_at_once, &progress, &|_, _| {});
            outcomes.extend(done.into_iter().zip(group).map(
                |(VmOutcome { name, result, .. }, vm)| Outcome {
                    name,
                    vm: Some(vm),
                    result: result.map_err(Failure::from),
                },
            ));
        }
        if outcomes.iter().any(|outcome| outcome.result.is_ok()) {
            warnings.extend(tidy_up(&writer));
        }
        warnings.iter().for_each(|warning| stderr::warn(warning));
        Ok(answer(&outcomes, &warnings, world.stop().is_stopped()))
    }

    /// Returns the VMs that were asked for, each once, and a failed outcome for each that is not
    /// on the host: that must not keep the others from being backed up.
    fn chosen(&self, here: &[HostVm]) -> Result<(Vec<HostVm>, Vec<Outcome>), Failure> {
        if self.all {
            // What a self-test makes for itself comes and goes.
            let mut here = here.to_vec();
            here.retain(|vm| !vm.name.starts_with(SELF_TEST_VM));
            return match here.is_empty() {
                true => Err(Failure::new(
                    FailureKind::VmNotFound,
                    "the host has no VMs, so nothing was backed up",
                )),
                false => Ok((here, Vec::new())),
            };
        }
        let mut vms: Vec<HostVm> = Vec::new();
        let mut missing = Vec::new();
        for wanted in &self.vms {
            match vm_names::find(here, wanted) {
                Ok(vm) if vms.iter().any(|chosen| chosen.id == vm.id) => {}
                Ok(vm) => vms.push(vm.clone()),
                Err(failure) if failure.kind() == FailureKind::VmNotFound => {
                    missing.push(Outcome {
                        name: wanted.clone(),
                        vm: None,
                        result: Err(failure),
                    });
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok((vms, missing))
    }

    fn threads(&self) -> Threads {
        let wanted = Threads {
            vms_at_once: usize::from(self.parallel),
            workers: self.workers.map_or(Options::default().workers, usize::from),
            uploads: UPLOAD_THREADS,
        };
        Threads::within(u64::from(self.memory_mib) << 20, wanted)
    }

    fn options(&self, compression: Option<CompressionAlgorithm>, workers: usize) -> Options {
        let defaults = Options::default();
        Options {
            full: self.full,
            consistency: match self.consistency {
                Consistency::Application => ConsistencyPolicy::Application,
                Consistency::RequireApplication => ConsistencyPolicy::RequireApplication,
                Consistency::Crash => ConsistencyPolicy::Crash,
            },
            exclude_disks: self.exclude_disk.clone(),
            compression,
            workers,
            full_proof_days: self.full_proof_days,
            checkpoint_hours: self.checkpoint_hours,
            free_bytes_min: u64::from(self.min_free_gib) << 30,
            lock_wait: Duration::from_mins(self.wait_minutes.into()),
            checkpoint_manifest_every: Duration::from_mins(self.checkpoint_manifest_minutes.into()),
            ..defaults
        }
    }
}

/// Tells which manifests cannot be read.
fn lost_manifests(manifests: &Manifests) -> Vec<String> {
    let lost = manifests.unreadable().iter();
    lost.map(|(id, why)| {
        format!(
            "the manifest {id} cannot be read, so restore points may be lost; `repo verify` shows what is damaged: {why}"
        )
    })
    .collect()
}

/// Groups VMs by what the repository's policies say about compressing them; mostly that is one.
#[expect(
    clippy::type_complexity,
    reason = "groups that the only caller takes apart at once"
)]
fn by_compression(
    manifests: &Manifests,
    host: &dyn HypervHost,
    vms: Vec<HostVm>,
) -> Result<Vec<(Option<CompressionAlgorithm>, Vec<HostVm>)>, Failure> {
    let host_name = host.name()?.to_lowercase();
    let mut groups: Vec<(Option<CompressionAlgorithm>, Vec<HostVm>)> = Vec::new();
    for vm in vms {
        let source = SnapshotSource {
            host: host_name.clone(),
            user_name: "agent".to_owned(),
            path: format!("hyperv/{}", vm.id),
        };
        let compression = compression_for(manifests, &source)?;
        match groups.iter_mut().find(|(of, _)| *of == compression) {
            Some((_, group)) => group.push(vm),
            None => groups.push((compression, vec![vm])),
        }
    }
    Ok(groups)
}

fn answer(outcomes: &[Outcome], warnings: &[String], was_stopped: bool) -> Answer {
    let failures: Vec<&Failure> = outcomes
        .iter()
        .filter_map(|outcome| outcome.result.as_ref().err())
        .collect();
    let mut text = String::new();
    for outcome in outcomes {
        match &outcome.result {
            Ok(report) => describe(&mut text, report),
            Err(failure) => failure.tell_of(&outcome.name),
        }
    }
    let mut document =
        json!({ "vms": outcomes.iter().map(document).collect::<Vec<_>>(), "warnings": warnings });
    let cancelled = was_stopped
        && failures
            .iter()
            .any(|failure| failure.kind() == FailureKind::Cancelled);
    let status = match (failures.len(), outcomes.len()) {
        (0, _) => 0,
        _ if cancelled => CANCELLED,
        (failed, all) if failed < all => crate::failure::DONE_IN_PART,
        _ => FAILED,
    };
    if let Some(first) = failures
        .first()
        .filter(|_| failures.len() == outcomes.len())
    {
        document["error"] = first.document();
    }
    if failures.len() < outcomes.len() && !failures.is_empty() {
        let _ = writeln!(text, "{} of {} VMs failed", failures.len(), outcomes.len());
    }
    Answer::with_status(text, document, status)
}

fn describe(text: &mut String, report: &backup::vm::PointReport) {
    let VmDescriptor {
        name,
        disks,
        consistency,
        ..
    } = &report.descriptor;
    let kind = report.descriptor.backup_type().as_str();
    let _ = writeln!(
        text,
        "{name}: {kind}, {} consistent, in {}: point {}",
        consistency.as_str(),
        amounts::duration(report.duration),
        report.point_id
    );
    for disk in disks {
        let why = disk
            .full_reason
            .as_ref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "  disk {} {}: {}{why}, read {} of {}, {} new in the repository",
            disk.number,
            point::file_stem(&disk.original_path),
            disk.backup_type.as_str(),
            amounts::bytes(disk.read_bytes),
            amounts::bytes(disk.virtual_bytes),
            amounts::bytes(disk.uploaded_bytes),
        );
    }
    for disk in &report.descriptor.omitted_disks {
        let _ = writeln!(text, "  not in the point: {} ({})", disk.name, disk.reason);
    }
}

fn document(outcome: &Outcome) -> Value {
    let report = match &outcome.result {
        Ok(report) => report,
        Err(failure) => {
            let guid = outcome.vm.as_ref().map(|vm| vm.id);
            return json!({ "name": outcome.name, "guid": guid, "error": failure.document() });
        }
    };
    let descriptor = &report.descriptor;
    let disks: Vec<Value> = descriptor
        .disks
        .iter()
        .zip(&report.contents)
        .map(|(disk, content)| {
            json!({
                "number": disk.number,
                "name": point::file_stem(&disk.original_path),
                "type": disk.backup_type.as_str(),
                "full_reason": disk.full_reason,
                "virtual_bytes": disk.virtual_bytes,
                "read_bytes": disk.read_bytes,
                "sample_bytes": disk.sample_bytes,
                "changed_bytes": disk.changed_bytes,
                "uploaded_bytes": disk.uploaded_bytes,
                "content": content,
            })
        })
        .collect();
    json!({
        "name": descriptor.name,
        "guid": descriptor.guid,
        "point_id": report.point_id,
        "point": descriptor.point,
        "type": descriptor.backup_type().as_str(),
        "consistency": descriptor.consistency.as_str(),
        "consistency_reason": descriptor.consistency_reason,
        "disks": disks,
        "omitted_disks": descriptor.omitted_disks,
        "duration_ms": u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
        "warnings": report.warnings,
    })
}
