//! The service: one thread that takes runs, one that takes commands, one that sends what waits.
//!
//! ```text
//! configuration ─► enrolled? ─► Parts ─► runs, commands, mail ─► stopped, or configured anew
//! ```
//!
//! None of them waits for another, and each waits longer when the control plane does not answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use fault::Fault;
use protocol::agent_events::Health as What;
use protocol::commands::{Poll, PollPendingCommands, Polled};
use protocol::next_run::{NextRun, Offer};
use protocol::repo_operations::PollRepoOperations;
use protocol::update_run::{Ending, RunStatus};
use time_and_chance::StopSignal;

use crate::commands::{self, Arrived};
use crate::config::{Config, ConfigErrorKind, ConfigFile};
use crate::control_plane::{CallError, LONG_CALL_MAX};
use crate::enrolment::{EnrolErrorKind, enrol};
use crate::leftovers;
use crate::log::Log;
use crate::pace::Pace;
use crate::parts::{Afterwards, Parts};
use crate::ports::Ports;
use crate::reporter::Reporter;
use crate::runs;
use crate::status::{ServiceLock, Status};
use crate::volumes;

/// The configuration is read again this often while it says too little.
const CONFIG_PAUSE: Duration = Duration::from_secs(2);
/// An enrolment that failed is tried again after so long.
const ENROL_PAUSE: Duration = Duration::from_secs(60);
/// What is being carried out may take so long to end when the service ends: giving up a checkpoint
/// takes its time, and service managers wait for three minutes.
const END_MAX: Duration = Duration::from_secs(150);
/// What waits to be sent may take so long when the service ends.
const LAST_MAIL_MAX: Duration = Duration::from_secs(8);
/// An answer that took so long was held back by the server until there was work.
const HELD_MIN: Duration = Duration::from_secs(5);

/// Why the service could not begin.
pub type ServeError = Fault<()>;

/// Serves the control plane until `stop`, and returns what is to happen then.
pub fn serve(
    ports: &Ports,
    file: &ConfigFile,
    log: &Arc<Log>,
    stop: &StopSignal,
) -> Result<Afterwards, ServeError> {
    let state = &ports.places.state;
    let _lock = ServiceLock::take(state)
        .map_err(|error| failed("use the state folder", error))?
        .ok_or_else(|| {
            let what = format!(
                "begin: a service runs on the state folder {} already",
                state.display()
            );
            ServeError::new((), what)
        })?;
    log.info(&format!(
        "the service begins, version {}",
        ports.program.version
    ));
    while let Some(config) = enrolled(ports, file, log, stop) {
        let generation = stop.child();
        let parts = Parts::new(ports.clone(), config, Arc::clone(log), generation);
        let parts = Arc::new(parts.map_err(|error| failed("use the state folder", error))?);
        work(&parts, file);
        let afterwards = *parts
            .afterwards
            .lock()
            .expect("nobody panics while he sets it");
        if stop.is_stopped() || afterwards == Afterwards::Restart {
            log.info("the service ends");
            return Ok(afterwards);
        }
        log.info("the configuration names another agent, and the service begins anew");
    }
    Ok(Afterwards::Stop)
}

fn failed(doing: &str, error: io::Error) -> ServeError {
    ServeError::new((), doing).caused_by(error)
}

/// Waits for a configuration with an identity, enrolling if it says how; `None` when stopped.
fn enrolled(ports: &Ports, file: &ConfigFile, log: &Arc<Log>, stop: &StopSignal) -> Option<Config> {
    let mut told = String::new();
    let mut tell = |what: String| {
        if what != told {
            log.warn(&what);
            told = what;
        }
    };
    loop {
        ports.pulse.beat();
        stop.check().ok()?;
        let mut pause = CONFIG_PAUSE;
        match file.load() {
            Ok(config) if config.api_base_url.is_empty() => {
                tell(format!(
                    "{} names no api_base_url; waiting for it",
                    file.path().display()
                ));
            }
            Ok(config) if config.is_enrolled() => return Some(config),
            Ok(config) if config.can_enrol() => match enrol(ports, file, log, None, stop) {
                Ok(_) => continue,
                Err(error) => {
                    tell(format!("failed to {error}"));
                    let is_final = error.kind() != EnrolErrorKind::Unavailable;
                    pause = if is_final {
                        ENROL_PAUSE
                    } else {
                        ENROL_PAUSE / 4
                    };
                }
            },
            Ok(_) => {
                tell("this machine is not enrolled; `e3-backup-agent enroll` does that".to_owned())
            }
            Err(error) if error.kind() == ConfigErrorKind::NotFound => {
                tell(format!(
                    "{} is not there; waiting for it",
                    file.path().display()
                ));
            }
            Err(error) => tell(format!("failed to {error}")),
        }
        ports.clock.sleep(pause, stop).ok()?;
    }
}

/// Works until the service ends or is configured anew.
fn work(parts: &Arc<Parts>, file: &ConfigFile) {
    parts.health.note(What::ServiceStarted {
        version: parts.ports.program.version.clone(),
    });
    settle(parts);
    let mail_stop = StopSignal::new();
    std::thread::scope(|scope| {
        scope.spawn(|| leftovers::remove(parts));
        scope.spawn(|| take_commands(parts));
        let mail = scope.spawn(|| send_mail(parts, &mail_stop));
        take_runs(parts, file);
        // Whatever made it end, all end with it.
        parts.stop.stop();
        wait_for_work(parts);
        mail_stop.stop();
        // A panic there has been told by then, and the rest of the end matters more.
        let _ = mail.join();
    });
    send_last_mail(parts);
}

/// Ends what a dead service left behind.
fn settle(parts: &Parts) {
    commands::settle_interrupted(parts);
    for run in parts.runs_begun.left() {
        if parts.outbox.holds(&run.run_id) {
            parts.runs_begun.remove(&run.run_id);
        } else if !run.is_backup {
            let why = "the service ended while this was going on; order it again";
            let ending = Ending::failed(parts.ports.clock.now(), why);
            Reporter::new(parts, run.run_id).ends(ending);
        }
    }
}

/// Takes runs as long as there is room for them.
fn take_runs(parts: &Arc<Parts>, file: &ConfigFile) {
    let (clock, cadence) = (&parts.ports.clock, &parts.ports.cadence);
    let begun = clock.monotonic();
    let mut pace = Pace::new(parts.config.poll_interval(), &parts.ports.chance);
    let mut next = begun;
    let mut next_look = begun;
    let mut seen = modified(file);
    let mut limits_of = seen;
    loop {
        parts.ports.pulse.beat();
        let now = clock.monotonic();
        for arrived in parts.take_arrived() {
            start(parts, arrived);
        }
        let running = parts.backups_running.load(Ordering::SeqCst);
        let has_room = running < parts.config.runs_at_once.max(1);
        if now >= next && has_room && !parts.updates.is_waiting_for_runs() {
            next = now + take_run(parts, &mut pace);
        }
        if now >= next_look {
            next_look = now + Duration::from_mins(1);
            settle_left(parts, now.saturating_sub(begun) >= cadence.reclaim);
            parts.repositories.close_idle();
        }
        let changed = modified(file);
        if changed != limits_of {
            limits_of = changed;
            limit_uploads(parts, file);
        }
        if let Some(news) = parts.uploads.news() {
            parts.log.info(&news);
        }
        if changed != seen {
            if running == 0 && is_another_agent(parts, file) {
                return;
            }
            // As long as runs go on, it is looked at again.
            if running == 0 {
                seen = changed;
            }
        }
        if clock.sleep(cadence.look, &parts.stop).is_err() {
            return;
        }
    }
}

/// Asks for a run, begins it, and returns after how long to ask again.
fn take_run(parts: &Arc<Parts>, pace: &mut Pace) -> Duration {
    let offer = parts.plane.call(&NextRun, &parts.stop);
    if offer.is_ok() {
        parts.updates.has_polled();
    }
    match offer {
        Ok(Offer::NoRun) => pace.after_answer(),
        Ok(Offer::Run(run)) => {
            let worker = Arc::clone(parts);
            parts.backups_running.fetch_add(1, Ordering::SeqCst);
            parts.spawn(move || {
                let _counted = Counted(&worker);
                runs::carry_out(&worker, &run);
            });
            pace.after_answer()
        }
        Ok(Offer::Unreadable { run_id, reason }) => {
            runs::refuse(parts, &run_id, &reason);
            pace.after_answer()
        }
        Err(error) => pace.after_failure(&error),
    }
}

/// A backup that counts as running until it goes, by a panic too.
struct Counted<'a>(&'a Parts);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.backups_running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Looks after runs that a dead service left: one that was cancelled meanwhile ends as such; one
/// that nobody hands out again fails.
fn settle_left(parts: &Parts, waited_long_enough: bool) {
    for run in parts.runs_begun.left() {
        if parts.active.holds(&run.run_id) {
            continue;
        }
        let now = parts.ports.clock.now();
        let is_cancelled = commands::of_run(parts, &run.run_id, &parts.stop).unwrap_or(false);
        if parts.active.holds(&run.run_id) {
            // It was handed out again while the question was on its way.
            continue;
        }
        let reporter = Reporter::new(parts, run.run_id.clone());
        if is_cancelled {
            reporter.ends(Ending {
                error_summary: "cancelled on request".to_owned(),
                ..Ending::new(RunStatus::Cancelled, now)
            });
        } else if waited_long_enough {
            let why = "the service ended while this run was going on, and the control plane did not hand it out again; the next run continues from what is stored";
            reporter.ends(Ending::failed(now, why));
        }
    }
}

fn modified(file: &ConfigFile) -> Option<SystemTime> {
    std::fs::metadata(file.path())
        .and_then(|it| it.modified())
        .ok()
}

/// Takes over what the configuration says of uploads: of those that are under way too.
fn limit_uploads(parts: &Parts, file: &ConfigFile) {
    let limits = file.load().and_then(|config| config.upload_limits());
    match limits {
        Ok(limits) => parts.uploads.limit(limits),
        Err(error) => parts.log.warn(&format!(
            "failed to {error}; uploads go on as they were limited"
        )),
    }
}

fn is_another_agent(parts: &Parts, file: &ConfigFile) -> bool {
    match file.load() {
        Ok(config) => config.is_another_agent_than(&parts.config),
        Err(error) => {
            parts.log.warn(&format!(
                "failed to {error}; the service goes on as it was configured"
            ));
            false
        }
    }
}

/// Takes commands and operations on repositories.
fn take_commands(parts: &Arc<Parts>) {
    let clock = &parts.ports.clock;
    let mut pace = Pace::new(parts.config.command_poll_interval(), &parts.ports.chance);
    loop {
        let begun = clock.monotonic();
        let pause = match poll(parts) {
            Ok(polled) => {
                parts.updates.has_polled();
                let wish = polled.next_poll_secs;
                let commands = polled.commands.into_iter();
                let commands = commands.map(|it| Arrived::Command(Box::new(it), None));
                let operation = polled.repo_operation;
                let operation = operation.map(|it| Arrived::Operation(Box::new(it)));
                for arrived in commands.chain(operation) {
                    start(parts, arrived);
                }
                let was_held = clock.monotonic().saturating_sub(begun) >= HELD_MIN;
                match was_held {
                    true => Duration::from_secs(1),
                    false => pace.after_answer_wishing(wish.map(Duration::from_secs)),
                }
            }
            Err(error) => pace.after_failure(&error),
        };
        if clock.sleep(pause, &parts.stop).is_err() {
            return;
        }
    }
}

/// Asks for commands, in the way that the server has.
fn poll(parts: &Parts) -> Result<Polled, CallError> {
    if parts.config.use_combined_poll {
        let polled = parts
            .plane
            .call_within(&Poll { long: true }, LONG_CALL_MAX, &parts.stop);
        match polled {
            Err(error) if error.is_missing_endpoint() => {}
            other => return other,
        }
    }
    let commands = parts.plane.call(&PollPendingCommands, &parts.stop)?;
    // The commands are here, and are worth more than an operation.
    let operation = parts.plane.call(&PollRepoOperations, &parts.stop);
    Ok(Polled {
        commands,
        repo_operation: operation.unwrap_or_default(),
        next_poll_secs: None,
    })
}

/// Carries out what arrived, beside everything else.
fn start(parts: &Arc<Parts>, arrived: Arrived) {
    let worker = Arc::clone(parts);
    parts.spawn(move || commands::carry_out(&worker, arrived));
}

/// Sends what waits, each at its own pace.
fn send_mail(parts: &Parts, stop: &StopSignal) {
    let (clock, cadence) = (&parts.ports.clock, &parts.ports.cadence);
    let begun = clock.monotonic();
    let (mut next_health, mut next_volumes, mut next_status) = (begun, begun, begun);
    loop {
        let now = clock.monotonic();
        parts.outbox.deliver(&parts.plane, false, stop);
        parts.events.send(&parts.plane, stop);
        commands::agent_update::look(parts);
        if now >= next_status {
            next_status = now + Duration::from_secs(5);
            if let Err(error) = Status::of(parts).write(&parts.ports.places.state) {
                parts
                    .log
                    .debug(&format!("failed to write the status: {error}"));
            }
        }
        if now >= next_health {
            next_health = now + cadence.health;
            parts.health.send(&parts.plane, stop);
            commands::agent_update::tell_end(parts);
            commands::tell_again(parts);
        }
        if now >= next_volumes {
            next_volumes = now + cadence.volumes;
            if let Err(error) = volumes::report(parts) {
                parts
                    .log
                    .debug(&format!("the volumes are reported later: {error}"));
            }
        }
        if clock.sleep(cadence.events, stop).is_err() {
            return;
        }
    }
}

/// Waits for what is being carried out, which was told to stop.
fn wait_for_work(parts: &Parts) {
    const LOOK: Duration = Duration::from_millis(50);
    let never = StopSignal::new();
    let begun = parts.ports.clock.monotonic();
    while parts.threads.load(Ordering::SeqCst) > 0 {
        parts.ports.pulse.beat();
        if parts.ports.clock.monotonic().saturating_sub(begun) > END_MAX {
            parts
                .log
                .warn("what is being carried out does not end in time, and is cut off");
            return;
        }
        // Nobody stops it.
        let _ = parts.ports.clock.sleep(LOOK, &never);
    }
}

/// Sends what waits when the service ends, as far as that goes within a few seconds.
fn send_last_mail(parts: &Parts) {
    let reason = match parts.afterwards.lock().map(|it| *it) {
        Ok(Afterwards::Restart) => "restart",
        _ => "stop",
    };
    parts.health.note(What::ServiceStopping {
        reason: reason.to_owned(),
    });
    let (time_is_up, is_sent) = (StopSignal::new(), StopSignal::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if parts.ports.clock.sleep(LAST_MAIL_MAX, &is_sent).is_ok() {
                time_is_up.stop();
            }
        });
        parts.outbox.deliver(&parts.plane, true, &time_is_up);
        parts.events.send(&parts.plane, &time_is_up);
        parts.health.send(&parts.plane, &time_is_up);
        is_sent.stop();
    });
    // What cannot be written is only what `status` would have shown.
    let _ = Status::of(parts).write(&parts.ports.places.state);
}
