//! `hyperv_restore`: disks of VMs to folders of this machine, or whole VMs onto its host.
//!
//! All disks of a VM are in one point, so they come with the same manifest: which disk is meant, the
//! original path says. Points of the older agent hold one disk each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kopia::object_id::ObjectId;
use point::{Points, restored_file_names};
use protocol::commands::{Command, HypervRestore, JobContext, RestoreVm};
use protocol::event::{
    HypervRestoreComplete, HypervRestoreDiskComplete, HypervRestoreDiskFailed,
    HypervRestoreDiskStarting, HypervRestoreFailed, HypervRestoreStarting,
};
use protocol::hyperv_results::BackupType;
use protocol::update_run::{Ending, Progress as Told, RunStatus};
use repo::Repository;
use restore::disk::{disk_objects, to_file};
use restore::{DiskFormat, RestoreOptions, check_file_name};

use super::disk_progress::DiskProgress;
use super::hyperv_register::Registering;
use super::restoring::{self, Source, at_most};
use super::{Reply, context, failed};
use crate::meter::Meter;
use crate::parts::Parts;
use crate::storage;
use crate::supervision::{Ended, Work};

/// Carries a restore of VMs out, and reports to its run.
pub fn carry_out(parts: &Parts, command: &Command, order: &HypervRestore) -> Result<Reply, String> {
    let disks = DiskProgress::new(&parts.config, parts.ports.clock.clone());
    let events = Arc::clone(&parts.events);
    let run_id = command.restore_run();
    let meter = Meter::new(0, move |news| {
        if let (Some(run_id), Some(event)) = (&run_id, disks.event(news)) {
            events.push(run_id, event.into());
        }
    });
    restoring::carry_out(parts, command, meter, |work| {
        let carried_out = restoring::target(&order.target_path).and_then(|target| {
            let restoring = Restoring {
                work,
                context: &context(command)?,
                order,
                target: &target,
            };
            restoring.carry_out()
        });
        carried_out.unwrap_or_else(|why| {
            let ending = work.fails(&why);
            Ended::new(ending, vec![HypervRestoreFailed { message: why }.into()])
        })
    })
}

/// A disk to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WantedDisk {
    vm_name: String,
    /// Empty where the order says only which point.
    original_path: String,
    manifest_id: String,
    file: PathBuf,
}

/// A restore under way.
pub struct Restoring<'a> {
    pub work: &'a Work<'a>,
    pub context: &'a JobContext,
    pub order: &'a HypervRestore,
    pub target: &'a Path,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Came {
    /// Disks that were wanted.
    pub total_disks: u64,
    /// Disks that are there.
    pub restored_disks: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Why others are not.
    pub failures: Vec<String>,
    /// What came onto the host, in sentences.
    pub registered: Vec<String>,
    /// What an operator should know of that.
    pub warnings: Vec<String>,
}

impl Restoring<'_> {
    fn carry_out(&self) -> Result<Ended, String> {
        let (work, order) = (self.work, self.order);
        let Source { lease, points } = restoring::open(work, self.context)?;
        if let Some(how) = &order.register {
            let registering = Registering {
                restoring: self,
                how,
                points: &points,
                repository: lease.repository(),
            };
            return Ok(self.ended(&registering.carry_out()?));
        }
        let mut wanted = Vec::new();
        for vm in &order.vms {
            wanted.extend(self.disks_of(vm, &points, lease.repository())?);
        }
        if wanted.is_empty() {
            return Err("the order names no disks; choose at least one".to_owned());
        }
        self.tell_of_start(wanted.len() as u64);
        let mut came = Came {
            total_disks: wanted.len() as u64,
            ..Came::default()
        };
        for (index, disk) in (1..).zip(&wanted) {
            if work.cancellation.stop().is_stopped() {
                break;
            }
            match self.restore(
                disk,
                index,
                wanted.len() as u64,
                &points,
                lease.repository(),
            ) {
                Ok(bytes) => {
                    came.restored_disks += 1;
                    came.written_bytes += bytes;
                }
                Err(why) => {
                    let disk_name = shown(&disk.file);
                    came.failures
                        .push(format!("{disk_name} of {}: {why}", disk.vm_name));
                }
            }
        }
        Ok(self.ended(&came))
    }

    /// Returns the disks of a VM that are wanted, each with the file it is restored to.
    fn disks_of(
        &self,
        vm: &RestoreVm,
        points: &Points,
        repository: &Arc<Repository>,
    ) -> Result<Vec<WantedDisk>, String> {
        let folder = match vm.subfolder.trim() {
            "" => self.target.to_owned(),
            name => {
                check_file_name(name).map_err(failed)?;
                self.target.join(name)
            }
        };
        let mut disks: Vec<(String, String)> = vm
            .disk_manifests
            .iter()
            .map(|(path, manifest)| (path.to_owned(), manifest.to_owned()))
            .collect();
        if disks.is_empty() {
            disks = self.disks_of_point(vm, points, repository)?;
        }
        let numbered = (0..).zip(disks.iter().map(|(path, _)| &**path));
        let names = restored_file_names(numbered);
        let wanted = disks.into_iter().zip(names);
        let wanted = wanted.map(|((original_path, manifest_id), name)| {
            check_file_name(&name).map_err(failed)?;
            Ok(WantedDisk {
                vm_name: vm.vm_name.clone(),
                file: folder.join(name),
                original_path,
                manifest_id,
            })
        });
        wanted.collect()
    }

    /// Returns all disks of the point that an order names without naming disks.
    fn disks_of_point(
        &self,
        vm: &RestoreVm,
        points: &Points,
        repository: &Arc<Repository>,
    ) -> Result<Vec<(String, String)>, String> {
        let Some(target) = vm.restore_chain.last() else {
            return Ok(Vec::new());
        };
        let named = target.disk_manifests.iter();
        let named: Vec<(String, String)> = named
            .map(|(path, manifest)| (path.to_owned(), manifest.to_owned()))
            .collect();
        if !named.is_empty() || target.manifest_id.is_empty() {
            return Ok(named);
        }
        let point = points.find(&target.manifest_id).map_err(failed)?;
        let id = target.manifest_id.clone();
        if point.point().is_none() {
            return Ok(vec![(point.snapshot().manifest.source.path.clone(), id)]);
        }
        let open = point.open(repository).map_err(failed)?;
        let disks = open.descriptor().disks.iter();
        Ok(disks
            .map(|disk| (disk.original_path.clone(), id.clone()))
            .collect())
    }

    fn restore(
        &self,
        disk: &WantedDisk,
        disk_index: u64,
        total_disks: u64,
        points: &Points,
        repository: &Arc<Repository>,
    ) -> Result<u64, String> {
        let reporter = self.work.reporter;
        let (vm_name, disk_name) = (disk.vm_name.clone(), shown(&disk.file));
        reporter.event(HypervRestoreDiskStarting {
            vm_name: vm_name.clone(),
            disk_name: disk_name.clone(),
            disk_index,
            total_disks,
            manifest_id: disk.manifest_id.clone(),
        });
        let restored = self.write(disk, points, repository);
        match &restored {
            Ok(_) => reporter.event(HypervRestoreDiskComplete {
                vm_name,
                disk_name,
                disk_index,
                total_disks,
            }),
            Err(message) => reporter.event(HypervRestoreDiskFailed {
                vm_name,
                disk_name,
                message: message.clone(),
            }),
        }
        restored
    }

    fn write(
        &self,
        disk: &WantedDisk,
        points: &Points,
        repository: &Arc<Repository>,
    ) -> Result<u64, String> {
        let (number, object) = find_disk(disk, points, repository)?;
        if let Some(folder) = disk.file.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("failed to create {}: {error}", folder.display()))?;
        }
        let progress = self.work.progress().about(shown(&disk.file));
        let options = self.options();
        let restored = to_file(
            repository,
            &object,
            number,
            &disk.file,
            DiskFormat::Vhdx,
            &options,
            &progress,
        );
        progress.ends(restored.is_ok());
        let sent = &self.context.destination;
        let restored = restored.map_err(|error| storage::because(self.work, sent, &error))?;
        Ok(restored.written_bytes)
    }

    /// Returns how disks are restored: by as many hands as there is memory for. How much they read at once
    /// is the engine's own, 4 MiB: `restore_segment_size_mb`, a measure of the older agent's, means nothing here.
    pub fn options(&self) -> RestoreOptions {
        let memory_bytes = u64::from(self.work.parts.config.memory_mib) << 20;
        let mut options = RestoreOptions::within(memory_bytes);
        let wanted = self.context.policy_json.restore_parallel_workers_within();
        options.workers = at_most(wanted, options.workers);
        options
    }

    /// Tells how much is to be restored.
    pub fn tell_of_start(&self, disk_count: u64) {
        self.work.meter.expect_subjects(disk_count);
        let names: Vec<&str> = self.order.vms.iter().map(|vm| &*vm.vm_name).collect();
        self.work.reporter.event(HypervRestoreStarting {
            vm_name: names.join(", "),
            vm_count: names.len() as u64,
            disk_count,
            target_path: self.order.target_path.clone(),
            backup_type: self.order.backup_type.unwrap_or(BackupType::Full),
        });
    }

    fn ended(&self, came: &Came) -> Ended {
        let work = self.work;
        let Came {
            total_disks,
            restored_disks,
            ..
        } = *came;
        let is_cancelled = work.cancellation.stop().is_stopped();
        let missing = total_disks.saturating_sub(restored_disks);
        let status = match (missing, restored_disks) {
            _ if is_cancelled => RunStatus::Cancelled,
            (0, _) if came.warnings.is_empty() => RunStatus::Success,
            (0, _) => RunStatus::Warning,
            (_, 0) => RunStatus::Failed,
            _ => RunStatus::Warning,
        };
        let not_restored = (missing > 0).then(|| {
            let why = came.failures.join("; ");
            format!("{missing} of {total_disks} disks could not be restored: {why}")
        });
        let warnings = not_restored
            .into_iter()
            .chain(came.warnings.iter().cloned());
        let error_summary = match is_cancelled {
            true => "cancelled on request".to_owned(),
            false => warnings.collect::<Vec<_>>().join("; "),
        };
        let message = match status {
            RunStatus::Success => format!("{total_disks} disks are restored."),
            _ => error_summary.clone(),
        };
        let registered = came.registered.iter().map(|it| format!("{it} "));
        let event = HypervRestoreComplete {
            status: status.as_str().to_owned(),
            message: registered.collect::<String>() + &message,
            restored_disks,
            total_disks,
            vm_count: self.order.vms.len() as u64,
            target_path: self.order.target_path.clone(),
        };
        let ending = Ending {
            error_summary,
            progress: Told {
                progress_pct: (status == RunStatus::Success).then_some(100.0),
                bytes_transferred: Some(came.written_bytes),
                objects_transferred: Some(restored_disks),
                objects_total: Some(total_disks),
                ..Told::default()
            },
            ..Ending::new(status, work.parts.ports.clock.now())
        };
        Ended::new(ending, vec![event.into()])
    }
}

/// Finds the disk that is meant: by its original path in a point of ours, else the only one.
fn find_disk(
    disk: &WantedDisk,
    points: &Points,
    repository: &Arc<Repository>,
) -> Result<(u32, ObjectId), String> {
    let point = points.find(&disk.manifest_id).map_err(failed)?;
    if point.point().is_some() {
        let open = point.open(repository).map_err(failed)?;
        let disks = &open.descriptor().disks;
        let by_path = disks
            .iter()
            .find(|it| it.original_path.eq_ignore_ascii_case(&disk.original_path));
        let described = by_path.ok_or_else(|| {
            let there: Vec<&str> = disks.iter().map(|it| &*it.original_path).collect();
            format!(
                "failed to find the disk {} in the point: it holds {}",
                disk.original_path,
                there.join(", ")
            )
        })?;
        let object = open.disk_object(described);
        let object =
            object.ok_or_else(|| format!("failed to find {} in the point", described.file))?;
        return Ok((described.number, object));
    }
    let objects = disk_objects(repository, &point).map_err(failed)?;
    match &objects[..] {
        [(number, _, object)] => Ok((*number, *object)),
        several => Err(format!(
            "failed to find the disk {}: the snapshot holds {} disks",
            disk.original_path,
            several.len()
        )),
    }
}

/// Returns a file's name, for people.
pub fn shown(file: &Path) -> String {
    let name = file.file_name();
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
