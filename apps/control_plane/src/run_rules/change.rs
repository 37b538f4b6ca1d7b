//! What an update of a run changes (contract 5), without the faults of the server that the contract describes: what
//! is over stays over, and what came twice counts once.

use protocol::limit::shortened;
use protocol::update_run::{RunStatus, UpdateRun};
use serde_json::{Map, Value, json};

use crate::run_rules::{Happened, is_over};
use crate::store::entity::run;

/// The longest summary of an error that is kept.
const SUMMARY_CHARS_MAX: usize = 700;
/// The longest piece of a log that is kept with a run.
const EXCERPT_CHARS_MAX: usize = 8_000;
/// The longest description of what a run works on.
const ITEM_CHARS_MAX: usize = 1_024;
/// The longest manifest id.
const MANIFEST_CHARS_MAX: usize = 255;
/// The most that a document of the agent's own may take.
const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// The member of a run's figures that says that the server ended it, for its agent was silent. Only then does the
/// agent's own ending still count: it knows better.
pub const ENDED_BY_SERVER: &str = "ended_by_server";
/// The member that says that the server asked for its end, for its agent was silent. An agent that comes back then ends
/// it as if a person had asked, and only this tells that nobody did.
pub const STOPPED_BY_SERVER: &str = "stopped_by_server";

/// What an update comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The run as it is from now on.
    pub run: run::Model,
    /// Whether it has ended by this update.
    pub has_ended: bool,
    /// Whether the update's results are to be recorded as points, those that are not there yet.
    pub records_points: bool,
    /// What is written into the run's events.
    pub happened: Vec<Happened>,
}

/// Returns what an update makes of a run.
pub fn apply(before: &run::Model, update: &UpdateRun, now: i64) -> Change {
    let mut run = before.clone();
    let mut happened = Vec::new();
    let status = update.status;
    let is_terminal = status.is_some_and(RunStatus::is_terminal);
    let was_over = is_over(&before.status);
    let may_change = !was_over || (is_terminal && ended_by_server(before));
    let records_points = is_terminal && status.is_some_and(has_points) && has_points_kept(before);
    if !may_change {
        return Change {
            run,
            has_ended: false,
            // The same ending once more, after an answer that was lost: what is missing is added.
            records_points,
            happened,
        };
    }
    run.heartbeat_at = Some(now);
    take_progress(&mut run, update);
    let summary = update.error_summary.trim();
    let forced = !is_terminal && !summary.is_empty();
    if let Some(status) = status {
        run.status = status.as_str().to_owned();
    }
    if let Some(started) = update.started_at {
        // A clock that is wrong there must not let a run begin after now, nor before it was taken.
        let taken = before.started_at.unwrap_or(before.created_at).min(now);
        run.started_at = Some(started.as_millisecond().clamp(taken, now));
    }
    if !summary.is_empty() {
        run.error_summary = shortened(summary, SUMMARY_CHARS_MAX);
    }
    if forced {
        run.status = "failed".to_owned();
        happened.push(Happened {
            kind: "summary",
            level: "error",
            message_id: "AGENT_START_FAILURE",
            params: json!({"message": run.error_summary}),
        });
    }
    let has_ended = is_terminal || forced;
    if has_ended {
        let said = update.finished_at.map(|at| at.as_millisecond());
        // It was still going on when it was last heard of, whatever the clock there says: a point is as old as it is.
        let begun = run.started_at.unwrap_or(run.created_at);
        let heard = begun.max(before.heartbeat_at.unwrap_or(begun)).min(now);
        run.finished_at = Some(said.unwrap_or(now).clamp(heard, now));
        run.current_item.clear();
        run.speed_bytes_per_sec = 0;
        run.eta_seconds = 0;
        if matches!(status, Some(RunStatus::Success | RunStatus::Warning)) {
            run.progress_pct = 100.0;
            run.error_summary = shortened(summary, SUMMARY_CHARS_MAX);
        }
        forget_marks(&mut run);
    }
    Change {
        run,
        has_ended,
        records_points,
        happened,
    }
}

/// Tells whether runs that end so have points, if only of some VMs.
fn has_points(status: RunStatus) -> bool {
    matches!(
        status,
        RunStatus::Success | RunStatus::Warning | RunStatus::PartialSuccess
    )
}

/// Tells whether a run that is over may still get points: one that ended well, or that the server ended.
fn has_points_kept(run: &run::Model) -> bool {
    !is_over(&run.status)
        || ended_by_server(run)
        || matches!(
            run.status.as_str(),
            "success" | "warning" | "partial_success"
        )
}

fn ended_by_server(run: &run::Model) -> bool {
    object(&run.stats_json).get(ENDED_BY_SERVER) == Some(&Value::Bool(true))
}

/// Writes one of the server's own members into a run's figures.
pub fn mark(run: &mut run::Model, name: &str) {
    let mut stats = object(&run.stats_json);
    stats.insert(name.to_owned(), Value::Bool(true));
    run.stats_json = Value::Object(stats).to_string();
}

/// Takes the server's own members out of the figures of a run that its agent ended.
fn forget_marks(run: &mut run::Model) {
    let mut stats = object(&run.stats_json);
    let was_ended = stats.remove(ENDED_BY_SERVER).is_some();
    let was_in_vain = run.status != "cancelled" && stats.remove(STOPPED_BY_SERVER).is_some();
    if was_ended || was_in_vain {
        run.stats_json = Value::Object(stats).to_string();
    }
}

fn take_progress(run: &mut run::Model, update: &UpdateRun) {
    let progress = &update.progress;
    if let Some(pct) = progress.progress_pct {
        run.progress_pct = (pct.clamp(0.0, 100.0) * 100.0).round() / 100.0;
    }
    for (sent, kept) in [
        (progress.bytes_processed, &mut run.bytes_processed),
        (progress.bytes_transferred, &mut run.bytes_transferred),
        (progress.bytes_total, &mut run.bytes_total),
        (progress.objects_transferred, &mut run.objects_transferred),
        (progress.objects_total, &mut run.objects_total),
        (progress.speed_bytes_per_sec, &mut run.speed_bytes_per_sec),
        (progress.eta_seconds, &mut run.eta_seconds),
    ] {
        if let Some(sent) = sent {
            *kept = i64::try_from(sent).unwrap_or(i64::MAX);
        }
    }
    for (sent, kept, chars_max) in [
        (
            &progress.current_item,
            &mut run.current_item,
            ITEM_CHARS_MAX,
        ),
        (&update.log_excerpt, &mut run.log_excerpt, EXCERPT_CHARS_MAX),
        (
            &update.manifest_id,
            &mut run.manifest_id,
            MANIFEST_CHARS_MAX,
        ),
    ] {
        if !sent.is_empty() {
            *kept = shortened(sent, chars_max);
        }
    }
    if !update.progress_json.is_empty() {
        keep(&mut run.progress_json, json!(update.progress_json));
    }
    if !update.disk_manifests_json.is_empty() {
        let sent = serde_json::to_string(&update.disk_manifests_json)
            .expect("a map from texts to texts is JSON");
        if sent.len() <= DOCUMENT_BYTES_MAX {
            run.disk_manifests_json = sent;
        }
    }
    if !update.stats_json.is_empty() {
        let mut stats = Value::Object(object(&run.stats_json));
        let mut sent = update.stats_json.clone();
        sent.remove(ENDED_BY_SERVER);
        sent.remove(STOPPED_BY_SERVER);
        merge(&mut stats, Value::Object(sent));
        keep(&mut run.stats_json, stats);
    }
}

/// Takes a document over, unless it is larger than anything sensible.
fn keep(kept: &mut String, document: Value) {
    let text = document.to_string();
    if text.len() <= DOCUMENT_BYTES_MAX {
        *kept = text;
    }
}

/// Merges objects member by member; anything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Reads an object that is stored as text; anything else is an empty one.
pub fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use protocol::WireId;
    use protocol::identity::Program;
    use protocol::update_run::{Ending, Progress};

    use super::*;
    use crate::run_rules::test_run;

    const NOW: i64 = 1_800_000_000_000;

    fn id() -> WireId {
        WireId::Text(test_run("running").id)
    }

    fn program() -> Program {
        Program::default()
    }

    fn at(ms: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(ms).expect("in range")
    }

    fn ended(status: RunStatus) -> UpdateRun {
        UpdateRun::ended(id(), &program(), Ending::new(status, at(NOW - 5)))
    }

    #[test]
    fn an_update_without_a_status_is_a_heartbeat_and_leaves_the_rest_alone() {
        let mut run = test_run("running");
        run.bytes_processed = 7;
        let change = apply(&run, &UpdateRun::heartbeat(id(), &program()), NOW);
        let expected = run::Model {
            heartbeat_at: Some(NOW),
            ..run
        };
        assert_eq!(change.run, expected);
        assert!(!change.has_ended && !change.records_points);
    }

    #[test]
    fn what_is_over_stays_over_whatever_comes_late() {
        for status in [
            "success",
            "warning",
            "partial_success",
            "failed",
            "cancelled",
        ] {
            let mut run = test_run(status);
            run.finished_at = Some(NOW - 9);
            let late = [
                UpdateRun::started(id(), &program(), at(NOW)),
                UpdateRun::heartbeat(id(), &program()),
                UpdateRun::progressed(
                    id(),
                    &program(),
                    Progress {
                        progress_pct: Some(3.0),
                        ..Progress::default()
                    },
                ),
                ended(RunStatus::Success),
                ended(RunStatus::Failed),
            ];
            for update in late {
                let change = apply(&run, &update, NOW);
                assert_eq!(change.run, run, "{status}: {update:?}");
                assert!(!change.has_ended);
            }
            let again = apply(&run, &ended(RunStatus::Success), NOW);
            let ended_well = !matches!(status, "failed" | "cancelled");
            assert_eq!(again.records_points, ended_well, "{status}");
        }
    }

    #[test]
    fn an_agent_that_was_given_up_still_says_how_its_run_ended() {
        let mut run = test_run("cancelled");
        run.stats_json = json!({ENDED_BY_SERVER: true, "a": 1}).to_string();
        run.error_summary = "the agent is offline".to_owned();
        let late = apply(&run, &UpdateRun::heartbeat(id(), &program()), NOW);
        assert_eq!(late.run, run, "it is not reopened");
        let change = apply(&run, &ended(RunStatus::Success), NOW);
        assert_eq!(change.run.status, "success");
        assert_eq!(change.run.error_summary, "");
        assert_eq!(change.run.stats_json, r#"{"a":1}"#);
        assert!(change.has_ended && change.records_points);
    }

    #[test]
    fn a_run_that_the_server_stopped_is_known_by_it_unless_it_ended_otherwise() {
        for status in ["running", "cancelled"] {
            let mut run = test_run(status);
            mark(&mut run, STOPPED_BY_SERVER);
            if status == "cancelled" {
                mark(&mut run, ENDED_BY_SERVER);
            }
            let cancelled = apply(&run, &ended(RunStatus::Cancelled), NOW).run;
            assert_eq!(cancelled.stats_json, r#"{"stopped_by_server":true}"#);
            for otherwise in [RunStatus::Success, RunStatus::Failed] {
                let run = apply(&run, &ended(otherwise), NOW).run;
                assert_eq!(run.stats_json, "{}");
            }
        }
        let mut update = UpdateRun::heartbeat(id(), &program());
        update.stats_json = object(r#"{"stopped_by_server":true}"#);
        let said = apply(&test_run("running"), &update, NOW).run;
        assert_eq!(said.stats_json, "{}", "no agent says so");
    }

    #[test]
    fn an_error_before_the_end_fails_a_run() {
        let mut update = UpdateRun::heartbeat(id(), &program());
        update.error_summary = " no repository ".to_owned();
        let change = apply(&test_run("starting"), &update, NOW);
        assert_eq!(change.run.status, "failed");
        assert_eq!(change.run.finished_at, Some(NOW));
        assert_eq!(change.run.error_summary, "no repository");
        assert_eq!(change.happened[0].message_id, "AGENT_START_FAILURE");
        assert!(change.has_ended && !change.records_points);
        let mut running = UpdateRun::started(id(), &program(), at(NOW));
        running.error_summary = "no repository".to_owned();
        assert_eq!(
            apply(&test_run("starting"), &running, NOW).run.status,
            "failed"
        );
        update.error_summary = "  ".to_owned();
        assert!(!apply(&test_run("starting"), &update, NOW).has_ended);
    }

    #[test]
    fn figures_are_merged_and_progress_is_replaced() {
        let mut run = test_run("running");
        run.stats_json = r#"{"a":{"b":1,"c":2}}"#.to_owned();
        run.progress_json = r#"{"old":1}"#.to_owned();
        let mut update = UpdateRun::heartbeat(id(), &program());
        update.stats_json = object(r#"{"a":{"c":3},"d":[1],"ended_by_server":true}"#);
        update.progress_json = object(r#"{"new":1}"#);
        update.progress.bytes_total = Some(u64::MAX);
        update.progress.progress_pct = Some(250.0);
        let run = apply(&run, &update, NOW).run;
        assert_eq!(run.stats_json, r#"{"a":{"b":1,"c":3},"d":[1]}"#);
        assert_eq!(run.progress_json, r#"{"new":1}"#);
        assert_eq!(run.bytes_total, i64::MAX);
        assert_eq!(run.progress_pct, 100.0);
        update.stats_json = Map::from_iter([("x".to_owned(), json!("x".repeat(300 << 10)))]);
        assert_eq!(apply(&run, &update, NOW).run.stats_json, run.stats_json);
    }

    #[test]
    fn times_from_another_clock_keep_their_order() {
        let mut run = test_run("running");
        run.started_at = Some(NOW - 100);
        let mut update = ended(RunStatus::Success);
        update.finished_at = Some(at(NOW + 86_400_000));
        assert_eq!(apply(&run, &update, NOW).run.finished_at, Some(NOW));
        update.finished_at = Some(at(0));
        assert_eq!(apply(&run, &update, NOW).run.finished_at, Some(NOW - 100));
        // A clock days behind makes no point days old: it was going on when it was last heard of.
        run.heartbeat_at = Some(NOW - 30);
        assert_eq!(apply(&run, &update, NOW).run.finished_at, Some(NOW - 30));
        let behind = UpdateRun::started(id(), &program(), at(NOW - 5 * 86_400_000));
        let begun = apply(&run, &behind, NOW).run.started_at;
        assert_eq!(begun, Some(NOW - 100), "it was taken then");
        run.heartbeat_at = None;
        let started = UpdateRun::started(id(), &program(), at(NOW + 5_000));
        assert_eq!(apply(&run, &started, NOW).run.started_at, Some(NOW));
    }
}
