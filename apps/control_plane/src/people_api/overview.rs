//! The first screen: what needs a decision, and whether every VM is safe.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::health::{Health, days_until};
use crate::people_api::alarms::Alarm;
use crate::people_api::caller::Viewer;
use crate::people_api::error::ApiResult;
use crate::people_api::hosts::is_online;
use crate::people_api::input::Params;
use crate::people_api::request::{LookRefusals, OfTenant};
use crate::people_api::runs::{Run, run_views};
use crate::people_api::vm_row::{DAY_MS, Glance, HISTORY_MS, STRIP_DAYS, VmRow, day};
use crate::people_api::vms::at_a_glance;
use crate::plane::{SharedPlane, rfc3339};
use crate::store::entity::{alarm, repository_size};
use crate::store::history::SizedPoint;

/// A proof is counted for so many days.
const PROOF_DAYS: i64 = 30;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(overview))
        .routes(routes!(stored))
}

/// What the first screen shows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// The server's time.
    pub now: String,
    /// Open alarms that are not snoozed, the worst first.
    pub decisions: Vec<Alarm>,
    /// VMs, 1,000 at most: those that need to be looked at most come first.
    pub vms: Vec<VmRow>,
    /// How many of each there are.
    pub counts: Counts,
    /// When the oldest last point of a VM that is to be protected was made.
    pub oldest_last_point_at: Option<String>,
    /// When a VM is backed up next.
    pub next_run_at: Option<String>,
    /// Runs that have not ended.
    pub running: Vec<Run>,
    /// What has been set up.
    pub setup: SetUp,
}

/// How many of each there are.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// VMs.
    pub vms: usize,
    /// VMs that an active job protects.
    pub protected: usize,
    /// VMs that are well.
    pub good: usize,
    /// VMs to be looked at.
    pub warning: usize,
    /// VMs without a good point in time.
    pub bad: usize,
    /// VMs that no active job protects, and nobody excused.
    pub unprotected: usize,
    /// VMs of which somebody decided that they need no backup.
    pub excused: usize,
    /// VMs with a point.
    pub with_point: usize,
    /// VMs with a point that was proven in the last thirty days.
    pub proven: usize,
    /// Hosts that were heard of within three minutes.
    pub hosts_online: usize,
    /// Hosts.
    pub hosts: usize,
}

/// How much was stored on the last thirty days.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stored {
    /// Each day, the oldest first.
    pub days: Vec<StoredDay>,
}

/// How much was stored on a day.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StoredDay {
    /// The day, in UTC.
    #[schema(value_type = String, format = Date)]
    pub day: Date,
    /// What the repositories held, as last measured; none: not measured yet.
    pub stored_bytes: Option<i64>,
    /// What the last points of all VMs and sources hold.
    pub source_bytes: i64,
}

/// What has been set up.
#[derive(Debug, Serialize, ToSchema)]
pub struct SetUp {
    /// Whether there is a host.
    pub has_host: bool,
    /// Whether there is a repository.
    pub has_repository: bool,
    /// Whether there is a job.
    pub has_job: bool,
    /// Whether there is a restore point.
    pub has_point: bool,
}

/// Shows what needs a decision, and whether every VM is safe.
#[utoipa::path(get, path = "/overview", tag = "overview", params(OfTenant),
    responses((status = 200, body = Overview), LookRefusals))]
async fn overview(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(of): Params<OfTenant>,
) -> ApiResult<Json<Overview>> {
    let tenant = caller.scope(of.tenant_id.as_deref())?;
    let tenant = tenant.as_deref();
    let now = plane.now_ms();
    let store = &plane.store;
    let (glances, vms) = at_a_glance(&plane, tenant).await?;
    let hosts = store.all_hosts(tenant).await?;
    let running = store.runs_going_on(tenant).await?;
    let is_wanted = |it: &&Glance| it.is_protected && it.health != Health::Excused;
    let wanted = glances.iter().filter(is_wanted);
    Ok(Json(Overview {
        now: rfc3339(now),
        decisions: decisions(store.open_alarms_of(tenant, now).await?),
        counts: Counts {
            hosts_online: hosts.iter().filter(|host| is_online(host, now)).count(),
            hosts: hosts.len(),
            ..counts(&glances, now)
        },
        oldest_last_point_at: wanted.filter_map(|it| it.last_point_at).min().map(rfc3339),
        next_run_at: glances
            .iter()
            .filter_map(|it| it.next_run_at)
            .min()
            .map(rfc3339),
        running: run_views(&plane, running).await?,
        setup: SetUp {
            has_host: !hosts.is_empty(),
            has_repository: !store.repositories_of(tenant, None, 1).await?.is_empty(),
            has_job: !store.jobs_of(tenant, None, 1).await?.is_empty(),
            has_point: store.has_point(tenant).await?,
        },
        vms,
    }))
}

fn decisions(mut open: Vec<alarm::Model>) -> Vec<Alarm> {
    let gravity = |alarm: &alarm::Model| match &*alarm.severity {
        "critical" => 0,
        "warning" => 1,
        _ => 2,
    };
    open.sort_by_key(|alarm| (gravity(alarm), alarm.opened_at, alarm.id));
    open.into_iter().map(Alarm::from).collect()
}

fn counts(vms: &[Glance], now: i64) -> Counts {
    let count = |is: &dyn Fn(&Glance) -> bool| vms.iter().filter(|vm| is(vm)).count();
    let of = |health| count(&|vm| vm.health == health);
    let proven_since = now - PROOF_DAYS * DAY_MS;
    Counts {
        vms: vms.len(),
        protected: count(&|vm| vm.is_protected),
        good: of(Health::Good),
        warning: of(Health::Warning),
        bad: of(Health::Bad),
        unprotected: of(Health::Unprotected),
        excused: of(Health::Excused),
        with_point: count(&|vm| vm.last_point_at.is_some()),
        proven: count(&|vm| {
            vm.last_point_at.is_some() && vm.last_proven_at.is_some_and(|at| at > proven_since)
        }),
        ..Counts::default()
    }
}

/// Shows how much was stored on the last thirty days.
#[utoipa::path(get, path = "/stored", tag = "overview", params(OfTenant),
    responses((status = 200, body = Stored), LookRefusals))]
async fn stored(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(of): Params<OfTenant>,
) -> ApiResult<Json<Stored>> {
    let tenant = caller.scope(of.tenant_id.as_deref())?;
    let tenant = tenant.as_deref();
    let now = plane.now_ms();
    let since = now - HISTORY_MS;
    let mut sums = StoredSums::until(now);
    let sizes = plane.store.repository_sizes(tenant, since).await?;
    let take = |point| sums.take(point);
    plane.store.each_sized_point(tenant, since, take).await?;
    let days = sums.with(&sizes);
    Ok(Json(Stored { days }))
}

/// What is backed up: a VM by its number, whichever jobs protect it; else a name of a job.
type Kept = (Option<i64>, Option<String>, String);

/// How much the last points held on each of the last days, summed up while points come in the order in which they were made.
/// What was made counts until there is something newer; a point that went with nothing newer behind it, as the last one of
/// a VM that is gone, counts until it went.
#[derive(Debug)]
struct StoredSums {
    days: Vec<Date>,
    // What the points held on the days that no more points come for.
    sums: Vec<i64>,
    // Of everything what its last point holds, and when that went.
    last: BTreeMap<Kept, (i64, Option<Date>)>,
}

impl StoredSums {
    fn until(now: i64) -> Self {
        Self {
            days: days_until(utc_day(now), STRIP_DAYS),
            sums: Vec::new(),
            last: BTreeMap::new(),
        }
    }

    fn take(&mut self, point: SizedPoint) {
        let made_on = utc_day(point.created_at);
        while self
            .days
            .get(self.sums.len())
            .is_some_and(|day| *day < made_on)
        {
            self.end_day();
        }
        let key = match point.vm_id {
            Some(_) => (point.vm_id, None, String::new()),
            None => (None, point.job_id, point.name),
        };
        let gone_on = point.expired_at.map(utc_day);
        self.last.insert(key, (point.total_bytes, gone_on));
    }

    fn end_day(&mut self) {
        let today = self.days[self.sums.len()];
        let there = self
            .last
            .values()
            .filter(|(_, gone_on)| gone_on.is_none_or(|on| on > today));
        self.sums.push(there.map(|(bytes, _)| bytes).sum());
    }

    /// Adds what the repositories held, as it was measured on days, the oldest first.
    fn with(mut self, sizes: &[repository_size::Model]) -> Vec<StoredDay> {
        while self.sums.len() < self.days.len() {
            self.end_day();
        }
        let mut held: BTreeMap<&str, i64> = BTreeMap::new();
        let mut sizes = sizes.iter().peekable();
        let days = self.days.into_iter().zip(self.sums);
        days.map(|(day, source_bytes)| {
            let name = day.to_string();
            while let Some(size) = sizes.next_if(|size| size.day <= name) {
                held.insert(&size.repository_id, size.stored_bytes);
            }
            StoredDay {
                day,
                stored_bytes: (!held.is_empty()).then(|| held.values().sum()),
                source_bytes,
            }
        })
        .collect()
    }
}

fn utc_day(at: i64) -> Date {
    day(at, &jiff::tz::TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_or_made_counts_until_there_is_something_newer() {
        let now: jiff::Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let now = now.as_millisecond();
        let ago = |days: i64| now - days * 86_400_000;
        let size = |repository: &str, day: &str, stored_bytes| repository_size::Model {
            id: 0,
            tenant_id: String::new(),
            repository_id: repository.to_owned(),
            day: day.to_owned(),
            stored_bytes,
        };
        let sizes = [
            size("a", "2026-03-08", 10),
            size("b", "2026-03-09", 5),
            size("a", "2026-03-10", 11),
        ];
        let point = |vm_id, job: &str, total_bytes, created_at| SizedPoint {
            vm_id,
            job_id: Some(job.to_owned()),
            name: "name".to_owned(),
            total_bytes,
            created_at,
            expired_at: None,
        };
        let gone = SizedPoint {
            expired_at: Some(ago(1)),
            ..point(Some(2), "x", 1_000, ago(40))
        };
        let points = [
            gone,
            point(Some(1), "x", 100, ago(40)),
            point(Some(1), "y", 120, ago(1)),
            point(None, "x", 7, ago(1)),
            point(None, "z", 3, ago(0)),
        ];
        let mut sums = StoredSums::until(now);
        points.into_iter().for_each(|point| sums.take(point));
        let stored = sums.with(&sizes);
        assert_eq!(stored.len(), 30);
        let figures: Vec<(Option<i64>, i64)> = stored
            .iter()
            .map(|day| (day.stored_bytes, day.source_bytes))
            .collect();
        assert_eq!(figures[0], (None, 1_100));
        assert_eq!(
            figures[27..],
            [(Some(10), 1_100), (Some(15), 127), (Some(16), 130)]
        );
    }
}
