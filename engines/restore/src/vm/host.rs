//! A VM onto a Hyper-V host (Hyper-V spec 10.1, 10.3).
//!
//! ```text
//! disks ─► import as a planned VM ─► disks, switches ─► validate ─► realise ─► start
//!   │      or define one anew
//!   └─────── failed or stopped: give the planned VM up, remove the disk files ┘
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperv::{
    ConfigurationFile, HypervError, HypervErrorKind, HypervHost, NewDisk, PlannedVm, VmId,
    vm_folder,
};
use point::{DiskDescriptor, OpenPoint};
use progress::Progress;
use repo::Repository;
use vhdx::suggested_block_size_bytes;

use super::folder::{configuration, disk_names};
use super::plan;
use crate::copy::DiskCopy;
use crate::disk::{missing_disk, open};
use crate::error::{RestoreError, RestoreErrorKind, host_disk_error, host_error, stopped};
use crate::options::{RestoreOptions, RestoredDisk};

/// How a VM is to come back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostTarget {
    /// Its name; the one it had if `None`.
    pub name: Option<String>,
    /// Whether it gets a new GUID and its disks new identities: a copy beside the original.
    pub new_id: bool,
    /// Whether it is switched on.
    pub power_on: bool,
    /// The folder that its own goes below; where the host has new VMs if `None`.
    pub parent: Option<PathBuf>,
    /// The switch that all of its network adapters hang on; of the name of that which each last hung on if
    /// `None`.
    pub switch: Option<String>,
}

/// A VM that was restored to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredVm {
    /// Its GUID.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Its disks.
    pub disks: Vec<RestoredDisk>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// Whether it was switched on.
    pub started: bool,
}

/// Restores a VM to a host. A VM that is there is never touched, nor is any file: the host gives
/// new VMs a folder of their own, so that there is nothing to overwrite.
///
/// # Errors
/// `Exists` if a VM with the same GUID is there and a new one was not asked for, `NotFound` if the host has
/// not the switch that was. A configuration that
/// cannot be imported is no error: a new VM is defined from what the point records, and warnings say
/// what is not as it was. Whatever goes wrong before the VM is realised, the planned VM is given up and its files are removed.
pub fn to_host(
    repo: &Arc<Repository>,
    point: &OpenPoint,
    host: &dyn HypervHost,
    target: &HostTarget,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoredVm, RestoreError> {
    let here = host.vms().map_err(host_error("list the VMs of the host"))?;
    plan::check_id(point.descriptor().guid, target.new_id, &here)?;
    let (name, warning) = plan::name(target.name.as_deref(), &point.descriptor().name, &here)?;
    if let Some(switch) = &target.switch {
        plan::check_switch(switch, &switches(host)?)?;
    }
    let folder = match &target.parent {
        Some(parent) => vm_folder::fresh(parent, &name),
        None => host
            .default_vm_folder(&name)
            .map_err(host_error("choose a folder for the VM"))?,
    };
    let mut run = HostRun {
        repo,
        point,
        host,
        target,
        options,
        progress,
        made: Vec::new(),
        planned: None,
    };
    let restored = run.restore(&name, folder);
    match restored {
        Ok((id, disks, warnings)) => {
            let mut vm = RestoredVm {
                id,
                name,
                disks,
                warnings: warning.into_iter().chain(warnings).collect(),
                started: false,
            };
            if target.power_on {
                progress.phase("starting the VM");
                match host.start(vm.id) {
                    Ok(()) => vm.started = true,
                    Err(error) => vm
                        .warnings
                        .push(format!("the VM is restored but did not start: {error}")),
                }
            }
            for warning in &vm.warnings {
                progress.warning(warning);
            }
            Ok(vm)
        }
        Err(error) => {
            run.undo();
            Err(error)
        }
    }
}

fn switches(host: &dyn HypervHost) -> Result<Vec<String>, RestoreError> {
    host.switches()
        .map_err(host_error("list the host's switches"))
}

/// Returns the error of a VM that could neither be imported nor be defined anew.
fn not_defined(why: &HypervError, error: HypervError) -> RestoreError {
    let doing = format!(
        "define the VM anew, after its configuration could not be imported (failed to {why})"
    );
    host_error(doing)(error)
}

/// A restore under way, with what it has to take back if it fails.
struct HostRun<'a> {
    repo: &'a Arc<Repository>,
    point: &'a OpenPoint,
    host: &'a dyn HypervHost,
    target: &'a HostTarget,
    options: &'a RestoreOptions,
    progress: &'a Progress,
    made: Vec<PathBuf>,
    planned: Option<VmId>,
}

impl HostRun<'_> {
    fn restore(
        &mut self,
        name: &str,
        folder: PathBuf,
    ) -> Result<(VmId, Vec<RestoredDisk>, Vec<String>), RestoreError> {
        let configuration: Vec<ConfigurationFile> = configuration(self.repo, self.point)?
            .into_iter()
            .map(|(name, content)| ConfigurationFile { name, content })
            .collect();
        let mut disks = Vec::new();
        for (disk, file) in self
            .point
            .descriptor()
            .disks
            .iter()
            .zip(disk_names(self.point)?)
        {
            disks.push(self.write_disk(disk, folder.join(file))?);
        }
        self.check_stop()?;
        let (planned, mut warnings) = self.plan(&configuration, &disks, &folder, name)?;
        warnings.extend(self.settle(&planned, &disks)?);
        self.check_stop()?;
        self.progress.phase("realising the VM");
        let id = self.realise(planned.id)?;
        Ok((id, disks, warnings))
    }

    /// Imports the VM's configuration as a planned VM, or defines one from what the point records if
    /// that cannot be; returns warnings.
    fn plan(
        &mut self,
        configuration: &[ConfigurationFile],
        disks: &[RestoredDisk],
        folder: &Path,
        name: &str,
    ) -> Result<(PlannedVm, Vec<String>), RestoreError> {
        self.progress.phase("importing the VM");
        let new_id = self.target.new_id;
        let imported = self
            .host
            .import_planned(configuration, folder, name, new_id);
        let (planned, warnings) = match imported {
            Ok(planned) => (planned, Vec::new()),
            Err(why) if plan::may_be_defined(&why) => {
                self.progress.phase("defining the VM anew");
                let vm = self.point.descriptor();
                let definition = plan::definition(name, vm, &self.placed(disks));
                let defined = self
                    .host
                    .define_planned(&definition, configuration, folder)
                    .map_err(|error| not_defined(&why, error))?;
                let told = plan::told_of_definition(vm, &why, new_id, defined.left_out);
                (defined.planned, told)
            }
            Err(error) => return Err(host_error("import the VM's configuration")(error)),
        };
        self.planned = Some(planned.id);
        Ok((planned, warnings))
    }

    /// Returns the restored disks, each with what the point says of it.
    fn placed(&self, disks: &[RestoredDisk]) -> Vec<(&DiskDescriptor, PathBuf)> {
        let descriptors = self.point.descriptor().disks.iter();
        descriptors
            .zip(disks)
            .map(|(descriptor, disk)| (descriptor, disk.path.clone()))
            .collect()
    }

    fn write_disk(
        &mut self,
        disk: &DiskDescriptor,
        path: PathBuf,
    ) -> Result<RestoredDisk, RestoreError> {
        let object = self
            .point
            .disk_object(disk)
            .ok_or_else(|| missing_disk(disk.number, &disk.file))?;
        let source = open(self.repo, &object, disk.number)?;
        let geometry = source.geometry();
        let new = NewDisk {
            geometry,
            block_bytes: Some(suggested_block_size_bytes(geometry.virtual_bytes)),
            virtual_disk_id: match self.target.new_id {
                true => self.repo.chance().uuid(),
                false => source.virtual_disk_id(),
            },
        };
        self.check_stop()?;
        self.progress.phase(&format!(
            "restoring disk {} to {}",
            disk.number,
            path.display()
        ));
        let file = self.host.create_disk(&path, &new).map_err(|error| {
            let there = error.kind() == HypervErrorKind::Invalid;
            let hint = if there {
                "; a file may be there already, which is never overwritten"
            } else {
                ""
            };
            host_error(format!("make {}{hint}", path.display()))(error)
        })?;
        self.made.push(path.clone());
        let copy = DiskCopy {
            source: &source,
            number: disk.number,
            workers: self.options.workers,
            progress: self.progress,
        };
        let doing = || format!("write {}", path.display());
        let written_bytes = copy.run(&|offset, data| {
            file.write_at(offset, data)
                .map_err(host_disk_error(doing()))
        })?;
        file.flush().map_err(host_disk_error(doing()))?;
        drop(file);
        Ok(RestoredDisk {
            number: disk.number,
            path,
            virtual_bytes: geometry.virtual_bytes,
            written_bytes,
        })
    }

    /// Connects disks and adapters and asks the host what it thinks of the VM; returns warnings.
    fn settle(
        &self,
        planned: &PlannedVm,
        disks: &[RestoredDisk],
    ) -> Result<Vec<String>, RestoreError> {
        let restored = self.placed(disks);
        let (paths, mut warnings) = plan::disk_paths(&planned.disks, &restored);
        self.host
            .set_planned_disks(planned.id, &paths)
            .map_err(host_error("attach the disks"))?;
        let here = switches(self.host)?;
        let wanted = self.target.switch.as_deref();
        let (switches, disconnected) = plan::switches(&planned.network_adapters, wanted, &here);
        warnings.extend(disconnected);
        self.host
            .set_planned_switches(planned.id, &switches)
            .map_err(host_error("connect the network adapters"))?;
        for disk in &self.point.descriptor().omitted_disks {
            warnings.push(format!(
                "disk {} was not backed up ({}) and does not come back",
                disk.name, disk.reason
            ));
        }
        self.check_stop()?;
        let messages = self
            .host
            .validate_planned(planned.id)
            .map_err(host_error("validate the VM"))?;
        let fatal: Vec<&str> = messages
            .iter()
            .filter(|message| message.fatal)
            .map(|message| &*message.text)
            .collect();
        if !fatal.is_empty() {
            return Err(RestoreError::new(
                RestoreErrorKind::Host(HypervErrorKind::Failed),
                format!(
                    "restore the VM: the host says it cannot run here: {}",
                    fatal.join("; ")
                ),
            ));
        }
        warnings.extend(messages.into_iter().map(|message| message.text));
        Ok(warnings)
    }

    fn realise(&mut self, planned: VmId) -> Result<VmId, RestoreError> {
        let id = match self.host.realise_planned(planned) {
            Ok(id) => id,
            // The job's end was not seen, but what it did is.
            Err(error)
                if error.kind() == HypervErrorKind::OutcomeUnknown
                    && self.host.vm(planned).is_ok() =>
            {
                planned
            }
            Err(error) => return Err(host_error("realise the VM")(error)),
        };
        self.planned = None;
        Ok(id)
    }

    fn check_stop(&self) -> Result<(), RestoreError> {
        self.progress.stop.check().map_err(stopped)
    }

    /// Takes everything back. What cannot be taken back is named, not hidden.
    fn undo(&mut self) {
        if let Some(planned) = self.planned.take()
            && let Err(error) = self.host.abort_planned(planned)
        {
            match self.host.vm(planned) {
                Ok(_) => {
                    self.progress.warning(&format!(
                        "VM {planned} was realised after all: it and its disks are left on the host"
                    ));
                    return;
                }
                Err(unseen) if unseen.kind() == HypervErrorKind::NotFound => {
                    self.progress.warning(&format!(
                        "the planned VM {planned} could not be given up and is left on the host: {error}"
                    ));
                }
                // Its disks may be those of a VM by now.
                Err(unseen) => {
                    self.progress.warning(&format!(
                        "the planned VM {planned} could not be given up ({error}), nor can be seen whether it became a VM ({unseen}): it and its disks are left on the host"
                    ));
                    return;
                }
            }
        }
        for path in self.made.drain(..) {
            if let Err(error) = self.host.remove_file(&path) {
                self.progress.warning(&format!(
                    "{} could not be removed and is left on the host: {error}",
                    path.display()
                ));
            }
        }
    }
}
