//! What needs a decision: judges the state of everything. Pure.
//!
//! ```text
//! store ─► Facts ─► judge(facts, now) ─► findings ─► store: alarms are opened, refreshed and resolved by their key
//! ```
//!
//! A finding says what is true now. That an alarm was acknowledged, is snoozed or told to anybody is not known here.

pub mod facts;

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::chores::upkeep::Upkeep;
use crate::health::AHEAD_MS;
use crate::run_rules::finish::is_older;
use crate::run_rules::points::{DAMAGED, READ_IN_FULL};
use crate::watch::facts::{Facts, HostFacts, JobFacts, PointFacts, VmFacts};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const GIB: i64 = 1 << 30;

/// A new VM may be without protection for this long.
const UNPROTECTED_GRACE_MS: i64 = HOUR_MS;

/// A leftover checkpoint may be this old.
const CHECKPOINT_AGE_MS: i64 = DAY_MS;

/// An agent may be silent for this long.
const SILENCE_MS: i64 = 15 * MINUTE_MS;

/// After a gap of the server's own turns that is longer than this, it counts as having slept.
pub const SERVER_GAP_MS: i64 = 2 * MINUTE_MS;

/// Agents read every disk in full once in 30 days, and up to a tenth sooner, to prove that tracking is right. A full
/// read that comes sooner has another reason.
const FULL_PROOF_MS: i64 = 26 * DAY_MS;

/// What an agent says in a point's warnings when a sample showed that tracking had missed writes.
const TRACKING_WRONG: &str = "may lack writes";

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something that will hurt if nobody looks.
    Warning,
    /// Something is not safe now.
    Critical,
}

impl Severity {
    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Reads its word.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "info" => Some(Self::Info),
            "warning" => Some(Self::Warning),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

/// Something that is true now and that somebody must know of.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The tenant.
    pub tenant_id: String,
    /// What is wrong.
    pub kind: &'static str,
    /// What kind of thing it is about.
    pub subject_kind: &'static str,
    /// Which one.
    pub subject_id: String,
    /// What people call it.
    pub subject_name: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do next.
    pub message: String,
    /// Figures.
    pub detail: Value,
    /// How much of it there is: VMs, runs, days. 1 where there is nothing to count.
    pub extent: i64,
    /// The one event that it is about: once somebody resolved the alarm, the same event opens no other. Without one,
    /// it is a state, which opens an alarm anew when it lasts.
    pub occasion: Option<String>,
    /// Whether it cannot be told for now: an open alarm stays as it is, and none is opened.
    pub is_unknown: bool,
}

impl Finding {
    /// Returns how bad it is as a number: it rises with the severity, and within one each time that the extent has
    /// doubled, so that what grows is told again and what merely lasts is not told all the time.
    pub fn grade(&self) -> i64 {
        let severity = match self.severity {
            Severity::Info => 0,
            Severity::Warning => 1,
            Severity::Critical => 2,
        };
        severity * 100 + i64::from(self.extent.max(1).ilog2())
    }

    /// Returns what its alarm is known by while it is open.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.tenant_id, self.kind, self.subject_id)
    }
}

/// What a finding is about.
struct Subject<'a> {
    tenant_id: &'a str,
    kind: &'static str,
    id: String,
    name: &'a str,
}

impl Subject<'_> {
    fn finding(&self, kind: &'static str, severity: Severity, message: String) -> Finding {
        Finding {
            tenant_id: self.tenant_id.to_owned(),
            kind,
            subject_kind: self.kind,
            subject_id: self.id.clone(),
            subject_name: self.name.to_owned(),
            severity,
            message,
            detail: json!({}),
            extent: 1,
            occasion: None,
            is_unknown: false,
        }
    }
}

/// Judges the state of everything at `now` (milliseconds since 1970).
pub fn judge(facts: &Facts, now: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let hosts: HashMap<&str, &HostFacts> =
        facts.hosts.iter().map(|it| (it.id.as_str(), it)).collect();
    let mut jobs_of: HashMap<&str, Vec<&JobFacts>> = HashMap::new();
    for job in &facts.jobs {
        jobs_of.entry(&job.host_id).or_default().push(job);
        findings.extend(job_findings(job));
        if hosts.contains_key(job.host_id.as_str()) {
            findings.extend(job_objective_finding(job, now));
        }
    }
    for host in &facts.hosts {
        let has_jobs = jobs_of.contains_key(host.id.as_str());
        findings.extend(host_findings(facts, host, has_jobs, now));
    }
    for vm in &facts.vms {
        // Of a host that is disabled nothing is expected.
        let Some(host) = hosts.get(vm.host_id.as_str()) else {
            continue;
        };
        let jobs = jobs_of
            .get(vm.host_id.as_str())
            .map_or(&[][..], Vec::as_slice);
        let protecting: Vec<&JobFacts> = jobs
            .iter()
            .copied()
            .filter(|job| job.is_hyperv && job.vms.is_chosen(&vm.guid, &vm.name))
            .collect();
        findings.extend(vm_findings(vm, host, &protecting, now));
    }
    findings.extend(repository_findings(facts, now));
    findings.extend(channel_findings(facts));
    findings
}

fn job_findings(job: &JobFacts) -> Vec<Finding> {
    let subject = Subject {
        tenant_id: &job.tenant_id,
        kind: "job",
        id: job.id.clone(),
        name: &job.name,
    };
    let mut findings = Vec::new();
    if let Some(run) = &job.last_run {
        let bad = match run.status.as_str() {
            "failed" => Some((Severity::Critical, "failed")),
            "partial_success" => Some((Severity::Warning, "protected only a part")),
            "cancelled" => Some((
                Severity::Critical,
                "was given up, for its agent went silent",
            )),
            _ => None,
        };
        if let Some((severity, how)) = bad {
            findings.push(Finding {
                detail: json!({"run_id": run.id, "failed_vms": run.failed_vms}),
                extent: run.failed_vms,
                occasion: Some(run.id.clone()),
                ..subject.finding(
                    "run_failed",
                    severity,
                    format!(
                        "The last run of {} {how}{}. Read the run's log, remove the cause, and start the job; the alarm ends with the next good run.",
                        job.name,
                        because(&run.error_summary)
                    ),
                )
            });
        }
    }
    if let Some(missed) = &job.missed {
        let severity = if missed.count >= 3 {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let count = match missed.count {
            1 => "A run".to_owned(),
            count => format!("{count} runs in a row"),
        };
        findings.push(Finding {
            detail: json!({"run_id": missed.id, "count": missed.count}),
            extent: missed.count,
            occasion: Some(missed.id.clone()),
            ..subject.finding(
                "run_missed",
                severity,
                format!(
                    "{count} of {} did not happen{}. Start the job by hand if you cannot wait for its next time, and see whether its host is on.",
                    job.name,
                    because(&missed.why)
                ),
            )
        });
    }
    findings
}

/// Judges how old the last good point of a job's files or disks is; of VMs each is judged by itself.
fn job_objective_finding(job: &JobFacts, now: i64) -> Option<Finding> {
    if job.is_hyperv || job.objective_hours <= 0 {
        return None;
    }
    // One that is dated in the future, by a clock that was wrong, says nothing.
    let last_good_at = job.last_good_at.filter(|at| at - now <= AHEAD_MS);
    let since = last_good_at.unwrap_or(job.created_at);
    let late = now - since - job.objective_hours.saturating_mul(HOUR_MS);
    if late <= 0 {
        return None;
    }
    let (age, hours) = (age(now - since), job.objective_hours);
    let how_old = match last_good_at {
        Some(_) => format!("The last good point of {} is {age} old", job.name),
        None => format!("{} has no point yet, {age} after it was made", job.name),
    };
    let subject = Subject {
        tenant_id: &job.tenant_id,
        kind: "job",
        id: job.id.clone(),
        name: &job.name,
    };
    Some(Finding {
        detail: json!({"objective_hours": hours, "last_point_at": last_good_at.map(crate::plane::rfc3339)}),
        extent: 1 + late / DAY_MS,
        ..subject.finding(
            "job_objective_missed",
            Severity::Critical,
            format!("{how_old}; its objective is {hours} h. Look at its last runs, and start one."),
        )
    })
}

fn because(why: &str) -> String {
    let why = why.trim().trim_end_matches('.');
    if why.is_empty() {
        return String::new();
    }
    // A long list of reasons is for the run's own page.
    let short: String = why.chars().take(400).collect();
    let cut = if short.len() < why.len() { " …" } else { "" };
    format!(": {short}{cut}")
}

fn host_findings(facts: &Facts, host: &HostFacts, has_jobs: bool, now: i64) -> Vec<Finding> {
    let subject = Subject {
        tenant_id: &host.tenant_id,
        kind: "host",
        id: host.id.clone(),
        name: &host.name,
    };
    let mut findings = Vec::new();
    let heard = host.last_seen_at.unwrap_or(host.created_at);
    let severity = if has_jobs {
        Severity::Critical
    } else {
        Severity::Warning
    };
    if now - heard > SILENCE_MS {
        findings.push(Finding {
            detail: json!({"last_seen_at": crate::plane::rfc3339(heard)}),
            // Nobody could call while the server slept.
            is_unknown: now - heard.max(facts.awake_since) <= SILENCE_MS,
            ..subject.finding(
                "agent_silent",
                severity,
                format!(
                    "The agent on {} has not called for {}. See whether the machine is on and reaches this server, and whether the service e3-backup-agent runs there.",
                    host.name,
                    age(now - heard)
                ),
            )
        });
    }
    if !facts.min_agent_version.is_empty()
        && is_older(&host.agent_version, &facts.min_agent_version)
    {
        let has = match host.agent_version.as_str() {
            "" => "of a version that it does not say".to_owned(),
            version => format!("of version {version}"),
        };
        findings.push(Finding {
            detail: json!({"agent_version": host.agent_version, "min_agent_version": facts.min_agent_version}),
            ..subject.finding(
                "agent_outdated",
                Severity::Warning,
                format!(
                    "The agent on {} is {has}; {} is needed, and what older ones report is refused. Update it.",
                    host.name, facts.min_agent_version
                ),
            )
        });
    }
    let low: Vec<_> = host
        .volumes
        .iter()
        .filter(|volume| {
            volume.size_bytes > 0
                && volume.free_bytes < 50 * GIB
                && volume.free_bytes < volume.size_bytes / 10
        })
        .collect();
    if let Some(worst) = low.iter().min_by_key(|volume| volume.free_bytes) {
        let severity = if worst.free_bytes < worst.size_bytes / 30 {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let names: Vec<&str> = low.iter().map(|volume| volume.path.as_str()).collect();
        findings.push(Finding {
            detail: json!({"volumes": low.iter().map(|volume| json!({
                "path": volume.path, "size_bytes": volume.size_bytes, "free_bytes": volume.free_bytes
            })).collect::<Vec<_>>()}),
            extent: i64::try_from(low.len()).unwrap_or(i64::MAX),
            ..subject.finding(
                "volume_low",
                severity,
                format!(
                    "{} on {} is nearly full: {} of {} are free on {}. Checkpoints need space while a backup runs; make room or enlarge it.",
                    names.join(", "),
                    host.name,
                    size(worst.free_bytes),
                    size(worst.size_bytes),
                    worst.path
                ),
            )
        });
    }
    findings
}

fn vm_findings(vm: &VmFacts, host: &HostFacts, jobs: &[&JobFacts], now: i64) -> Vec<Finding> {
    let subject = Subject {
        tenant_id: &vm.tenant_id,
        kind: "vm",
        id: vm.id.to_string(),
        name: &vm.name,
    };
    let mut findings = Vec::new();
    let old: Vec<_> = vm
        .leftovers
        .iter()
        .filter(|leftover| now - leftover.created_at > CHECKPOINT_AGE_MS)
        .collect();
    if let Some(oldest) = old.iter().min_by_key(|leftover| leftover.created_at) {
        let names: Vec<&str> = old.iter().map(|leftover| leftover.name.as_str()).collect();
        findings.push(Finding {
            detail: json!({"checkpoints": names}),
            extent: i64::try_from(names.len()).unwrap_or(i64::MAX),
            ..subject.finding(
                "checkpoint_old",
                Severity::Warning,
                format!(
                    "{} on {} has a checkpoint that is {} old ({}). It grows with every write and slows the VM; remove it in Hyper-V Manager if nobody needs it.",
                    vm.name,
                    host.name,
                    age(now - oldest.created_at),
                    names.join(", ")
                ),
            )
        });
    }
    if vm.is_excused {
        return findings;
    }
    if jobs.is_empty() {
        if now - vm.first_seen_at > UNPROTECTED_GRACE_MS {
            findings.push(subject.finding(
                "vm_unprotected",
                Severity::Warning,
                format!(
                    "Nothing backs up {} on {}. Add it to a job, or excuse it if it needs no backup.",
                    vm.name, host.name
                ),
            ));
        }
        return findings;
    }
    findings.extend(objective_finding(vm, &subject, jobs, now));
    if let Some(point) = &vm.newest {
        findings.extend(point_findings(vm, &subject, point, jobs));
    }
    findings
}

fn objective_finding(
    vm: &VmFacts,
    subject: &Subject<'_>,
    jobs: &[&JobFacts],
    now: i64,
) -> Option<Finding> {
    let hours = vm
        .objective_hours
        .or_else(|| {
            jobs.iter()
                .map(|job| job.objective_hours)
                .filter(|hours| *hours > 0)
                .min()
        })
        .filter(|hours| *hours > 0)?;
    // Before there was a job that protects it, nothing could have been made.
    let begun = jobs
        .iter()
        .map(|job| job.created_at)
        .min()?
        .max(vm.first_seen_at);
    let since = vm.newest.as_ref().map_or(begun, |point| point.created_at);
    if since - now > AHEAD_MS {
        return Some(subject.finding(
            "vm_objective_missed",
            Severity::Critical,
            format!(
                "The last point of {} is dated in the future, so nobody knows whether it is in time. Set the server's clock right, and start a run.",
                vm.name
            ),
        ));
    }
    let late = now - since - hours.saturating_mul(HOUR_MS);
    if late <= 0 {
        return None;
    }
    let message = match &vm.newest {
        Some(_) => format!(
            "The last good point of {} is {} old; its objective is {hours} h. Look at the last runs of {}, and start one.",
            vm.name,
            age(now - since),
            jobs[0].name
        ),
        None => format!(
            "{} has no point yet, {} after it should have been protected; its objective is {hours} h. Look at the last runs of {}, and start one.",
            vm.name,
            age(now - since),
            jobs[0].name
        ),
    };
    Some(Finding {
        detail: json!({"objective_hours": hours, "last_point_at": vm.newest.as_ref().map(|point| crate::plane::rfc3339(point.created_at))}),
        extent: 1 + late / DAY_MS,
        ..subject.finding("vm_objective_missed", Severity::Critical, message)
    })
}

fn point_findings(
    vm: &VmFacts,
    subject: &Subject<'_>,
    point: &PointFacts,
    jobs: &[&JobFacts],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let about_point = |finding: Finding| Finding {
        detail: json!({"point_id": point.id}),
        occasion: Some(format!("point {}", point.id)),
        ..finding
    };
    let wants_application = jobs
        .iter()
        .find(|job| Some(&job.id) == point.job_id.as_ref())
        .is_some_and(|job| job.wants_application);
    if point.warnings.iter().any(|it| it == DAMAGED) {
        findings.push(about_point(subject.finding(
            "point_damaged",
            Severity::Critical,
            format!(
                "A verification found the newest point of {} damaged: it cannot be restored whole. Start a run now, and see the repository's operations for what is damaged.",
                vm.name
            ),
        )));
    }
    // What is off has nothing in memory that could be lost.
    let is_off = ["off", "saved"].contains(&vm.state.to_lowercase().as_str());
    if !is_off && point.consistency == "crash-no-checkpoint" && !wants_application {
        findings.push(about_point(subject.finding(
            "consistency_below",
            Severity::Warning,
            format!(
                "The newest point of {} was read from its running disks, without a checkpoint: its parts may be of different moments. Crash consistency was asked for; see in the run's log why the host made no checkpoint.",
                vm.name
            ),
        )));
    }
    if wants_application && !is_off && point.consistency.starts_with("crash") {
        let warnings = point.warnings.iter().map(String::as_str);
        let mut told = warnings.filter(|it| it.contains("crash-consistent"));
        // What the agent says of it in front of the reason is what is said here.
        let why = told.next().unwrap_or_default();
        let why = why.split_once("crash-consistent: ").map_or(why, |it| it.1);
        findings.push(about_point(subject.finding(
            "consistency_below",
            Severity::Warning,
            format!(
                "The newest point of {} is crash-consistent, application-consistent was asked for{}. See whether the guest's integration services and VSS writers are well, or ask for crash consistency in the job.",
                vm.name,
                because(why)
            ),
        )));
    }
    if let Some(warning) = point.warnings.iter().find(|it| it.contains(TRACKING_WRONG)) {
        findings.push(about_point(subject.finding(
            "tracking_wrong",
            Severity::Critical,
            format!(
                "Change tracking of {} was proven wrong{}. The newest point is whole; restore none of the older ones without verifying it, and tell the vendor of whatever filters this host's disks.",
                vm.name,
                because(warning)
            ),
        )));
    } else if is_rebased(point) {
        let why = point.warnings.iter().find(|it| it.contains(READ_IN_FULL));
        let part = if point.is_full { "was" } else { "was in part" };
        findings.push(about_point(subject.finding(
            "tracking_rebased",
            Severity::Warning,
            format!(
                "The newest point of {} {part} read in full instead of by its changes{}. Nothing is lost; if it happens again, see what resets change tracking: restored checkpoints, resized disks, backups by another product.",
                vm.name,
                because(why.map_or("", String::as_str))
            ),
        )));
    }
    findings
}

/// Tells whether a point is full although there was one to build on, and no proof of tracking was due; of one that is
/// full in part, its warnings say so.
fn is_rebased(point: &PointFacts) -> bool {
    if !point.is_full {
        return point.warnings.iter().any(|it| it.contains(READ_IN_FULL));
    }
    point.before_at.is_some()
        && point
            .full_before_at
            .is_none_or(|full| point.created_at - full < FULL_PROOF_MS)
}

fn repository_findings(facts: &Facts, now: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for repository in &facts.repositories {
        let subject = Subject {
            tenant_id: &repository.tenant_id,
            kind: "repository",
            id: repository.id.clone(),
            name: &repository.name,
        };
        if let (Some(stored), Some(limit)) = (repository.stored_bytes, repository.limit_bytes)
            && limit > 0
            && i128::from(stored) * 10 > i128::from(limit) * 9
        {
            let severity = if stored >= limit {
                Severity::Critical
            } else {
                Severity::Warning
            };
            findings.push(Finding {
                detail: json!({"stored_bytes": stored, "limit_bytes": limit}),
                ..subject.finding(
                    "repository_near_limit",
                    severity,
                    format!(
                        "{} holds {} of {}. Raise its limit, keep less, or let full maintenance give back what is no longer needed.",
                        repository.name,
                        size(stored),
                        size(limit)
                    ),
                )
            });
        }
        let overdue = |wanted: &[Upkeep]| {
            repository
                .upkeep
                .iter()
                .filter(|(upkeep, record)| wanted.contains(upkeep) && record.is_overdue(now))
                .map(|(_, record)| record.last_at)
                .min()
        };
        if let Some(last) = overdue(&[Upkeep::Quick, Upkeep::Full]) {
            findings.push(Finding {
                detail: json!({"last_at": last.map(crate::plane::rfc3339)}),
                ..subject.finding(
                    "maintenance_overdue",
                    Severity::Warning,
                    format!(
                        "Maintenance of {} is overdue; it last ended well {}. Without it nothing that is no longer needed is given back. See the repository's operations, and whether a host that uses it is online.",
                        repository.name,
                        ago(last, now)
                    ),
                )
            });
        }
        let verify = repository
            .upkeep
            .iter()
            .find(|(it, _)| *it == Upkeep::Verify);
        if let Some(failed) = verify.and_then(|(_, record)| record.failed_at) {
            findings.push(Finding {
                detail: json!({"failed_at": crate::plane::rfc3339(failed)}),
                ..subject.finding(
                    "verification_failed",
                    Severity::Critical,
                    format!(
                        "The last verification of {} did not come to an end, so nobody knows whether its points can be restored. See the repository's operations for what went wrong; where the repository is damaged, `repo verify --repair` mends what can be mended.",
                        repository.name
                    ),
                )
            });
        }
        if repository.damaged_points > 0 {
            let points = match repository.damaged_points {
                1 => "a point".to_owned(),
                count => format!("{count} points"),
            };
            findings.push(Finding {
                detail: json!({"count": repository.damaged_points}),
                extent: repository.damaged_points,
                ..subject.finding(
                    "points_damaged",
                    Severity::Critical,
                    format!(
                        "Verification found {points} of {} damaged: what they hold cannot be restored whole from them. See the repository's operations for which, and start their jobs; `repo verify --repair` mends what can be mended.",
                        repository.name
                    ),
                )
            });
        }
        if let Some(last) = overdue(&[Upkeep::Verify]) {
            let next = if repository.can_be_verified {
                "See the repository's operations, and whether a host that uses it is online."
            } else {
                "No agent that uses it knows how to: update one, or turn verification off in the repository's settings."
            };
            findings.push(Finding {
                detail: json!({"last_at": last.map(crate::plane::rfc3339)}),
                ..subject.finding(
                    "verification_overdue",
                    Severity::Warning,
                    format!(
                        "Verification of {} is overdue; it last ended well {}. {next}",
                        repository.name,
                        ago(last, now)
                    ),
                )
            });
        }
    }
    findings
}

fn channel_findings(facts: &Facts) -> Vec<Finding> {
    facts
        .channels
        .iter()
        .filter(|channel| {
            channel
                .failed_at
                .is_some_and(|failed| channel.sent_at.is_none_or(|sent| sent < failed))
        })
        .map(|channel| {
            Subject {
                tenant_id: &channel.tenant_id,
                kind: "channel",
                id: channel.id.clone(),
                name: &channel.name,
            }
            .finding(
                "channel_failed",
                Severity::Warning,
                format!(
                    "Messages through {} did not arrive for a day and were given up{}. Correct the channel and send a test message.",
                    channel.name,
                    because(&channel.error)
                ),
            )
        })
        .collect()
}

fn ago(last: Option<i64>, now: i64) -> String {
    match last {
        Some(last) => format!("{} ago", age(now - last)),
        None => "never".to_owned(),
    }
}

/// Returns a time that passed, in words.
pub fn age(ms: i64) -> String {
    let minutes = ms.max(0) / MINUTE_MS;
    match minutes {
        0 => "less than a minute".to_owned(),
        1..120 => format!("{minutes} min"),
        120..2_880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1_440),
    }
}

/// Returns a size, in words.
pub fn size(bytes: i64) -> String {
    let mut value = bytes.max(0) as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1_024.0 {
            return match unit {
                "B" => format!("{value:.0} {unit}"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1_024.0;
    }
    format!("{value:.1} PiB")
}

#[cfg(test)]
mod tests;
