//! What a run that has ended well leaves to be done in its repository (contract 5.2 and 3.15).

use protocol::retention::Retention;
use serde_json::{Value, json};

use crate::store::entity::{job, repository, run};

/// The kinds of work that every agent of the contract understands.
pub const COMMON_KINDS: [&str; 3] = ["retention_apply", "maintenance_quick", "maintenance_full"];

/// Work of our own kinds is handed to agents from this version on.
pub const OWN_KINDS_SINCE: &str = "2.0.0";

/// Work that is to be queued.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// `retention_apply` or `maintenance_quick`.
    pub kind: &'static str,
    /// What keeps it from being queued twice.
    pub token: String,
    /// The rule.
    pub payload: Value,
}

/// Returns what is to be done after a run of a job. `vm_guids` are the VMs of the job; `is_maintained` tells whether
/// maintenance of the repository is queued or going on already.
pub fn work_after(
    run: &run::Model,
    job: &job::Model,
    repository: &repository::Model,
    vm_guids: &[String],
    is_maintained: bool,
    now: i64,
) -> Vec<Work> {
    let mut work = Vec::new();
    if let Some(payload) = retention_payload(job, vm_guids) {
        work.push(Work {
            kind: "retention_apply",
            token: format!("run-finish-{}-retention", run.id),
            payload,
        });
    }
    if !is_maintained && is_due(repository.quick_every_hours, repository.last_quick_at, now) {
        work.push(Work {
            kind: "maintenance_quick",
            token: format!("run-finish-{}-maintenance", run.id),
            payload: json!({}),
        });
    }
    work
}

/// Tells whether something that is to be done every so many hours is due; 0 hours: never.
pub fn is_due(every_hours: i64, last_at: Option<i64>, now: i64) -> bool {
    let every_ms = every_hours.saturating_mul(3_600_000);
    every_hours > 0 && last_at.is_none_or(|last| now.saturating_sub(last) >= every_ms)
}

/// Returns the rule for the sources of a job and for no others, `None` if the job keeps everything. The agent stores a
/// job's own rule with its runs, so the rule here counts for sources that have none yet.
pub(crate) fn retention_payload(job: &job::Model, vm_guids: &[String]) -> Option<Value> {
    let rule: Retention = serde_json::from_str(&job.retention_json).ok()?;
    if rule.is_empty() {
        return None;
    }
    let paths: Vec<String> = match job.engine.as_str() {
        "hyperv" => vm_guids.to_vec(),
        _ => {
            let mut sources = sources_of(job);
            // Several folders are one source under the job's name (contract 9.5).
            if sources.len() > 1 {
                sources = vec![format!("multi-job-{}", job.id)];
            }
            sources
        }
    };
    if paths.is_empty() {
        return None;
    }
    let mut payload = serde_json::to_value(&rule).expect("numbers are JSON");
    payload["sources"] = paths.iter().map(|path| json!({"path": path})).collect();
    Some(payload)
}

/// Returns the paths that a job backs up.
pub fn sources_of(job: &job::Model) -> Vec<String> {
    serde_json::from_str(&job.sources_json).unwrap_or_default()
}

/// Tells whether an agent understands a kind of work.
pub fn is_understood(kind: &str, agent_version: &str) -> bool {
    COMMON_KINDS.contains(&kind)
        || (!agent_version.is_empty() && !is_older(agent_version, OWN_KINDS_SINCE))
}

/// Tells whether a version is older than another: by its numbers, and a pre-release before its release. What is no
/// version is older than every version.
pub fn is_older(version: &str, than: &str) -> bool {
    version_key(version) < version_key(than)
}

/// Numbers, and whether it is the release itself; `None` sorts first.
fn version_key(version: &str) -> Option<(Vec<u64>, bool)> {
    let version = version.trim().trim_start_matches(['v', 'V']);
    let version = version.split('+').next().unwrap_or_default();
    let (numbers, is_release) = match version.split_once('-') {
        Some((numbers, _)) => (numbers, false),
        None => (version, true),
    };
    let mut numbers: Vec<u64> = numbers
        .split('.')
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some((numbers, is_release))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_rules::test_run;

    fn job(engine: &str, sources: &str, retention: &str) -> job::Model {
        job::Model {
            id: "j".to_owned(),
            tenant_id: "t".to_owned(),
            host_id: "h".to_owned(),
            repository_id: "r".to_owned(),
            name: String::new(),
            engine: engine.to_owned(),
            status: "active".to_owned(),
            sources_json: sources.to_owned(),
            vms_json: "{}".to_owned(),
            consistency: String::new(),
            schedule_json: "{}".to_owned(),
            retention_json: retention.to_owned(),
            policy_json: "{}".to_owned(),
            bandwidth_kib_s: 0,
            objective_hours: 24,
            next_run_at: None,
            created_at: 0,
            updated_at: 0,
        }
    }

    fn repository(quick_every_hours: i64, last_quick_at: Option<i64>) -> repository::Model {
        repository::Model {
            id: "r".to_owned(),
            tenant_id: "t".to_owned(),
            name: String::new(),
            kind: "local".to_owned(),
            endpoint: String::new(),
            region: String::new(),
            bucket: String::new(),
            prefix: String::new(),
            path: String::new(),
            host_id: None,
            access_key: String::new(),
            secret_key_sealed: None,
            password_sealed: Vec::new(),
            limit_bytes: None,
            damaged_points: 0,
            stored_bytes: None,
            measured_at: None,
            quick_every_hours,
            full_every_hours: 0,
            verify_every_hours: 0,
            verify_percent: 0,
            last_quick_at,
            last_full_at: None,
            last_verified_at: None,
            last_listed_at: None,
            created_at: 0,
        }
    }

    #[test]
    fn the_rule_goes_to_the_jobs_own_sources_alone() {
        let payload = |job: job::Model| {
            let work = work_after(
                &test_run("success"),
                &job,
                &repository(0, None),
                &["AB".to_owned()],
                false,
                0,
            );
            work.into_iter().next().map(|it| it.payload)
        };
        let keep = r#"{"keep_last":7}"#;
        assert_eq!(
            payload(job("hyperv", "[]", keep)),
            Some(json!({"keep_last": 7, "sources": [{"path": "AB"}]}))
        );
        assert_eq!(
            payload(job("kopia", r#"["/home"]"#, r#"{"daily":3,"weekly":2}"#)),
            Some(json!({"daily": 3, "weekly": 2, "sources": [{"path": "/home"}]}))
        );
        assert_eq!(
            payload(job("kopia", r#"["/a","/b"]"#, keep)),
            Some(json!({"keep_last": 7, "sources": [{"path": "multi-job-j"}]}))
        );
        assert_eq!(payload(job("kopia", r#"["/a"]"#, "{}")), None);
        assert_eq!(payload(job("kopia", "[]", keep)), None);
    }

    #[test]
    fn maintenance_follows_when_it_is_due_and_nobody_is_at_it() {
        const HOUR: i64 = 3_600_000;
        for (every, last, is_maintained, is_queued) in [
            (0, None, false, false),
            (1, None, false, true),
            (1, None, true, false),
            (6, Some(95 * HOUR), false, false),
            (6, Some(94 * HOUR), false, true),
        ] {
            let work = work_after(
                &test_run("success"),
                &job("hyperv", "[]", "{}"),
                &repository(every, last),
                &[],
                is_maintained,
                100 * HOUR,
            );
            assert_eq!(!work.is_empty(), is_queued, "{every} {last:?}");
        }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, than, expected) in [
            ("1.8.2", "1.8.10", true),
            ("1.8.10", "1.8.2", false),
            ("1.8", "1.8.0", false),
            ("2.0.0-rc1", "2.0.0", true),
            ("2.0.0", "2.0.0-rc1", false),
            ("v2.0.0+7", "2.0.0", false),
            ("", "0.0.1", true),
            ("nonsense", "0.0.1", true),
        ] {
            assert_eq!(is_older(version, than), expected, "{version} {than}");
        }
        assert!(is_understood("maintenance_quick", ""));
        assert!(!is_understood("verify", "1.9.0"));
        assert!(!is_understood("verify", ""));
        assert!(is_understood("verify", "2.0.0"));
    }
}
