//! What becomes of runs and commands that nobody speaks of any more.

use crate::run_rules::{SILENCE_MAX_MS, TAKEN, is_backup};
use crate::store::entity::{command, repo_operation, run};

/// Between asking a silent agent to stop and ending its run there is so much time at least.
const STOP_GRACE_MS: i64 = 30_000;
/// A restore that no agent began after so long fails.
const QUEUED_RESTORE_MAX_MS: i64 = 24 * 3_600_000;
/// A command that was handed out and not answered after so long has failed …
const COMMAND_MAX_MS: i64 = 3_600_000;
/// … unless it is work that takes its time.
const LONG_COMMAND_MAX_MS: i64 = 24 * 3_600_000;
/// Work on a repository that was handed out and not reported after so long has failed.
const OPERATION_MAX_MS: i64 = 24 * 3_600_000;

/// A sleep of the server puts off the end of what waits by this at most: else one that is started anew each night would
/// never give up what takes a day.
const SLEEP_MAX_MS: i64 = 7 * 24 * 3_600_000;

/// Returns before when something must have been asked for, or handed out, to have waited for longer than `max_ms`.
/// `awake_since`: since when there has been a server to hear of it. Of several servers on one database one is enough, for
/// agents go to whichever is there.
pub fn waits_since(max_ms: i64, now: i64, awake_since: i64) -> i64 {
    let before = now.saturating_sub(max_ms);
    if awake_since < before {
        before
    } else {
        before.saturating_sub(SLEEP_MAX_MS)
    }
}

/// What to do with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfRun {
    /// Nothing.
    Leave,
    /// Its agent is asked to stop it, for when it comes back.
    AskToStop,
    /// It is ended: its agent is gone.
    End,
    /// It is ended: somebody stopped it before it was begun.
    Stop,
    /// A restore that nobody began.
    FailRestore,
}

/// Judges a run that is not over. `awake_since`: since when the server has been there to hear anything.
pub fn of_run(run: &run::Model, now: i64, awake_since: i64) -> OfRun {
    if run.status == "queued" {
        let limit = waits_since(QUEUED_RESTORE_MAX_MS, now, awake_since);
        return match run.cancel_requested_at {
            Some(_) => OfRun::Stop,
            None if !is_backup(run) && run.created_at < limit => OfRun::FailRestore,
            None => OfRun::Leave,
        };
    }
    let heard = run
        .heartbeat_at
        .or(run.started_at)
        .unwrap_or(run.created_at);
    let is_silent = now.saturating_sub(heard.max(awake_since)) > SILENCE_MAX_MS;
    if !TAKEN.contains(&run.status.as_str()) || !is_silent {
        return OfRun::Leave;
    }
    match run.cancel_requested_at {
        None => OfRun::AskToStop,
        Some(asked) if now.saturating_sub(asked) >= STOP_GRACE_MS => OfRun::End,
        Some(_) => OfRun::Leave,
    }
}

/// Tells whether a command that was handed out has been silent for too long. `is_run_open`: whether the run that it
/// is about goes on; a restore is answered when it is done.
pub fn is_command_lost(
    command: &command::Model,
    is_run_open: bool,
    now: i64,
    awake_since: i64,
) -> bool {
    let is_long = command.kind.starts_with("maintenance_") || command.kind == "agent_update";
    let age_max = if is_long {
        LONG_COMMAND_MAX_MS
    } else {
        COMMAND_MAX_MS
    };
    let handed_out = command.delivered_at.unwrap_or(command.created_at);
    let is_late = handed_out < waits_since(age_max, now, awake_since);
    command.status == "processing" && !is_run_open && is_late
}

/// Tells whether work on a repository that was handed out has been silent for too long.
pub fn is_operation_lost(operation: &repo_operation::Model, now: i64, awake_since: i64) -> bool {
    // The lock begins when the work is handed out, and lasts for a fixed time.
    let locked_until = operation.locked_until.unwrap_or(operation.created_at);
    let limit = waits_since(OPERATION_MAX_MS, now, awake_since);
    operation.status == "running" && locked_until < limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_rules::test_run;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn a_silent_run_is_first_asked_to_stop_and_then_ended() {
        for (silence_ms, asked_ago_ms, expected) in [
            (720_000, None, OfRun::Leave),
            (720_001, None, OfRun::AskToStop),
            (720_001, Some(0), OfRun::Leave),
            (800_000, Some(30_000), OfRun::End),
            (1_000, Some(600_000), OfRun::Leave),
        ] {
            for status in TAKEN {
                let mut run = test_run(status);
                run.heartbeat_at = Some(NOW - silence_ms);
                run.cancel_requested_at = asked_ago_ms.map(|ago| NOW - ago);
                assert_eq!(of_run(&run, NOW, 0), expected, "{status} {silence_ms}");
                run.kind = "hyperv_restore".to_owned();
                assert_eq!(of_run(&run, NOW, 0), expected, "restores too");
            }
        }
    }

    #[test]
    fn what_waits_is_ended_when_it_was_stopped_or_is_a_restore_that_nobody_begins() {
        let mut run = test_run("queued");
        run.created_at = NOW - 48 * 3_600_000;
        assert_eq!(of_run(&run, NOW, 0), OfRun::Leave, "a backup waits");
        run.kind = "restore".to_owned();
        assert_eq!(of_run(&run, NOW, 0), OfRun::FailRestore);
        run.created_at = NOW - 24 * 3_600_000;
        assert_eq!(of_run(&run, NOW, 0), OfRun::Leave);
        run.cancel_requested_at = Some(NOW);
        assert_eq!(of_run(&run, NOW, 0), OfRun::Stop);
        assert_eq!(of_run(&test_run("success"), NOW, 0), OfRun::Leave);
    }

    #[test]
    fn what_waited_while_the_server_slept_has_time_again_but_not_for_ever() {
        let hour = 3_600_000;
        for (asked_ago, awake_for, is_late) in [
            (13, 13, true),
            (12, 12, false),
            (25, 12, false),
            (25, 13, true),
            (7 * 24 + 12, 1, false),
            (7 * 24 + 13, 1, true),
        ] {
            let limit = waits_since(12 * hour, NOW, NOW - awake_for * hour);
            let said = format!("{asked_ago} {awake_for}");
            assert_eq!(NOW - asked_ago * hour < limit, is_late, "{said}");
        }
        let mut run = test_run("queued");
        run.kind = "restore".to_owned();
        run.created_at = NOW - 25 * hour;
        assert_eq!(of_run(&run, NOW, NOW - hour), OfRun::Leave);
    }

    #[test]
    fn a_command_is_lost_after_an_hour_unless_its_run_goes_on() {
        let command = |kind: &str, status: &str, ago_ms: i64| command::Model {
            id: 1,
            tenant_id: String::new(),
            host_id: String::new(),
            run_id: None,
            kind: kind.to_owned(),
            payload_json: "{}".to_owned(),
            context_json: "{}".to_owned(),
            status: status.to_owned(),
            result_message: String::new(),
            result_json: String::new(),
            requested_by: String::new(),
            created_at: 0,
            delivered_at: Some(NOW - ago_ms),
            finished_at: None,
        };
        for (kind, status, ago_ms, is_run_open, is_lost) in [
            ("browse_directory", "processing", 3_600_000, false, false),
            ("browse_directory", "processing", 3_600_001, false, true),
            ("browse_directory", "pending", 9_999_999, false, false),
            ("browse_directory", "completed", 9_999_999, false, false),
            ("hyperv_restore", "processing", 9_999_999, true, false),
            ("hyperv_restore", "processing", 9_999_999, false, true),
            ("maintenance_full", "processing", 9_999_999, false, false),
            ("maintenance_full", "processing", 90_000_000, false, true),
        ] {
            let command = command(kind, status, ago_ms);
            let said = format!("{kind} {status} {ago_ms} {is_run_open}");
            assert_eq!(
                is_command_lost(&command, is_run_open, NOW, 0),
                is_lost,
                "{said}"
            );
        }
    }
}
