//! The service: threads that take runs, commands and operations, that tell how runs ended, and that send
//! what else waits.
//!
//! ```text
//! configuration ─► enrolled? ─► Parts ─► runs, commands, ends, mail ─► stopped, or configured anew
//!                                        volumes
//! ```
//!
//! None of them waits for another, and each waits longer when the control plane does not answer. Nobody
//! waits for the thread that lists volumes: a device that hangs may hold it for ever.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, SystemTime};

use fault::Fault;
use protocol::agent_events::Health as What;
use protocol::commands::{Poll, PollPendingCommands, Polled};
use protocol::next_run::{NextRun, Offer};
use protocol::repo_operations::PollRepoOperations;
use time_and_chance::StopSignal;

use crate::arrived::Arrived;
use crate::commands;
use crate::config::{Config, ConfigErrorKind, ConfigFile};
use crate::control_plane::{CallError, Ends, LONG_CALL_MAX};
use crate::enrolment::{EnrolErrorKind, enrol};
use crate::left_runs::{self, LeftRuns};
use crate::leftovers;
use crate::log::Log;
use crate::outbox::Which;
use crate::pace::Pace;
use crate::parts::{Afterwards, Parts};
use crate::ports::Ports;
use crate::receiving;
use crate::reporter;
use crate::runs::{self, Offered, Offers};
use crate::status::{ServiceLock, Status};
use crate::volumes;

/// The configuration is read again this often while it says too little.
const CONFIG_PAUSE: Duration = Duration::from_secs(2);
/// An enrolment that failed is tried again after so long.
const ENROL_PAUSE: Duration = Duration::from_secs(60);
/// What is being carried out may take so long to end when the service ends: giving up a checkpoint
/// takes its time, and service managers wait for three minutes.
const END_MAX: Duration = Duration::from_secs(130);
/// Answers to what was on its way by then are waited for so long: given up, it would be sent again although
/// the server may have taken it.
const ANSWERS_MAX: Duration = Duration::from_secs(20);
/// What still waits may begin to be sent for so long when the service ends.
const LAST_MAIL_MAX: Duration = Duration::from_secs(8);
/// How often runs of a dead service are looked after.
const LEFT_LOOK: Duration = Duration::from_secs(20);
/// An answer that took so long was held back by the server until there was work.
const HELD_MIN: Duration = Duration::from_secs(5);
/// After such an answer, and after one with work, commands are asked for again this soon.
const SOON: Duration = Duration::from_secs(1);

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
    commands::settle_interrupted(parts);
    left_runs::settle(parts);
    let (mail_stop, is_over) = (StopSignal::new(), StopSignal::new());
    std::thread::scope(|scope| {
        scope.spawn(|| leftovers::remove(parts));
        parts.spawn_unwaited(volumes::keep_reported);
        let takers = [
            scope.spawn(|| take_commands(parts)),
            scope.spawn(|| take_operations(parts)),
        ];
        let senders = [
            scope.spawn(|| tell_ends(parts, &mail_stop)),
            scope.spawn(|| send_mail(parts, &mail_stop)),
        ];
        take_runs(parts, file);
        // Whatever made it end, all end with it.
        parts.stop.stop();
        scope.spawn(|| give_up_on_answers(parts, &is_over));
        wait_for_work(parts, &takers);
        mail_stop.stop();
        for sender in senders {
            // A panic there has been told by then, and the rest of the end matters more.
            let _ = sender.join();
        }
        is_over.stop();
    });
    send_last_mail(parts);
}

/// Gives up on answers some time after the service was told to end.
fn give_up_on_answers(parts: &Parts, is_over: &StopSignal) {
    let grace = parts.ports.cadence.grace;
    for (pause, cut) in [
        (grace, &parts.cut_held),
        (ANSWERS_MAX.saturating_sub(grace), &parts.cut),
    ] {
        if parts.ports.clock.sleep(pause, is_over).is_err() {
            return;
        }
        cut.stop();
    }
}

/// Takes runs as long as there is room for them.
fn take_runs(parts: &Arc<Parts>, file: &ConfigFile) {
    let (clock, cadence) = (&parts.ports.clock, &parts.ports.cadence);
    let begun = clock.monotonic();
    let mut pace = Pace::new(parts.config.poll_interval(), &parts.ports.chance);
    let mut offers = Offers::default();
    let mut left = LeftRuns::new(begun);
    let mut next = begun;
    let mut next_look = begun;
    let mut seen = modified(file);
    let mut limits_of = seen;
    loop {
        parts.ports.pulse.beat();
        let now = clock.monotonic();
        start_arrived(parts);
        let running = parts.backups_running.load(Ordering::SeqCst);
        let is_full = running >= parts.config.runs_at_once.max(1);
        let has_room = !is_full && !parts.updates.is_waiting_for_runs();
        if now >= next && has_room {
            next = now + take_run(parts, &mut offers, &mut pace);
        }
        if now >= next_look {
            next_look = now + LEFT_LOOK;
            left.look_after(parts, has_room);
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
fn take_run(parts: &Arc<Parts>, offers: &mut Offers, pace: &mut Pace) -> Duration {
    let (stop, cut) = (&parts.stop, &parts.cut);
    let offer = parts.plane.call_through(&NextRun, Ends { stop, cut });
    if offer.is_ok() {
        parts.updates.has_polled();
    }
    match offer {
        Ok(Offer::NoRun) => {}
        Ok(Offer::Run(run)) => {
            let offered = Offered {
                run_id: run.run_id.clone(),
                resume: run.resume,
                last_heartbeat_at: run.last_heartbeat_at.clone(),
            };
            if offers.takes(parts, offered) {
                let worker = Arc::clone(parts);
                parts.backups_running.fetch_add(1, Ordering::SeqCst);
                parts.spawn(move || {
                    let _counted = Counted(&worker);
                    runs::carry_out(&worker, &run);
                });
            }
        }
        Ok(Offer::Unreadable {
            run_id,
            resume,
            last_heartbeat_at,
            reason,
        }) => {
            let offered = Offered {
                run_id: run_id.clone(),
                resume,
                last_heartbeat_at,
            };
            if offers.takes(parts, offered) {
                runs::refuse(parts, &run_id, &reason);
            }
        }
        Err(error) => return pace.after_failure(&error),
    }
    pace.after_answer()
}

/// A backup that counts as running until it goes, by a panic too.
struct Counted<'a>(&'a Parts);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.backups_running.fetch_sub(1, Ordering::SeqCst);
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

/// Takes commands, and operations on repositories where they come together.
fn take_commands(parts: &Arc<Parts>) {
    let clock = &parts.ports.clock;
    let mut pace = Pace::new(parts.config.command_poll_interval(), &parts.ports.chance);
    loop {
        let begun = clock.monotonic();
        let pause = match poll(parts) {
            Ok(polled) => {
                parts.updates.has_polled();
                let wish = polled.next_poll_secs.map(Duration::from_secs);
                let usual = pace.after_answer_wishing(wish);
                let had_work = !polled.commands.is_empty() || polled.repo_operation.is_some();
                for command in polled.commands {
                    if let Some(arrived) = receiving::receive(parts, command, None) {
                        start(parts, arrived);
                    }
                }
                if let Some(operation) = polled.repo_operation {
                    start(parts, receiving::receive_operation(parts, operation));
                }
                let was_held = clock.monotonic().saturating_sub(begun) >= HELD_MIN;
                // Who browses goes from folder to folder, and waits each time.
                match was_held || had_work {
                    true => SOON,
                    false => usual,
                }
            }
            Err(error) => pace.after_failure(&error),
        };
        if clock.sleep(pause, &parts.stop).is_err() {
            return;
        }
    }
}

/// Asks for commands, in the way that the server has. What it hands out is handed out once, so an answer that
/// is on its way is waited for.
fn poll(parts: &Parts) -> Result<Polled, CallError> {
    let stop = &parts.stop;
    if parts.config.use_combined_poll {
        let cut = &parts.cut_held;
        let held = Ends { stop, cut };
        let polled = parts
            .plane
            .call_within(&Poll { long: true }, LONG_CALL_MAX, held);
        match polled {
            Err(error) if error.is_missing_endpoint() => {}
            other => {
                parts.polls_apart.store(false, Ordering::Relaxed);
                return other;
            }
        }
    }
    parts.polls_apart.store(true, Ordering::Relaxed);
    let cut = &parts.cut;
    let commands = parts
        .plane
        .call_through(&PollPendingCommands, Ends { stop, cut })?;
    Ok(Polled {
        commands,
        repo_operation: None,
        next_poll_secs: None,
    })
}

/// Takes operations on repositories where they do not come together with commands, which they must not hold
/// up.
fn take_operations(parts: &Arc<Parts>) {
    let mut pace = Pace::new(parts.config.command_poll_interval(), &parts.ports.chance);
    let mut pause = parts.ports.cadence.look;
    while parts.ports.clock.sleep(pause, &parts.stop).is_ok() {
        pause = parts.ports.cadence.look;
        if !parts.polls_apart.load(Ordering::Relaxed) {
            continue;
        }
        let (stop, cut) = (&parts.stop, &parts.cut);
        let polled = parts
            .plane
            .call_through(&PollRepoOperations, Ends { stop, cut });
        pause = match polled {
            Ok(operation) => {
                if let Some(operation) = operation {
                    start(parts, receiving::receive_operation(parts, operation));
                }
                pace.after_answer()
            }
            Err(error) => pace.after_failure(&error),
        };
    }
}

/// Carries out what arrived, beside everything else.
fn start(parts: &Arc<Parts>, arrived: Arrived) {
    let worker = Arc::clone(parts);
    parts.spawn(move || commands::carry_out(&worker, arrived));
}

/// Carries out what arrived by the polls of runs.
fn start_arrived(parts: &Arc<Parts>) {
    for arrived in parts.take_arrived() {
        start(parts, arrived);
    }
}

/// Tells how runs ended, each as soon as it is due.
fn tell_ends(parts: &Parts, stop: &StopSignal) {
    let cut = &parts.cut;
    loop {
        reporter::tell_ends(parts, Which::Due, Ends { stop, cut });
        let pause = parts.ports.cadence.events;
        if parts.ports.clock.sleep(pause, stop).is_err() {
            return;
        }
    }
}

/// Sends what else waits, each at its own pace.
fn send_mail(parts: &Parts, stop: &StopSignal) {
    let (clock, cadence) = (&parts.ports.clock, &parts.ports.cadence);
    let begun = clock.monotonic();
    let (mut next_health, mut next_status) = (begun, begun);
    loop {
        let now = clock.monotonic();
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
        if clock.sleep(cadence.events, stop).is_err() {
            return;
        }
    }
}

/// Waits for what is being carried out, which was told to stop, and for what still arrives.
fn wait_for_work(parts: &Arc<Parts>, takers: &[ScopedJoinHandle<'_, ()>]) {
    const LOOK: Duration = Duration::from_millis(50);
    let never = StopSignal::new();
    let begun = parts.ports.clock.monotonic();
    loop {
        let are_over = takers.iter().all(ScopedJoinHandle::is_finished)
            && parts.threads.load(Ordering::SeqCst) == 0;
        // Looked at after that: what a thread received it has handed over before it ends.
        start_arrived(parts);
        if are_over && parts.threads.load(Ordering::SeqCst) == 0 {
            return;
        }
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
    let (time_is_up, cut) = (StopSignal::new(), StopSignal::new());
    let is_sent = StopSignal::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (pause, signal) in [(LAST_MAIL_MAX, &time_is_up), (ANSWERS_MAX, &cut)] {
                if parts.ports.clock.sleep(pause, &is_sent).is_err() {
                    return;
                }
                signal.stop();
            }
        });
        let (stop, cut) = (&time_is_up, &cut);
        reporter::tell_ends(parts, Which::All, Ends { stop, cut });
        parts.events.send(&parts.plane, &time_is_up);
        parts.health.send(&parts.plane, &time_is_up);
        is_sent.stop();
    });
    // What cannot be written is only what `status` would have shown.
    let _ = Status::of(parts).write(&parts.ports.places.state);
}

#[cfg(test)]
mod tests {
    use protocol::WireId;
    use protocol::endpoint::Endpoint;
    use time_and_chance::SystemClock;

    use super::*;
    use crate::test_parts::{TestLine, clock, parts, success};

    const ORDERED: &str = r#"{"commands": [{"command_id": 311, "type": "list_disks"}]}"#;

    fn ordered() -> Arc<TestLine> {
        TestLine::new(|request, _| match request.endpoint {
            Endpoint::PollCommands | Endpoint::PollPendingCommands => success(ORDERED),
            Endpoint::Poll => Ok(protocol::Response {
                http_status: 404,
                ..protocol::Response::default()
            }),
            _ => success("{}"),
        })
    }

    #[test]
    fn what_arrives_when_the_service_ends_is_answered_all_the_same() {
        let (folder, line) = (tempfile::tempdir().unwrap(), ordered());
        // The work is a real thread, which a clock that runs ahead would not wait for.
        let parts = Arc::new(parts(folder.path(), &line, SystemClock::new()));
        parts.stop.stop();
        let never = StopSignal::new();
        receiving::of_run(&parts, &WireId::Number(7), &never).unwrap();
        wait_for_work(&parts, &[]);
        let told = line.documents(Endpoint::CompleteCommand);
        assert_eq!((told.len(), &told[0]["command_id"]), (1, &311.into()));
        let why = told[0]["result_message"].as_str().unwrap();
        assert!(why.contains("order it again"), "{why}");
    }

    #[test]
    fn commands_do_not_wait_for_operations_where_they_come_apart() {
        let (folder, line) = (tempfile::tempdir().unwrap(), ordered());
        let parts = parts(folder.path(), &line, clock());
        assert_eq!(poll(&parts).unwrap().commands.len(), 1);
        assert!(line.bodies(Endpoint::PollRepoOperations).is_empty());
        assert!(parts.polls_apart.load(Ordering::Relaxed));
    }
}
