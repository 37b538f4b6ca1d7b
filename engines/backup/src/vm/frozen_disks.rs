//! The disks of a checkpoint: opened, decided about, stored.

use std::path::Path;

use disk::{ChangeId, Changes, DiskSource, RangeSet};
use hyperv::{FrozenDisk, HypervErrorKind, OmittedDisk, Vm};
use image::{CHUNK_BYTES, ImageErrorKind, ImageWriter, WrittenImage};
use point::{PointErrorKind, Points};
use progress::Progress;
use uuid::Uuid;

use super::checkpoint::Taken;
use super::increment_base::Base;
use super::pass::Lookout;
use super::plan::{BaseObject, DiskFacts, DiskPlan, VmFacts, full_proof_seconds, plan_disk};
use super::vm_backup::VmBackup;
use crate::error::{BackupError, BackupErrorKind, host_error, image_error, point_error};

/// A disk of the checkpoint, opened.
pub(super) struct OpenDisk {
    pub(super) number: u32,
    pub(super) frozen: FrozenDisk,
    pub(super) source: Box<dyn DiskSource>,
    pub(super) change_id: Option<ChangeId>,
    pub(super) source_block_bytes: u32,
}

/// A disk that was stored.
pub(super) struct StoredDisk {
    pub(super) image: WrittenImage,
    pub(super) full_reason: Option<String>,
}

/// What is done with a disk, now that tracking has answered.
pub(super) enum DiskWork {
    /// All of it is read, for this reason.
    Full(String),
    /// What changed is laid over the base.
    Increment(image::Base),
}

impl VmBackup<'_> {
    /// Opens every disk of the checkpoint that is not left out.
    pub(super) fn open_disks(
        &self,
        machine: &Vm,
        taken: &Taken,
    ) -> Result<(Vec<OpenDisk>, Vec<OmittedDisk>), BackupError> {
        let frozen = self
            .host
            .frozen_disks(machine.id, taken.id)
            .map_err(host_error("list the checkpoint's disks"))?;
        let mut omitted = machine.omitted_disks.clone();
        omitted.extend(self.not_frozen(machine, &frozen));
        let mut disks = Vec::new();
        for (frozen, number) in frozen.into_iter().zip(0u32..) {
            let name = file_name(&frozen.original_path);
            if let Some(reason) = self.left_out(&name) {
                omitted.push(OmittedDisk { name, reason });
                continue;
            }
            let source = self
                .host
                .open_frozen_disk(machine.id, taken.id, &frozen)
                .map_err(host_error(&format!("open disk {number} ({name})")))?;
            let known = machine.disks.iter().find(|disk| {
                (disk.controller, disk.controller_number, disk.location)
                    == (frozen.controller, frozen.controller_number, frozen.location)
            });
            if known.is_none_or(|known| known.virtual_disk_id != source.virtual_disk_id()) {
                return Err(BackupError::new(
                    BackupErrorKind::Host(HypervErrorKind::Failed),
                    format!(
                        "open disk {number} ({name}): the VM's disks were changed while the checkpoint was taken; try again"
                    ),
                ));
            }
            let change_id = source.change_id().map_err(|error| {
                BackupError::new(
                    BackupErrorKind::Image(ImageErrorKind::Disk(error.kind())),
                    format!("read the tracking of disk {number} ({name})"),
                )
                .caused_by(error)
            })?;
            let source_block_bytes = known.map_or(0, |known| known.block_bytes);
            disks.push(OpenDisk {
                number,
                frozen,
                source,
                change_id,
                source_block_bytes,
            });
        }
        Ok((disks, omitted))
    }

    /// Returns why a disk is left out, if it is, by the name of its file.
    fn left_out(&self, name: &str) -> Option<String> {
        let mut patterns = self.options.exclude_disks.iter();
        let pattern = patterns.find(|pattern| crate::pattern::matches(pattern, name))?;
        Some(format!("left out by --exclude-disk {pattern}"))
    }

    /// Returns the VM's disks that the checkpoint does not hold, each with the reason.
    fn not_frozen(&self, machine: &Vm, frozen: &[FrozenDisk]) -> Vec<OmittedDisk> {
        let missing = machine.disks.iter().filter(|disk| {
            let place = (disk.controller, disk.controller_number, disk.location);
            frozen.iter().all(|frozen| {
                (frozen.controller, frozen.controller_number, frozen.location) != place
            })
        });
        let told = missing.map(|disk| {
            let name = file_name(&disk.original_path);
            let reason = self
                .left_out(&name)
                .unwrap_or_else(|| "not in the checkpoint, as a disk added since".to_owned());
            OmittedDisk { name, reason }
        });
        told.collect()
    }

    /// Decides per disk; returns the base's point too, if anything is built on it.
    pub(super) fn plan(
        &self,
        machine: &Vm,
        disks: &[OpenDisk],
        base: Option<&Base>,
    ) -> Result<(Vec<DiskPlan>, Option<Uuid>), BackupError> {
        let reference_points = self
            .host
            .reference_points(machine.id)
            .map_err(host_error("list reference points"))?;
        let base_objects = match base {
            Some(base) => self.base_objects(base)?,
            None => None,
        };
        let facts = VmFacts {
            full_asked: self.options.full,
            base,
            reference_points: &reference_points,
            base_objects: base_objects.as_deref(),
            vm_created: machine.created,
            last_applied_checkpoint: machine.last_applied_checkpoint,
            now: self.clock().now(),
            full_proof_seconds: full_proof_seconds(self.options.full_proof_days, machine.id.0),
        };
        let plans: Vec<DiskPlan> = disks
            .iter()
            .map(|disk| {
                let geometry = disk.source.geometry();
                let id = disk.source.virtual_disk_id();
                let disk_facts = DiskFacts {
                    virtual_disk_id: id,
                    identity_is_shared: disks
                        .iter()
                        .filter(|other| other.source.virtual_disk_id() == id)
                        .count()
                        > 1,
                    controller: disk.frozen.controller,
                    controller_number: disk.frozen.controller_number,
                    location: disk.frozen.location,
                    virtual_bytes: geometry.virtual_bytes,
                    logical_sector_bytes: geometry.logical_sector_bytes,
                    is_tracked: disk.change_id.is_some(),
                };
                plan_disk(&facts, &disk_facts, CHUNK_BYTES)
            })
            .collect();
        let uses_base = plans
            .iter()
            .any(|plan| matches!(plan, DiskPlan::Incremental { .. }));
        Ok((plans, base.filter(|_| uses_base).map(|base| base.point)))
    }

    fn base_objects(&self, base: &Base) -> Result<Option<Vec<BaseObject>>, BackupError> {
        let points = Points::load(self.repo())
            .map_err(point_error("look for the point of the last backup"))?;
        let Some(point) = points.by_point(base.point) else {
            return Ok(None);
        };
        let opened = match point.open(self.repo()) {
            // Damaged; or another client deleted it since, and its maintenance heeds no margins.
            Err(error) if is_unusable(error.kind()) => {
                return Ok(None);
            }
            other => other.map_err(point_error("open the point of the last backup"))?,
        };
        let objects = opened.descriptor().disks.iter().filter_map(|disk| {
            let object = opened.disk_object(disk)?;
            Some(BaseObject {
                number: disk.number,
                object,
                chunk_bytes: disk.chunk_bytes,
                is_damaged: point.is_known_damaged(&points, &disk.path()),
            })
        });
        Ok(Some(objects.collect()))
    }

    /// Asks tracking what changed where that is planned; whatever keeps it from answering is the
    /// reason for a full read.
    pub(super) fn work(disk: &OpenDisk, plan: DiskPlan) -> DiskWork {
        let (since, object) = match plan {
            DiskPlan::Full(reason) => return DiskWork::Full(reason),
            DiskPlan::Incremental { since, object } => (since, object),
        };
        match disk.source.changes_since(&since) {
            Changes::Ranges(changes) => DiskWork::Increment(image::Base { object, changes }),
            Changes::Unknown(unknown) => DiskWork::Full(match unknown.code {
                Some(code) => format!(
                    "change tracking cannot tell: {} (0x{code:08X})",
                    unknown.text
                ),
                None => format!("change tracking cannot tell: {}", unknown.text),
            }),
        }
    }

    pub(super) fn store_disk(
        &self,
        disk: &OpenDisk,
        work: DiskWork,
        lookout: &Lookout<'_>,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<StoredDisk, BackupError> {
        let writer = ImageWriter {
            onlooker: Some(lookout),
            ..self.image_writer(disk, progress)
        };
        let doing = || {
            format!(
                "store disk {} ({})",
                disk.number,
                disk.frozen.original_path.display()
            )
        };
        let reason = match work {
            DiskWork::Full(reason) => reason,
            DiskWork::Increment(base) => {
                match writer.write(disk.source.as_ref(), Some(&base), self.chance()) {
                    Ok(image) => {
                        return Ok(StoredDisk {
                            image,
                            full_reason: None,
                        });
                    }
                    Err(error) if error.kind() == ImageErrorKind::TrackingWrong => {
                        warnings.push(format!("disk {}: {error}; the disk was read in full. Older points of it may lack writes: verify them, and tell the vendor of whatever filters this host's disks", disk.number));
                        lookout.pass.plan_more(bytes_to_read(disk, None)?);
                        "change tracking was proven wrong by the sample".to_owned()
                    }
                    Err(error) if matches!(error.kind(), ImageErrorKind::Repo(kind) if kind.is_gone()) =>
                    {
                        lookout.pass.plan_more(bytes_to_read(disk, None)?);
                        "the point of the last backup vanished from the repository during this run"
                            .to_owned()
                    }
                    Err(error) => return Err(image_error(doing())(error)),
                }
            }
        };
        let image = writer
            .write(disk.source.as_ref(), None, self.chance())
            .map_err(image_error(doing()))?;
        Ok(StoredDisk {
            image,
            full_reason: Some(reason),
        })
    }

    pub(super) fn image_writer<'b>(
        &'b self,
        disk: &OpenDisk,
        progress: &'b Progress,
    ) -> ImageWriter<'b> {
        ImageWriter {
            writer: self.writer,
            progress,
            disk_number: disk.number,
            compression: self.options.compression,
            workers: self.options.workers,
            onlooker: None,
        }
    }
}

impl DiskWork {
    /// Returns how much of the disk has to be read.
    pub(super) fn bytes_to_read(&self, disk: &OpenDisk) -> Result<u64, BackupError> {
        match self {
            Self::Full(_) => bytes_to_read(disk, None),
            Self::Increment(base) => bytes_to_read(disk, Some(&base.changes)),
        }
    }
}

fn bytes_to_read(disk: &OpenDisk, changes: Option<&RangeSet>) -> Result<u64, BackupError> {
    image::bytes_to_read(disk.source.as_ref(), changes).map_err(image_error(format!(
        "find out how much of disk {} has to be read",
        disk.number
    )))
}

/// Says whether a point cannot be opened for good: then it is no base.
fn is_unusable(kind: PointErrorKind) -> bool {
    match kind {
        PointErrorKind::Damaged => true,
        PointErrorKind::Repo(kind) => kind.is_damage(),
        PointErrorKind::NotFound | PointErrorKind::Ambiguous => false,
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
