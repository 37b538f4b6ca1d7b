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

use std::cell::Cell;
use std::time::Duration;

use hyperv::{ConfigurationFile, Vm, VmId};
use point::{NewPoint, VmDescriptor};
use progress::Progress;
use uuid::Uuid;

use super::announced::Announced;
use super::checkpoint::Taken;
use super::frozen_disks::{OpenDisk, StoredDisk};
use super::increment_base::Base;
use super::leftovers::{self, MARK};
use super::options::Step;
use super::pass::{Begun, Lookout, Pass};
use super::passes::{NextPass, next_pass};
use super::state::JournalEntry;
use super::vm_backup::VmBackup;
use super::watch::CheckpointWatch;
use crate::error::{BackupError, BackupErrorKind, host_error};
use crate::run_lock::LockWait;

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

/// A point that was published, and whose checkpoint was dealt with.
struct Published {
    point_id: String,
    descriptor: VmDescriptor,
    contents: Vec<String>,
}

impl VmBackup<'_> {
    /// Backs one VM up, in several passes if its checkpoint has to be given up on the way: each
    /// takes a new one and stores what the repository does not have.
    ///
    /// On an error the checkpoint is gone (or a warning says why it stays), no point is
    /// published, and the old base stands.
    pub fn run(&self, vm: VmId, progress: &Progress) -> Result<PointReport, BackupError> {
        let begun = self.clock().monotonic();
        let _lock = self.state.lock_waiting(
            vm,
            &LockWait {
                clock: self.clock().as_ref(),
                progress,
                max: self.options.lock_wait,
            },
        )?;
        // Not before: nobody's flush waits for a run that waits for somebody else.
        let _in_use = self.writer.begin_use();
        let run = self.chance().uuid();
        let mut warnings = Vec::new();
        let mut unseen_before_bytes = None;
        loop {
            let is_first = unseen_before_bytes.is_none();
            let machine = self.make_ready(vm, is_first, progress, &mut warnings)?;
            let pass = Pass::new(self, &machine, run, progress);
            let error = match self.pass(&machine, &pass, progress, &mut warnings) {
                Ok(published) => return self.report(vm, begun, published, warnings, progress),
                Err(error) if error.kind() == BackupErrorKind::Killed => return Err(error),
                Err(error) => error,
            };
            progress.phase("removing the checkpoint");
            let mut left = Vec::new();
            self.clean_after_failure(vm, &mut left);
            left.iter().for_each(|warning| progress.warning(warning));
            let was_given_up = matches!(
                error.kind(),
                BackupErrorKind::TooLong | BackupErrorKind::Space
            );
            let Some(facts) = pass.facts(unseen_before_bytes).filter(|_| was_given_up) else {
                return Err(error);
            };
            pass.protect();
            let next = next_pass(&facts);
            if let Some(refusal) = next.refusal(&facts) {
                return Err(BackupError::new(error.kind(), refusal).caused_by(error));
            }
            if let NextPass::Again { unseen_bytes } = next {
                unseen_before_bytes = Some(unseen_bytes);
            }
            warnings.push(format!(
                "this took another pass, since a checkpoint was given up: it could not {error}"
            ));
        }
    }

    /// Removes leftovers and waits until the VM can be backed up. After a pass whose checkpoint
    /// was given up, its merge and the room it gives back are waited for.
    fn make_ready(
        &self,
        vm: VmId,
        is_first: bool,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<Vm, BackupError> {
        const MERGE_WAIT: Duration = Duration::from_mins(10);
        progress.phase(if is_first {
            "looking at the VM"
        } else {
            "waiting for another pass"
        });
        let (merge_wait, space_wait) = if is_first {
            (MERGE_WAIT, Duration::ZERO)
        } else {
            let held = Duration::from_hours(u64::from(self.options.checkpoint_hours));
            (held, self.options.space_wait)
        };
        let found = leftovers::clean(self.host, self.state, vm, self.clock().now(), false)?;
        warnings.extend(found.warnings.iter().cloned());
        let machine = self.wait_until_free(vm, merge_wait, &progress.stop)?;
        if let Some(obstacle) = leftovers::obstacle(&machine, &found, &self.options.exclude_disks) {
            let kind = if found.another_product_at_work {
                BackupErrorKind::Locked
            } else {
                BackupErrorKind::Unsupported
            };
            return Err(BackupError::new(kind, format!("begin: {obstacle}")));
        }
        self.wait_for_space(vm, space_wait, &progress.stop)
            .map_err(|error| match (is_first, error.kind()) {
                (false, BackupErrorKind::Space) => BackupError::new(
                    BackupErrorKind::Space,
                    "go on with another pass; what is stored stays, and the next run goes on from it",
                )
                .caused_by(error),
                _ => error,
            })?;
        Ok(machine)
    }

    fn report(
        &self,
        vm: VmId,
        begun: Duration,
        published: Published,
        mut warnings: Vec<String>,
        progress: &Progress,
    ) -> Result<PointReport, BackupError> {
        warnings.extend(leftovers::reference_point_warnings(
            &self.state.bases(vm)?,
            self.clock().now(),
        ));
        warnings
            .iter()
            .for_each(|warning| progress.warning(warning));
        let Published {
            point_id,
            descriptor,
            contents,
        } = published;
        Ok(PointReport {
            point_id,
            descriptor,
            contents,
            duration: self.clock().monotonic() - begun,
            warnings,
        })
    }

    /// One pass: the order of steps.
    fn pass(
        &self,
        machine: &Vm,
        pass: &Pass<'_>,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<Published, BackupError> {
        let vm = machine.id;
        let now = self.clock().now();
        let before = self
            .host
            .checkpoints(vm)
            .map_err(host_error("look for checkpoints"))?;
        let journal = &mut JournalEntry {
            run: pass.run,
            mark: format!("{MARK} {} {now}", pass.run),
            announced: Some(Announced::before_one(now, &machine.name, &before)),
            checkpoint: None,
            converting: None,
        };
        self.state.write_journal(vm, journal)?;
        self.after(Step::Announced)?;
        progress.phase("taking a checkpoint");
        let in_doubt = Cell::new(false);
        let taken = self.take_checkpoint(machine, &journal.mark, &in_doubt, &progress.stop);
        if taken.is_err() && !in_doubt.get() {
            // None of ours is there but what carries our name: what another product took in the
            // same moment must not be taken for the one that was announced.
            self.state.clear_journal(vm)?;
        }
        let taken = taken?;
        self.after(Step::CheckpointTaken)?;
        journal.checkpoint = Some(taken.id);
        self.state.write_journal(vm, journal)?;
        self.after(Step::CheckpointJournaled)?;

        // What happened to the VM between the first look and the checkpoint counts too.
        let machine = &self.host.vm(vm).map_err(host_error("look at the VM"))?;
        let watch = CheckpointWatch::new(
            self.host,
            vm,
            self.options.hold_limits(),
            self.clock(),
            &progress.stop,
        );
        let watched = Progress {
            stop: watch.stop().clone(),
            ..progress.clone()
        };
        let published = watch.during(|| {
            let (stored, mut new_point, base_point) = self.store(
                machine,
                &taken,
                &Lookout {
                    pass,
                    watch: &watch,
                },
                &watched,
                warnings,
            )?;
            let point_id = self.publish(&stored, &mut new_point, base_point, &watched, warnings)?;
            Ok((stored, new_point, point_id))
        });
        let (stored, new_point, point_id) = published?;
        let (disks, images): (Vec<OpenDisk>, Vec<StoredDisk>) = stored.into_iter().unzip();
        let descriptor = new_point.descriptor().clone();
        let contents = images
            .iter()
            .map(|stored| stored.image.object.to_string())
            .collect();
        // The point stands. What fails from here on costs the next run more reading, no more.
        match self.make_base(machine, disks, &descriptor, journal, progress, warnings) {
            Err(error) if error.kind() != BackupErrorKind::Killed => {
                warnings.push(format!(
                    "the point is complete, but no base could be made of it, so the next run reads more: failed to {error}"
                ));
                self.clean_after_failure(vm, warnings);
            }
            other => other?,
        }
        self.watch_merge(vm, progress, warnings)?;
        Ok(Published {
            point_id,
            descriptor,
            contents,
        })
    }

    /// Closes the disks and turns the checkpoint into the base of the next increment.
    fn make_base(
        &self,
        machine: &Vm,
        disks: Vec<OpenDisk>,
        descriptor: &VmDescriptor,
        journal: &mut JournalEntry,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<(), BackupError> {
        let vm = machine.id;
        let tracked = self.base_disks(machine, &disks, descriptor, vm)?;
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
        self.after(Step::Done)
    }

    fn clean_after_failure(&self, vm: VmId, warnings: &mut Vec<String>) {
        match leftovers::clean(self.host, self.state, vm, self.clock().now(), false) {
            Ok(found) => warnings.extend(found.warnings),
            Err(left) => warnings.push(format!(
                "could not clean up after the failure; the next run or `host clean` will: {left}"
            )),
        }
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
        lookout: &Lookout<'_>,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<(Vec<(OpenDisk, StoredDisk)>, NewPoint, Option<Uuid>), BackupError> {
        let vm = machine.id;
        let (disks, omitted) = self.open_disks(machine, taken)?;
        let configuration = self
            .host
            .configuration_files(vm, taken.id)
            .map_err(host_error("read the VM's configuration files"))?;
        if !configuration.iter().any(is_definition) {
            warnings.push("the VM's own configuration files could not be had: the point holds its settings as text alone (config/settings.xml, which says why), from which a restore defines the VM anew".to_owned());
        }
        let base = self.state.base(&self.repo().unique_id_hex(), vm)?.base;
        let (plans, base_point) = self.plan(machine, &disks, base.as_ref())?;
        let mut planned_bytes = 0;
        let mut work = Vec::with_capacity(disks.len());
        for (disk, plan) in disks.into_iter().zip(plans) {
            let of_disk = Self::work(&disk, plan);
            planned_bytes += of_disk.bytes_to_read(&disk)?;
            work.push((disk, of_disk));
        }
        let original_path = |disk: &OpenDisk| disk.frozen.original_path.display().to_string();
        let begun = Begun {
            frozen_at: taken.frozen_at,
            held_since: lookout.watch.held_since(),
            base_point,
            original_paths: work
                .iter()
                .map(|(disk, _)| (disk.number, original_path(disk)))
                .collect(),
        };
        lookout.pass.begin(begun, planned_bytes);
        progress.phase("storing the disks");
        let mut stored = Vec::with_capacity(work.len());
        for (disk, of_disk) in work {
            let image = self.store_disk(&disk, of_disk, lookout, progress, warnings)?;
            stored.push((disk, image));
        }
        let descriptor = self.describe(machine, taken, lookout.pass.run, &stored, omitted);
        let objects = stored
            .iter()
            .map(|(_, stored)| (stored.image.object, stored.image.file_bytes))
            .collect();
        let new_point = self.new_point(descriptor, objects, configuration)?;
        self.after(Step::DataStored)?;
        Ok((stored, new_point, base_point))
    }
}

/// Returns whether a VM can be imported from a file.
fn is_definition(file: &ConfigurationFile) -> bool {
    let end = file.name.rsplit_once('.').map(|(_, end)| end);
    end.is_some_and(|end| end.eq_ignore_ascii_case("vmcx"))
}
