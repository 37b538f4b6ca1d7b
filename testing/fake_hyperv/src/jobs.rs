//! Jobs: what long methods leave running behind their answer (Hyper-V spec 2.6).
//!
//! Time passes for a job with each look at it, so that tests need no sleep.

use std::fmt;
use std::time::Duration;

use hyperv::sim::{SimHost, Step};
use hyperv::{HypervError, HypervHost, MergeState, VmId};
use time_and_chance::Timestamp;
use windows_host::wmi::Value;

use crate::Manners;
use crate::embedded;
use crate::failure::{self, Failure, JobError, Refusal};
use crate::schema::{Family, Schema};
use crate::world::{Properties, Subject, interval, moment};

/// What a job's work came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// What it made or changed.
    pub affected: Vec<Subject>,
    /// What it has to say: failures, or warnings of work that was done.
    pub errors: Vec<JobError>,
    /// Whether nobody will ever see its end.
    pub vanishes: bool,
}

impl Done {
    /// Returns what came of work that made something.
    pub(crate) fn made(subject: Subject) -> Self {
        Self {
            affected: vec![subject],
            ..Self::default()
        }
    }

    fn failed(error: JobError) -> Self {
        Self {
            errors: vec![error],
            ..Self::default()
        }
    }
}

/// Work that a job is to do.
pub(crate) type Work = Box<dyn FnOnce(&SimHost) -> Result<Done, HypervError> + Send>;

/// A job.
pub(crate) struct Job {
    pub id: String,
    /// `JobType`.
    pub kind: u16,
    pub vm: Option<VmId>,
    pub started: Timestamp,
    /// Whether it ends only when the VM's disks are merged.
    pub waits_for_merge: bool,
    work: Option<Work>,
    done: Option<Done>,
    looks: usize,
    /// Its last state, once it has one.
    end: Option<u16>,
    looks_after_end: u32,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "job {} of type {}, {} looks",
            self.id, self.kind, self.looks
        )
    }
}

const RUNNING: u16 = 4;
const COMPLETED: u16 = 7;
const TERMINATED: u16 = 8;
const EXCEPTION: u16 = 10;
const COMPLETED_WITH_WARNINGS: u16 = 32768;

/// How long a finished job stays.
const TIME_BEFORE_REMOVAL: Duration = Duration::from_secs(300);

impl Job {
    /// Returns a job whose work is still to be done.
    pub(crate) fn ahead(
        id: String,
        kind: u16,
        vm: Option<VmId>,
        now: Timestamp,
        work: Work,
    ) -> Self {
        Self {
            id,
            kind,
            vm,
            started: now,
            waits_for_merge: false,
            work: Some(work),
            done: None,
            looks: 0,
            end: None,
            looks_after_end: 0,
        }
    }

    /// Returns a job whose work is done, although nobody sees it yet.
    pub(crate) fn behind(
        id: String,
        kind: u16,
        vm: Option<VmId>,
        now: Timestamp,
        done: Done,
    ) -> Self {
        let mut job = Self::ahead(id, kind, vm, now, Box::new(|_| Ok(Done::default())));
        job.work = None;
        job.done = Some(done);
        job
    }

    /// Returns what it made or changed, once it has ended.
    pub(crate) fn affected(&self) -> &[Subject] {
        match (&self.done, self.end) {
            (Some(done), Some(COMPLETED | COMPLETED_WITH_WARNINGS)) => &done.affected,
            _ => &[],
        }
    }

    /// Returns what it has to say, once it has ended.
    pub(crate) fn errors(&self) -> &[JobError] {
        match (&self.done, self.end) {
            (Some(done), Some(_)) => &done.errors,
            _ => &[],
        }
    }

    /// Lets it go on by one look. Returns whether it is still there.
    pub(crate) fn look(&mut self, host: &SimHost, now: Timestamp, manners: &Manners) -> bool {
        if self.end.is_some() {
            self.looks_after_end += 1;
            let looked = manners.finished_job_looks;
            return looked.is_none_or(|looks| self.looks_after_end < looks)
                && now.duration_since(self.started).unsigned_abs() < TIME_BEFORE_REMOVAL;
        }
        if self.looks < manners.job_states.len() {
            self.looks += 1;
            return true;
        }
        self.do_work(host);
        if self.waits_for_merge && self.still_merges(host) {
            return true;
        }
        let Some(done) = &self.done else { return true };
        if done.vanishes {
            return false;
        }
        let failed = done
            .errors
            .iter()
            .any(|error| error.severity >= failure::SEVERE);
        self.end = Some(match (failed, done.errors.is_empty()) {
            (true, _) => EXCEPTION,
            (false, false) => COMPLETED_WITH_WARNINGS,
            (false, true) if manners.jobs_end_with_warnings => COMPLETED_WITH_WARNINGS,
            (false, true) => COMPLETED,
        });
        true
    }

    fn do_work(&mut self, host: &SimHost) {
        if let Some(work) = self.work.take() {
            self.done = Some(done(work(host)));
        }
    }

    fn still_merges(&self, host: &SimHost) -> bool {
        self.vm.is_some_and(|vm| {
            host.look_at(&[vm], Step::MergeState).is_ok()
                && matches!(host.merge_state(vm), Ok(MergeState::Running(_)))
        })
    }

    /// Cancels it if its work is not done yet.
    pub(crate) fn cancel(&mut self) -> Result<(), Refusal> {
        if self.work.take().is_none() {
            return Err(Refusal::InvalidState);
        }
        self.done = Some(Done::default());
        self.end = Some(TERMINATED);
        Ok(())
    }

    /// Returns it as WMI shows it.
    pub(crate) fn properties(&self, now: Timestamp, manners: &Manners) -> Properties {
        let state = self.end.unwrap_or_else(|| {
            let shown = self.looks.checked_sub(1);
            let shown = shown.and_then(|look| manners.job_states.get(look).copied());
            shown.unwrap_or(RUNNING)
        });
        let percent = match self.end {
            Some(COMPLETED | COMPLETED_WITH_WARNINGS) => 100,
            _ => self.looks * 100 / (manners.job_states.len() + 2),
        };
        let elapsed = now.duration_since(self.started).unsigned_abs();
        let mut properties = vec![
            ("InstanceID", self.id.as_str().into()),
            ("Caption", "Vorgang".into()),
            ("JobState", state.into()),
            ("JobType", self.kind.into()),
            (
                "PercentComplete",
                u16::try_from(percent).unwrap_or(100).into(),
            ),
            ("StartTime", moment(self.started).into()),
            ("ElapsedTime", interval(elapsed).into()),
            ("TimeBeforeRemoval", interval(TIME_BEFORE_REMOVAL).into()),
            ("Cancellable", self.work.is_some().into()),
            ("DeleteOnCompletion", false.into()),
            ("OperationalStatus", Value::Array(vec![2u16.into()])),
            ("HealthState", 5u16.into()),
        ];
        let failed = self.end == Some(EXCEPTION);
        // The number of the method that left the job (spec 2.6; that it is one of family B: low).
        let refusal = self.errors().first().and_then(|error| error.refusal);
        let number = refusal.unwrap_or(Refusal::Failed).code(Family::B, manners);
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        properties.push(("ErrorCode", if failed { number } else { 0 }.into()));
        if let Some(error) = self.errors().first().filter(|_| failed) {
            properties.push(("ErrorDescription", error.message().into()));
        }
        properties
    }
}

/// Returns what work came to that went like this.
pub(crate) fn done(result: Result<Done, HypervError>) -> Done {
    let error = match result {
        Ok(done) => return done,
        Err(error) => error,
    };
    match failure::of_method(&error) {
        Failure::Job(error) => Done::failed(error),
        Failure::Vanished => Done {
            vanishes: true,
            ..Done::default()
        },
        // What would have been refused at once was found out too late for that: the job tells.
        Failure::Call(refused) => Done::failed(JobError {
            code: refused.code(),
            severity: failure::SEVERE,
            about: error.to_string(),
            refusal: None,
        }),
        Failure::Refused(refusal) => Done::failed(JobError {
            code: None,
            severity: failure::SEVERE,
            about: error.to_string(),
            refusal: Some(refusal),
        }),
    }
}

/// Returns errors as `GetErrorEx` does: each an embedded `Msvm_Error` (Hyper-V spec 2.7).
pub(crate) fn error_texts(schema: &Schema, errors: &[JobError]) -> Vec<String> {
    let class = schema
        .class("Msvm_Error")
        .expect("the model knows its classes");
    let text = |error: &JobError| {
        let mut object = windows_host::wmi::WmiObject {
            class: class.name.clone(),
            ..Default::default()
        };
        object.set("ErrorType", 1u16);
        object.set("MessageID", "32768");
        object.set("Message", error.message());
        object.set("PerceivedSeverity", error.severity);
        object.set("ProbableCause", 0u16);
        object.set("CIMStatusCode", Value::u32(1));
        object.set(
            "RecommendedActions",
            Value::texts(["Wenden Sie sich an den Hersteller."]),
        );
        embedded::write(class, &object)
    };
    errors.iter().map(text).collect()
}
