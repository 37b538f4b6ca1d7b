//! Freezing a VM's disks, and recovery checkpoints from their making to their end.

use std::fs;
use std::path::{Path, PathBuf};

use super::container;
use super::fault::SimFault;
use super::io_error::io_error;
use super::session::Session;
use super::state::{CheckpointDisk, CheckpointRecord, DiskRecord, PointDisk, PointRecord};
use super::tracking::History;
use super::vm_configuration::{self, ConfiguredDisk, VmConfiguration};
use crate::{
    CheckpointId, CheckpointKind, HypervError, HypervErrorKind, MergeState, ReferencePointId,
    RequestedConsistency, VmId, VmState, codes,
};

/// The name of checkpoints that the fault `foreign-checkpoint` makes.
const FOREIGN_NAME: &str = "another product's backup";

impl Session<'_> {
    /// Takes a recovery checkpoint (Hyper-V spec 4.1).
    pub(super) fn create_recovery_checkpoint(
        &mut self,
        vm: VmId,
        consistency: RequestedConsistency,
        name: &str,
    ) -> Result<CheckpointId, HypervError> {
        self.strike_before_checkpoint(vm)?;
        let record = self.vm(vm)?;
        let recovery = |checkpoint: &CheckpointRecord| checkpoint.kind == CheckpointKind::Recovery;
        if record.checkpoints.iter().any(recovery) {
            return Err(HypervError::new(
                HypervErrorKind::Failed,
                "take a recovery checkpoint: the VM has one already",
            )
            .with_code(codes::FAILED));
        }
        if let MergeState::Stuck(why) = self.merge_state(vm)? {
            return Err(HypervError::new(
                HypervErrorKind::InUse,
                format!("take a recovery checkpoint: {why}"),
            )
            .with_code(codes::SHARING_VIOLATION));
        }
        let application_level = match consistency {
            RequestedConsistency::Crash => false,
            RequestedConsistency::Application => {
                self.quiesce_guest(vm, name)?;
                true
            }
        };
        self.freeze(vm, CheckpointKind::Recovery, name, application_level)
    }

    fn quiesce_guest(&mut self, vm: VmId, name: &str) -> Result<(), HypervError> {
        let refused = |why: &str| {
            HypervError::new(
                HypervErrorKind::GuestRefused,
                format!("quiesce the guest: {why}"),
            )
        };
        let fault = self.strike(vm, |fault| {
            matches!(fault, SimFault::NoAppConsistency { .. })
        })?;
        if let Some(SimFault::NoAppConsistency { leave_checkpoint }) = fault {
            if leave_checkpoint {
                self.freeze(vm, CheckpointKind::Recovery, name, false)?;
            }
            let error = refused("a writer in the guest failed");
            return Err(error.with_code(codes::GUEST_WRITER_FAILED));
        }
        let record = self.vm(vm)?;
        if record.state != VmState::Running {
            return Err(refused("the guest does not run").with_code(codes::INVALID_STATE));
        }
        if record.guest.is_none() {
            return Err(refused("no integration service answers").with_code(codes::FAILED));
        }
        Ok(())
    }

    /// Lets happen what administrators and other products do before a checkpoint.
    fn strike_before_checkpoint(&mut self, vm: VmId) -> Result<(), HypervError> {
        let fault = self.strike(vm, |fault| {
            matches!(
                fault,
                SimFault::Resize
                    | SimFault::SwapDisks
                    | SimFault::ApplyUserCheckpoint
                    | SimFault::ForeignCheckpoint
                    | SimFault::ForeignReferencePoint
            )
        })?;
        match fault {
            Some(SimFault::Resize) => self.grow_first_disk(vm)?,
            Some(SimFault::SwapDisks) => self.swap_disks(vm, 0, 1)?,
            Some(SimFault::ApplyUserCheckpoint) => self.apply_some_user_checkpoint(vm)?,
            Some(SimFault::ForeignCheckpoint) => {
                self.add_foreign_checkpoint(vm)?;
            }
            Some(SimFault::ForeignReferencePoint) => {
                self.add_foreign_reference_point(vm)?;
            }
            _ => return Ok(()),
        }
        self.strike_before_checkpoint(vm)
    }

    /// Makes a recovery checkpoint that belongs to nobody here.
    pub(super) fn add_foreign_checkpoint(&mut self, vm: VmId) -> Result<CheckpointId, HypervError> {
        self.freeze(vm, CheckpointKind::Recovery, FOREIGN_NAME, true)
    }

    /// Freezes all disks of a VM: what they hold now stays, the guest writes to new files.
    pub(super) fn freeze(
        &mut self,
        vm: VmId,
        kind: CheckpointKind,
        name: &str,
        application_level: bool,
    ) -> Result<CheckpointId, HypervError> {
        let id = CheckpointId(self.host.chance.uuid());
        let record = self.vm(vm)?;
        let disks: Vec<usize> = (0..record.disks.len())
            .filter(|&disk| !record.disks[disk].shared)
            .collect();
        let children: Vec<PathBuf> = disks
            .iter()
            .map(|&disk| self.child_name(record.disks[disk].root()))
            .collect();
        let folder = record.folder.join("Snapshots");
        let configuration = self.configuration_of(vm)?;
        let stem = id.to_string().to_uppercase();
        let files = vm_configuration::encode(&configuration, &record.guest_state, &stem)?;
        let file_paths: Vec<_> = files.iter().map(|file| folder.join(&file.name)).collect();
        let new: Vec<_> = children.iter().chain(&file_paths).cloned().collect();

        self.intend(&new)?;
        let folder = self.path(&folder);
        fs::create_dir_all(&folder).map_err(|error| io_error("make", &folder, error))?;
        for (file, path) in files.iter().zip(&file_paths) {
            self.host.fuse.burn()?;
            let path = self.path(path);
            fs::write(&path, &file.content).map_err(|error| io_error("write", &path, error))?;
        }
        let mut frozen = Vec::new();
        for (&disk, child) in disks.iter().zip(&children) {
            self.host.fuse.burn()?;
            let chain = self.vm(vm)?.disks[disk].chain.clone();
            container::create_child(&self.path(child), &self.paths(&chain), &self.host.chance)?;
            let change_id = match kind {
                CheckpointKind::Recovery => self.seal(vm, disk)?,
                CheckpointKind::User | CheckpointKind::Other => None,
            };
            let record = &self.vm(vm)?.disks[disk];
            frozen.push(CheckpointDisk {
                key: record.key,
                controller: record.controller,
                controller_number: record.controller_number,
                location: record.location,
                chain,
                virtual_disk_id: record.virtual_disk_id,
                change_id,
            });
            self.note_marks(vm, disk, std::slice::from_ref(child))?;
        }
        let created = self.host.clock.now();
        let record = self.vm_mut(vm)?;
        for (&disk, child) in disks.iter().zip(&children) {
            record.disks[disk].chain.push(child.clone());
        }
        record.checkpoints.push(CheckpointRecord {
            id,
            kind,
            name: name.to_owned(),
            created,
            application_level,
            disks: frozen,
            configuration_files: file_paths,
        });
        self.spare(&new);
        self.save()?;
        Ok(id)
    }

    /// Returns a name for a differencing file above `root`: `<stem>_<GUID>.avhdx`.
    pub(super) fn child_name(&self, root: &Path) -> PathBuf {
        let stem = root
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("disk");
        let guid = self.host.chance.uuid().to_string().to_uppercase();
        root.with_file_name(format!("{stem}_{guid}.avhdx"))
    }

    /// Names this instant in the tracking of a disk, starting it if need be; `None` if the disk
    /// cannot be tracked.
    pub(super) fn seal(&mut self, vm: VmId, disk: usize) -> Result<Option<String>, HypervError> {
        if !self.vm(vm)?.disks[disk].trackable {
            return Ok(None);
        }
        let mut history = self.tracking(vm, disk)?;
        let path = self.path(&self.vm(vm)?.disks[disk].tracking_file());
        self.host.fuse.burn()?;
        let id = history
            .seal(&path, self.host.chance.uuid())
            .map_err(|error| io_error("write", &path, error))?;
        self.vm_mut(vm)?.disks[disk].tracking = Some(history.record());
        Ok(Some(id))
    }

    /// Returns the tracking of a disk, begun anew if it was never begun or cannot be trusted.
    fn tracking(&mut self, vm: VmId, disk: usize) -> Result<History, HypervError> {
        match self.trusted_tracking(vm, disk)? {
            Some(history) => Ok(history),
            None => {
                let block_bytes = self.state.tracking_block_bytes;
                let record = &self.vm(vm)?.disks[disk];
                let path = self.path(&record.tracking_file());
                let chain = record.chain.clone();
                let mut history =
                    History::new(self.host.chance.uuid(), block_bytes, record.virtual_bytes);
                self.host.fuse.burn()?;
                history
                    .rewrite(&path)
                    .map_err(|error| io_error("write", &path, error))?;
                self.vm_mut(vm)?.disks[disk].tracking = Some(history.record());
                // What was done to the files before is no longer anyone's concern.
                self.note_marks(vm, disk, &chain)?;
                Ok(history)
            }
        }
    }

    /// Returns the tracking of a disk if it is on and covers every write; gives it up otherwise.
    pub(super) fn trusted_tracking(
        &mut self,
        vm: VmId,
        disk: usize,
    ) -> Result<Option<History>, HypervError> {
        let record = &self.vm(vm)?.disks[disk];
        let Some(tracking) = record.tracking else {
            return Ok(None);
        };
        let loaded = if self.changed_offline(record, &record.chain) {
            Err(codes::TRACKING_CHANGED_OFFLINE)
        } else {
            History::load(&self.path(&record.tracking_file()), &tracking).map_err(|lost| lost.0)
        };
        match loaded {
            Ok(history) => Ok(Some(history)),
            Err(code) => {
                let record = &mut self.vm_mut(vm)?.disks[disk];
                record.lose_tracking(code);
                self.save()?;
                Ok(None)
            }
        }
    }

    /// Returns whether a file of `chain` no longer looks as this host left it.
    pub(super) fn changed_offline(&self, disk: &DiskRecord, chain: &[PathBuf]) -> bool {
        chain.iter().any(|file| {
            disk.marks
                .get(file)
                .is_some_and(|noted| container::mark(&self.path(file)).ok().as_ref() != Some(noted))
        })
    }

    /// Returns a VM's configuration as it is now.
    pub(super) fn configuration_of(&self, vm: VmId) -> Result<VmConfiguration, HypervError> {
        let vm = self.vm(vm)?;
        let disks = vm.disks.iter().map(|disk| ConfiguredDisk {
            controller: disk.controller,
            controller_number: disk.controller_number,
            location: disk.location,
            path: self.path(disk.leaf()),
            original_path: self.path(disk.root()),
            virtual_disk_id: disk.virtual_disk_id,
        });
        Ok(VmConfiguration {
            id: vm.id,
            name: vm.name.clone(),
            generation: vm.generation,
            version: vm.version.clone(),
            guest: vm.guest.clone(),
            firmware: vm.firmware.clone(),
            processors: vm.processors,
            memory_bytes: vm.memory_bytes,
            network_adapters: vm.network_adapters.clone(),
            disks: disks.collect(),
            omitted_disks: vm.omitted_disks.clone(),
        })
    }

    /// Returns a checkpoint.
    pub(super) fn checkpoint(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<&CheckpointRecord, HypervError> {
        let found = self
            .vm(vm)?
            .checkpoints
            .iter()
            .find(|known| known.id == checkpoint);
        found.ok_or_else(|| {
            HypervError::new(
                HypervErrorKind::NotFound,
                format!("find checkpoint {checkpoint}"),
            )
        })
    }

    /// Turns a recovery checkpoint into a reference point (Hyper-V spec 5.2).
    pub(super) fn convert_to_reference_point(
        &mut self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<PointRecord, HypervError> {
        let record = self.endable_recovery_checkpoint(vm, checkpoint)?;
        let disks = record.disks.iter().filter_map(|disk| {
            Some(PointDisk {
                key: disk.key,
                virtual_disk_id: disk.virtual_disk_id,
                controller: disk.controller,
                controller_number: disk.controller_number,
                location: disk.location,
                change_id: disk.change_id.clone()?,
            })
        });
        let point = PointRecord {
            id: self.new_point_id(),
            tracking: true,
            application_level: record.application_level,
            disks: disks.collect(),
        };
        self.vm_mut(vm)?.reference_points.push(point.clone());
        self.remove_checkpoint(vm, checkpoint)?;
        Ok(point)
    }

    /// Removes a recovery checkpoint.
    pub(super) fn destroy_checkpoint(
        &mut self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<(), HypervError> {
        self.endable_recovery_checkpoint(vm, checkpoint)?;
        self.remove_checkpoint(vm, checkpoint)?;
        self.prune_tracking(vm)
    }

    fn endable_recovery_checkpoint(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<CheckpointRecord, HypervError> {
        let record = self.checkpoint(vm, checkpoint)?.clone();
        if record.kind != CheckpointKind::Recovery {
            return Err(HypervError::new(
                HypervErrorKind::Unsupported,
                format!("end checkpoint {checkpoint}: it is no recovery checkpoint"),
            )
            .with_code(codes::NOT_SUPPORTED));
        }
        for disk in &record.disks {
            container::check_closed(&self.path(disk.frozen_file()))?;
        }
        Ok(record)
    }

    /// Removes a checkpoint of any kind; what lies above its files is merged later.
    pub(super) fn remove_checkpoint(
        &mut self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<(), HypervError> {
        let record = self.vm_mut(vm)?;
        let Some(index) = record
            .checkpoints
            .iter()
            .position(|known| known.id == checkpoint)
        else {
            return Ok(());
        };
        let removed = record.checkpoints.remove(index);
        let mut unused = removed.configuration_files;
        for disk in removed.disks {
            let needed: Vec<PathBuf> = record.chains(disk.key).flatten().cloned().collect();
            unused.extend(disk.chain.into_iter().filter(|file| !needed.contains(file)));
        }
        self.expect_merge(vm)?;
        self.doom(unused);
        self.finish()
    }

    /// Removes a reference point.
    pub(super) fn destroy_reference_point(
        &mut self,
        vm: VmId,
        point: &ReferencePointId,
    ) -> Result<(), HypervError> {
        let points = &mut self.vm_mut(vm)?.reference_points;
        let index = points
            .iter()
            .position(|known| known.id == point.0)
            .ok_or_else(|| {
                HypervError::new(
                    HypervErrorKind::NotFound,
                    format!("find reference point {point}"),
                )
            })?;
        points.remove(index);
        self.save()?;
        self.prune_tracking(vm)
    }

    /// Makes a reference point that belongs to nobody here, without a checkpoint.
    pub(super) fn add_foreign_reference_point(
        &mut self,
        vm: VmId,
    ) -> Result<ReferencePointId, HypervError> {
        let mut disks = Vec::new();
        for disk in 0..self.vm(vm)?.disks.len() {
            if let Some(change_id) = self.seal(vm, disk)? {
                let record = &self.vm(vm)?.disks[disk];
                disks.push(PointDisk {
                    key: record.key,
                    virtual_disk_id: record.virtual_disk_id,
                    controller: record.controller,
                    controller_number: record.controller_number,
                    location: record.location,
                    change_id,
                });
            }
        }
        let id = self.new_point_id();
        self.vm_mut(vm)?.reference_points.push(PointRecord {
            id: id.clone(),
            tracking: true,
            application_level: false,
            disks,
        });
        self.save()?;
        Ok(ReferencePointId(id))
    }

    fn new_point_id(&self) -> String {
        let guid = self.host.chance.uuid().to_string().to_uppercase();
        format!("Microsoft:ReferencePoint\\{guid}")
    }

    /// Forgets tracking ids that nothing pins any more, as the real host may.
    pub(super) fn prune_tracking(&mut self, vm: VmId) -> Result<(), HypervError> {
        for disk in 0..self.vm(vm)?.disks.len() {
            let record = &self.vm(vm)?.disks[disk];
            let (Some(tracking), key) = (record.tracking, record.key) else {
                continue;
            };
            let path = self.path(&record.tracking_file());
            let Ok(mut history) = History::load(&path, &tracking) else {
                continue;
            };
            if history.keep_only(&self.vm(vm)?.pinned_change_ids(key)) {
                self.host.fuse.burn()?;
                history
                    .rewrite(&path)
                    .map_err(|error| io_error("write", &path, error))?;
                self.vm_mut(vm)?.disks[disk].tracking = Some(history.record());
                self.save()?;
            }
        }
        Ok(())
    }
}
