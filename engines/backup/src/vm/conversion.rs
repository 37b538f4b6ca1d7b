//! Turning the checkpoint into the base of the next increment (Hyper-V spec 5.3, 6.2).

use hyperv::{ReferencePoint, ReferencePointDisk, Vm, VmId};
use point::{BackupType, DiskDescriptor, VmDescriptor};
use progress::Progress;
use time_and_chance::StopSignal;

use super::frozen_disks::OpenDisk;
use super::increment_base::{Base, BaseDisk};
use super::leftovers;
use super::options::Step;
use super::state::{Converting, JournalEntry};
use super::vm_backup::VmBackup;
use crate::error::{BackupError, host_error};

impl VmBackup<'_> {
    /// Returns the disks a base can be made of: those whose tracking names the frozen instant.
    pub(super) fn base_disks(
        &self,
        machine: &Vm,
        disks: &[OpenDisk],
        descriptor: &VmDescriptor,
        vm: VmId,
    ) -> Result<Vec<BaseDisk>, BackupError> {
        let old = self.state.base(&self.repo().unique_id_hex(), vm)?.base;
        let read_in_full_at = |described: &DiskDescriptor| match described.backup_type {
            BackupType::Full => Some(descriptor.frozen_at),
            BackupType::Incremental => old
                .as_ref()
                .filter(|old| old.vm_created == machine.created)
                .and_then(|old| {
                    old.disks
                        .iter()
                        .find(|disk| disk.virtual_disk_id == described.virtual_disk_id)
                })
                .map(|disk| disk.read_in_full_at),
        };
        Ok(disks
            .iter()
            .zip(&descriptor.disks)
            .filter_map(|(disk, described)| {
                Some(BaseDisk {
                    number: disk.number,
                    virtual_disk_id: described.virtual_disk_id,
                    controller: described.controller,
                    controller_number: described.controller_number,
                    location: described.location,
                    virtual_bytes: described.virtual_bytes,
                    logical_sector_bytes: described.logical_sector_bytes,
                    change_id: disk.change_id.as_ref()?.to_string(),
                    read_in_full_at: read_in_full_at(described)?,
                })
            })
            .collect())
    }

    /// Turns the checkpoint into the next base. If that fails the point stands all the same, the
    /// old base stays, and the next run reads a little more (Hyper-V spec 6.1, row three).
    pub(super) fn convert(
        &self,
        vm: VmId,
        journal: &mut JournalEntry,
        mut base: Base,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<(), BackupError> {
        let checkpoint = journal
            .checkpoint
            .expect("the checkpoint was journaled before anything was read");
        let repository = self.repo().unique_id_hex();
        let before = self
            .host
            .reference_points(vm)
            .map_err(host_error("list reference points"))?;
        journal.converting = Some(Converting {
            repository: repository.clone(),
            before: before.into_iter().map(|point| point.id).collect(),
            base: base.clone(),
        });
        self.state.write_journal(vm, journal)?;
        self.after(Step::ConversionAnnounced)?;
        // From here on a stop is too late to matter: the point is published.
        let unstoppable = StopSignal::new();
        let converted = self.while_busy(&unstoppable, || {
            self.host
                .convert_to_reference_point(vm, checkpoint, &unstoppable)
        });
        let point = match converted {
            Ok(point) => point,
            Err(error) => {
                self.after(Step::Converted)?;
                warnings.push(format!("the checkpoint could not be made the next base, so the next run reads more: {error}"));
                let found = leftovers::clean(self.host, self.state, vm, self.clock().now(), false)?;
                warnings.extend(found.warnings);
                return Ok(());
            }
        };
        self.after(Step::Converted)?;
        if let Err(doubt) = take_ids(&point, &mut base) {
            warnings.push(format!(
                "the new reference point cannot be used, so the next run reads everything: {doubt}"
            ));
            progress.warning(&doubt);
        }
        let mut file = self.state.base(&repository, vm)?;
        base.reference_point = point.id;
        file.to_drop
            .extend(file.base.replace(base).map(|old| old.reference_point));
        self.state.write_base(&repository, vm, &file)?;
        self.after(Step::BaseRemembered)?;
        leftovers::drop_replaced(self.host, self.state, &repository, vm)?;
        self.after(Step::ReplacedBaseDropped)
    }
}

/// Puts the reference point's ids into the base, after the checks of Hyper-V spec 5.3; disks that
/// do not pass are taken out.
fn take_ids(point: &ReferencePoint, base: &mut Base) -> Result<(), String> {
    if !point.tracking {
        base.disks.clear();
        return Err("it is not of the change tracking kind".to_owned());
    }
    let mut doubt = Ok(());
    base.disks.retain_mut(|disk| {
        let same = |listed: &&ReferencePointDisk| {
            listed.virtual_disk_id == disk.virtual_disk_id
                && (listed.controller, listed.controller_number, listed.location)
                    == (disk.controller, disk.controller_number, disk.location)
        };
        let id = point
            .disks
            .iter()
            .find(same)
            .map(|listed| listed.change_id.as_str())
            .filter(|id| !id.is_empty());
        match id {
            Some(id) => disk.change_id = id.to_owned(),
            None => {
                doubt = Err(format!(
                    "it does not name the tracking of disk {}",
                    disk.number
                ))
            }
        }
        id.is_some()
    });
    doubt
}
