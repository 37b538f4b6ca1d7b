//! What an administrator does to a simulated host by hand: names, states, disks, faults.

use std::fs;
use std::path::Path;

use super::SimHost;
use super::container;
use super::fault::{FaultRecord, SimFault};
use super::folder::sparse_attribute;
use super::io_error::io_error;
use super::new_vm::{SimDisk, place_of};
use super::session::Session;
use crate::{CheckpointId, HypervError, HypervErrorKind, ReferencePointId, VmId, VmState, codes};

/// How much the fault `resize` adds to a disk.
const GROWTH_BYTES: u64 = 64 << 20;

impl SimHost {
    /// Takes a user checkpoint.
    pub fn checkpoint(&self, vm: VmId, name: &str) -> Result<CheckpointId, HypervError> {
        self.session()?.take_user_checkpoint(vm, name)
    }

    /// Applies a user checkpoint.
    pub fn apply_checkpoint(&self, vm: VmId, checkpoint: CheckpointId) -> Result<(), HypervError> {
        let mut session = self.session()?;
        session.finish_begun_merges(vm)?;
        session.apply_user_checkpoint(vm, checkpoint)
    }

    /// Deletes a user checkpoint; its disks merge in the background.
    pub fn delete_checkpoint(&self, vm: VmId, checkpoint: CheckpointId) -> Result<(), HypervError> {
        self.session()?.delete_user_checkpoint(vm, checkpoint)
    }

    /// Gives a checkpoint another name.
    pub fn rename_checkpoint(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        name: &str,
    ) -> Result<(), HypervError> {
        let mut session = self.session()?;
        let mut checkpoints = session.vm_mut(vm)?.checkpoints.iter_mut();
        let found = checkpoints.find(|known| known.id == checkpoint);
        let found = found.ok_or_else(|| {
            HypervError::new(
                HypervErrorKind::NotFound,
                format!("find checkpoint {checkpoint}"),
            )
        })?;
        found.name = name.to_owned();
        session.save()
    }

    /// Makes another product's recovery checkpoint.
    pub fn add_foreign_checkpoint(&self, vm: VmId) -> Result<CheckpointId, HypervError> {
        self.session()?.add_foreign_checkpoint(vm)
    }

    /// Makes another product's reference point.
    pub fn add_foreign_reference_point(&self, vm: VmId) -> Result<ReferencePointId, HypervError> {
        self.session()?.add_foreign_reference_point(vm)
    }

    /// Gives a VM another name; folders and files keep theirs, as on the real host.
    pub fn rename_vm(&self, vm: VmId, name: &str) -> Result<(), HypervError> {
        let mut session = self.session()?;
        session.vm_mut(vm)?.name = name.to_owned();
        session.save()?;
        session.write_configuration(vm)
    }

    /// Switches a VM on or off, saves or pauses it.
    pub fn set_state(&self, vm: VmId, state: VmState) -> Result<(), HypervError> {
        let mut session = self.session()?;
        session.vm_mut(vm)?.state = state;
        session.save()
    }

    /// Adds a disk at the first free place and returns its number.
    pub fn add_disk(&self, vm: VmId, disk: &SimDisk) -> Result<u32, HypervError> {
        let mut session = self.session()?;
        let record = session.vm(vm)?.clone();
        let place = (0..4 * 64)
            .map(|number| place_of(record.generation, number))
            .find(|place| record.disks.iter().all(|disk| disk.place() != *place))
            .ok_or_else(|| {
                HypervError::new(HypervErrorKind::Invalid, "add a disk: every place is taken")
            })?;
        let count = record.disks.len() as u32;
        let path = session.make_disk_file(&record.folder, &record.name, count, &disk.content)?;
        let mut new = session.disk_record(&path, place)?;
        new.shared = disk.shared;
        new.trackable = disk.trackable;
        let key = new.key;
        let changed = session.vm_mut(vm)?;
        changed.disks.push(new);
        changed.sort_disks();
        let number = changed.disks.iter().position(|disk| disk.key == key);
        session.save()?;
        session.write_configuration(vm)?;
        Ok(number.map_or(count, |number| number as u32))
    }

    /// Takes a disk out of a VM; its file stays where it is.
    ///
    /// # Errors
    /// `Failed` while the VM has checkpoints.
    pub fn remove_disk(&self, vm: VmId, disk: u32) -> Result<(), HypervError> {
        let mut session = self.session()?;
        session.without_checkpoints(vm, "remove a disk")?;
        let tracking_file = session.disk(vm, disk)?.tracking_file();
        session.vm_mut(vm)?.disks.remove(disk as usize);
        session.doom([tracking_file]);
        session.finish()?;
        session.write_configuration(vm)
    }

    /// Swaps the places of two disks.
    pub fn swap_disks(&self, vm: VmId, one: u32, other: u32) -> Result<(), HypervError> {
        self.session()?.swap_disks(vm, one, other)
    }

    /// Makes a disk larger or smaller; its tracking ids are void then.
    ///
    /// # Errors
    /// `Failed` while the VM has checkpoints.
    pub fn resize_disk(&self, vm: VmId, disk: u32, virtual_bytes: u64) -> Result<(), HypervError> {
        self.session()?.resize_disk(vm, disk, virtual_bytes)
    }

    /// Puts a fault in: it strikes `times` fitting calls, or all until it is cleared.
    pub fn add_fault(
        &self,
        vm: VmId,
        fault: SimFault,
        times: Option<u32>,
    ) -> Result<(), HypervError> {
        let mut session = self.session()?;
        if fault == SimFault::SwapDisks {
            session.disk(vm, 1)?;
        }
        if times == Some(0) {
            return Err(HypervError::new(
                HypervErrorKind::Invalid,
                "put in a fault that never strikes",
            ));
        }
        session.vm_mut(vm)?.faults.push(FaultRecord {
            fault,
            times_left: times,
        });
        session.save()
    }

    /// Puts a fault in that belongs to no VM, such as one of a restore's steps.
    pub fn add_host_fault(&self, fault: SimFault, times: Option<u32>) -> Result<(), HypervError> {
        let mut session = self.session()?;
        session.state.faults.push(FaultRecord {
            fault,
            times_left: times,
        });
        session.save()
    }

    /// Returns the faults that wait for their calls.
    pub fn faults(&self, vm: VmId) -> Result<Vec<FaultRecord>, HypervError> {
        let session = self.session()?;
        let found = session.state.vms.iter().find(|record| record.id == vm);
        found
            .map(|record| record.faults.clone())
            .ok_or_else(|| unknown_vm(vm))
    }

    /// Takes all faults of a VM back: stuck merges go on, and one that moved away is back.
    pub fn clear_faults(&self, vm: VmId) -> Result<(), HypervError> {
        let mut session = self.session()?;
        let record = session
            .state
            .vms
            .iter_mut()
            .find(|record| record.id == vm)
            .ok_or_else(|| unknown_vm(vm))?;
        record.faults.clear();
        record.merge_stuck = None;
        record.merge_blocked = None;
        record.away = false;
        session.state.faults.clear();
        session.save()
    }

    /// Puts NTFS's sparse attribute on a file, or takes it off: see [`SimHost`].
    pub fn set_sparse_attribute(&self, file: &Path, sparse: bool) -> Result<(), HypervError> {
        let sidecar = sparse_attribute(file);
        let done = match sparse {
            true => fs::write(&sidecar, []),
            false => fs::remove_file(&sidecar),
        };
        done.map_err(|error| io_error("mark", &sidecar, error))
    }
}

impl Session<'_> {
    fn without_checkpoints(&mut self, vm: VmId, what: &str) -> Result<(), HypervError> {
        self.finish_begun_merges(vm)?;
        let record = self.vm(vm)?;
        let flat =
            record.checkpoints.is_empty() && record.disks.iter().all(|disk| disk.chain.len() == 1);
        if flat {
            return Ok(());
        }
        Err(HypervError::new(
            HypervErrorKind::Failed,
            format!("{what}: the VM has checkpoints"),
        )
        .with_code(codes::INVALID_STATE))
    }

    pub(super) fn swap_disks(&mut self, vm: VmId, one: u32, other: u32) -> Result<(), HypervError> {
        let first = self.disk(vm, one)?.place();
        let second = self.disk(vm, other)?.place();
        let record = self.vm_mut(vm)?;
        for (disk, place) in [(one, second), (other, first)] {
            let disk = &mut record.disks[disk as usize];
            (disk.controller, disk.controller_number, disk.location) = place;
        }
        record.sort_disks();
        self.save()?;
        self.write_configuration(vm)
    }

    fn resize_disk(&mut self, vm: VmId, disk: u32, virtual_bytes: u64) -> Result<(), HypervError> {
        self.without_checkpoints(vm, "resize a disk")?;
        let record = self.disk(vm, disk)?;
        if !virtual_bytes.is_multiple_of(u64::from(record.logical_sector_bytes)) {
            return Err(HypervError::new(
                HypervErrorKind::Invalid,
                format!(
                    "resize a disk to {virtual_bytes} bytes: that is no multiple of its sectors"
                ),
            )
            .with_code(codes::VHD_INVALID_SIZE));
        }
        let (leaf, tracking_file) = (record.leaf().to_path_buf(), record.tracking_file());
        // The ids die first: after a crash in between they are gone, never wrong.
        let changed = &mut self.vm_mut(vm)?.disks[disk as usize];
        changed.lose_tracking(codes::TRACKING_INVALID_ID);
        changed.marks.remove(&leaf);
        self.doom([tracking_file]);
        self.finish()?;
        self.host.fuse.burn()?;
        let path = self.path(&leaf);
        self.host.resize_file(&path, virtual_bytes)?;
        let facts = container::facts(&path)?;
        self.vm_mut(vm)?.disks[disk as usize].virtual_bytes = facts.virtual_bytes;
        self.note_marks(vm, disk as usize, &[leaf])?;
        self.save()?;
        self.write_configuration(vm)
    }

    pub(super) fn grow_first_disk(&mut self, vm: VmId) -> Result<(), HypervError> {
        let bytes = self.disk(vm, 0)?.virtual_bytes;
        self.resize_disk(vm, 0, bytes + GROWTH_BYTES)
    }
}

fn unknown_vm(vm: VmId) -> HypervError {
    HypervError::new(
        HypervErrorKind::NotFound,
        format!("find VM {vm} on this host"),
    )
}
