//! VMs as rows: what is known of each, judged, with its last thirty days. Pure: rows of the store go in.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use protocol::path_map::PathMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::health::{
    Consistency, Facts, Happening, Health, Judgement, LastPoint, OBJECTIVE_HOURS, Outcome,
    StripDay, change_rate, judge, strip,
};
use crate::plane::{Plane, rfc3339};
use crate::run_rules::listing::unconfirmed_since;
use crate::run_rules::points::DAMAGED;
use crate::store::entity::{job, point, vm};
use crate::store::history::{RecentPoint, RecentRun, VmHistory};
use crate::store::upkeep::FailedVerification;
use crate::vm_choice::VmRules;

/// How many days a strip has.
pub(super) const STRIP_DAYS: usize = 30;

/// How far back points and runs are read: the strip's days, and one for zones.
pub(super) const HISTORY_MS: i64 = 31 * DAY_MS;

pub(super) const DAY_MS: i64 = 86_400_000;

/// How many days the rate of change is taken from.
const RATE_DAYS: i64 = 14;

/// A VM, with how well it is protected.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VmRow {
    /// Its number.
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The host that it was last seen on.
    pub host_id: String,
    /// That host's name.
    pub host_name: String,
    /// Its name.
    pub name: String,
    /// Hyper-V's id.
    pub guid: String,
    /// Its state in Hyper-V's words; empty when unknown.
    pub state: String,
    /// Whether its guest is Linux.
    pub is_linux: bool,
    /// 1 or 2; 0 when unknown.
    pub generation: i64,
    /// Whether changes of its disks are tracked.
    pub is_tracked: bool,
    /// Whether an active job protects it.
    pub is_protected: bool,
    /// Whether somebody decided that it needs no backup.
    pub is_excused: bool,
    /// The jobs that choose it, those that are paused included.
    pub job_ids: Vec<String>,
    /// How old its last good point may be; none: nobody decided, and no job protects it.
    pub objective_hours: Option<i64>,
    /// When its last good point was made.
    pub last_point_at: Option<String>,
    /// That point.
    pub last_point_id: Option<i64>,
    /// `application`, `crash` or `crash-no-checkpoint`, of that point.
    pub last_consistency: Option<String>,
    /// When one of its points was last proven.
    pub last_proven_at: Option<String>,
    /// The size of its disks; of its last point where they are not known.
    pub size_bytes: Option<i64>,
    /// What changes in a day: the median of the last 14 days' increments.
    pub change_rate_bytes_per_day: Option<i64>,
    /// When it is backed up next.
    pub next_run_at: Option<String>,
    /// How well it is protected.
    pub health: Health,
    /// Why.
    pub health_reason: String,
    /// Its last thirty days, today last.
    pub strip: Vec<StripDay>,
}

/// What rows are made from besides the VMs.
#[derive(Debug)]
pub(super) struct Ground {
    hosts: HashMap<String, String>,
    disabled_hosts: HashSet<String>,
    zones: HashMap<String, TimeZone>,
    failed_verifications: HashMap<String, FailedVerification>,
    // By their hosts.
    jobs: HashMap<String, Vec<VmJob>>,
}

#[derive(Debug)]
struct VmJob {
    row: job::Model,
    rules: VmRules,
}

impl Ground {
    /// Reads what rows of a tenant's VMs are made from, in a number of statements that does not depend on it.
    pub(super) async fn read(
        plane: &Plane,
        tenant_id: Option<&str>,
    ) -> Result<Self, sea_orm::DbErr> {
        let hosts = plane.store.all_hosts(tenant_id).await?;
        let zones = plane.store.time_zones(tenant_id).await?;
        let jobs = plane.store.vm_jobs(tenant_id).await?;
        let failed_verifications = plane.store.failed_verifications(tenant_id).await?;
        let mut of_host: HashMap<String, Vec<VmJob>> = HashMap::new();
        for row in jobs {
            let rules = VmRules::of_json(&row.vms_json);
            let host_id = row.host_id.clone();
            of_host
                .entry(host_id)
                .or_default()
                .push(VmJob { row, rules });
        }
        let disabled = hosts.iter().filter(|it| it.is_disabled);
        Ok(Self {
            disabled_hosts: disabled.map(|it| it.id.clone()).collect(),
            hosts: hosts.into_iter().map(|it| (it.id, it.name)).collect(),
            zones: zones
                .into_iter()
                .map(|(tenant, name)| (tenant, TimeZone::get(&name).unwrap_or(TimeZone::UTC)))
                .collect(),
            failed_verifications,
            jobs: of_host,
        })
    }

    /// Returns the zone that a tenant's days follow.
    pub(super) fn zone(&self, tenant_id: &str) -> TimeZone {
        self.zones.get(tenant_id).cloned().unwrap_or(TimeZone::UTC)
    }

    /// Tells whether an active job protects a VM.
    pub(super) fn is_protected(&self, vm: &vm::Model) -> bool {
        !self.disabled_hosts.contains(&vm.host_id)
            && self.jobs_of(vm).any(|job| job.row.status == "active")
    }

    /// Returns the ids of the jobs that choose a VM.
    pub(super) fn job_ids(&self, vm: &vm::Model) -> Vec<String> {
        self.jobs_of(vm).map(|job| job.row.id.clone()).collect()
    }

    fn jobs_of<'a, 'v>(
        &'a self,
        vm: &'v vm::Model,
    ) -> impl Iterator<Item = &'a VmJob> + use<'a, 'v> {
        let of_host = self.jobs.get(&vm.host_id).into_iter().flatten();
        of_host.filter(move |job| job.rules.is_chosen(&vm.guid, &vm.name))
    }

    /// Returns the name of a point's repository if nobody knows what the point is worth: the last verification of the
    /// repository failed, and nothing was found of this point, by then or since.
    fn unverifiable_in(&self, point: &point::Model, warnings: &[String]) -> Option<&str> {
        let failed = self.failed_verifications.get(&point.repository_id)?;
        let is_proven = point.proven_at.is_some_and(|at| at >= failed.at);
        let is_damaged = warnings.iter().any(|warning| warning == DAMAGED);
        (!is_proven && !is_damaged).then_some(failed.name.as_str())
    }

    /// Returns a row for each VM.
    pub(super) fn rows(&self, vms: Vec<vm::Model>, history: &VmHistory, now: i64) -> Vec<VmRow> {
        let history = Sorted::of(history);
        vms.into_iter()
            .map(|vm| self.row(vm, &history, now))
            .collect()
    }

    /// Judges VMs by what is newest of them, in the order in which they are given.
    pub(super) fn glances(&self, vms: &[vm::Model], newest: &VmHistory, now: i64) -> Vec<Glance> {
        let history = Sorted::of(newest);
        let glance = |vm: &vm::Model| {
            let judged = self.judged(vm, &history, now);
            Glance {
                health: judged.judgement.health,
                is_protected: judged.is_protected,
                next_run_at: judged.next_run_at(),
                last_point_at: judged.last.map(|last| last.created_at),
                last_proven_at: newest.proven.get(&vm.id).copied(),
            }
        };
        vms.iter().map(glance).collect()
    }

    fn row(&self, vm: vm::Model, history: &Sorted<'_>, now: i64) -> VmRow {
        let judged = self.judged(&vm, history, now);
        let last = judged.last;
        let zone = self.zone(&vm.tenant_id);
        let today = day(now, &zone);
        VmRow {
            host_name: self.hosts.get(&vm.host_id).cloned().unwrap_or_default(),
            is_protected: judged.is_protected,
            job_ids: judged.jobs.iter().map(|job| job.row.id.clone()).collect(),
            objective_hours: judged.objective_hours,
            last_point_at: last.map(|last| rfc3339(last.created_at)),
            last_point_id: last.map(|last| last.id),
            last_consistency: last
                .map(|last| last.consistency.clone())
                .filter(|word| !word.is_empty()),
            last_proven_at: history.all.proven.get(&vm.id).copied().map(rfc3339),
            size_bytes: disks_bytes(&vm.disks_json).or(last.map(|last| last.total_bytes)),
            change_rate_bytes_per_day: rate(history.points(vm.id), today, &zone),
            next_run_at: judged.next_run_at().map(rfc3339),
            health: judged.judgement.health,
            health_reason: judged.judgement.reason(),
            strip: strip(today, STRIP_DAYS, &judged.happenings),
            id: vm.id,
            tenant_id: vm.tenant_id,
            host_id: vm.host_id,
            name: vm.name,
            guid: vm.guid,
            state: vm.state,
            is_linux: vm.is_linux,
            generation: vm.generation,
            is_tracked: vm.is_tracked,
            is_excused: vm.is_excused,
        }
    }

    fn judged<'a>(&'a self, vm: &vm::Model, history: &Sorted<'a>, now: i64) -> Judged<'a> {
        let jobs: Vec<&VmJob> = self.jobs_of(vm).collect();
        let is_host_disabled = self.disabled_hosts.contains(&vm.host_id);
        let active: Vec<&VmJob> = jobs
            .iter()
            .copied()
            .filter(|job| job.row.status == "active" && !is_host_disabled)
            .collect();
        let last = history.all.last.get(&vm.id);
        let zone = self.zone(&vm.tenant_id);
        let asked = active
            .iter()
            .filter_map(|job| Consistency::of(&job.row.consistency))
            .min();
        let happenings = happenings(vm, &jobs, history, asked, &zone);
        let objective_hours = vm
            .objective_hours
            .or_else(|| active.iter().map(|job| job.row.objective_hours).min());
        let warnings: Vec<String> = last
            .and_then(|last| serde_json::from_str(&last.warnings_json).ok())
            .unwrap_or_default();
        let facts = Facts {
            is_excused: vm.is_excused,
            protected_since: active
                .iter()
                .map(|job| job.row.created_at.max(vm.first_seen_at))
                .min(),
            is_host_disabled,
            is_paused: jobs.iter().any(|job| job.row.status == "paused"),
            objective_hours: objective_hours.unwrap_or(OBJECTIVE_HOURS),
            last: last.map(|last| LastPoint {
                at: last.created_at,
                consistency: Consistency::of(&last.consistency),
                warning: warnings.first().map(String::as_str),
                missing_disks: missing_disks(&vm.disks_json, &last.disk_manifests_json),
                unconfirmed_since: unconfirmed_since(last.confirmed_at, last.expired_at, now),
                unverifiable_in: self.unverifiable_in(last, &warnings),
            }),
            asked,
            last_outcome: happenings
                .iter()
                .max_by_key(|it| it.at)
                .map(|it| (it.at, it.outcome)),
            passed_over_at: passed_over_at(vm, &jobs, history),
        };
        Judged {
            judgement: judge(&facts, now),
            is_protected: facts.protected_since.is_some(),
            last,
            jobs,
            active,
            objective_hours,
            happenings,
        }
    }
}

/// What is counted of a VM.
#[derive(Debug)]
pub(super) struct Glance {
    /// How well it is protected.
    pub(super) health: Health,
    /// Whether an active job protects it.
    pub(super) is_protected: bool,
    /// When it is backed up next.
    pub(super) next_run_at: Option<i64>,
    /// When its last good point was made.
    pub(super) last_point_at: Option<i64>,
    /// When one of its points was last proven.
    pub(super) last_proven_at: Option<i64>,
}

/// A VM, judged, and what by.
struct Judged<'a> {
    judgement: Judgement,
    is_protected: bool,
    last: Option<&'a point::Model>,
    jobs: Vec<&'a VmJob>,
    active: Vec<&'a VmJob>,
    objective_hours: Option<i64>,
    happenings: Vec<Happening>,
}

impl Judged<'_> {
    fn next_run_at(&self) -> Option<i64> {
        let next = self.active.iter().filter_map(|job| job.row.next_run_at);
        next.min()
    }
}

/// What happened, found by VM, job and run.
struct Sorted<'a> {
    all: &'a VmHistory,
    points: HashMap<i64, Vec<&'a RecentPoint>>,
    runs: HashMap<&'a str, Vec<&'a RecentRun>>,
    run: HashMap<&'a str, &'a RecentRun>,
}

impl<'a> Sorted<'a> {
    fn of(all: &'a VmHistory) -> Self {
        let mut points: HashMap<i64, Vec<&RecentPoint>> = HashMap::new();
        for point in &all.points {
            points.entry(point.vm_id).or_default().push(point);
        }
        let mut runs: HashMap<&str, Vec<&RecentRun>> = HashMap::new();
        for run in &all.runs {
            if let Some(job_id) = &run.job_id {
                runs.entry(job_id).or_default().push(run);
            }
        }
        Self {
            all,
            points,
            runs,
            run: all.runs.iter().map(|run| (&*run.id, run)).collect(),
        }
    }

    fn points(&self, vm_id: i64) -> &[&'a RecentPoint] {
        self.points.get(&vm_id).map_or(&[], Vec::as_slice)
    }
}

fn happenings(
    vm: &vm::Model,
    jobs: &[&VmJob],
    history: &Sorted<'_>,
    asked: Option<Consistency>,
    zone: &TimeZone,
) -> Vec<Happening> {
    let mut all = Vec::new();
    let mut with_point: HashSet<&str> = HashSet::new();
    for point in history.points(vm.id) {
        with_point.insert(&point.run_id);
        // A night's run that ends after midnight belongs to the day it began on.
        let run = history.run.get(&*point.run_id);
        let counts_for = run.map_or(point.created_at, |run| run.counts_for());
        let is_below = match (Consistency::of(&point.consistency), asked) {
            (Some(got), Some(asked)) => got > asked,
            _ => false,
        };
        let has_warnings = !matches!(&*point.warnings_json, "" | "[]" | "null");
        all.push(Happening {
            day: day(counts_for, zone),
            at: point.created_at,
            outcome: match is_below || has_warnings {
                true => Outcome::Warning,
                false => Outcome::Good,
            },
            run_id: point.run_id.clone(),
        });
    }
    let runs = jobs
        .iter()
        .filter_map(|job| history.runs.get(&*job.row.id))
        .flatten();
    for run in runs {
        if with_point.contains(&*run.id) || run.counts_for() < here_since(vm) {
            continue;
        }
        let failed_by_name = || {
            let failed = history.all.failed.get(&run.id);
            failed.is_some_and(|names| names.contains(&vm.name))
        };
        let outcome = match &*run.status {
            "missed" => Outcome::Missed,
            "failed" | "cancelled" => Outcome::Failed,
            "warning" | "partial_success" if failed_by_name() => Outcome::Failed,
            _ => continue,
        };
        all.push(Happening {
            day: day(run.counts_for(), zone),
            at: run.counts_for(),
            outcome,
            run_id: run.id.clone(),
        });
    }
    all
}

/// Returns since when a VM has been on its host: what ran there before was not to take it.
fn here_since(vm: &vm::Model) -> i64 {
    vm.came_at.unwrap_or(vm.first_seen_at)
}

/// Returns when a job that was to take a VM last ended well without a point of it. What ran before the VM was there, or
/// before the job became what it is, was not to take it.
fn passed_over_at(vm: &vm::Model, jobs: &[&VmJob], history: &Sorted<'_>) -> Option<i64> {
    let points = history.points(vm.id);
    let with_point: HashSet<&str> = points.iter().map(|point| &*point.run_id).collect();
    let active = jobs.iter().filter(|job| job.row.status == "active");
    let passed_over = active.flat_map(|job| {
        let was_to_take = job.row.updated_at.max(here_since(vm));
        let runs = history.runs.get(&*job.row.id).into_iter().flatten();
        runs.filter(|run| {
            matches!(&*run.status, "success" | "warning" | "partial_success")
                && run.created_at > was_to_take
                && !with_point.contains(&*run.id)
        })
        .map(|run| run.created_at)
        .max()
    });
    passed_over.max()
}

/// Returns how many disks a VM has more than a point holds. Of a point that names no disks nothing is known.
fn missing_disks(disks_json: &str, disk_manifests_json: &str) -> usize {
    let disks: Vec<serde_json::Value> = serde_json::from_str(disks_json).unwrap_or_default();
    let held: PathMap = serde_json::from_str(disk_manifests_json).unwrap_or_default();
    match held.iter().count() {
        0 => 0,
        held => disks.len().saturating_sub(held),
    }
}

fn rate(points: &[&RecentPoint], today: Date, zone: &TimeZone) -> Option<i64> {
    let mut by_day: HashMap<Date, i64> = HashMap::new();
    for point in points.iter().filter(|it| it.backup_type == "incremental") {
        let day = day(point.created_at, zone);
        let age = day
            .until(today)
            .map_or(i64::MAX, |span| i64::from(span.get_days()));
        if age < RATE_DAYS {
            let changed = by_day.entry(day).or_default();
            *changed = changed.saturating_add(point.changed_bytes);
        }
    }
    // Today is not over: of a VM that is backed up often it would count as a quiet day.
    if by_day.len() > 1 {
        by_day.remove(&today);
    }
    change_rate(&by_day.into_values().collect::<Vec<_>>())
}

/// Returns the day of a moment in a zone.
pub(super) fn day(ms: i64, zone: &TimeZone) -> Date {
    let moment = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    zone.to_datetime(moment).date()
}

fn disks_bytes(disks_json: &str) -> Option<i64> {
    let disks: Vec<serde_json::Value> = serde_json::from_str(disks_json).ok()?;
    let sizes = disks.iter().map(|disk| disk.get("size_bytes")?.as_i64());
    let sum: i64 = sizes.collect::<Option<Vec<i64>>>()?.into_iter().sum();
    (sum > 0).then_some(sum)
}
