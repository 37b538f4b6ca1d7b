//! The simulated host as a [`HypervHost`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use disk::{BlockWrite, ChangeId, DiskSource};
use time_and_chance::StopSignal;

use super::SimHost;
use super::calls::strike_before_listing;
use super::container;
use super::fault::{SimFault, Step};
use super::folder::sparse_attribute;
use super::io_error::io_error;
use super::session::{Session, read_bounded};
use super::state::PointRecord;
use crate::{
    Checkpoint, CheckpointId, ConfigurationFile, DefinedVm, FrozenDisk, HypervError,
    HypervErrorKind, HypervHost, MergeState, NewDisk, OperationInProgress, PlannedVm,
    ReferencePoint, ReferencePointDisk, ReferencePointId, RequestedConsistency, ValidationMessage,
    VirtualDisk, Vm, VmDefinition, VmId, VmState, VolumeSpace, codes,
};

const CONFIGURATION_BYTES_MAX: u64 = 64 << 20;

impl HypervHost for SimHost {
    fn name(&self) -> Result<String, HypervError> {
        Ok(self.session()?.state.name.clone())
    }

    fn vms(&self) -> Result<Vec<Vm>, HypervError> {
        let here: Vec<VmId> = {
            let session = self.session()?;
            let vms = session.state.vms.iter().filter(|vm| !vm.away);
            vms.map(|vm| vm.id).collect()
        };
        let mut vms = Vec::new();
        for id in here {
            match self.vm(id) {
                Ok(vm) => vms.push(vm),
                Err(error) if error.kind() == HypervErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(vms)
    }

    fn vm(&self, vm: VmId) -> Result<Vm, HypervError> {
        self.vm_call(vm, Step::Vm, |session| session.vm_view(vm))
    }

    fn create_recovery_checkpoint(
        &self,
        vm: VmId,
        consistency: RequestedConsistency,
        mark: &str,
        stop: &StopSignal,
    ) -> Result<CheckpointId, HypervError> {
        check_stop(stop)?;
        if consistency == RequestedConsistency::Application {
            let is_silent = |fault: &SimFault| matches!(fault, SimFault::SilentGuest);
            let struck = self.session()?.strike(vm, is_silent)?;
            if struck.is_some() {
                // A real host waits as long; the session is free meanwhile.
                let _ = stop.wait_real_time(Duration::from_hours(24));
                check_stop(stop)?;
            }
        }
        self.vm_call(vm, Step::Create, |session| {
            session.create_recovery_checkpoint(vm, consistency, mark)
        })
    }

    fn checkpoints(&self, vm: VmId) -> Result<Vec<Checkpoint>, HypervError> {
        self.vm_call(vm, Step::Checkpoints, |session| {
            strike_before_listing(session, vm, Step::Checkpoints)?;
            session.checkpoints(vm)
        })
    }

    fn frozen_disks(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<Vec<FrozenDisk>, HypervError> {
        self.vm_call(vm, Step::FrozenDisks, |session| {
            let disks = &session.checkpoint(vm, checkpoint)?.disks;
            let mut frozen: Vec<_> = disks
                .iter()
                .map(|disk| FrozenDisk {
                    controller: disk.controller,
                    controller_number: disk.controller_number,
                    location: disk.location,
                    path: session.path(disk.frozen_file()),
                    original_path: disk
                        .chain
                        .first()
                        .map(|root| session.path(root))
                        .unwrap_or_default(),
                })
                .collect();
            frozen.sort_by_key(|disk| (disk.controller, disk.controller_number, disk.location));
            Ok(frozen)
        })
    }

    fn open_frozen_disk(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        disk: &FrozenDisk,
    ) -> Result<Box<dyn DiskSource>, HypervError> {
        self.vm_call(vm, Step::Open, |session| {
            Ok(Box::new(session.open_frozen_disk(vm, checkpoint, disk)?) as _)
        })
    }

    fn configuration_files(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<Vec<ConfigurationFile>, HypervError> {
        self.vm_call(vm, Step::Configuration, |session| {
            let files = &session.checkpoint(vm, checkpoint)?.configuration_files;
            files
                .iter()
                .map(|file| {
                    let name = file
                        .file_name()
                        .and_then(|name| name.to_str())
                        .unwrap_or_default();
                    Ok(ConfigurationFile {
                        name: name.to_owned(),
                        content: read_bounded(&session.path(file), CONFIGURATION_BYTES_MAX)?,
                    })
                })
                .collect()
        })
    }

    fn convert_to_reference_point(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        stop: &StopSignal,
    ) -> Result<ReferencePoint, HypervError> {
        check_stop(stop)?;
        self.vm_call(vm, Step::Convert, |session| {
            session
                .convert_to_reference_point(vm, checkpoint)
                .map(reference_point)
        })
    }

    fn destroy_checkpoint(&self, vm: VmId, checkpoint: CheckpointId) -> Result<(), HypervError> {
        self.vm_call(vm, Step::Destroy, |session| {
            session.destroy_checkpoint(vm, checkpoint)
        })
    }

    fn reference_points(&self, vm: VmId) -> Result<Vec<ReferencePoint>, HypervError> {
        self.vm_call(vm, Step::ReferencePoints, |session| {
            strike_before_listing(session, vm, Step::ReferencePoints)?;
            let points = session.vm(vm)?.reference_points.iter().cloned();
            Ok(points.map(reference_point).collect())
        })
    }

    fn destroy_reference_point(
        &self,
        vm: VmId,
        point: &ReferencePointId,
    ) -> Result<(), HypervError> {
        self.vm_call(vm, Step::DestroyReferencePoint, |session| {
            session.destroy_reference_point(vm, point)
        })
    }

    fn merge_state(&self, vm: VmId) -> Result<MergeState, HypervError> {
        self.vm_call(vm, Step::MergeState, |session| session.merge_state(vm))
    }

    fn volume_space(&self, vm: VmId) -> Result<Vec<VolumeSpace>, HypervError> {
        self.vm_call(vm, Step::VolumeSpace, |session| {
            let low = session.strike(vm, |fault| matches!(fault, SimFault::LowSpace { .. }))?;
            let space = local_file::room(&self.root)
                .map_err(|error| io_error("measure", &self.root, error))?;
            Ok(vec![VolumeSpace {
                volume: self.root.display().to_string(),
                free_bytes: match low {
                    Some(SimFault::LowSpace { free_bytes }) => free_bytes.min(space.free_bytes),
                    _ => space.free_bytes,
                },
                total_bytes: space.total_bytes,
            }])
        })
    }

    fn default_vm_folder(&self, name: &str) -> Result<PathBuf, HypervError> {
        Ok(self.root.join(self.fresh_vm_folder(name)))
    }

    fn create_disk(&self, path: &Path, disk: &NewDisk) -> Result<Box<dyn BlockWrite>, HypervError> {
        self.restore_call(Step::CreateDisk, |session| {
            let path = session.path(&self.inside(path)?);
            Ok(Box::new(self.new_disk_writer(&path, disk)?) as _)
        })
    }

    fn remove_file(&self, path: &Path) -> Result<(), HypervError> {
        self.restore_call(Step::RemoveFile, |session| {
            let relative = self.inside(path)?;
            if let Some(vm) = session.state.vms.iter().find(|vm| vm.owns(&relative)) {
                return Err(HypervError::new(
                    HypervErrorKind::InUse,
                    format!("remove {}: VM {} uses it", path.display(), vm.name),
                )
                .with_code(codes::SHARING_VIOLATION));
            }
            let path = session.path(&relative);
            if !path.is_file() {
                return Err(HypervError::new(
                    HypervErrorKind::NotFound,
                    format!("remove {}: there is no such file", path.display()),
                )
                .with_code(codes::FILE_NOT_FOUND));
            }
            container::check_closed(&path)?;
            std::fs::remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
            let sidecar = sparse_attribute(&path);
            match std::fs::remove_file(&sidecar) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(io_error("remove", &sidecar, error))
                }
                _ => Ok(()),
            }
        })
    }

    fn import_planned(
        &self,
        configuration: &[ConfigurationFile],
        folder: &Path,
        name: &str,
        new_id: bool,
    ) -> Result<PlannedVm, HypervError> {
        self.restore_call(Step::Import, |session| {
            session.import_planned(configuration, folder, name, new_id)
        })
        .map_err(HypervError::of_configuration)
    }

    fn define_planned(
        &self,
        definition: &VmDefinition,
        _: &[ConfigurationFile],
        folder: &Path,
    ) -> Result<DefinedVm, HypervError> {
        self.restore_call(Step::Define, |session| {
            Ok(DefinedVm {
                planned: session.define_planned(definition, folder)?,
                left_out: Vec::new(),
            })
        })
    }

    fn set_planned_disks(
        &self,
        planned: VmId,
        paths: &[Option<PathBuf>],
    ) -> Result<(), HypervError> {
        self.restore_call(Step::SetDisks, |session| {
            session.set_planned_disks(planned, paths)
        })
    }

    fn switches(&self) -> Result<Vec<String>, HypervError> {
        Ok(self.session()?.state.switches.clone())
    }

    fn set_planned_switches(
        &self,
        planned: VmId,
        switches: &[Option<String>],
    ) -> Result<(), HypervError> {
        self.restore_call(Step::SetSwitches, |session| {
            session.set_planned_switches(planned, switches)
        })
    }

    fn validate_planned(&self, planned: VmId) -> Result<Vec<ValidationMessage>, HypervError> {
        self.restore_call(Step::Validate, |session| session.validate_planned(planned))
    }

    fn realise_planned(&self, planned: VmId) -> Result<VmId, HypervError> {
        self.restore_call(Step::Realise, |session| session.realise_planned(planned))
    }

    fn abort_planned(&self, planned: VmId) -> Result<(), HypervError> {
        self.restore_call(Step::Abort, |session| session.abort_planned(planned))
    }

    fn planned_vms(&self) -> Result<Vec<(VmId, String)>, HypervError> {
        let session = self.session()?;
        let planned = session.state.planned.iter();
        Ok(planned
            .map(|planned| (planned.id, planned.name.clone()))
            .collect())
    }

    fn planned_folder(&self, planned: VmId) -> Result<Option<PathBuf>, HypervError> {
        let mut session = self.session()?;
        let folder = session.planned_mut(planned)?.folder.clone();
        Ok(Some(session.path(&folder)))
    }

    fn start(&self, vm: VmId) -> Result<(), HypervError> {
        self.vm_call(vm, Step::Start, |session| session.start(vm))
    }
}

impl Session<'_> {
    /// Returns a VM as the port shows it.
    pub(super) fn vm_view(&self, vm: VmId) -> Result<Vm, HypervError> {
        let record = self.vm(vm)?;
        let disks = record.disks.iter().map(|disk| VirtualDisk {
            controller: disk.controller,
            controller_number: disk.controller_number,
            location: disk.location,
            path: self.path(disk.leaf()),
            original_path: self.path(disk.root()),
            virtual_disk_id: disk.virtual_disk_id,
            virtual_bytes: disk.virtual_bytes,
            block_bytes: disk.block_bytes,
            logical_sector_bytes: disk.logical_sector_bytes,
            physical_sector_bytes: disk.physical_sector_bytes,
            tracked: Some(disk.tracking.is_some()),
            shared: disk.shared,
            chain_depth: disk.chain.len().saturating_sub(1) as u32,
        });
        let merging = matches!(self.merge_state(vm)?, MergeState::Running(_));
        Ok(Vm {
            id: record.id,
            name: record.name.clone(),
            generation: record.generation,
            version: record.version.clone(),
            state: record.state,
            operation: merging.then_some(OperationInProgress::MergingDisks),
            guest: record.guest.clone(),
            firmware: record.firmware.clone(),
            processors: record.processors,
            memory_bytes: record.memory_bytes,
            network_adapters: record.network_adapters.clone(),
            disks: disks.collect(),
            omitted_disks: record.omitted_disks.clone(),
            created: record.created,
            last_applied_checkpoint: record.last_applied_checkpoint,
        })
    }

    /// Returns the checkpoints of a VM.
    pub(super) fn checkpoints(&self, vm: VmId) -> Result<Vec<Checkpoint>, HypervError> {
        let checkpoints = self
            .vm(vm)?
            .checkpoints
            .iter()
            .map(|checkpoint| Checkpoint {
                id: checkpoint.id,
                kind: checkpoint.kind,
                name: checkpoint.name.clone(),
                created: checkpoint.created,
            });
        Ok(checkpoints.collect())
    }

    /// Notes what disk files say of themselves if someone else wrote them meanwhile.
    pub(super) fn refresh_disks(&mut self, vm: VmId) -> Result<(), HypervError> {
        for disk in 0..self.vm(vm)?.disks.len() {
            let record = &self.vm(vm)?.disks[disk];
            let leaf = record.leaf().to_path_buf();
            let path = self.path(&leaf);
            let mark = record.marks.get(&leaf);
            if mark.is_some_and(|mark| container::seems_untouched(&path, mark)) {
                continue;
            }
            // A file that cannot be read keeps its record; opening it tells why.
            if let Ok(facts) = container::facts(&path) {
                let record = &mut self.vm_mut(vm)?.disks[disk];
                record.virtual_bytes = facts.virtual_bytes;
                record.virtual_disk_id = facts.virtual_disk_id;
                record.logical_sector_bytes = facts.logical_sector_bytes;
                record.physical_sector_bytes = facts.physical_sector_bytes;
            }
        }
        Ok(())
    }

    fn start(&mut self, vm: VmId) -> Result<(), HypervError> {
        let record = self.vm(vm)?;
        if record.state == VmState::Running {
            return Err(
                HypervError::new(HypervErrorKind::Failed, "start a VM that runs")
                    .with_code(codes::INVALID_STATE),
            );
        }
        if record.disks.is_empty() {
            return Err(
                HypervError::new(HypervErrorKind::Failed, "start a VM without disks")
                    .with_code(codes::FAILED),
            );
        }
        for disk in &record.disks {
            let leaf = self.path(disk.leaf());
            if super::folder::is_sparse(&leaf) {
                return Err(super::folder::sparse_error(&leaf));
            }
            container::check_closed(&leaf)?;
            drop(container::ChainReader::open(&self.paths(&disk.chain))?);
        }
        self.vm_mut(vm)?.state = VmState::Running;
        self.save()
    }
}

pub(super) fn reference_point(record: PointRecord) -> ReferencePoint {
    ReferencePoint {
        id: ReferencePointId(record.id),
        tracking: record.tracking,
        application_level: record.application_level,
        disks: record
            .disks
            .into_iter()
            .map(|disk| ReferencePointDisk {
                virtual_disk_id: disk.virtual_disk_id,
                controller: disk.controller,
                controller_number: disk.controller_number,
                location: disk.location,
                change_id: ChangeId::new(disk.change_id),
            })
            .collect(),
    }
}

fn check_stop(stop: &StopSignal) -> Result<(), HypervError> {
    stop.check()
        .map_err(|stopped| HypervError::new(HypervErrorKind::Stopped, "go on").caused_by(stopped))
}
