//! Around every run, of a backup or of a restore: begun, told of, listened for, ended exactly once.
//!
//! ```text
//! work ───────────────────────────────────► Ending ─► outbox
//! teller    how far it is, a heartbeat at the least
//! listener  whether it was cancelled, commands
//! ```

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use progress::{Monitor, News, Progress};
use protocol::WireId;
use protocol::event::{CancelRequested, Event, Percent, ProgressUpdate};
use protocol::update_run::{DiskProgress, Ending, Progress as Told, RunStatus};
use time_and_chance::StopSignal;

use crate::active::ActiveRun;
use crate::cancellation::Cancellation;
use crate::durable::Durable;
use crate::log::Log;
use crate::meter::{Measured, MeasuredDisk, Meter};
use crate::pace::Pace;
use crate::parts::Parts;
use crate::receiving;
use crate::reporter::Reporter;
use crate::runs_begun::BegunRun;

/// What a piece of work has at hand.
#[derive(Debug)]
pub struct Work<'p> {
    /// What the whole service works with.
    pub parts: &'p Parts,
    /// Tells the control plane.
    pub reporter: &'p Reporter<'p>,
    /// How far it is.
    pub meter: &'p Arc<Meter>,
    /// What ends it.
    pub cancellation: &'p Cancellation,
    /// Whether the control plane was told of a store that cannot be used.
    pub is_store_told: Mutex<bool>,
}

impl Work<'_> {
    /// Returns progress for engines.
    pub fn progress(&self) -> Progress {
        Progress {
            monitor: Arc::new(Logged {
                meter: Arc::clone(self.meter),
                log: Arc::clone(&self.parts.log),
            }),
            stop: self.cancellation.stop().clone(),
            subject: String::new(),
        }
    }

    /// Returns an ending that says why there is nothing to show: cancelled if that was the reason.
    pub fn fails(&self, why: &str) -> Ending {
        let now = self.parts.ports.clock.now();
        match self.cancellation.is_cancelled() {
            true => Ending {
                error_summary: "cancelled on request".to_owned(),
                ..Ending::new(RunStatus::Cancelled, now)
            },
            false => Ending::failed(now, why),
        }
    }
}

/// Passes news on to the meter; that something is waited for is written down too.
#[derive(Debug)]
struct Logged {
    meter: Arc<Meter>,
    log: Arc<Log>,
}

impl Monitor for Logged {
    fn hear(&self, news: &News<'_>) {
        if let News::Waits { subject, text } = news {
            self.log.info(&format!("{subject}: {text}"));
        }
        self.meter.hear(news);
    }
}

/// What a piece of work came to.
#[derive(Debug)]
pub struct Ended {
    /// How the run ends.
    pub ending: Ending,
    /// What is told after that.
    pub last_events: Vec<Event>,
    /// Whether some of the work was stopped before it was done.
    pub is_cut_off: bool,
}

impl Ended {
    /// Returns what work came to that was done, or failed.
    pub fn new(ending: Ending, last_events: Vec<Event>) -> Self {
        Self {
            ending,
            last_events,
            is_cut_off: false,
        }
    }
}

/// What kind of run it is.
#[derive(Debug, Clone)]
pub struct Kind {
    /// For people: the engine, or `restore`.
    pub name: String,
    /// Whether the control plane hands it out again after a crash.
    pub is_backup: bool,
    /// The job, for events of the service's health.
    pub job_id: Option<WireId>,
}

/// Carries a run out, unless it is being carried out; returns how it ended.
pub fn supervise(
    parts: &Parts,
    run_id: &WireId,
    kind: &Kind,
    meter: &Arc<Meter>,
    work: impl FnOnce(&Work<'_>) -> Ended,
) -> Option<Ending> {
    let cancellation = Cancellation::below(&parts.stop);
    let begun_at = parts.ports.clock.now();
    let _held = parts.active.begin(ActiveRun {
        run_id: run_id.clone(),
        kind: kind.name.clone(),
        begun_at,
        is_backup: kind.is_backup,
        meter: Arc::clone(meter),
        cancellation: cancellation.clone(),
    })?;
    if parts.outbox.knows(run_id) {
        // It ended between somebody's look and now.
        return None;
    }
    parts
        .log
        .info(&format!("run {run_id} ({}) begins", kind.name));
    parts.runs_begun.add(&BegunRun {
        run_id: run_id.clone(),
        is_backup: kind.is_backup,
        begun_at,
        pieces: 0,
    });
    parts.health.run_started(run_id, kind.job_id.as_ref());
    let reporter = Reporter::new(parts, run_id.clone());
    let works = Work {
        parts,
        reporter: &reporter,
        meter,
        cancellation: &cancellation,
        is_store_told: Mutex::default(),
    };
    let Ended {
        mut ending,
        last_events,
        is_cut_off,
    } = accompanied(&works, run_id, work);
    add_figures(&mut ending.progress, &meter.measured());
    let is_cut_off = is_cut_off || !is_good(ending.status);
    if parts.stop.is_stopped() && !cancellation.is_cancelled() && is_cut_off {
        if kind.is_backup {
            // It did not fail: the control plane hands it out again when the service is back.
            parts
                .log
                .info(&format!("run {run_id} goes on when the service is back"));
            return None;
        }
        let why = "the service was stopped while this was going on; order it again";
        let ending = Ending::failed(ending.finished_at, why);
        reporter.ends(ending.clone(), Vec::new());
        reporter.tells_end();
        return Some(ending);
    }
    reporter.ends(ending.clone(), last_events);
    reporter.tells_end();
    parts.health.run_finished(run_id, ending.status.as_str());
    Some(ending)
}

fn is_good(status: RunStatus) -> bool {
    !matches!(status, RunStatus::Failed | RunStatus::Cancelled)
}

/// Does the work, beside those who tell of it and listen for it.
fn accompanied(works: &Work<'_>, run_id: &WireId, work: impl FnOnce(&Work<'_>) -> Ended) -> Ended {
    let is_over = StopSignal::new();
    std::thread::scope(|scope| {
        scope.spawn(|| tell(works, run_id, &is_over));
        scope.spawn(|| listen(works, run_id, &is_over));
        let done = catch_unwind(AssertUnwindSafe(|| work(works)));
        is_over.stop();
        done.unwrap_or_else(|panic| {
            let why = format!(
                "a fault of this program ended the run; please report it: {}",
                panic_text(&*panic)
            );
            works.parts.log.error(&why);
            let ending = Ending::failed(works.parts.ports.clock.now(), why);
            Ended::new(ending, Vec::new())
        })
    })
}

/// Returns what a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it said nothing")
}

/// Tells how far the run is until it is over.
fn tell(works: &Work<'_>, run_id: &WireId, is_over: &StopSignal) {
    let (parts, clock) = (works.parts, &works.parts.ports.clock);
    let cadence = &parts.ports.cadence;
    let mut pace = Pace::urgent(cadence.progress, cadence.heartbeat, &parts.ports.chance);
    let mut not_before = Duration::ZERO;
    let mut rate = Rate::default();
    let mut told: Option<(Measured, Duration)> = None;
    let mut durable = Durable::of(&parts.config);
    loop {
        let measured = works.meter.measured();
        let now = clock.monotonic();
        rate.note(measured.done_bytes, now);
        let is_due = told.as_ref().is_none_or(|(last, at)| {
            *last != measured || now.saturating_sub(*at) >= cadence.heartbeat
        });
        if is_due && now >= not_before {
            parts
                .log
                .debug(&format!("run {run_id}: {}", in_words(&measured)));
            let disks = measured.disks.as_ref();
            let disks: Option<Vec<_>> = disks.map(|it| it.iter().map(disk_as_told).collect());
            let told_now = as_told(&measured, &rate);
            match works.reporter.is_at(told_now, disks.as_deref(), is_over) {
                Ok(()) => {
                    pace.after_answer();
                    told = Some((measured.clone(), now));
                }
                Err(error) => not_before = clock.monotonic() + pace.after_failure(&error),
            }
        }
        if durable.is_due(measured.percent, now) {
            works.reporter.event(progress_event(&measured, &rate));
        }
        if clock.sleep(cadence.progress, is_over).is_err() {
            return;
        }
    }
}

/// Returns how far a run is, for the log.
fn in_words(it: &Measured) -> String {
    let place = [&*it.subject, &*it.phase].map(str::trim);
    let place: Vec<&str> = place.into_iter().filter(|word| !word.is_empty()).collect();
    format!(
        "{:.1} %, {} of {} bytes, {} bytes of packs; {}",
        it.percent,
        it.done_bytes,
        it.total_bytes,
        it.packed_bytes,
        place.join(": ")
    )
}

/// Looks whether the run was cancelled, and for commands, until it is over.
fn listen(works: &Work<'_>, run_id: &WireId, is_over: &StopSignal) {
    let (parts, cadence) = (works.parts, &works.parts.ports.cadence);
    let mut pause = cadence.cancel_look;
    while parts.ports.clock.sleep(pause, is_over).is_ok() {
        pause = cadence.cancel_look;
        match receiving::of_run(parts, run_id, is_over) {
            Ok(true) if !works.cancellation.is_cancelled() => {
                parts
                    .log
                    .info(&format!("run {run_id} is cancelled on request"));
                works.reporter.event(CancelRequested {
                    message: "Cancellation was requested; the run is being stopped.".to_owned(),
                });
                works.cancellation.cancel();
            }
            Ok(_) => {}
            Err(error) => pause = pause.max(error.after_urgent().unwrap_or_default()),
        }
    }
}

/// How fast it goes, over the last half minute.
#[derive(Default)]
struct Rate {
    first: Option<(u64, Duration)>,
    last: (u64, Duration),
}

impl Rate {
    fn note(&mut self, bytes: u64, now: Duration) {
        const WINDOW: Duration = Duration::from_secs(30);
        let begun = *self.first.get_or_insert((bytes, now));
        if now.saturating_sub(begun.1) > WINDOW {
            self.first = Some(self.last);
        }
        self.last = (bytes, now);
    }

    fn bytes_per_second(&self) -> u64 {
        let Some((bytes, at)) = self.first else {
            return 0;
        };
        let millis = self.last.1.saturating_sub(at).as_millis().max(1);
        let moved = u128::from(self.last.0.saturating_sub(bytes));
        u64::try_from(moved * 1000 / millis).unwrap_or(u64::MAX)
    }

    fn seconds_left(&self, measured: &Measured) -> u64 {
        let left = measured.total_bytes.saturating_sub(measured.done_bytes);
        left.checked_div(self.bytes_per_second()).unwrap_or(0)
    }
}

fn as_told(measured: &Measured, rate: &Rate) -> Told {
    let some = |number: u64| Some(number).filter(|number| *number > 0);
    Told {
        progress_pct: Some(measured.percent).filter(|percent| *percent > 0.0),
        bytes_processed: some(measured.done_bytes),
        bytes_transferred: some(measured.packed_bytes),
        bytes_total: some(measured.total_bytes),
        objects_transferred: some(measured.subjects_done),
        objects_total: some(measured.subjects_total),
        speed_bytes_per_sec: some(rate.bytes_per_second()),
        eta_seconds: some(rate.seconds_left(measured)),
        current_item: current_item(measured),
    }
}

fn disk_as_told(disk: &MeasuredDisk) -> DiskProgress {
    DiskProgress {
        vm_name: disk.subject.clone(),
        disk_path: disk.name.clone(),
        bytes_done: disk.done_bytes,
        bytes_total: disk.total_bytes,
    }
}

/// Adds to the last figures of a run what was measured of it: what the server was told while it went on may be
/// behind that, and what is not told stays as it was.
fn add_figures(told: &mut Told, measured: &Measured) {
    let last = |told: Option<u64>, measured: u64| told.max(Some(measured).filter(|it| *it > 0));
    told.bytes_processed = last(told.bytes_processed, measured.done_bytes);
    told.bytes_transferred = last(told.bytes_transferred, measured.packed_bytes);
    told.bytes_total = last(told.bytes_total, measured.total_bytes);
}

fn current_item(measured: &Measured) -> String {
    let (subject, phase) = (&measured.subject, &measured.phase);
    if subject.is_empty() {
        return phase.clone();
    }
    let mut item = match measured.subjects_total {
        0 | 1 => subject.clone(),
        total => {
            let number = total.min(measured.subjects_done + 1);
            format!("VM {number}/{total}: {subject}")
        }
    };
    if measured.is_waiting {
        item.push_str(": ");
        item.push_str(phase);
    }
    item
}

fn progress_event(measured: &Measured, rate: &Rate) -> ProgressUpdate {
    ProgressUpdate {
        pct: Percent::new(measured.percent),
        bytes_done: measured.done_bytes,
        bytes_total: measured.total_bytes,
        files_done: measured.subjects_done,
        files_total: measured.subjects_total,
        speed_bps: rate.bytes_per_second(),
        eta_seconds: rate.seconds_left(measured),
    }
}

#[cfg(test)]
mod tests {
    use protocol::endpoint::Endpoint;

    use super::*;
    use crate::test_parts::{TestLine, clock, parts};

    #[test]
    fn the_last_figures_of_a_run_are_the_last_that_were_measured() {
        let measured = Measured {
            done_bytes: 70,
            total_bytes: 90,
            packed_bytes: 5,
            ..Measured::default()
        };
        let figures = |told: &Told| {
            (
                told.bytes_processed,
                told.bytes_transferred,
                told.bytes_total,
            )
        };
        let mut told = Told {
            bytes_transferred: Some(8),
            ..Told::default()
        };
        add_figures(&mut told, &measured);
        assert_eq!(figures(&told), (Some(70), Some(8), Some(90)));
        // What is not known is not told as nothing.
        let mut none = Told::default();
        add_figures(&mut none, &Measured::default());
        assert_eq!(figures(&none), (None, None, None));
    }

    #[test]
    fn a_backup_of_which_something_was_cut_off_by_the_service_s_end_goes_on_later() {
        let (folder, line) = (tempfile::tempdir().unwrap(), TestLine::quiet());
        let parts = parts(folder.path(), &line, clock());
        let supervise = |number: i64, is_backup: bool, is_cut_off: bool| {
            let kind = Kind {
                name: "hyperv".to_owned(),
                is_backup,
                job_id: None,
            };
            let meter = Arc::new(Meter::new(0, |_| {}));
            supervise(&parts, &WireId::Number(number), &kind, &meter, |work| {
                work.parts.stop.stop();
                let now = work.parts.ports.clock.now();
                Ended {
                    is_cut_off,
                    ..Ended::new(Ending::new(RunStatus::Warning, now), Vec::new())
                }
            })
        };
        assert!(supervise(1, true, true).is_none());
        assert!(!parts.outbox.knows(&WireId::Number(1)));
        assert!(supervise(2, true, false).is_some());
        let restore = supervise(3, false, true).unwrap();
        assert_eq!(restore.status, RunStatus::Failed);
        let told = line.documents(Endpoint::UpdateRun).into_iter();
        let ends: Vec<_> = told.filter(|it| !it["finished_at"].is_null()).collect();
        assert_eq!(ends.len(), 2);
        assert_eq!(ends[0]["status"], "warning");
        assert_eq!(ends[1]["status"], "failed");
    }
}
