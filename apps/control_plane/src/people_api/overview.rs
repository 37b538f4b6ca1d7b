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
use crate::people_api::vm_row::{HISTORY_MS, STRIP_DAYS, VmRow, day};
use crate::people_api::vms::all_rows;
use crate::plane::{SharedPlane, rfc3339};
use crate::store::entity::{alarm, repository_size};
use crate::store::history::SizedPoint;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new().routes(routes!(overview))
}

/// What the first screen shows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// The server's time.
    pub now: String,
    /// Open alarms that are not snoozed, the worst first.
    pub decisions: Vec<Alarm>,
    /// All VMs.
    pub vms: Vec<VmRow>,
    /// How many of each there are.
    pub counts: Counts,
    /// Runs that have not ended.
    pub running: Vec<Run>,
    /// How much was stored, and of how much, on each of the last thirty days.
    pub stored: Vec<StoredDay>,
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
    /// Hosts that were heard of within three minutes.
    pub hosts_online: usize,
    /// Hosts.
    pub hosts: usize,
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
    let vms = all_rows(&plane, tenant).await?;
    let hosts = store.all_hosts(tenant).await?;
    let since = now - HISTORY_MS;
    let sizes = store.repository_sizes(tenant, since).await?;
    let points = store.sized_points(tenant, since).await?;
    let running = store.runs_going_on(tenant).await?;
    Ok(Json(Overview {
        now: rfc3339(now),
        decisions: decisions(store.open_alarms_of(tenant, now).await?),
        counts: Counts {
            hosts_online: hosts.iter().filter(|host| is_online(host, now)).count(),
            hosts: hosts.len(),
            ..counts(&vms)
        },
        running: run_views(&plane, running).await?,
        stored: stored(now, &sizes, &points),
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

fn counts(vms: &[VmRow]) -> Counts {
    let of = |health| vms.iter().filter(|vm| vm.health == health).count();
    Counts {
        vms: vms.len(),
        protected: vms.iter().filter(|vm| vm.is_protected).count(),
        good: of(Health::Good),
        warning: of(Health::Warning),
        bad: of(Health::Bad),
        unprotected: of(Health::Unprotected),
        ..Counts::default()
    }
}

/// Returns how much was stored on the last days. What was measured, or made, counts until there is something newer; a
/// point that went with nothing newer behind it, as the last one of a VM that is gone, counts until it went.
fn stored(now: i64, sizes: &[repository_size::Model], points: &[SizedPoint]) -> Vec<StoredDay> {
    let today = day(now, &jiff::tz::TimeZone::UTC);
    let mut held: BTreeMap<&str, i64> = BTreeMap::new();
    let mut of: BTreeMap<(Option<i64>, Option<&str>, &str), &SizedPoint> = BTreeMap::new();
    let mut sizes = sizes.iter().peekable();
    let mut points = points.iter().peekable();
    days_until(today, STRIP_DAYS)
        .into_iter()
        .map(|on| {
            let name = on.to_string();
            while let Some(size) = sizes.next_if(|size| size.day <= name) {
                held.insert(&size.repository_id, size.stored_bytes);
            }
            let is_by_then = |at: i64| day(at, &jiff::tz::TimeZone::UTC) <= on;
            let is_made = |point: &&SizedPoint| is_by_then(point.created_at);
            while let Some(point) = points.next_if(is_made) {
                // A VM is one, whichever jobs protect it.
                let key = match point.vm_id {
                    Some(_) => (point.vm_id, None, ""),
                    None => (None, point.job_id.as_deref(), &*point.name),
                };
                of.insert(key, point);
            }
            let there = of
                .values()
                .filter(|it| !it.expired_at.is_some_and(is_by_then));
            StoredDay {
                day: on,
                stored_bytes: (!held.is_empty()).then(|| held.values().sum()),
                source_bytes: there.map(|point| point.total_bytes).sum(),
            }
        })
        .collect()
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
        let stored = stored(now, &sizes, &points);
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
