//! A point from its parts to its publication, with every look that has to be taken on the way
//! (DESIGN section 3, reuse rule).

use hyperv::{ConfigurationFile, OmittedDisk, Vm};
use image::CHUNK_BYTES;
use point::{BackupType, DESCRIPTOR_VERSION, DiskDescriptor, NewPoint, Points, VmDescriptor};
use progress::Progress;
use uuid::Uuid;

use super::checkpoint::Taken;
use super::frozen_disks::{OpenDisk, StoredDisk};
use super::options::Step;
use super::vm_backup::VmBackup;
use crate::error::{
    BackupError, BackupErrorKind, host_error, image_error, point_error, repo_error,
};

impl VmBackup<'_> {
    pub(super) fn describe(
        &self,
        machine: &Vm,
        taken: &Taken,
        run: Uuid,
        stored: &[(OpenDisk, StoredDisk)],
        omitted: Vec<OmittedDisk>,
    ) -> VmDescriptor {
        let paths: Vec<String> = stored
            .iter()
            .map(|(disk, _)| disk.frozen.original_path.display().to_string())
            .collect();
        let numbers = stored.iter().map(|(disk, _)| disk.number);
        let names = point::disk_file_names(numbers.zip(paths.iter().map(String::as_str)));
        let disks = stored.iter().zip(names).map(|((disk, stored), file)| {
            let geometry = disk.source.geometry();
            DiskDescriptor {
                number: disk.number,
                file,
                virtual_disk_id: disk.source.virtual_disk_id(),
                virtual_bytes: geometry.virtual_bytes,
                logical_sector_bytes: geometry.logical_sector_bytes,
                physical_sector_bytes: geometry.physical_sector_bytes,
                source_block_bytes: disk.source_block_bytes,
                controller: disk.frozen.controller,
                controller_number: disk.frozen.controller_number,
                location: disk.frozen.location,
                original_path: disk.frozen.original_path.display().to_string(),
                change_id: disk.change_id.as_ref().map(ToString::to_string),
                backup_type: if stored.full_reason.is_some() {
                    BackupType::Full
                } else {
                    BackupType::Incremental
                },
                full_reason: stored.full_reason.clone(),
                read_bytes: stored.image.read_bytes,
                sample_bytes: stored.image.sample_bytes,
                changed_bytes: stored.image.changed_bytes,
                uploaded_bytes: stored.image.packed_bytes,
                chunk_bytes: CHUNK_BYTES,
            }
        });
        VmDescriptor {
            descriptor_version: DESCRIPTOR_VERSION,
            point: self.chance().uuid(),
            run,
            name: machine.name.clone(),
            guid: machine.id,
            generation: machine.generation,
            version: machine.version.clone(),
            firmware: machine.firmware.clone(),
            processors: machine.processors,
            memory_bytes: machine.memory_bytes,
            network_adapters: machine.network_adapters.clone(),
            checkpoint: taken.id,
            frozen_at: taken.frozen_at,
            consistency: taken.consistency,
            consistency_reason: taken.reason.clone(),
            disks: disks.collect(),
            omitted_disks: omitted,
        }
    }

    pub(super) fn new_point(
        &self,
        descriptor: VmDescriptor,
        disks: Vec<(kopia::object_id::ObjectId, u64)>,
        configuration: Vec<ConfigurationFile>,
    ) -> Result<NewPoint, BackupError> {
        let host = self
            .host
            .name()
            .map_err(host_error("ask the host for its name"))?;
        let configuration = configuration
            .into_iter()
            .map(|file| (file.name, file.content))
            .collect();
        NewPoint::store(
            self.writer,
            &host,
            descriptor,
            disks,
            configuration,
            self.clock().now(),
        )
        .map_err(point_error("store the VM's configuration"))
    }

    /// Publishes the point once everything it consists of is known to be there; the disks are
    /// still frozen and open, so that whatever vanished can be stored again.
    pub(super) fn publish(
        &self,
        stored: &[(OpenDisk, StoredDisk)],
        new_point: &mut NewPoint,
        base_point: Option<Uuid>,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<String, BackupError> {
        self.settle(stored, new_point, base_point, progress)?;
        self.after(Step::DataSettled)?;
        progress.phase("publishing the point");
        let point_id = new_point
            .publish(self.writer)
            .map_err(point_error("publish the restore point"))?;
        self.writer
            .flush_together(self.options.flush_patience)
            .map_err(repo_error("publish the restore point"))?;
        self.after(Step::PointPublished)?;
        // Maintenance without safety margins may have run between the last look and the
        // publication: one more look, and if something is gone for good, the point goes too.
        match self.settle(stored, new_point, base_point, progress) {
            Err(error) => {
                Points::withdraw(self.writer, &point_id)
                    .map_err(point_error("withdraw the restore point"))?;
                Err(error)
            }
            Ok(points) => {
                let vm = new_point.descriptor().guid;
                if let Err(error) = points.remove_unfinished(self.writer, vm) {
                    warnings.push(format!("checkpoint manifests of this VM are still in the repository, which the next run will remove: could not {error}"));
                }
                Ok(point_id)
            }
        }
    }

    /// Makes everything stored visible, looks all of it up again, and stores again what is gone,
    /// until a whole look finds nothing missing (DESIGN section 3, reuse rule). Returns what the
    /// repository listed at that look.
    fn settle(
        &self,
        stored: &[(OpenDisk, StoredDisk)],
        new_point: &mut NewPoint,
        base_point: Option<Uuid>,
        progress: &Progress,
    ) -> Result<Points, BackupError> {
        const LOOKS_MAX: u32 = 5;
        for _ in 0..LOOKS_MAX {
            self.writer.flush().map_err(repo_error("write the index"))?;
            let points = Points::load(self.repo())
                .map_err(point_error("look for the points that are there"))?;
            let base_is_live = base_point.is_none_or(|point| points.by_point(point).is_some());
            let mut missing = self
                .writer
                .find_lost_packs()
                .map_err(repo_error("look for the packs just written"))?
                > 0;
            for (disk, stored) in stored {
                missing |= self
                    .image_writer(disk, progress)
                    .settle(&stored.image, disk.source.as_ref(), base_is_live)
                    .map_err(image_error(format!("re-check disk {}", disk.number)))?;
            }
            missing |= new_point
                .restore_missing(self.writer)
                .map_err(point_error("re-check the VM's configuration"))?;
            if !missing {
                return Ok(points);
            }
        }
        Err(BackupError::new(
            BackupErrorKind::Repo(repo::RepoErrorKind::NotFound),
            "store the point: another client keeps deleting what was just written; is maintenance running without its safety margins?",
        ))
    }
}
