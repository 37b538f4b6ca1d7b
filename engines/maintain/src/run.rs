//! One maintenance, step by step.

use std::sync::Arc;

use kopia::maintenance::{MaintenanceCycle, MaintenanceParameters, MaintenanceSchedule};
use progress::Progress;
use repo::{Repository, ScheduleKeeper, Writer};
use time_and_chance::{SignedDuration, Timestamp};

use crate::collect::Collection;
use crate::error::{MaintainError, MaintainErrorKind, is_damage, repo_error};
use crate::ownership::be_owner;
use crate::plan::{self, Limits, task};
use crate::report::{Collected, Deleted, Epochs, Locked, Report, Rewritten};
use crate::upkeep::Upkeep;
use crate::{locks, logs, packs};

const DOING: &str = "maintain the repository";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Collect, rewrite and delete, too; otherwise only the index is looked after.
    pub full: bool,
    /// Change nothing and tell what would be done.
    pub dry_run: bool,
    /// Become the owner first.
    pub take_ownership: bool,
    /// The memory that all of it may take; fewer packs are put at once if it is little.
    pub memory_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            full: false,
            dry_run: false,
            take_ownership: false,
            memory_bytes: u64::from(Self::MEMORY_MIB) << 20,
        }
    }
}

/// A maintenance to be carried out.
#[derive(Debug)]
pub struct Maintenance<'a> {
    /// The repository.
    pub repo: &'a Arc<Repository>,
    /// What to do.
    pub options: Options,
    /// Whom to tell, and who may stop it.
    pub progress: &'a Progress,
}

impl Maintenance<'_> {
    /// Maintains the repository.
    ///
    /// # Errors
    /// `NotOwner` and `Locked` before anything is done; `ClockSkew` before anything but the
    /// schedule is written; or what the repository says. Whatever was done until then is whole.
    pub fn run(&self) -> Result<Report, MaintainError> {
        let repo = self.repo;
        let lock = repo.lock_maintenance().map_err(repo_error(DOING))?;
        let _only_one = lock.ok_or_else(|| {
            MaintainError::new(
                MaintainErrorKind::Locked,
                format!("{DOING}: another maintenance runs on this machine"),
            )
        })?;
        self.progress.phase("checking who maintains the repository");
        let parameters = be_owner(repo, self.options.take_ownership, self.options.dry_run)?;
        let keeper = ScheduleKeeper::new(repo).map_err(repo_error(DOING))?;
        let schedule = keeper
            .read()
            .map_err(repo_error(DOING))?
            .unwrap_or_default();
        let mut run = Run {
            repo,
            progress: self.progress,
            options: self.options,
            report: Report {
                owner: parameters.owner.clone(),
                full: self.options.full,
                dry_run: self.options.dry_run,
                started: repo.clock().now(),
                collected: Collected::default(),
                rewritten: Rewritten::default(),
                deleted: Deleted::default(),
                locked: Locked::default(),
                epochs: Epochs::default(),
                put_off: Vec::new(),
                collection_stopped: None,
            },
            parameters,
            keeper,
            schedule,
        };
        run.start()?;
        if self.options.full {
            run.full()?;
            run.locks()?;
        }
        run.epochs()?;
        if self.options.full {
            run.logs()?;
        }
        run.save()?;
        Ok(run.report)
    }
}

/// A maintenance that is under way.
struct Run<'a> {
    repo: &'a Arc<Repository>,
    progress: &'a Progress,
    options: Options,
    parameters: MaintenanceParameters,
    keeper: ScheduleKeeper<'a>,
    schedule: MaintenanceSchedule,
    report: Report,
}

impl Run<'_> {
    /// Writes the schedule: the store's time of it is when this run begins.
    fn start(&mut self) -> Result<(), MaintainError> {
        if self.options.dry_run {
            return Ok(());
        }
        let now = self.now();
        let next = |cycle: &MaintenanceCycle| {
            now.saturating_add(SignedDuration::from_nanos(cycle.interval_ns))
                .unwrap_or(Timestamp::MAX)
        };
        self.schedule.next_quick_maintenance = next(&self.parameters.quick);
        if self.options.full {
            self.schedule.next_full_maintenance = next(&self.parameters.full);
        }
        plan::end_interrupted(&mut self.schedule, now);
        let stored = self
            .keeper
            .write(&self.schedule)
            .map_err(repo_error(DOING))?;
        if let Some(seconds) = plan::skew_seconds(stored, now) {
            return Err(MaintainError::new(
                MaintainErrorKind::ClockSkew,
                format!(
                    "{DOING}: this machine's clock differs from the store's by {seconds} seconds, so nothing is changed or deleted; set it right and try again"
                ),
            ));
        }
        self.report.started = stored;
        Ok(())
    }

    /// Deletes what earlier runs made unreferenced, then collects for later ones.
    fn full(&mut self) -> Result<(), MaintainError> {
        self.delete_packs()?;
        let writer = match self.options.dry_run {
            true => None,
            false => {
                Some(Writer::new(self.repo, self.options.uploads()).map_err(repo_error(DOING))?)
            }
        };
        if let Some(writer) = &writer {
            writer.compact_manifests().map_err(repo_error(DOING))?;
        }
        match self.collect(writer.as_ref()) {
            Ok(()) => {}
            Err(error) if is_damage(error.kind()) => {
                self.report.collection_stopped = Some(error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.rewrite(writer.as_ref())?;
        self.drop_deleted()
    }

    fn delete_packs(&mut self) -> Result<(), MaintainError> {
        let (limits, dry_run) = (self.limits(), self.options.dry_run);
        if let Some(objection) = plan::objection_to_deletion(&self.schedule, limits.start) {
            self.report.put_off.push(objection);
            return Ok(());
        }
        self.task(task::DELETE_PACKS, |run| {
            let deleted = &mut run.report.deleted;
            packs::delete_unreferenced(run.repo, limits, dry_run, run.progress, deleted)
        })
    }

    fn collect(&mut self, writer: Option<&Writer>) -> Result<(), MaintainError> {
        let limits = self.limits();
        self.task(task::COLLECT, |run| {
            let collection = Collection {
                repo: run.repo,
                writer,
                limits,
                progress: run.progress,
            };
            run.report.collected = collection.run()?;
            Ok(())
        })
    }

    fn rewrite(&mut self, writer: Option<&Writer>) -> Result<(), MaintainError> {
        if let Some(objection) = plan::objection_to_rewriting(&self.schedule) {
            self.report.put_off.push(objection.to_owned());
            return Ok(());
        }
        let limits = self.limits();
        self.task(task::REWRITE, |run| {
            let rewritten = packs::rewrite_short(run.repo, writer, limits, run.progress)?;
            run.report.rewritten = rewritten;
            Ok(())
        })?;
        if self.report.rewritten.packs == 0 {
            // Nothing moved: nobody has to wait for anything.
            plan::forget(&mut self.schedule, task::REWRITE);
        }
        Ok(())
    }

    fn drop_deleted(&mut self) -> Result<(), MaintainError> {
        if self.report.collected.missing > 0 {
            let missing = self.report.collected.missing;
            self.report.put_off.push(format!(
                "deleted contents are kept: points need {missing} contents that no index has; `repo verify` names them"
            ));
            return Ok(());
        }
        let known = self.repo.watermark_seconds();
        let Some(seconds) = plan::watermark(&self.schedule).filter(|it| *it > known) else {
            return Ok(());
        };
        if self.options.dry_run {
            // The collection that this rests on was not made.
            return Ok(());
        }
        self.task(task::DROP, |run| {
            let moved = run.repo.advance_watermark(seconds);
            run.report.epochs.watermark_seconds =
                moved.map_err(repo_error(DOING))?.then_some(seconds);
            Ok(())
        })
    }

    fn locks(&mut self) -> Result<(), MaintainError> {
        if !self.parameters.extend_object_locks {
            return Ok(());
        }
        let (start, dry_run) = (self.report.started, self.options.dry_run);
        let (repo, progress) = (self.repo, self.progress);
        self.note(task::EXTEND_LOCKS, |report| {
            let leaving = &report.deleted.refused;
            report.locked = locks::extend(repo, start, leaving, dry_run, progress)?;
            Ok(())
        })?;
        if let Some(objection) = self.report.locked.objection() {
            let now = self.now();
            plan::end(
                &mut self.schedule,
                task::EXTEND_LOCKS,
                now,
                Some(&objection),
            );
            self.report.put_off.push(objection);
        }
        Ok(())
    }

    fn epochs(&mut self) -> Result<(), MaintainError> {
        let upkeep = Upkeep {
            repo: self.repo,
            dry_run: self.options.dry_run,
            progress: self.progress,
        };
        self.note(task::COMPACT_SINGLE, |report| {
            upkeep.compact_singles(&mut report.epochs)
        })?;
        self.note(task::ADVANCE, |report| upkeep.advance(&mut report.epochs))?;
        if !self.options.full {
            return Ok(());
        }
        self.note(task::COMPACT_RANGE, |report| {
            upkeep.compact_range(&mut report.epochs)
        })?;
        self.note(task::CLEAN_MARKERS, |report| {
            upkeep.clean_markers(&mut report.deleted)
        })?;
        self.note(task::DELETE_SUPERSEDED, |report| {
            upkeep.delete_superseded(&mut report.deleted)
        })
    }

    fn logs(&mut self) -> Result<(), MaintainError> {
        let (repo, progress, limits) = (self.repo, self.progress, self.limits());
        let (kept, dry_run) = (self.parameters.log_retention, self.options.dry_run);
        self.note(task::LOGS, |report| {
            report.deleted.logs = logs::clean_up(repo, &kept, limits, dry_run, progress)?;
            Ok(())
        })
    }

    /// Does a task on which the intervals of others depend: the schedule says that it began before
    /// it does, so an interrupted one is known.
    fn task(
        &mut self,
        task: &str,
        work: impl FnOnce(&mut Self) -> Result<(), MaintainError>,
    ) -> Result<(), MaintainError> {
        let started = self.now();
        plan::begin(&mut self.schedule, task, started);
        self.save()?;
        let outcome = work(self);
        let error = outcome.as_ref().err().map(ToString::to_string);
        let ended = self.now();
        plan::end(&mut self.schedule, task, ended, error.as_deref());
        let saved = self.save();
        outcome.and(saved)
    }

    /// Does a task and notes it; the note is stored with the next.
    fn note(
        &mut self,
        task: &str,
        work: impl FnOnce(&mut Report) -> Result<(), MaintainError>,
    ) -> Result<(), MaintainError> {
        let started = self.now();
        plan::begin(&mut self.schedule, task, started);
        let outcome = work(&mut self.report);
        let error = outcome.as_ref().err().map(ToString::to_string);
        let ended = self.now();
        plan::end(&mut self.schedule, task, ended, error.as_deref());
        outcome
    }

    fn save(&self) -> Result<(), MaintainError> {
        match self.options.dry_run {
            true => Ok(()),
            false => self
                .keeper
                .write(&self.schedule)
                .map(drop)
                .map_err(repo_error("note what maintenance did")),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            start: self.report.started,
        }
    }

    fn now(&self) -> Timestamp {
        self.repo.clock().now()
    }
}
