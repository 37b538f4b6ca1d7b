//! One run for one VM: the order of steps, written once (Hyper-V spec 6.2, DESIGN promise 3).
//!
//! ```text
//! journal ─► checkpoint ─► journal ─► open disks ─► read, store ─► flush, re-check
//! ─► publish point ─► re-check ─► close disks ─► journal ─► convert ─► remember base
//! ─► drop replaced base ─► clear journal
//! ```
//!
//! Stopped after any of these, the next run is right: before the point is published nothing
//! counts, and the old base is never older than its content.

use std::sync::Arc;
use std::time::Duration;

use disk::{ChangeId, Changes, DiskSource};
use hyperv::{ConfigurationFile, FrozenDisk, HypervErrorKind, HypervHost, OmittedDisk, Vm, VmId};
use image::{CHUNK_BYTES, ImageErrorKind, ImageWriter, WrittenImage};
use point::{
    BackupType, DESCRIPTOR_VERSION, DiskDescriptor, NewPoint, PointErrorKind, Points, VmDescriptor,
};
use progress::Progress;
use repo::{Repository, Writer};
use time_and_chance::{Chance, SharedClock};
use uuid::Uuid;

use super::checkpoint::Taken;
use super::increment_base::Base;
use super::leftovers::{self, MARK};
use super::options::{Options, Step};
use super::plan::{BaseObject, DiskFacts, DiskPlan, VmFacts, full_proof_seconds, plan_disk};
use super::state::{JournalEntry, StateFolder};
use super::watch::{self, CheckpointWatch};
use crate::error::{
    BackupError, BackupErrorKind, host_error, image_error, point_error, repo_error,
};

/// Where VMs are backed up from and to.
pub struct VmBackup<'a> {
    /// The host.
    pub host: &'a dyn HypervHost,
    /// The repository's writer.
    pub writer: &'a Writer,
    /// Bases, journal, locks.
    pub state: &'a StateFolder,
    /// How.
    pub options: &'a Options,
    /// Asked after every step whether to go on; a test says no.
    pub goes_on: &'a (dyn Fn(Step) -> bool + Sync),
}

/// What became of one VM.
#[derive(Debug, Clone, PartialEq)]
pub struct PointReport {
    /// The point's manifest id.
    pub point_id: String,
    /// What the point holds.
    pub descriptor: VmDescriptor,
    /// The object of each disk, in the order of the descriptor's disks.
    pub contents: Vec<String>,
    /// How long it took.
    pub duration: Duration,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// A disk of the checkpoint, opened.
pub(super) struct OpenDisk {
    pub(super) number: u32,
    pub(super) frozen: FrozenDisk,
    pub(super) source: Box<dyn DiskSource>,
    pub(super) change_id: Option<ChangeId>,
    pub(super) source_block_bytes: u32,
}

/// A disk that was stored.
struct StoredDisk {
    image: WrittenImage,
    full_reason: Option<String>,
}

impl VmBackup<'_> {
    /// Backs one VM up.
    ///
    /// On an error the checkpoint is gone (or a warning says why it stays), no point is
    /// published, and the old base stands.
    pub fn run(&self, vm: VmId, progress: &Progress) -> Result<PointReport, BackupError> {
        let begun = self.clock().monotonic();
        let _lock = self.state.lock(vm)?;
        let mut warnings = Vec::new();
        progress.phase("looking at the VM");
        let found = leftovers::clean(self.host, self.state, vm, self.clock().now(), false)?;
        warnings.extend(found.warnings.iter().cloned());
        let machine = self.wait_until_free(vm, &progress.stop)?;
        if let Some(obstacle) = leftovers::obstacle(&machine, &found) {
            let kind = if found.another_product_at_work {
                BackupErrorKind::Locked
            } else {
                BackupErrorKind::Unsupported
            };
            return Err(BackupError::new(kind, format!("begin: {obstacle}")));
        }
        watch::check_space(self.host, vm, self.options.free_bytes_min)?;
        let run = self.chance().uuid();
        let mut journal = JournalEntry {
            run,
            mark: format!("{MARK} {run} {}", self.clock().now()),
            checkpoint: None,
            converting: None,
        };
        let result = self.run_marked(&machine, &mut journal, progress, &mut warnings);
        match result {
            Ok((point_id, descriptor, contents)) => {
                warnings.extend(leftovers::reference_point_warnings(
                    &self.state.bases(vm)?,
                    self.clock().now(),
                ));
                warnings
                    .iter()
                    .for_each(|warning| progress.warning(warning));
                let duration = self.clock().monotonic() - begun;
                Ok(PointReport {
                    point_id,
                    descriptor,
                    contents,
                    duration,
                    warnings,
                })
            }
            Err(error) if error.kind() == BackupErrorKind::Killed => Err(error),
            Err(error) => {
                progress.phase("removing the checkpoint");
                match leftovers::clean(self.host, self.state, vm, self.clock().now(), false) {
                    Ok(found) => found.warnings.iter().for_each(|warning| progress.warning(warning)),
                    Err(left) => progress.warning(&format!("could not clean up after the failure; the next run or `host clean` will: {left}")),
                }
                Err(error)
            }
        }
    }

    fn run_marked(
        &self,
        machine: &Vm,
        journal: &mut JournalEntry,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<(String, VmDescriptor, Vec<String>), BackupError> {
        let vm = machine.id;
        self.state.write_journal(vm, journal)?;
        self.after(Step::Announced)?;
        progress.phase("taking a checkpoint");
        let taken = self.take_checkpoint(machine, &journal.mark, &progress.stop)?;
        self.after(Step::CheckpointTaken)?;
        journal.checkpoint = Some(taken.id);
        self.state.write_journal(vm, journal)?;
        self.after(Step::CheckpointJournaled)?;

        // What happened to the VM between the first look and the checkpoint counts too.
        let machine = &self.host.vm(vm).map_err(host_error("look at the VM"))?;
        let watch = CheckpointWatch::new(self.host, vm, self.options, self.clock(), &progress.stop);
        let watched = Progress {
            stop: watch.stop().clone(),
            ..progress.clone()
        };
        let published = watch.during(|| {
            let (stored, mut new_point, base_point) =
                self.store(machine, &taken, journal.run, &watched, warnings)?;
            let point_id = self.publish(&stored, &mut new_point, base_point, &watched)?;
            Ok((stored, new_point, point_id))
        });
        let (stored, new_point, point_id) = published?;
        let (disks, images): (Vec<OpenDisk>, Vec<StoredDisk>) = stored.into_iter().unzip();
        let descriptor = new_point.descriptor().clone();
        let contents = images
            .iter()
            .map(|stored| stored.image.object.to_string())
            .collect();
        let tracked = self.base_disks(machine, &disks, &descriptor, vm)?;
        drop(disks);
        self.after(Step::DisksClosed)?;

        progress.phase("making the checkpoint the next base");
        let base = Base {
            point: descriptor.point,
            reference_point: hyperv::ReferencePointId(String::new()),
            vm_created: machine.created,
            last_applied_checkpoint: machine.last_applied_checkpoint,
            recorded_at: self.clock().now(),
            disks: tracked,
        };
        self.convert(vm, journal, base, progress, warnings)?;
        self.state.clear_journal(vm)?;
        self.after(Step::Done)?;
        self.watch_merge(vm, &progress.stop, warnings)?;
        Ok((point_id, descriptor, contents))
    }

    /// Opens the frozen disks, decides for each, and stores everything the point holds.
    #[expect(
        clippy::type_complexity,
        reason = "the three results are taken apart at once by the only caller"
    )]
    fn store(
        &self,
        machine: &Vm,
        taken: &Taken,
        run: Uuid,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<(Vec<(OpenDisk, StoredDisk)>, NewPoint, Option<Uuid>), BackupError> {
        let vm = machine.id;
        let (disks, omitted) = self.open_disks(machine, taken)?;
        let configuration = self
            .host
            .configuration_files(vm, taken.id)
            .map_err(host_error("read the VM's configuration files"))?;
        let base = self.state.base(&self.repo().unique_id_hex(), vm)?.base;
        let (plans, base_point) = self.plan(machine, &disks, base.as_ref())?;
        progress.phase("storing the disks");
        let mut stored = Vec::with_capacity(disks.len());
        for (disk, plan) in disks.into_iter().zip(plans) {
            let image = self.store_disk(&disk, plan, progress, warnings)?;
            stored.push((disk, image));
        }
        let descriptor = self.describe(machine, taken, run, &stored, omitted);
        let objects = stored
            .iter()
            .map(|(_, stored)| (stored.image.object, stored.image.file_bytes))
            .collect();
        let new_point = self.new_point(descriptor, objects, configuration)?;
        self.after(Step::DataStored)?;
        Ok((stored, new_point, base_point))
    }

    fn new_point(
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

    /// Opens every disk of the checkpoint that is not left out.
    fn open_disks(
        &self,
        machine: &Vm,
        taken: &Taken,
    ) -> Result<(Vec<OpenDisk>, Vec<OmittedDisk>), BackupError> {
        let frozen = self
            .host
            .frozen_disks(machine.id, taken.id)
            .map_err(host_error("list the checkpoint's disks"))?;
        let mut omitted = machine.omitted_disks.clone();
        let mut disks = Vec::new();
        for (frozen, number) in frozen.into_iter().zip(0u32..) {
            let name = frozen
                .original_path
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            if let Some(pattern) = self
                .options
                .exclude_disks
                .iter()
                .find(|pattern| crate::pattern::matches(pattern, &name))
            {
                omitted.push(OmittedDisk {
                    name,
                    reason: format!("left out by --exclude-disk {pattern}"),
                });
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

    /// Decides per disk; returns the base's point too, if anything is built on it.
    fn plan(
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
            // Another client deleted it since, and its maintenance heeds no margins.
            Err(error) if matches!(error.kind(), PointErrorKind::Repo(kind) if kind.is_gone()) => {
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
            })
        });
        Ok(Some(objects.collect()))
    }

    fn store_disk(
        &self,
        disk: &OpenDisk,
        plan: DiskPlan,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<StoredDisk, BackupError> {
        let writer = self.image_writer(disk, progress);
        let doing = || {
            format!(
                "store disk {} ({})",
                disk.number,
                disk.frozen.original_path.display()
            )
        };
        let reason = match plan {
            DiskPlan::Full(reason) => reason,
            DiskPlan::Incremental { since, object } => match disk.source.changes_since(&since) {
                Changes::Unknown(unknown) => match unknown.code {
                    Some(code) => format!(
                        "change tracking cannot tell: {} (0x{code:08X})",
                        unknown.text
                    ),
                    None => format!("change tracking cannot tell: {}", unknown.text),
                },
                Changes::Ranges(changes) => {
                    let base = image::Base { object, changes };
                    match writer.write(disk.source.as_ref(), Some(&base), self.chance()) {
                        Ok(image) => {
                            return Ok(StoredDisk {
                                image,
                                full_reason: None,
                            });
                        }
                        Err(error) if error.kind() == ImageErrorKind::TrackingWrong => {
                            warnings.push(format!("disk {}: {error}; the disk was read in full. Older points of it may lack writes: verify them, and tell the vendor of whatever filters this host's disks", disk.number));
                            "change tracking was proven wrong by the sample".to_owned()
                        }
                        Err(error) if matches!(error.kind(), ImageErrorKind::Repo(kind) if kind.is_gone()) => {
                            "the point of the last backup vanished from the repository during this run".to_owned()
                        }
                        Err(error) => return Err(image_error(doing())(error)),
                    }
                }
            },
        };
        let image = writer
            .write(disk.source.as_ref(), None, self.chance())
            .map_err(image_error(doing()))?;
        Ok(StoredDisk {
            image,
            full_reason: Some(reason),
        })
    }

    /// Publishes the point once everything it consists of is known to be there; the disks are
    /// still frozen and open, so that whatever vanished can be stored again.
    fn publish(
        &self,
        stored: &[(OpenDisk, StoredDisk)],
        new_point: &mut NewPoint,
        base_point: Option<Uuid>,
        progress: &Progress,
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
        if let Err(error) = self.settle(stored, new_point, base_point, progress) {
            if error.kind() != BackupErrorKind::Killed {
                Points::withdraw(self.writer, &point_id)
                    .map_err(point_error("withdraw the restore point"))?;
            }
            return Err(error);
        }
        Ok(point_id)
    }

    /// Makes everything stored visible, looks all of it up again, and stores again what is gone,
    /// until a whole look finds nothing missing (DESIGN section 3, reuse rule).
    fn settle(
        &self,
        stored: &[(OpenDisk, StoredDisk)],
        new_point: &mut NewPoint,
        base_point: Option<Uuid>,
        progress: &Progress,
    ) -> Result<(), BackupError> {
        const LOOKS_MAX: u32 = 5;
        for _ in 0..LOOKS_MAX {
            self.writer.flush().map_err(repo_error("write the index"))?;
            let base_is_live = match base_point {
                Some(point) => {
                    let points = Points::load(self.repo())
                        .map_err(point_error("look for the point of the last backup"))?;
                    points.by_point(point).is_some()
                }
                None => {
                    self.repo()
                        .refresh()
                        .map_err(repo_error("read the index"))?;
                    true
                }
            };
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
                return Ok(());
            }
        }
        Err(BackupError::new(
            BackupErrorKind::Repo(repo::RepoErrorKind::NotFound),
            "store the point: another client keeps deleting what was just written; is maintenance running without its safety margins?",
        ))
    }

    fn image_writer<'b>(&'b self, disk: &OpenDisk, progress: &'b Progress) -> ImageWriter<'b> {
        ImageWriter {
            writer: self.writer,
            progress,
            disk_number: disk.number,
            compression: self.options.compression,
            workers: self.options.workers,
        }
    }

    fn describe(
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

    pub(super) fn after(&self, step: Step) -> Result<(), BackupError> {
        if (self.goes_on)(step) {
            Ok(())
        } else {
            Err(BackupError::new(
                BackupErrorKind::Killed,
                format!("go on after {step:?}"),
            ))
        }
    }

    pub(super) fn repo(&self) -> &Arc<Repository> {
        self.writer.repository()
    }

    pub(super) fn clock(&self) -> &SharedClock {
        self.repo().clock()
    }

    pub(super) fn chance(&self) -> &Chance {
        self.repo().chance()
    }
}
