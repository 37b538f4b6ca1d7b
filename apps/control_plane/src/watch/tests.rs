//! What is found wrong, and what is not, in worlds that differ from a good one in one thing.

use super::facts::{ChannelFacts, Leftover, MissedFacts, RepositoryFacts, RunFacts, VolumeFacts};
use super::*;
use crate::chores::upkeep::Record;
use crate::vm_choice::VmRules;

const NOW: i64 = 1_000 * DAY_MS;

/// A job of files beside that of VMs, whose newest point was made then.
fn of_files(last_good_at: Option<i64>) -> JobFacts {
    let mut job = well().jobs.remove(0);
    job.id = "files".to_owned();
    job.is_hyperv = false;
    job.last_good_at = last_good_at;
    job
}

/// A world in which all is well: a host with a VM that was backed up an hour ago.
fn well() -> Facts {
    Facts {
        awake_since: 0,
        min_agent_version: "1.8.0".to_owned(),
        hosts: vec![HostFacts {
            id: "host".to_owned(),
            tenant_id: "t".to_owned(),
            name: "HV1".to_owned(),
            agent_version: "1.8.2".to_owned(),
            last_seen_at: Some(NOW - MINUTE_MS),
            created_at: NOW - 100 * DAY_MS,
            volumes: vec![volume(100, 40)],
        }],
        vms: vec![VmFacts {
            id: 7,
            tenant_id: "t".to_owned(),
            host_id: "host".to_owned(),
            guid: "G".to_owned(),
            name: "web".to_owned(),
            state: "Running".to_owned(),
            first_seen_at: NOW - 100 * DAY_MS,
            newest: Some(PointFacts {
                id: 9,
                job_id: Some("job".to_owned()),
                created_at: NOW - HOUR_MS,
                consistency: "application".to_owned(),
                is_full: false,
                before_at: Some(NOW - DAY_MS),
                full_before_at: Some(NOW - 5 * DAY_MS),
                warnings: Vec::new(),
            }),
            ..VmFacts::default()
        }],
        jobs: vec![JobFacts {
            id: "job".to_owned(),
            tenant_id: "t".to_owned(),
            host_id: "host".to_owned(),
            name: "Nightly".to_owned(),
            is_hyperv: true,
            vms: VmRules {
                all: true,
                ..VmRules::default()
            },
            wants_application: true,
            objective_hours: 26,
            created_at: NOW - 100 * DAY_MS,
            last_good_at: None,
            last_run: Some(run("success", "")),
            missed: None,
        }],
        repositories: vec![RepositoryFacts {
            id: "repo".to_owned(),
            tenant_id: "t".to_owned(),
            name: "Vault".to_owned(),
            stored_bytes: Some(90),
            limit_bytes: Some(100),
            damaged_points: 0,
            upkeep: Upkeep::ALL.map(|upkeep| (upkeep, record(20))).to_vec(),
            can_be_verified: true,
        }],
        channels: vec![ChannelFacts {
            id: "c".to_owned(),
            tenant_id: "t".to_owned(),
            name: "Mail".to_owned(),
            failed_at: Some(1),
            error: "refused".to_owned(),
            sent_at: Some(2),
        }],
    }
}

fn volume(size_gib: i64, free_gib: i64) -> VolumeFacts {
    VolumeFacts {
        path: "D:\\".to_owned(),
        size_bytes: size_gib * GIB,
        free_bytes: free_gib * GIB,
    }
}

fn run(status: &str, why: &str) -> RunFacts {
    RunFacts {
        id: "run".to_owned(),
        status: status.to_owned(),
        finished_at: NOW - HOUR_MS,
        error_summary: why.to_owned(),
        failed_vms: 0,
    }
}

fn missed(count: i64) -> MissedFacts {
    MissedFacts {
        count,
        id: "missed".to_owned(),
        why: "the server was not running at that time".to_owned(),
    }
}

fn record(hours_ago: i64) -> Record {
    Record {
        every_hours: 24,
        last_at: Some(NOW - hours_ago * HOUR_MS),
        created_at: 0,
        is_under_way: false,
        failed_at: None,
    }
}

/// What is found after one thing has been changed.
fn found(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Severity, bool)> {
    let mut facts = well();
    change(&mut facts);
    judge(&facts, NOW)
        .into_iter()
        .inspect(|finding| {
            assert!(finding.message.ends_with('.'), "{}", finding.message);
            assert!(!finding.message.contains(".."), "{}", finding.message);
            assert!(finding.key().starts_with("t/"), "{}", finding.key());
        })
        .map(|finding| (finding.kind, finding.severity, finding.is_unknown))
        .collect()
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(found(|_| {}), []);
}

#[test]
fn each_kind_of_trouble_is_found_and_its_neighbour_is_not() {
    use Severity::{Critical, Warning};
    type Case = (
        &'static str,
        fn(&mut Facts),
        Option<(&'static str, Severity)>,
    );
    let cases: Vec<Case> = vec![
        (
            "a failed run",
            |it| it.jobs[0].last_run = Some(run("failed", "no space.")),
            Some(("run_failed", Critical)),
        ),
        (
            "a partial run",
            |it| it.jobs[0].last_run = Some(run("partial_success", "")),
            Some(("run_failed", Warning)),
        ),
        (
            "a verification that did not come to an end",
            |it| it.repositories[0].upkeep[2].1.failed_at = Some(NOW),
            Some(("verification_failed", Critical)),
        ),
        (
            "damaged points in a repository",
            |it| it.repositories[0].damaged_points = 2,
            Some(("points_damaged", Critical)),
        ),
        (
            "maintenance that did not",
            |it| it.repositories[0].upkeep[1].1.failed_at = Some(NOW),
            None,
        ),
        (
            "a point that is dated in the future",
            |it| it.vms[0].newest.as_mut().expect("a point").created_at = NOW + DAY_MS,
            Some(("vm_objective_missed", Critical)),
        ),
        (
            "a run that the watchdog ended",
            |it| it.jobs[0].last_run = Some(run("cancelled", "silent")),
            Some(("run_failed", Critical)),
        ),
        (
            "a run with warnings",
            |it| it.jobs[0].last_run = Some(run("warning", "")),
            None,
        ),
        (
            "a missed run",
            |it| it.jobs[0].missed = Some(missed(1)),
            Some(("run_missed", Warning)),
        ),
        (
            "three missed runs",
            |it| it.jobs[0].missed = Some(missed(3)),
            Some(("run_missed", Critical)),
        ),
        (
            "a VM of no job",
            |it| it.jobs[0].vms = VmRules::default(),
            Some(("vm_unprotected", Warning)),
        ),
        (
            "a VM of no job that is excused",
            |it| {
                it.jobs[0].vms = VmRules::default();
                it.vms[0].is_excused = true;
            },
            None,
        ),
        (
            "a VM of no job that is new",
            |it| {
                it.jobs[0].vms = VmRules::default();
                it.vms[0].first_seen_at = NOW - HOUR_MS;
            },
            None,
        ),
        (
            "a VM of a job for files",
            |it| {
                it.jobs[0].is_hyperv = false;
                it.jobs[0].last_good_at = Some(NOW);
            },
            Some(("vm_unprotected", Warning)),
        ),
        (
            "a VM of a host that is disabled",
            |it| {
                it.hosts.clear();
                it.jobs.clear();
            },
            None,
        ),
        (
            "an old point",
            |it| it.vms[0].newest.as_mut().expect("a point").created_at = NOW - 26 * HOUR_MS - 1,
            Some(("vm_objective_missed", Critical)),
        ),
        (
            "a point that is old for its VM",
            |it| {
                it.vms[0].objective_hours = Some(4);
                it.vms[0].newest.as_mut().expect("a point").created_at = NOW - 5 * HOUR_MS;
            },
            Some(("vm_objective_missed", Critical)),
        ),
        (
            "old files",
            |it| it.jobs.push(of_files(Some(NOW - 26 * HOUR_MS - 1))),
            Some(("job_objective_missed", Critical)),
        ),
        (
            "files that nothing was stored of",
            |it| it.jobs.push(of_files(None)),
            Some(("job_objective_missed", Critical)),
        ),
        (
            "files of a time to come",
            |it| it.jobs.push(of_files(Some(NOW + DAY_MS))),
            Some(("job_objective_missed", Critical)),
        ),
        (
            "files in time",
            |it| it.jobs.push(of_files(Some(NOW - 26 * HOUR_MS))),
            None,
        ),
        (
            "old files without an objective",
            |it| {
                it.jobs.push(of_files(None));
                it.jobs[1].objective_hours = 0;
            },
            None,
        ),
        (
            "no objective",
            |it| {
                it.jobs[0].objective_hours = 0;
                it.vms[0].newest = None;
            },
            None,
        ),
        (
            "no point at all",
            |it| it.vms[0].newest = None,
            Some(("vm_objective_missed", Critical)),
        ),
        (
            "no point of a job that is new",
            |it| {
                it.vms[0].newest = None;
                it.jobs[0].created_at = NOW - DAY_MS;
            },
            None,
        ),
        (
            "a crash-consistent point",
            |it| it.vms[0].newest.as_mut().expect("a point").consistency = "crash".to_owned(),
            Some(("consistency_below", Warning)),
        ),
        (
            "a crash-consistent point that was asked for",
            |it| {
                it.vms[0].newest.as_mut().expect("a point").consistency = "crash".to_owned();
                it.jobs[0].wants_application = false;
            },
            None,
        ),
        (
            "a crash-consistent point of a VM that is off",
            |it| {
                it.vms[0].newest.as_mut().expect("a point").consistency = "crash".to_owned();
                it.vms[0].state = "Off".to_owned();
            },
            None,
        ),
        (
            "a point of running disks where crash consistency was asked for",
            |it| {
                let point = it.vms[0].newest.as_mut().expect("a point");
                point.consistency = "crash-no-checkpoint".to_owned();
                it.jobs[0].wants_application = false;
            },
            Some(("consistency_below", Warning)),
        ),
        (
            "a point that is full in part",
            |it| {
                let point = it.vms[0].newest.as_mut().expect("a point");
                point.warnings = vec!["D:\\b.vhdx was read in full: it was resized".to_owned()];
            },
            Some(("tracking_rebased", Warning)),
        ),
        (
            "a full point",
            |it| it.vms[0].newest.as_mut().expect("a point").is_full = true,
            Some(("tracking_rebased", Warning)),
        ),
        (
            "a first full point",
            |it| {
                let point = it.vms[0].newest.as_mut().expect("a point");
                point.is_full = true;
                point.before_at = None;
                point.full_before_at = None;
            },
            None,
        ),
        (
            "a full point that proves tracking",
            |it| {
                let point = it.vms[0].newest.as_mut().expect("a point");
                point.is_full = true;
                point.full_before_at = Some(NOW - 28 * DAY_MS);
            },
            None,
        ),
        (
            "tracking that was proven wrong",
            |it| {
                let point = it.vms[0].newest.as_mut().expect("a point");
                point.is_full = true;
                point.warnings =
                    vec!["disk 0: differs; Older points of it may lack writes".to_owned()];
            },
            Some(("tracking_wrong", Critical)),
        ),
        (
            "an old checkpoint",
            |it| {
                it.vms[0].leftovers = vec![Leftover {
                    name: "before the update".to_owned(),
                    created_at: NOW - DAY_MS - 1,
                }];
            },
            Some(("checkpoint_old", Warning)),
        ),
        (
            "a new checkpoint",
            |it| {
                it.vms[0].leftovers = vec![Leftover {
                    name: "now".to_owned(),
                    created_at: NOW - HOUR_MS,
                }];
            },
            None,
        ),
        (
            "a volume that is nearly full",
            |it| it.hosts[0].volumes.push(volume(400, 39)),
            Some(("volume_low", Warning)),
        ),
        (
            "a volume that is full",
            |it| it.hosts[0].volumes.push(volume(400, 3)),
            Some(("volume_low", Critical)),
        ),
        (
            "a large volume with much left",
            |it| it.hosts[0].volumes.push(volume(1_000, 51)),
            None,
        ),
        (
            "a repository near its limit",
            |it| it.repositories[0].stored_bytes = Some(91),
            Some(("repository_near_limit", Warning)),
        ),
        (
            "a repository at its limit",
            |it| it.repositories[0].stored_bytes = Some(100),
            Some(("repository_near_limit", Critical)),
        ),
        (
            "maintenance long ago",
            |it| it.repositories[0].upkeep[1].1 = record(37),
            Some(("maintenance_overdue", Warning)),
        ),
        (
            "verification long ago",
            |it| it.repositories[0].upkeep[2].1 = record(37),
            Some(("verification_overdue", Warning)),
        ),
        (
            "a silent agent",
            |it| it.hosts[0].last_seen_at = Some(NOW - SILENCE_MS - 1),
            Some(("agent_silent", Critical)),
        ),
        (
            "an agent that never called",
            |it| it.hosts[0].last_seen_at = None,
            Some(("agent_silent", Critical)),
        ),
        (
            "an old agent",
            |it| it.hosts[0].agent_version = "1.7.9".to_owned(),
            Some(("agent_outdated", Warning)),
        ),
        (
            "an old agent that may be old",
            |it| {
                it.hosts[0].agent_version = "1.7.9".to_owned();
                it.min_agent_version = String::new();
            },
            None,
        ),
        (
            "a channel that fails",
            |it| it.channels[0].failed_at = Some(3),
            Some(("channel_failed", Warning)),
        ),
    ];
    for (what, change, expected) in cases {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(kind, severity)| (kind, severity, false))
            .collect();
        assert_eq!(found(change), expected, "{what}");
    }
}

#[test]
fn what_the_server_slept_through_is_not_held_against_agents() {
    let slept = |awake_for: i64| {
        found(|it| {
            it.hosts[0].last_seen_at = Some(NOW - 8 * HOUR_MS);
            it.awake_since = NOW - awake_for;
        })
    };
    assert_eq!(
        slept(SILENCE_MS),
        [("agent_silent", Severity::Critical, true)]
    );
    assert_eq!(
        slept(SILENCE_MS + 1),
        [("agent_silent", Severity::Critical, false)]
    );
}

#[test]
fn ages_and_sizes_are_said_in_words() {
    assert_eq!(age(59_999), "less than a minute");
    assert_eq!(age(31 * HOUR_MS), "31 h");
    assert_eq!(age(17 * MINUTE_MS), "17 min");
    assert_eq!(age(49 * HOUR_MS), "2 days");
    assert_eq!(size(1_536), "1.5 KiB");
    assert_eq!(size(0), "0 B");
}

#[test]
fn what_grows_has_a_higher_grade_and_what_lasts_has_not() {
    let grade = |change: &dyn Fn(&mut Facts)| {
        let mut facts = well();
        change(&mut facts);
        let found = judge(&facts, NOW);
        let [finding] = &found[..] else {
            panic!("{found:?}");
        };
        finding.grade()
    };
    let old = |days: i64| {
        grade(&move |facts| {
            let point = facts.vms[0].newest.as_mut().expect("a point");
            point.created_at = NOW - 27 * HOUR_MS - days * DAY_MS;
        })
    };
    assert_eq!(old(0), old(0));
    assert!(old(0) < old(1) && old(1) < old(7));
    assert_eq!(old(8), old(9));
    let part = |vms: i64| {
        grade(&move |facts| {
            let run = facts.jobs[0].last_run.as_mut().expect("a run");
            run.status = "partial_success".to_owned();
            run.failed_vms = vms;
        })
    };
    assert!(part(1) < part(5));
    let failed = grade(&|facts| facts.jobs[0].last_run = Some(run("failed", "")));
    assert!(part(1_000_000) < failed, "severity counts for more");
}
