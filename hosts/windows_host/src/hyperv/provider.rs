//! Calls of Hyper-V's provider: queries, and methods followed to the end of their jobs.
//!
//! It knows WMI, jobs and return codes; of the classes only those that every call needs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyperv::{HypervError, HypervErrorKind as Kind, VmId};
use time_and_chance::{SharedClock, StopSignal};

use super::beliefs::Beliefs;
use super::cluster::Cluster;
use super::errors::{
    WBEM_INVALID_CLASS, WBEM_NOT_FOUND, answer_was_lost, change_error, return_error, wmi_error,
};
use super::events::{self, EventChannels};
use super::instance_id::guid_text;
use super::jobs::{JobMessage, JobPhase, pause, reason};
use super::method::{Answer, Change, Failed};
use super::occupation::occupation;
use super::patience::{PAUSE_MAX, PAUSE_MIN, is_passing, patiently};
use super::return_codes::{Failure, ReturnCode};
use crate::wmi::{EmbeddedSource, Value, WmiError, WmiObject, WmiSession, wql_literal};

/// The management service.
pub(super) const MANAGEMENT: &str = "Msvm_VirtualSystemManagementService";
/// The class of VMs, and of the host's own row among them.
pub(super) const COMPUTER_SYSTEM: &str = "Msvm_ComputerSystem";

/// What was logged just before a step began may explain it too.
const LOGGED_BEFORE: Duration = Duration::from_secs(5);
/// `RequestedState` of a job: terminate.
const TERMINATE: u16 = 4;

/// Hyper-V's WMI provider.
#[derive(Debug)]
pub(super) struct Provider {
    session: Arc<dyn WmiSession>,
    pub(super) cluster: Cluster,
    pub(super) clock: SharedClock,
    pub(super) beliefs: Beliefs,
    services: Mutex<HashMap<&'static str, String>>,
    /// Where Hyper-V logs what happens.
    pub(super) events: Option<Arc<dyn EventChannels>>,
}

impl Provider {
    pub(super) fn new(
        session: Arc<dyn WmiSession>,
        cluster: Cluster,
        clock: SharedClock,
        beliefs: Beliefs,
    ) -> Self {
        Self {
            session,
            cluster,
            clock,
            beliefs,
            services: Mutex::default(),
            events: None,
        }
    }

    /// Returns the objects a query finds.
    pub(super) fn query(&self, doing: &str, wql: &str) -> Result<Vec<WmiObject>, HypervError> {
        self.patiently(|| self.session.query(wql))
            .map_err(|error| wmi_error(doing, error))
    }

    fn patiently<T>(&self, ask: impl Fn() -> Result<T, WmiError>) -> Result<T, WmiError> {
        patiently(&self.clock, self.beliefs.limits.unavailable, ask)
    }

    /// Returns all objects of a class; none if this host's Hyper-V has no such class.
    pub(super) fn all(&self, class: &str) -> Result<Vec<WmiObject>, HypervError> {
        let wql = format!("SELECT * FROM {class}");
        match self.patiently(|| self.session.query(&wql)) {
            Err(error) if error.code() == Some(WBEM_INVALID_CLASS) => Ok(Vec::new()),
            other => other.map_err(|error| wmi_error(&format!("list every {class}"), error)),
        }
    }

    /// Returns the objects of a class whose `property` is `value`.
    pub(super) fn matching(
        &self,
        class: &str,
        property: &str,
        value: &str,
    ) -> Result<Vec<WmiObject>, HypervError> {
        let literal = wql_literal(value);
        self.query(
            &format!("list every {class}"),
            &format!("SELECT * FROM {class} WHERE {property} = {literal}"),
        )
    }

    /// Returns what is associated with the object at `path`.
    pub(super) fn associated(
        &self,
        path: &str,
        association: &str,
        class: &str,
    ) -> Result<Vec<WmiObject>, HypervError> {
        self.query(
            &format!("look for the {class} that belong to {path}"),
            &format!(
                "ASSOCIATORS OF {{{path}}} WHERE AssocClass = {association} ResultClass = {class}"
            ),
        )
    }

    /// Returns all parts of a configuration: drives, disks, adapters, processors, memory.
    pub(super) fn components(&self, settings: &str) -> Result<Vec<WmiObject>, HypervError> {
        self.query(
            &format!("list the parts of {settings}"),
            &format!(
                "ASSOCIATORS OF {{{settings}}} WHERE AssocClass = Msvm_VirtualSystemSettingDataComponent"
            ),
        )
    }

    /// Returns the object at a path, none if it is not there.
    pub(super) fn find(&self, doing: &str, path: &str) -> Result<Option<WmiObject>, HypervError> {
        match self.patiently(|| self.session.get(path)) {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.code() == Some(WBEM_NOT_FOUND) => Ok(None),
            Err(error) => Err(wmi_error(doing, error)),
        }
    }

    /// Returns a VM.
    ///
    /// # Errors
    /// `NotFound` if it is not here, `Denied` if this account sees nothing at all.
    pub(super) fn system(&self, vm: VmId) -> Result<WmiObject, HypervError> {
        let doing = format!("find VM {vm}");
        if let Some(system) = self.find(&doing, &system_path(COMPUTER_SYSTEM, vm))? {
            return Ok(system);
        }
        self.check_sight(&self.all(COMPUTER_SYSTEM)?)?;
        let elsewhere = match self.cluster.node_of(vm) {
            Some(node) => format!("the cluster has it on {node}; back it up there"),
            None => "it may have been deleted or moved to another".to_owned(),
        };
        Err(HypervError::new(
            Kind::NotFound,
            format!("{doing}: it is not on this host; {elsewhere}"),
        ))
    }

    /// Checks that this account sees anything: the host's own row is always there, and an
    /// administrator who is not elevated gets nothing and no error (spec 2.1, RH-27).
    pub(super) fn check_sight(&self, systems: &[WmiObject]) -> Result<(), HypervError> {
        if !systems.is_empty() {
            return Ok(());
        }
        Err(HypervError::new(
            Kind::Denied,
            "list VMs: Hyper-V shows this account nothing, not even the host itself; run as SYSTEM or elevated",
        ))
    }

    /// Returns the path of the only instance of a service class.
    pub(super) fn service(&self, class: &'static str) -> Result<String, HypervError> {
        if let Some(known) = self
            .services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(class)
        {
            return Ok(known.clone());
        }
        let doing = format!("find the {class}");
        let found = self.query(&doing, &format!("SELECT * FROM {class}"))?;
        let Some(service) = found.first() else {
            return Err(HypervError::new(
                Kind::Denied,
                format!(
                    "{doing}: Hyper-V does not show it to this account; run as SYSTEM or elevated"
                ),
            ));
        };
        let path = service
            .path()
            .map_err(|error| wmi_error(&doing, error))?
            .to_owned();
        self.services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(class, path.clone());
        Ok(path)
    }

    /// Returns an object as text for a parameter.
    pub(super) fn embedded(
        &self,
        doing: &str,
        source: EmbeddedSource<'_>,
        changes: &[(&str, Value)],
    ) -> Result<String, HypervError> {
        let form = self.beliefs.text_form;
        self.patiently(|| self.session.embedded_as(form, source, changes))
            .map_err(|error| wmi_error(doing, error))
    }

    /// Returns whether this host's version of a class has a property (spec 2.3).
    pub(super) fn has_property(&self, class: &str, property: &str) -> Result<bool, HypervError> {
        let doing = format!("look at the class {class}");
        let names = self
            .patiently(|| self.session.class_properties(class))
            .map_err(|error| wmi_error(&doing, error))?;
        Ok(names.iter().any(|name| name.eq_ignore_ascii_case(property)))
    }

    /// Calls a method that only asks and makes no job.
    pub(super) fn ask(
        &self,
        doing: &str,
        object: &str,
        method: &str,
        parameters: &[(&str, Value)],
    ) -> Result<WmiObject, HypervError> {
        let out = self
            .patiently(|| self.session.call(object, method, parameters))
            .map_err(|error| wmi_error(doing, error))?;
        match return_code(doing, &out)? {
            ReturnCode::Failed(failure) => Err(return_error(doing, failure)),
            ReturnCode::Done | ReturnCode::Job => Ok(out),
        }
    }

    /// Calls a method and follows its job to the end.
    pub(super) fn change(&self, change: Change<'_>, stop: &StopSignal) -> Result<Answer, Failed> {
        let out = self.begin(change, stop)?;
        self.follow_answer(change, out, stop)
    }

    /// Asks by a method that may take a job to answer, once: whoever is too busy to answer does
    /// not.
    pub(super) fn ask_by_job(
        &self,
        question: Change<'_>,
        stop: &StopSignal,
    ) -> Result<Answer, Failed> {
        let out = self.ask(
            question.doing,
            question.object,
            question.method,
            question.parameters,
        )?;
        self.follow_answer(question, out, stop)
    }

    fn follow_answer(
        &self,
        change: Change<'_>,
        out: WmiObject,
        stop: &StopSignal,
    ) -> Result<Answer, Failed> {
        let job = match return_code(change.doing, &out)? {
            ReturnCode::Done => return Ok(Answer { out, job: None }),
            _ => out
                .text("Job")
                .map_err(|error| wmi_error(change.doing, error))?
                .to_owned(),
        };
        self.follow(change, &job, stop)?;
        Ok(Answer {
            out,
            job: Some(job),
        })
    }

    /// Returns the paths of what a method made (spec 2.6): what its job affected, or its
    /// out-parameter. Finds nothing where the job is gone already; then callers look themselves.
    pub(super) fn made(&self, answer: &Answer, parameter: &str, class: &str) -> Vec<String> {
        let affected = answer
            .job
            .as_deref()
            .map(|job| self.affected_by(job, class));
        let affected = affected.and_then(Result::ok).unwrap_or_default();
        match answer.out.value(parameter) {
            Value::Text(path) if affected.is_empty() && !path.is_empty() => vec![path.clone()],
            _ => affected,
        }
    }

    /// Returns the paths of what a job affected.
    pub(super) fn affected_by(&self, job: &str, class: &str) -> Result<Vec<String>, HypervError> {
        let affected = self.associated(job, "Msvm_AffectedJobElement", class)?;
        Ok(affected
            .into_iter()
            .filter_map(|object| object.path)
            .collect())
    }

    /// Calls a method, again and again while the VM is busy (spec 2.5) or the call does not get
    /// through to the service. What it began may go on in a job.
    pub(super) fn begin(&self, change: Change<'_>, stop: &StopSignal) -> Result<WmiObject, Failed> {
        let begun = self.clock.monotonic();
        let mut wait = PAUSE_MIN;
        loop {
            stop.check().map_err(|_| stopped(change.doing))?;
            let waited = self.clock.monotonic() - begun;
            let out = self
                .session
                .call(change.object, change.method, change.parameters);
            match out {
                Err(error) if is_unheard(&error) && waited < self.beliefs.limits.unavailable => {}
                Err(error) => return Err(change_error(change.doing, error).into()),
                Ok(out) => match return_code(change.doing, &out)? {
                    ReturnCode::Failed(failure) if failure.kind == Kind::Busy => {
                        if waited >= self.beliefs.limits.busy {
                            return Err(self.busy(change, failure).into());
                        }
                    }
                    ReturnCode::Failed(failure) => {
                        return Err(Failed {
                            is_explained: failure.kind != Kind::Failed,
                            is_refusal: true,
                            ..return_error(change.doing, failure).into()
                        });
                    }
                    ReturnCode::Done | ReturnCode::Job => return Ok(out),
                },
            }
            self.clock
                .sleep(wait, stop)
                .map_err(|_| stopped(change.doing))?;
            wait = (wait * 2).min(PAUSE_MAX);
        }
    }

    /// Returns the error of a VM that stays busy, with what it is busy with if it tells.
    fn busy(&self, change: Change<'_>, failure: Failure) -> HypervError {
        let status = change
            .vm
            .and_then(|vm| self.session.get(&system_path(COMPUTER_SYSTEM, vm)).ok())
            .and_then(|system| system.numbers("OperationalStatus").ok());
        let occupation = occupation(&status.unwrap_or_default());
        let text = format!("{}: {}{occupation}", change.doing, failure.text);
        HypervError::new(Kind::Busy, text).with_code(failure.code)
    }

    /// Follows a job to its end.
    ///
    /// # Errors
    /// `OutcomeUnknown` if it vanished or its time was over; a job that was told to stop and
    /// succeeded all the same is a success.
    fn follow(&self, change: Change<'_>, job: &str, stop: &StopSignal) -> Result<(), Failed> {
        let begun = self.clock.monotonic();
        let mut told_at = None;
        let unstoppable = StopSignal::new();
        for look in 0.. {
            let object = match self.session.get(job) {
                Ok(object) => Some(object),
                Err(error) if error.code() == Some(WBEM_NOT_FOUND) => {
                    return Err(
                        unknown(change.doing, "its job vanished before its end was seen").into(),
                    );
                }
                // The service may come back; if it lost the job, the next look finds none.
                Err(error) if is_passing(&error) => None,
                Err(error) => {
                    let unseen = unknown(change.doing, "its job can no longer be looked at");
                    return Err(of_job(job, unseen.caused_by(error)));
                }
            };
            if let Some(object) = &object {
                let state = object
                    .u16("JobState")
                    .map_err(|error| wmi_error(change.doing, error))?;
                match JobPhase::of(state) {
                    JobPhase::Waiting => {}
                    JobPhase::Completed => return Ok(()),
                    JobPhase::Cancelled if told_at.is_some() => {
                        return Err(stopped(change.doing).into());
                    }
                    JobPhase::Cancelled => {
                        let cancelled = HypervError::new(
                            Kind::Failed,
                            format!("{}: its job was cancelled on the host", change.doing),
                        );
                        return Err(of_job(job, cancelled));
                    }
                    JobPhase::Failed => {
                        let took = self.clock.monotonic() - begun;
                        return Err(self.failure(change, job, object, took));
                    }
                    JobPhase::Unknown(state) => {
                        let unseen = format!("its job is in state {state}");
                        return Err(of_job(job, unknown(change.doing, &unseen)));
                    }
                }
            }
            let now = self.clock.monotonic();
            if told_at.is_none() && stop.is_stopped() {
                told_at = Some(now);
                self.cancel(job, object.as_ref());
            }
            if told_at.is_some_and(|told| now - told >= self.beliefs.limits.cancel) {
                return Err(of_job(job, stopped(change.doing)));
            }
            if now - begun >= change.limit {
                if change.is_cancelled_in_the_end {
                    self.cancel(job, object.as_ref());
                }
                let minutes = change.limit.as_secs() / 60;
                let unseen = format!("its job still runs after {minutes} minutes");
                return Err(of_job(job, unknown(change.doing, &unseen)));
            }
            // Once told to stop, waiting for the job's end must not end at once.
            let heard = if told_at.is_some() {
                &unstoppable
            } else {
                stop
            };
            let _a_stop_is_seen_above = self.clock.sleep(pause(look), heard);
        }
        unreachable!("there is no last look at a job")
    }

    /// Asks a job to end, where it lets itself be asked; whether it does is seen by looking.
    fn cancel(&self, job: &str, object: Option<&WmiObject>) {
        if object.is_some_and(|object| object.bool("Cancellable") == Ok(true)) {
            let parameters = [("RequestedState", Value::from(TERMINATE))];
            let _it_is_looked_at_again = self.session.call(job, "RequestStateChange", &parameters);
        }
    }

    /// Returns what a failed job says (spec 2.7).
    pub(super) fn failure(
        &self,
        change: Change<'_>,
        job: &str,
        object: &WmiObject,
        took: Duration,
    ) -> Failed {
        let doing = change.doing;
        let messages = self.messages(job, object);
        let error_code = object.u32("ErrorCode").ok();
        let reason = reason(&messages, error_code);
        let said: Vec<&str> = messages
            .iter()
            .map(|message| message.text.as_str())
            .collect();
        let said = match said.is_empty() {
            true => {
                "Hyper-V failed without detail; look at the event log Hyper-V-VMMS-Admin".to_owned()
            }
            false => said.join("; "),
        };
        let logged = change
            .vm
            .map(|vm| self.logged(vm, took + LOGGED_BEFORE))
            .unwrap_or_default();
        let text = match reason.text {
            Some(text) => format!("{doing}: {text} ({said}){logged}"),
            None => format!("{doing}: {said}{logged}"),
        };
        let mut error = HypervError::new(reason.kind.unwrap_or(Kind::Failed), text);
        if let Some(code) = reason.code {
            error = error.with_code(code);
        }
        Failed {
            error,
            is_explained: reason.kind.is_some(),
            is_refusal: true,
            messages,
            job: Some(job.to_owned()),
        }
    }

    /// Returns what Hyper-V logged about a VM of late, to be put behind an error.
    pub(super) fn logged(&self, vm: VmId, age: Duration) -> String {
        let channels = self.events.as_deref();
        channels.map_or_else(String::new, |channels| events::about(channels, vm, age))
    }

    /// Returns all messages of a job.
    fn messages(&self, job: &str, object: &WmiObject) -> Vec<JobMessage> {
        let answer = self.session.call(job, "GetErrorEx", &[]);
        let messages = answer
            .and_then(|answer| JobMessage::all(&answer))
            .unwrap_or_default();
        if messages.is_empty() {
            return JobMessage::of_job(object).into_iter().collect();
        }
        messages
    }

    /// Returns what a job that succeeded has to say.
    pub(super) fn remarks(&self, answer: &Answer) -> Vec<JobMessage> {
        let Some(job) = &answer.job else {
            return Vec::new();
        };
        let answer = self.session.call(job, "GetErrorEx", &[]);
        answer
            .and_then(|answer| JobMessage::all(&answer))
            .unwrap_or_default()
    }
}

/// Returns the path of a VM or a planned VM.
pub(super) fn system_path(class: &str, id: VmId) -> String {
    let name = wql_literal(&guid_text(id.0));
    format!("{class}.CreationClassName=\"{class}\",Name={name}")
}

fn return_code(doing: &str, out: &WmiObject) -> Result<ReturnCode, HypervError> {
    let code = out
        .u32("ReturnValue")
        .map_err(|error| wmi_error(doing, error))?;
    Ok(ReturnCode::decode(code))
}

/// Returns whether a call did not get through, so that it changed nothing and may be made again.
fn is_unheard(error: &WmiError) -> bool {
    is_passing(error) && !error.code().is_some_and(answer_was_lost)
}

/// Returns the failure of a job, with what it may still be asked about.
fn of_job(job: &str, error: HypervError) -> Failed {
    Failed {
        job: Some(job.to_owned()),
        ..error.into()
    }
}

fn stopped(doing: &str) -> HypervError {
    HypervError::new(Kind::Stopped, format!("{doing}: stopped on request"))
}

fn unknown(doing: &str, why: &str) -> HypervError {
    HypervError::new(Kind::OutcomeUnknown, format!("{doing}: {why}"))
}
