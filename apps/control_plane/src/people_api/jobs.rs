//! Jobs: what is backed up, when, to where, and for how long it is kept.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use protocol::retention::Retention;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, DatabaseTransaction, EntityTrait as _,
    IntoActiveModel as _,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::live::What;
use crate::people_api::caller::{Operator, Viewer};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::input::{Input, Params, text};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::repositories::of_another_host;
use crate::people_api::request::{
    ChangeRefusals, Id, LookRefusals, OfTenant, list, page_by_name, path, shown, within, word,
};
use crate::people_api::runs::{Run, run_views};
use crate::people_api::vms::OBJECTIVE_HOURS_MAX;
use crate::plane::{Plane, SharedPlane, rfc3339};
use crate::retention_preview::play;
use crate::schedule::Schedule;
use crate::store::entity::{host, job, point, run};
use crate::store::folders::is_folder_of_one;
use crate::store::runs::{NewRun, new_run};
use crate::vm_choice::{VmRules, bare_guid};

/// How many moments to come a preview names.
const NEXT_RUNS: usize = 10;

/// How many points a preview names.
const KEPT_MAX: usize = 1_000;

/// The most points of a tier.
const KEEP_MAX: i64 = 10_000;

/// The compressions that agents know (contract 9.5).
const COMPRESSIONS: &[&str] = &[
    "none",
    "zstd",
    "zstd-fastest",
    "zstd-better-compression",
    "zstd-best-compression",
    "s2-default",
    "s2-better",
    "s2-parallel-4",
    "s2-parallel-8",
    "gzip",
    "gzip-best-speed",
    "gzip-best-compression",
    "pgzip",
    "pgzip-best-speed",
    "pgzip-best-compression",
    "deflate-default",
    "deflate-best-speed",
    "deflate-best-compression",
    "lz4",
];

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(all, create))
        .routes(routes!(preview))
        .routes(routes!(one, change, remove))
        .routes(routes!(start))
}

/// What is backed up, when, to where, and for how long it is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The host that carries it out.
    pub host_id: String,
    /// That host's name.
    pub host_name: String,
    /// Where it stores.
    pub repository_id: String,
    /// That repository's name.
    pub repository_name: String,
    /// What people call it.
    pub name: String,
    /// `hyperv`, `kopia`, `disk_image` or `sync`.
    pub engine: String,
    /// `active` or `paused`.
    pub status: String,
    /// Paths to back up.
    pub sources: Vec<String>,
    /// Which VMs.
    pub vms: VmRules,
    /// `application`, `require-application` or `crash`.
    pub consistency: String,
    /// When it runs.
    pub schedule: Schedule,
    /// What is kept.
    pub retention: Keep,
    /// How it runs.
    pub policy: RunPolicy,
    /// The upload limit in KiB/s; 0: none.
    pub bandwidth_kib_s: i64,
    /// How old the last good point of what it protects may be.
    pub objective_hours: i64,
    /// When it runs next.
    pub next_run_at: Option<String>,
    /// Its last run.
    pub last_run: Option<Run>,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// How many points are kept: the newest ones, or some of each kind. What is left out, Kopia's own numbers say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// The newest ones; agents follow nothing else then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<i64>,
    /// One per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<i64>,
    /// One per day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<i64>,
    /// One per week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<i64>,
    /// One per month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<i64>,
    /// One per year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yearly: Option<i64>,
}

/// How a job runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunPolicy {
    /// How data is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// How many uploads go on side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_uploads: Option<i64>,
}

/// A job that is to be made, or looked at before.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct JobWish {
    /// The tenant, for people of the installation; left out: the host's.
    tenant_id: Option<String>,
    /// The host that carries it out.
    host_id: String,
    /// Where it stores.
    repository_id: String,
    /// What people call it.
    name: String,
    /// `hyperv`, `kopia`, `disk_image` or `sync`.
    engine: String,
    /// `active` or `paused`. Left out: `active`.
    status: Option<String>,
    /// Paths to back up.
    #[serde(default)]
    sources: Vec<String>,
    /// Which VMs.
    #[serde(default)]
    vms: VmRules,
    /// `application`, `require-application` or `crash`. Left out: `application`.
    consistency: Option<String>,
    /// When it runs. Left out: never by itself.
    schedule: Option<Schedule>,
    /// What is kept.
    #[serde(default)]
    retention: Keep,
    /// How it runs.
    #[serde(default)]
    policy: RunPolicy,
    /// The upload limit in KiB/s; 0: none.
    #[serde(default)]
    bandwidth_kib_s: i64,
    /// How old the last good point may be. Left out: two hours more than the longest time between two runs.
    objective_hours: Option<i64>,
}

/// What is to be changed of a job.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct JobChange {
    /// The host that carries it out.
    host_id: Option<String>,
    /// Where it stores.
    repository_id: Option<String>,
    /// What people call it.
    name: Option<String>,
    /// `active` or `paused`.
    status: Option<String>,
    /// Paths to back up.
    sources: Option<Vec<String>>,
    /// Which VMs.
    vms: Option<VmRules>,
    /// `application`, `require-application` or `crash`.
    consistency: Option<String>,
    /// When it runs.
    schedule: Option<Schedule>,
    /// What is kept.
    retention: Option<Keep>,
    /// How it runs.
    policy: Option<RunPolicy>,
    /// The upload limit in KiB/s; 0: none.
    bandwidth_kib_s: Option<i64>,
    /// How old the last good point may be.
    objective_hours: Option<i64>,
}

/// A run that is asked for; there is nothing to be said of it yet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RunStart {}

/// What a job would do.
#[derive(Debug, Serialize, ToSchema)]
struct JobPreview {
    /// When it would run next, ten times.
    next_runs: Vec<String>,
    /// Which of the host's VMs it would protect, and why.
    vms: Vec<PreviewVm>,
    /// What retention would have kept by now, had the job run for 400 days.
    retention: PreviewRetention,
}

/// Whether a VM would be protected.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewVm {
    /// The VM.
    id: i64,
    /// Its name.
    name: String,
    /// Whether it would be.
    is_included: bool,
    /// Why.
    why: String,
}

/// What retention would have kept.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewRetention {
    /// The newest thousand of what it would have kept.
    kept: Vec<PreviewPoint>,
    /// How many it would have kept in all.
    kept_count: usize,
    /// How many it would have removed.
    dropped_count: usize,
    /// Points that there are and that stay whatever the rule says, for somebody pinned them; oldest first.
    pinned: Vec<PinnedPoint>,
}

/// A point that is pinned.
#[derive(Debug, Serialize, ToSchema)]
struct PinnedPoint {
    /// Its number.
    id: i64,
    /// The VM's name, or the sources.
    name: String,
    /// When it was made.
    at: String,
}

/// A point that would be kept.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewPoint {
    /// When it would have been made.
    at: String,
    /// Why it stays, in Kopia's words: `latest-1`, `daily-3`.
    reasons: Vec<String>,
}

impl JobWish {
    /// Returns the wish that a job fulfils.
    fn of(row: &job::Model) -> Self {
        Self {
            tenant_id: Some(row.tenant_id.clone()),
            host_id: row.host_id.clone(),
            repository_id: row.repository_id.clone(),
            name: row.name.clone(),
            engine: row.engine.clone(),
            status: Some(row.status.clone()),
            sources: serde_json::from_str(&row.sources_json).unwrap_or_default(),
            vms: VmRules::of_json(&row.vms_json),
            consistency: Some(row.consistency.clone()),
            schedule: Some(schedule_of(row)),
            retention: serde_json::from_str(&row.retention_json).unwrap_or_default(),
            policy: serde_json::from_str(&row.policy_json).unwrap_or_default(),
            bandwidth_kib_s: row.bandwidth_kib_s,
            objective_hours: Some(row.objective_hours),
        }
    }

    fn changed(self, change: JobChange) -> Self {
        Self {
            tenant_id: self.tenant_id,
            host_id: change.host_id.unwrap_or(self.host_id),
            repository_id: change.repository_id.unwrap_or(self.repository_id),
            name: change.name.unwrap_or(self.name),
            engine: self.engine,
            status: change.status.or(self.status),
            sources: change.sources.unwrap_or(self.sources),
            vms: change.vms.unwrap_or(self.vms),
            consistency: change.consistency.or(self.consistency),
            schedule: change.schedule.or(self.schedule),
            retention: change.retention.unwrap_or(self.retention),
            policy: change.policy.unwrap_or(self.policy),
            bandwidth_kib_s: change.bandwidth_kib_s.unwrap_or(self.bandwidth_kib_s),
            objective_hours: change.objective_hours.or(self.objective_hours),
        }
    }

    /// Returns the wish with each member as it is kept; refuses what makes no sense by itself.
    fn checked(mut self) -> ApiResult<Self> {
        self.name = text("name", &self.name)?;
        let engines = ["hyperv", "kopia", "disk_image", "sync"];
        word("engine", &self.engine, &engines)?;
        let status = self.status.get_or_insert_with(|| "active".to_owned());
        word("status", status, &["active", "paused"])?;
        let consistency = self
            .consistency
            .get_or_insert_with(|| "application".to_owned());
        let known = ["application", "require-application", "crash"];
        word("consistency", consistency, &known)?;
        self.sources = list("sources", &self.sources, |field, source| {
            match path(field, source)? {
                source if source.is_empty() => {
                    Err(ApiError::invalid(field, "a source must not be empty"))
                }
                source => Ok(source),
            }
        })?;
        self.vms = checked_rules(self.vms)?;
        let rules = &self.vms;
        match &*self.engine {
            "hyperv" if !rules.all && rules.guids.is_empty() && rules.include.is_empty() => {
                let message = "say which VMs: all, some of them, or a pattern of their names";
                return Err(ApiError::invalid("vms", message));
            }
            "hyperv" => {}
            "disk_image" if self.sources.len() != 1 => {
                let message = "name the one volume or disk that the image is made of";
                return Err(ApiError::invalid("sources", message));
            }
            _ if self.sources.is_empty() => {
                return Err(ApiError::invalid("sources", "name a path to back up"));
            }
            _ => {}
        }
        let schedule = self.schedule.get_or_insert_with(Schedule::manual);
        schedule.check().map_err(|wrong| {
            ApiError::invalid(&format!("schedule.{}", wrong.member), wrong.message)
        })?;
        check_retention(&self.retention)?;
        if let Some(compression) = &self.policy.compression {
            word("policy.compression", compression, COMPRESSIONS)?;
        }
        if let Some(uploads) = self.policy.parallel_uploads {
            within("policy.parallel_uploads", uploads, 1..=64)?;
        }
        within("bandwidth_kib_s", self.bandwidth_kib_s, 0..=100_000_000)?;
        if let Some(hours) = self.objective_hours {
            within("objective_hours", hours, 1..=OBJECTIVE_HOURS_MAX)?;
        }
        Ok(self)
    }

    fn schedule(&self) -> Schedule {
        self.schedule.clone().unwrap_or_else(Schedule::manual)
    }

    /// Returns how old the last good point may be.
    fn objective(&self, now: Timestamp, zone: &TimeZone, job_id: &str) -> i64 {
        self.objective_hours.unwrap_or_else(|| {
            let next = next_runs(&self.schedule(), now, zone, job_id);
            let gaps = next
                .windows(2)
                .map(|two| two[1].duration_since(two[0]).as_hours());
            gaps.max().map_or(7 * 24, |gap| gap + 2)
        })
    }

    /// Writes the wish to a job's row.
    fn put(&self, row: &mut job::ActiveModel, now: Timestamp, zone: &TimeZone, job_id: &str) {
        let is_active = self.status.as_deref() == Some("active");
        let next = self.schedule().next_after(now, zone, job_id);
        row.host_id = Set(self.host_id.clone());
        row.repository_id = Set(self.repository_id.clone());
        row.name = Set(self.name.clone());
        row.engine = Set(self.engine.clone());
        row.status = Set(self.status.clone().unwrap_or_default());
        row.sources_json = Set(document(&self.sources));
        row.vms_json = Set(document(&self.vms));
        row.consistency = Set(self.consistency.clone().unwrap_or_default());
        row.schedule_json = Set(document(&self.schedule()));
        row.retention_json = Set(document(&self.retention));
        row.policy_json = Set(document(&self.policy));
        row.bandwidth_kib_s = Set(self.bandwidth_kib_s);
        row.objective_hours = Set(self.objective(now, zone, job_id));
        row.next_run_at = Set(next.filter(|_| is_active).map(|next| next.as_millisecond()));
        row.updated_at = Set(now.as_millisecond());
    }
}

fn document(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our documents have texts as keys")
}

fn schedule_of(row: &job::Model) -> Schedule {
    serde_json::from_str(&row.schedule_json).unwrap_or_else(|_| Schedule::manual())
}

fn checked_rules(rules: VmRules) -> ApiResult<VmRules> {
    let pattern = |field: &str, pattern: &str| text(field, pattern);
    Ok(VmRules {
        all: rules.all,
        guids: list("vms.guids", &rules.guids, |field, guid| {
            let guid = bare_guid(guid);
            match uuid::Uuid::try_parse(&guid) {
                Ok(_) => Ok(guid),
                Err(_) => {
                    let message = format!("{} is no id of a VM", shown(&guid));
                    Err(ApiError::invalid(field, message))
                }
            }
        })?,
        include: list("vms.include", &rules.include, pattern)?,
        exclude: list("vms.exclude", &rules.exclude, pattern)?,
    })
}

fn check_retention(keep: &Keep) -> ApiResult<()> {
    let tiers = [
        ("retention.hourly", keep.hourly),
        ("retention.daily", keep.daily),
        ("retention.weekly", keep.weekly),
        ("retention.monthly", keep.monthly),
        ("retention.yearly", keep.yearly),
    ];
    for (field, number) in tiers {
        if let Some(number) = number {
            within(field, number, 0..=KEEP_MAX)?;
        }
    }
    let has_tier = tiers.iter().any(|(_, number)| number.is_some());
    if let Some(number) = keep.keep_last {
        within("retention.keep_last", number, 1..=KEEP_MAX)?;
        if has_tier {
            let message = "agents follow keep_last alone; leave it out, or the tiers";
            return Err(ApiError::invalid("retention", message));
        }
    }
    if has_tier && tiers.iter().all(|(_, number)| number.unwrap_or(0) == 0) {
        return Err(ApiError::invalid("retention", "keep a point at least"));
    }
    Ok(())
}

fn next_runs(schedule: &Schedule, now: Timestamp, zone: &TimeZone, job_id: &str) -> Vec<Timestamp> {
    std::iter::successors(schedule.next_after(now, zone, job_id), |&last| {
        schedule.next_after(last, zone, job_id)
    })
    .take(NEXT_RUNS)
    .collect()
}

async fn views(plane: &Plane, rows: Vec<job::Model>) -> ApiResult<Vec<Job>> {
    let hosts: Vec<&str> = rows.iter().map(|row| &*row.host_id).collect();
    let repositories: Vec<&str> = rows.iter().map(|row| &*row.repository_id).collect();
    let names = plane.store.names(&hosts, &repositories, &[]).await?;
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let last = plane.store.last_runs(&ids, plane.now_ms()).await?;
    let last = run_views(plane, last.into_values().collect()).await?;
    let mut last: std::collections::HashMap<String, Run> = last
        .into_iter()
        .filter_map(|run| Some((run.job_id.clone()?, run)))
        .collect();
    let viewed = rows.into_iter().map(|row| {
        let wish = JobWish::of(&row);
        Job {
            host_name: names.host(&row.host_id),
            repository_name: names.repository(&row.repository_id),
            sources: wish.sources,
            vms: wish.vms,
            schedule: schedule_of(&row),
            retention: wish.retention,
            policy: wish.policy,
            last_run: last.remove(&row.id),
            next_run_at: row.next_run_at.map(rfc3339),
            created_at: rfc3339(row.created_at),
            updated_at: rfc3339(row.updated_at),
            id: row.id,
            tenant_id: row.tenant_id,
            host_id: row.host_id,
            repository_id: row.repository_id,
            name: row.name,
            engine: row.engine,
            status: row.status,
            consistency: row.consistency,
            bandwidth_kib_s: row.bandwidth_kib_s,
            objective_hours: row.objective_hours,
        }
    });
    Ok(viewed.collect())
}

async fn viewed(plane: &Plane, row: job::Model) -> ApiResult<Job> {
    let mut views = views(plane, vec![row]).await?;
    views.pop().ok_or_else(|| ApiError::not_found("this job"))
}

async fn found(
    plane: &Plane,
    db: &impl sea_orm::ConnectionTrait,
    tenant_id: Option<&str>,
    id: &str,
) -> ApiResult<job::Model> {
    let row = plane.store.job_of(db, tenant_id, id).await?;
    row.ok_or_else(|| ApiError::not_found(format!("job {}", shown(id))))
}

/// Returns the host of a wish, once host and repository are found to be of one tenant that the caller may see, and the
/// repository to be within the host's reach. `job_id` is the job that is changed.
async fn place(
    plane: &Plane,
    txn: &DatabaseTransaction,
    tenant_id: Option<&str>,
    wish: &JobWish,
    job_id: Option<&str>,
) -> ApiResult<host::Model> {
    let host = plane.store.host_of(txn, tenant_id, &wish.host_id).await?;
    let host = host.ok_or_else(|| {
        let message = format!("there is no host {}", shown(&wish.host_id));
        ApiError::invalid("host_id", message)
    })?;
    let repository = plane
        .store
        .find_repository(txn, Some(&host.tenant_id), &wish.repository_id)
        .await?;
    let Some(repository) = repository else {
        let message = format!(
            "there is no repository {} where {} is at home",
            shown(&wish.repository_id),
            host.name
        );
        return Err(ApiError::invalid("repository_id", message));
    };
    if is_folder_of_one(&repository) {
        let store = &plane.store;
        let owner = store
            .take_folder(txn, &repository, &host.id, job_id)
            .await?;
        if owner != host.id {
            let message = of_another_host(plane, txn, &repository, &owner, &host).await?;
            return Err(ApiError::invalid("repository_id", message));
        }
    }
    Ok(host)
}

async fn zone_of(plane: &Plane, tenant_id: &str) -> ApiResult<TimeZone> {
    let zones = plane.store.time_zones(Some(tenant_id)).await?;
    let name = zones.get(tenant_id).map_or("UTC", String::as_str);
    Ok(TimeZone::get(name).unwrap_or(TimeZone::UTC))
}

/// Lists jobs, by name.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Paging, OfTenant),
    responses((status = 200, body = Page<Job>), LookRefusals))]
async fn all(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(paging): Params<Paging>,
    Params(of): Params<OfTenant>,
) -> ApiResult<Json<Page<Job>>> {
    let tenant = caller.scope(of.tenant_id.as_deref())?;
    let behind = |after, limit| plane.store.jobs_of(tenant.as_deref(), after, limit);
    let page = page_by_name(&paging, behind, |row| (&row.name, &row.id)).await?;
    Ok(Json(Page {
        items: views(&plane, page.items).await?,
        next: page.next,
    }))
}

/// Shows a job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Job), LookRefusals))]
async fn one(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<Job>> {
    let row = found(&plane, plane.store.db(), caller.tenant_id.as_deref(), &id).await?;
    viewed(&plane, row).await.map(Json)
}

/// Makes a job.
#[utoipa::path(post, path = "/jobs", tag = "jobs", request_body = JobWish,
    responses((status = 201, body = Job), ChangeRefusals))]
async fn create(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Input(wish): Input<JobWish>,
) -> ApiResult<(StatusCode, Json<Job>)> {
    let tenant = caller.scope(wish.tenant_id.as_deref())?;
    let wish = wish.checked()?;
    let id = plane.new_id();
    let now = plane.clock.now();
    let txn = plane.store.begin().await?;
    let host = place(&plane, &txn, tenant.as_deref(), &wish, None).await?;
    txn.rollback().await?;
    let zone = zone_of(&plane, &host.tenant_id).await?;
    let mut row = job::ActiveModel {
        id: Set(id.clone()),
        tenant_id: Set(host.tenant_id.clone()),
        created_at: Set(now.as_millisecond()),
        ..Default::default()
    };
    wish.put(&mut row, now, &zone, &id);
    let txn = plane.store.begin().await?;
    // They are looked at again: they may have been removed meanwhile.
    place(&plane, &txn, Some(&host.tenant_id), &wish, None).await?;
    let row = row.insert(&txn).await?;
    let entry = caller.did("job.create", "job", &id);
    let entry = entry.of_tenant(Some(&host.tenant_id)).with(detail(&row));
    plane.store.audit(&txn, now.as_millisecond(), entry).await?;
    txn.commit().await?;
    plane.live.tell(&host.tenant_id, What::Host, &host.id);
    Ok((StatusCode::CREATED, Json(viewed(&plane, row).await?)))
}

/// A job has no secrets, so all that was set is told.
fn detail(row: &job::Model) -> Value {
    let read = |json: &str| serde_json::from_str::<Value>(json).unwrap_or_default();
    json!({
        "name": row.name, "status": row.status, "engine": row.engine, "host_id": row.host_id,
        "repository_id": row.repository_id, "sources": read(&row.sources_json),
        "vms": read(&row.vms_json), "schedule": read(&row.schedule_json),
        "retention": read(&row.retention_json), "consistency": row.consistency,
        "objective_hours": row.objective_hours,
    })
}

/// Changes a job. What is left out stays as it is; its engine is fixed.
#[utoipa::path(patch, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path)), request_body = JobChange,
    responses((status = 200, body = Job), ChangeRefusals))]
async fn change(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(change): Input<JobChange>,
) -> ApiResult<Json<Job>> {
    let tenant = caller.tenant_id.as_deref();
    let row = found(&plane, plane.store.db(), tenant, &id).await?;
    let zone = zone_of(&plane, &row.tenant_id).await?;
    let now = plane.clock.now();
    let txn = plane.store.begin().await?;
    plane.store.lock_job(&txn, &id).await?;
    let before = found(&plane, &txn, tenant, &id).await?;
    let wish = JobWish::of(&before).changed(change).checked()?;
    place(&plane, &txn, Some(&before.tenant_id), &wish, Some(&id)).await?;
    let moves = wish.host_id != before.host_id || wish.repository_id != before.repository_id;
    if moves && let Some(run) = plane.store.run_going_on(&txn, &id).await? {
        return Err(ApiError::conflict(
            "already_running",
            format!(
                "{} cannot move while run {} goes on; cancel it, or wait",
                before.name, run.id
            ),
        ));
    }
    let keeps_schedule =
        wish.schedule() == schedule_of(&before) && wish.status.as_deref() == Some(&*before.status);
    let mut row = before.clone().into_active_model();
    wish.put(&mut row, now, &zone, &id);
    if keeps_schedule {
        // A moment that has come and was not yet taken care of is not passed over.
        row.next_run_at = Set(before.next_run_at);
    }
    let row = row.update(&txn).await?;
    let entry = caller.did("job.update", "job", &id);
    let entry = entry.of_tenant(Some(&row.tenant_id)).with(detail(&row));
    plane.store.audit(&txn, now.as_millisecond(), entry).await?;
    txn.commit().await?;
    plane.live.tell(&row.tenant_id, What::Host, &row.host_id);
    viewed(&plane, row).await.map(Json)
}

/// Deletes a job. Its points stay, and can be restored.
#[utoipa::path(delete, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 204), ChangeRefusals))]
async fn remove(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<StatusCode> {
    let now = plane.now_ms();
    let txn = plane.store.begin().await?;
    plane.store.lock_job(&txn, &id).await?;
    let row = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    let (tenant_id, host_id) = (row.tenant_id.clone(), row.host_id.clone());
    let entry_detail = json!({"name": row.name});
    let mut row = row.into_active_model();
    row.status = Set("deleted".to_owned());
    row.next_run_at = Set(None);
    row.updated_at = Set(now);
    row.update(&txn).await?;
    plane
        .store
        .end_queued_runs(&txn, &id, "the job was deleted", now)
        .await?;
    let entry = caller.did("job.delete", "job", &id);
    let entry = entry.of_tenant(Some(&tenant_id)).with(entry_detail);
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    plane.live.tell(&tenant_id, What::Host, host_id);
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a job now.
#[utoipa::path(post, path = "/jobs/{id}/runs", tag = "jobs", params(("id" = String, Path)), request_body = RunStart,
    responses((status = 202, body = Run), ChangeRefusals))]
async fn start(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(RunStart {}): Input<RunStart>,
) -> ApiResult<(StatusCode, Json<Run>)> {
    let txn = plane.store.begin().await?;
    plane.store.lock_job(&txn, &id).await?;
    let job = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    if job.status != "active" {
        return Err(ApiError::conflict(
            "paused",
            format!(
                "{} is paused, and no host takes its runs; set it going first",
                job.name
            ),
        ));
    }
    if let Some(run) = plane.store.run_going_on(&txn, &id).await? {
        return Err(ApiError::conflict(
            "already_running",
            format!("run {} of {} has not ended", run.id, job.name),
        ));
    }
    let host = plane
        .store
        .host_of(&txn, Some(&job.tenant_id), &job.host_id)
        .await?;
    if host.is_none_or(|host| host.is_disabled) {
        return Err(ApiError::conflict(
            "host_disabled",
            format!(
                "the host of {} is disabled or gone; enable it, or choose another one",
                job.name
            ),
        ));
    }
    let run_id = plane.new_id();
    let run = new_run(
        NewRun {
            id: run_id.clone(),
            tenant_id: &job.tenant_id,
            job_id: Some(&id),
            host_id: &job.host_id,
            repository_id: &job.repository_id,
            kind: "backup",
            engine: &job.engine,
            trigger: "manual",
            point_id: None,
            target: Value::Null,
            requested_by: &caller.name,
        },
        plane.now_ms(),
    );
    let run = run::Entity::insert(run).exec_with_returning(&txn).await?;
    let entry = caller.did("job.run", "job", &id);
    let entry = entry
        .of_tenant(Some(&job.tenant_id))
        .with(json!({"name": job.name, "run_id": run_id}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    plane
        .live
        .tell(&job.tenant_id, What::HostWork, &job.host_id);
    plane.live.tell(&job.tenant_id, What::Run, &run_id);
    let mut views = run_views(&plane, vec![run]).await?;
    let view = views.pop().ok_or_else(|| ApiError::not_found("this run"))?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// Shows what a job would do: when it would run, which VMs it would protect, and what retention would keep.
#[utoipa::path(post, path = "/jobs/preview", tag = "jobs", request_body = JobWish,
    responses((status = 200, body = JobPreview), ChangeRefusals))]
async fn preview(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Input(wish): Input<JobWish>,
) -> ApiResult<Json<JobPreview>> {
    let tenant = caller.scope(wish.tenant_id.as_deref())?;
    let wish = wish.checked()?;
    let txn = plane.store.begin().await?;
    let host = place(&plane, &txn, tenant.as_deref(), &wish, None).await?;
    txn.rollback().await?;
    let zone = zone_of(&plane, &host.tenant_id).await?;
    let vms = match &*wish.engine {
        "hyperv" => {
            plane
                .store
                .vms_of(Some(&host.tenant_id), Some(&host.id))
                .await?
        }
        _ => Vec::new(),
    };
    let made_here = (&*host.id, &*wish.repository_id, &*wish.engine);
    let pinned = plane.store.pinned_points(made_here).await?;
    let chosen: HashSet<i64> = vms
        .iter()
        .filter(|vm| wish.vms.is_chosen(&vm.guid, &vm.name))
        .map(|vm| vm.id)
        .collect();
    let is_wished = |point: &point::Model| point.vm_id.is_none_or(|vm| chosen.contains(&vm));
    let pinned = pinned
        .into_iter()
        .filter(is_wished)
        .map(|point| PinnedPoint {
            id: point.id,
            name: point.name,
            at: rfc3339(point.created_at),
        });
    let pinned: Vec<PinnedPoint> = pinned.collect();
    let vms = vms.into_iter().map(|vm| {
        let choice = wish.vms.judge(&vm.guid, &vm.name);
        PreviewVm {
            id: vm.id,
            name: vm.name,
            is_included: choice.is_chosen,
            why: choice.why,
        }
    });
    let vms = vms.collect();
    let now = plane.clock.now();
    let schedule = wish.schedule();
    let retention: Retention =
        serde_json::from_value(serde_json::to_value(&wish.retention).unwrap_or_default())
            .unwrap_or_default();
    let played = tokio::task::spawn_blocking(move || {
        let next = next_runs(&schedule, now, &zone, "");
        (next, play(&schedule, &retention, now, &zone, ""))
    });
    let (next, played) = played.await.map_err(|_| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the preview could not be made",
        )
    })?;
    Ok(Json(JobPreview {
        next_runs: next.iter().map(Timestamp::to_string).collect(),
        vms,
        retention: PreviewRetention {
            kept_count: played.kept.len(),
            dropped_count: played.dropped_count,
            pinned,
            kept: played
                .kept
                .into_iter()
                .take(KEPT_MAX)
                .map(|kept| PreviewPoint {
                    at: kept.at.to_string(),
                    reasons: kept.reasons,
                })
                .collect(),
        },
    }))
}
