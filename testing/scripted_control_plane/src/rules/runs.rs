//! A run from its claim to its end: heartbeats, one terminal update, cancellation.

use std::time::Duration;

use super::{Timeline, Violation};
use crate::record::Recorded;
use crate::world::{Run, World, id_text, is_terminal};

/// The longest silence in any phase.
const HEARTBEAT_MAX: Duration = Duration::from_secs(60);
/// How soon an agent must have asked when a run is to stop.
const CANCEL_POLL_MAX: Duration = Duration::from_secs(5);

pub(super) fn check(calls: &[Recorded], world: &World, timeline: &Timeline) -> Vec<Violation> {
    let mut found: Vec<_> = world
        .runs
        .iter()
        .flat_map(|run| check_run(calls, run, timeline))
        .collect();
    found.extend(
        world
            .runs
            .iter()
            .filter_map(|run| late_cancel(calls, run, timeline)),
    );
    found
}

/// Where a run stands while its updates are gone through.
struct Life<'a> {
    run: &'a Run,
    last_sign: Option<Duration>,
    started: Option<Duration>,
    end: Option<&'a Recorded>,
    is_acknowledged: bool,
}

fn check_run(calls: &[Recorded], run: &Run, timeline: &Timeline) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut life = Life {
        run,
        last_sign: run.claimed,
        started: None,
        end: None,
        is_acknowledged: false,
    };
    for recorded in calls {
        let is_of_run = id_text(&recorded.call.body["run_id"]) == id_text(&run.id);
        match recorded.call.endpoint.as_str() {
            "agent_update_run" if is_of_run => found.extend(life.update(recorded, timeline)),
            "agent_push_events" if is_of_run => found.extend(life.events(recorded)),
            _ => {}
        }
    }
    found
}

impl<'a> Life<'a> {
    fn update(&mut self, recorded: &'a Recorded, timeline: &Timeline) -> Vec<Violation> {
        let mut wrong = Vec::new();
        let body = &recorded.call.body;
        let status = body["status"].as_str().unwrap_or_default();
        let summary = body["error_summary"].as_str().unwrap_or_default().trim();
        if self.run.is_backup() && self.run.claimed.is_none_or(|claimed| claimed > recorded.at) {
            wrong.push("an update of a run that was not handed out");
        }
        match self.end {
            Some(end) => wrong.extend(self.after_end(end, recorded, timeline)),
            None => wrong.extend(self.silence(recorded, timeline)),
        }
        if !summary.is_empty() && !is_terminal(status) {
            wrong.push(
                "`error_summary` without a terminal status: the server ends the run as failed",
            );
        }
        if !body["hyperv_results"].is_null() && !is_terminal(status) {
            wrong.push("`hyperv_results` without a terminal status");
        }
        if status == "running" {
            if self.started.is_some_and(|started| {
                !timeline.is_killed(started, recorded.at)
                    && recorded.call.body["started_at"].is_string()
                    && self.was_taken(started)
            }) {
                wrong.push("the run is started twice");
            }
            self.started = Some(recorded.at);
        }
        if is_terminal(status) {
            wrong.extend(self.ending(status, summary, recorded));
            self.end = Some(recorded);
            self.is_acknowledged |= recorded.was_acknowledged();
        }
        self.last_sign = Some(recorded.at);
        wrong
            .into_iter()
            .map(|what| Violation::of(recorded, format!("run {}: {what}", self.run.id)))
            .collect()
    }

    /// A start that nobody answered is repeated within seconds; that is no second start.
    fn was_taken(&self, started: Duration) -> bool {
        self.last_sign.is_some_and(|last| last > started)
    }

    fn after_end(
        &self,
        end: &Recorded,
        recorded: &Recorded,
        timeline: &Timeline,
    ) -> Option<&'static str> {
        let is_same = end.call.raw == recorded.call.raw;
        let was_killed = timeline.is_killed(end.at, recorded.at);
        match (self.is_acknowledged, is_same) {
            (true, true) if was_killed => None,
            (true, _) => Some("an update after the terminal one was acknowledged"),
            (false, true) => None,
            (false, false) => Some("after a terminal update only the same one, byte for byte"),
        }
    }

    fn silence(&self, recorded: &Recorded, timeline: &Timeline) -> Option<&'static str> {
        let last = self.last_sign?;
        let is_late = recorded.at.saturating_sub(last) > HEARTBEAT_MAX;
        (is_late && !timeline.breaks(last, recorded.at))
            .then_some("more than 60 seconds without a heartbeat")
    }

    fn ending(&self, status: &str, summary: &str, recorded: &Recorded) -> Vec<&'static str> {
        let mut wrong = Vec::new();
        if recorded.call.body["finished_at"].is_null() {
            wrong.push("a terminal update without `finished_at`");
        }
        if matches!(status, "failed" | "warning") && summary.is_empty() {
            wrong.push("it failed, or warns, without saying why in `error_summary`");
        }
        if status == "cancelled"
            && self
                .run
                .cancel_requested
                .is_none_or(|asked| asked > recorded.at)
        {
            wrong.push("it is cancelled, and nobody asked for it");
        }
        wrong
    }

    /// The last event of a backup of VMs follows the terminal update.
    fn events(&self, recorded: &Recorded) -> Option<Violation> {
        let events = recorded.call.events().iter();
        let is_last = events
            .into_iter()
            .any(|event| event["message_id"] == "HYPERV_BACKUP_COMPLETE");
        (is_last && self.end.is_none()).then(|| {
            Violation::of(
                recorded,
                format!(
                    "run {}: HYPERV_BACKUP_COMPLETE before the terminal update",
                    self.run.id
                ),
            )
        })
    }
}

/// Someone who asks a run to stop is heard within seconds.
fn late_cancel(calls: &[Recorded], run: &Run, timeline: &Timeline) -> Option<Violation> {
    let asked = run.cancel_requested?;
    let of_run = |recorded: &&Recorded| id_text(&recorded.call.body["run_id"]) == id_text(&run.id);
    let was_over = calls.iter().filter(of_run).any(|recorded| {
        let status = recorded.call.body["status"].as_str().unwrap_or_default();
        is_terminal(status) && recorded.at <= asked + CANCEL_POLL_MAX
    });
    let was_working = run.claimed.is_some_and(|claimed| claimed <= asked);
    if was_over || !was_working {
        return None;
    }
    let mut polls = calls.iter().filter(of_run);
    let heard = polls.find(|it| it.call.endpoint == "agent_poll_commands" && it.at >= asked)?;
    let is_late = heard.at - asked > CANCEL_POLL_MAX && !timeline.breaks(asked, heard.at);
    is_late.then(|| {
        Violation::of(
            heard,
            format!(
                "run {}: more than 5 seconds from the wish to stop to a poll",
                run.id
            ),
        )
    })
}
