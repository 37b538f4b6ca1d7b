//! Each rule at its limits.

use super::*;

fn hour(hour: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + hour * 3600).unwrap()
}

/// A schedule in which these tasks ran well, each for a quarter of an hour.
fn schedule(runs: &[(&str, i64)]) -> MaintenanceSchedule {
    let mut schedule = MaintenanceSchedule::default();
    for (task, at) in runs {
        begin(&mut schedule, task, hour(*at));
        let end_at = hour(*at) + SignedDuration::from_mins(15);
        end(&mut schedule, task, end_at, None);
    }
    schedule
}

#[test]
fn clocks_may_differ_by_five_minutes_either_way() {
    let at = |seconds| hour(0) + SignedDuration::from_secs(seconds);
    assert_eq!(skew_seconds(at(300), hour(0)), None);
    assert_eq!(skew_seconds(at(-300), hour(0)), None);
    assert_eq!(skew_seconds(at(301), hour(0)), Some(301));
    assert_eq!(skew_seconds(at(-301), hour(0)), Some(301));
}

#[test]
fn tombstones_are_forgotten_from_an_hour_before_a_collection_four_hours_ago() {
    let at = |hour_of_runs: &[i64]| {
        let runs: Vec<_> = hour_of_runs.iter().map(|at| (task::COLLECT, *at)).collect();
        watermark(&schedule(&runs))
    };
    assert_eq!(at(&[]), None);
    assert_eq!(at(&[0]), None);
    assert_eq!(
        at(&[0, 4]),
        None,
        "the first ended less than four hours before"
    );
    assert_eq!(at(&[0, 5]), Some(hour(-1).as_second()));
    assert_eq!(at(&[0, 20, 24]), Some(hour(-1).as_second()));
    assert_eq!(at(&[0, 24, 48]), Some(hour(23).as_second()));
}

#[test]
fn a_collection_that_failed_lets_nothing_be_forgotten() {
    let mut runs = schedule(&[(task::COLLECT, 0), (task::COLLECT, 24)]);
    end(&mut runs, task::COLLECT, hour(25), Some("a manifest"));
    assert_eq!(watermark(&runs), None);
}

#[test]
fn packs_wait_an_hour_for_what_looks_for_moved_or_dropped_contents() {
    for task in [task::REWRITE, task::DROP] {
        let runs = schedule(&[(task, 0)]);
        assert!(objection_to_deletion(&runs, hour(1)).is_some(), "{task}");
        assert!(objection_to_deletion(&runs, hour(2)).is_none(), "{task}");
    }
    assert!(objection_to_deletion(&schedule(&[]), hour(0)).is_none());
}

#[test]
fn a_rewriting_that_was_interrupted_counts_as_ended_when_it_is_found() {
    let mut runs = schedule(&[]);
    begin(&mut runs, task::REWRITE, hour(0));
    end_interrupted(&mut runs, hour(10));
    assert!(objection_to_deletion(&runs, hour(10)).is_some());
    assert!(objection_to_deletion(&runs, hour(12)).is_none());
    end_interrupted(&mut runs, hour(12));
    assert!(
        objection_to_deletion(&runs, hour(12)).is_none(),
        "found once"
    );
    assert_eq!(objection_to_rewriting(&runs), None, "it may be repeated");
}

#[test]
fn contents_are_moved_again_only_after_packs_were_deleted() {
    let rewritten = (task::REWRITE, 2);
    assert!(objection_to_rewriting(&schedule(&[rewritten])).is_some());
    let before = schedule(&[(task::DELETE_PACKS, 0), rewritten]);
    assert!(objection_to_rewriting(&before).is_some());
    let after = schedule(&[rewritten, (task::DELETE_PACKS, 5)]);
    assert!(objection_to_rewriting(&after).is_none());
    assert!(objection_to_rewriting(&schedule(&[])).is_none());
}

#[test]
fn ages_count_from_the_limit_on() {
    let limits = Limits { start: hour(0) };
    assert!(limits.may_bury(hour(-24).as_second()) && !limits.may_bury(hour(-23).as_second()));
    assert!(limits.is_young(hour(-23)) && !limits.is_young(hour(-24)));
    assert!(limits.may_delete(hour(-24)) && !limits.may_delete(hour(-23)));
    assert!(limits.is_alive(hour(-95)) && !limits.is_alive(hour(-96)));
    assert!(limits.may_move(hour(-2).as_second()) && !limits.may_move(hour(-1).as_second()));
}

#[test]
fn packs_are_short_below_sixty_percent_of_what_can_be_moved() {
    let pack = |live_bytes, movable| PackUse {
        live_bytes,
        movable,
    };
    assert!(is_short(pack(59, 1), 100));
    assert!(!is_short(pack(60, 1), 100));
    assert!(!is_short(pack(59, 0), 100), "there is nothing to move");
}

#[test]
fn the_newest_logs_are_kept() {
    let log = |at: i64| BlobMetadata {
        name: format!("_log_{at}"),
        bytes: 10,
        modified: hour(at),
    };
    let kept = |count_max, total_bytes_max, hours: i64| LogRetention {
        total_bytes_max,
        count_max,
        age_max_ns: hours * 3_600_000_000_000,
    };
    let gone = |kept: LogRetention| -> Vec<String> {
        let logs = logs_to_delete((0..5).map(log).collect(), &kept, hour(5));
        logs.into_iter().map(|log| log.name).collect()
    };
    assert_eq!(gone(kept(3, 1000, 100)), ["_log_1", "_log_0"]);
    assert_eq!(gone(kept(100, 20, 100)), ["_log_2", "_log_1", "_log_0"]);
    assert_eq!(gone(kept(100, 1000, 4)), ["_log_0"]);
    assert!(gone(kept(0, 0, 0)).is_empty(), "0 is no limit");
}
