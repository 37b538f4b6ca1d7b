//! Runs: executions of jobs, and restores.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::health::age_text;
use crate::live::What;
use crate::people_api::caller::{Operator, Viewer};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::event_text::sentence;
use crate::people_api::hosts::is_online;
use crate::people_api::input::Params;
use crate::people_api::paging::{Page, Paging};
use crate::people_api::points::{Point, point_views};
use crate::people_api::request::{
    ChangeRefusals, Id, LookRefusals, id_cursor, moment, shown, word,
};
use crate::people_api::vm_row::Ground;
use crate::plane::{Plane, SharedPlane, rfc3339};
use crate::store::entity::{host, log_chunk, run, run_event, run_log};
use crate::store::history::PointFilter;
use crate::store::runs::EVENT_ROWS_MAX;
use crate::store::work::{Ending, RunFilter};

/// An agent that said nothing of its run for so long is waited for (contract 3.1).
const SILENT_MS: i64 = 180_000;

/// How many lines of the structured log are shown.
const LOG_LINES_MAX: u64 = 10_000;

/// How much of the verbose log is unpacked.
const VERBOSE_BYTES_MAX: usize = 16 << 20;

const STATES: &[&str] = &[
    "queued",
    "starting",
    "running",
    "success",
    "warning",
    "partial_success",
    "failed",
    "cancelled",
    "missed",
];

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(one))
        .routes(routes!(cancel))
        .routes(routes!(events))
        .routes(routes!(log))
}

/// One execution of a job, or one restore.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The job; of a restore, the one that made the point.
    pub job_id: Option<String>,
    /// The job's name.
    pub job_name: String,
    /// The host that carries it out.
    pub host_id: String,
    /// That host's name.
    pub host_name: String,
    /// The repository.
    pub repository_id: Option<String>,
    /// `backup`, `restore` or `hyperv_restore`.
    pub kind: String,
    /// The engine.
    pub engine: String,
    /// `manual`, `schedule` or `retry`.
    pub trigger: String,
    /// `queued`, `starting`, `running`, `success`, `warning`, `partial_success`, `failed`, `cancelled` or `missed`.
    pub status: String,
    /// Who asked for it.
    pub requested_by: String,
    /// The moment of the schedule that it stands for.
    pub scheduled_for: Option<String>,
    /// When it was queued.
    pub created_at: String,
    /// When the agent took it.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// When the agent last said something of it.
    pub heartbeat_at: Option<String>,
    /// Whether somebody asked for its end.
    pub is_cancel_requested: bool,
    /// How much is done, in percent.
    pub progress_pct: f64,
    /// Bytes read from the source.
    pub bytes_processed: i64,
    /// Bytes uploaded; of a restore, written.
    pub bytes_transferred: i64,
    /// An estimate of the bytes to read.
    pub bytes_total: i64,
    /// Files, or VMs, done.
    pub objects_transferred: i64,
    /// Files, or VMs, in all.
    pub objects_total: i64,
    /// Its speed now.
    pub speed_bytes_per_sec: i64,
    /// The seconds it will still take.
    pub eta_seconds: i64,
    /// What it is at.
    pub current_item: String,
    /// What it waits for; none while it works, and once it has ended.
    pub waits_for: Option<String>,
    /// Why it failed, or what it warns of.
    pub error_summary: String,
    /// Its primary manifest.
    pub manifest_id: String,
    /// What a restore restores, and where to; `null` of a backup.
    #[schema(value_type = Option<Object>)]
    pub target: Value,
    /// The point that a restore restores.
    pub point_id: Option<i64>,
    /// The points that it made; only where one run is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<Point>>,
    /// How far it is, in detail, as its agent last said; only where one run is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Value>,
}

/// Something that happened in a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunEvent {
    /// Its number.
    pub id: i64,
    /// When it was received.
    pub at: String,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// `info`, `progress`, `summary`, `warning`, `error` or `cancelled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, for programs.
    pub message_id: String,
    /// With what.
    #[schema(value_type = Object)]
    pub params: Value,
    /// What happened, in English.
    pub text: String,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The tenant, for people of the installation.
    tenant_id: Option<String>,
    /// Of this job.
    job_id: Option<String>,
    /// Carried out by this host.
    host_id: Option<String>,
    /// Of this VM: with a point of it, of a job that chooses it, or restoring one of its points.
    vm_id: Option<i64>,
    /// In this state.
    status: Option<String>,
    /// Of this kind.
    kind: Option<String>,
    /// Queued at this moment or later.
    from: Option<String>,
    /// Queued before this moment.
    to: Option<String>,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct After {
    /// Only events with a greater number.
    after: Option<i64>,
}

/// Returns runs as people see them, with the names of what they belong to and what they wait for.
pub(super) async fn run_views(plane: &Plane, rows: Vec<run::Model>) -> ApiResult<Vec<Run>> {
    let now = plane.now_ms();
    let jobs: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.job_id.as_deref())
        .collect();
    let names = plane.store.names(&[], &[], &jobs).await?;
    let ids: std::collections::BTreeSet<&str> = rows.iter().map(|row| &*row.host_id).collect();
    let hosts: HashMap<String, host::Model> = host::Entity::find()
        .filter(host::Column::Id.is_in(ids.iter().copied()))
        .all(plane.store.db())
        .await?
        .into_iter()
        .map(|host| (host.id.clone(), host))
        .collect();
    let waiting: Vec<String> = rows
        .iter()
        .filter(|row| row.status == "queued")
        .map(|row| row.host_id.clone())
        .collect();
    let busy = match waiting.is_empty() {
        true => HashMap::new(),
        false => plane.store.busy_hosts(&waiting).await?,
    };
    let views = rows.into_iter().map(|row| {
        let host = hosts.get(&row.host_id);
        let is_busy = busy.get(&row.host_id).is_some_and(|id| *id != row.id);
        Run {
            job_name: row
                .job_id
                .as_deref()
                .map(|id| names.job(id))
                .unwrap_or_default(),
            host_name: host.map(|host| host.name.clone()).unwrap_or_default(),
            waits_for: waits_for(&row, host, is_busy, now),
            is_cancel_requested: row.cancel_requested_at.is_some(),
            scheduled_for: row.scheduled_for.map(rfc3339),
            created_at: rfc3339(row.created_at),
            started_at: row.started_at.map(rfc3339),
            finished_at: row.finished_at.map(rfc3339),
            heartbeat_at: row.heartbeat_at.map(rfc3339),
            target: target(&row.target_json),
            id: row.id,
            tenant_id: row.tenant_id,
            job_id: row.job_id,
            host_id: row.host_id,
            repository_id: row.repository_id,
            kind: row.kind,
            engine: row.engine,
            trigger: row.trigger,
            status: row.status,
            requested_by: row.requested_by,
            progress_pct: row.progress_pct,
            bytes_processed: row.bytes_processed,
            bytes_transferred: row.bytes_transferred,
            bytes_total: row.bytes_total,
            objects_transferred: row.objects_transferred,
            objects_total: row.objects_total,
            speed_bytes_per_sec: row.speed_bytes_per_sec,
            eta_seconds: row.eta_seconds,
            current_item: row.current_item,
            error_summary: row.error_summary,
            manifest_id: row.manifest_id,
            point_id: row.point_id,
            points: None,
            progress: None,
        }
    });
    Ok(views.collect())
}

/// Backups have no target.
fn target(json: &str) -> Value {
    let target: Value = serde_json::from_str(json).unwrap_or_default();
    match target.as_object() {
        Some(members) if !members.is_empty() => target,
        _ => Value::Null,
    }
}

/// Returns what a run that has not ended waits for, if it does not work.
fn waits_for(
    row: &run::Model,
    host: Option<&host::Model>,
    is_busy: bool,
    now: i64,
) -> Option<String> {
    if !is_going_on(&row.status) {
        return None;
    }
    let Some(host) = host else {
        return Some("its host, which was removed".to_owned());
    };
    let name = &host.name;
    if row.status == "queued" {
        return Some(match host.last_seen_at {
            _ if host.is_disabled => format!("{name}, which is disabled"),
            _ if is_online(host, now) && is_busy => format!("the run that {name} is at"),
            _ if is_online(host, now) => format!("{name} to take it"),
            Some(seen) => format!("{name}, not heard of for {}", age_text(now - seen)),
            None => format!("{name}, which was never heard of"),
        });
    }
    let silence = row.heartbeat_at.map(|heard| now - heard);
    if let Some(silence) = silence.filter(|silence| *silence > SILENT_MS) {
        let silence = age_text(silence);
        return Some(format!("a sign of the agent, silent for {silence}"));
    }
    row.cancel_requested_at
        .map(|_| "the agent to stop".to_owned())
}

/// Tells whether a run in this state has not ended.
pub(super) fn is_going_on(status: &str) -> bool {
    crate::store::work::GOING_ON.contains(&status)
}

pub(super) fn event_view(row: run_event::Model) -> RunEvent {
    let params: Value = serde_json::from_str(&row.params_json).unwrap_or_default();
    let text = sentence(
        &row.message_id,
        params.as_object().unwrap_or(&serde_json::Map::new()),
    );
    RunEvent {
        id: row.id,
        at: rfc3339(row.at),
        level: row.level,
        kind: row.kind,
        message_id: row.message_id,
        params,
        text,
    }
}

/// Lists runs, newest first.
#[utoipa::path(get, path = "/runs", tag = "runs", params(Paging, Wanted),
    responses((status = 200, body = Page<Run>), LookRefusals))]
async fn all(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(paging): Params<Paging>,
    Params(asked): Params<Wanted>,
) -> ApiResult<Json<Page<Run>>> {
    let tenant = caller.scope(asked.tenant_id.as_deref())?;
    let limit = paging.limit()?;
    if let Some(status) = &asked.status {
        word("status", status, STATES)?;
    }
    let vm = match asked.vm_id {
        None => None,
        Some(id) => {
            let vm = plane
                .store
                .vm_of(plane.store.db(), tenant.as_deref(), id)
                .await?;
            let vm = vm.ok_or_else(|| ApiError::not_found(format!("VM {id}")))?;
            let ground = Ground::read(&plane, Some(&vm.tenant_id)).await?;
            Some((id, ground.job_ids(&vm)))
        }
    };
    let wanted = RunFilter {
        tenant_id: tenant.as_deref(),
        job_id: asked.job_id.as_deref(),
        host_id: asked.host_id.as_deref(),
        vm,
        status: asked.status.as_deref(),
        kind: asked.kind.as_deref(),
        from: moment("from", asked.from.as_deref())?,
        to: moment("to", asked.to.as_deref())?,
        below: id_cursor(paging.after())?,
    };
    let rows = plane.store.runs_of(&wanted, limit + 1).await?;
    let page = Page::of(rows, limit, |row| row.id.clone(), |row| row);
    Ok(Json(Page {
        items: run_views(&plane, page.items).await?,
        next: page.next,
    }))
}

/// Shows a run, with the points that it made.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = Run), LookRefusals))]
async fn one(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<Run>> {
    let row = found(&plane, caller.tenant_id.as_deref(), &id).await?;
    whole(&plane, row).await.map(Json)
}

/// Returns a run with its points and its progress in detail.
pub(super) async fn whole(plane: &Plane, row: run::Model) -> ApiResult<Run> {
    let progress: Option<Value> = serde_json::from_str(&row.progress_json).ok();
    let wanted = PointFilter {
        tenant_id: Some(&row.tenant_id),
        run_id: Some(&row.id),
        ..PointFilter::default()
    };
    let points = plane.store.points_of(&wanted, 1_000).await?;
    let points = point_views(plane, points).await?;
    let mut views = run_views(plane, vec![row]).await?;
    let view = views.pop();
    let mut view = view.ok_or_else(|| ApiError::not_found("this run"))?;
    view.points = Some(points);
    view.progress = progress.filter(Value::is_object);
    Ok(view)
}

/// Returns the run that a caller may know of.
pub(super) async fn found(
    plane: &Plane,
    tenant_id: Option<&str>,
    id: &str,
) -> ApiResult<run::Model> {
    let row = plane.store.run_of(tenant_id, id).await?;
    row.ok_or_else(|| ApiError::not_found(format!("run {}", shown(id))))
}

/// Ends a run that nobody has taken yet, or asks its agent to end it.
#[utoipa::path(post, path = "/runs/{id}/cancel", tag = "runs", params(("id" = String, Path)),
    responses((status = 202, body = Run), ChangeRefusals))]
async fn cancel(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<(StatusCode, Json<Run>)> {
    let row = found(&plane, caller.tenant_id.as_deref(), &id).await?;
    let now = plane.now_ms();
    let txn = plane.store.begin().await?;
    let ending = plane.store.end_run(&txn, &row, &caller.name, now).await?;
    if ending == Ending::WasOver {
        return Err(ApiError::conflict(
            "ended",
            format!("run {id} has ended; there is nothing to cancel"),
        ));
    }
    let entry = caller.did("run.cancel", "run", &id);
    let entry = entry.of_tenant(Some(&row.tenant_id));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    plane.live.tell(&row.tenant_id, What::Run, &id);
    plane
        .live
        .tell(&row.tenant_id, What::HostWork, &row.host_id);
    let row = found(&plane, caller.tenant_id.as_deref(), &id).await?;
    Ok((StatusCode::ACCEPTED, Json(whole(&plane, row).await?)))
}

/// Lists what happened in a run, oldest first.
#[utoipa::path(get, path = "/runs/{id}/events", tag = "runs", params(("id" = String, Path), Paging, After),
    responses((status = 200, body = Page<RunEvent>), LookRefusals))]
async fn events(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Params(paging): Params<Paging>,
    Params(asked): Params<After>,
) -> ApiResult<Json<Page<RunEvent>>> {
    let limit = paging.limit()?;
    let after = paging.after_number()?.or(asked.after).unwrap_or(0);
    found(&plane, caller.tenant_id.as_deref(), &id).await?;
    let rows = plane.store.run_events_after(&id, after, limit + 1).await?;
    Ok(Json(Page::of(
        rows,
        limit,
        |row| row.id.to_string(),
        event_view,
    )))
}

/// Returns what a run's events, its log and its verbose log say, as lines of text.
#[utoipa::path(get, path = "/runs/{id}/log", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"), LookRefusals))]
async fn log(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Response> {
    let run = found(&plane, caller.tenant_id.as_deref(), &id).await?;
    let events = plane.store.run_events_after(&id, 0, EVENT_ROWS_MAX).await?;
    let lines = plane.store.run_log_lines(&id, LOG_LINES_MAX).await?;
    let chunks = log_chunk::Entity::find()
        .filter(log_chunk::Column::RunId.eq(&id))
        .order_by_asc(log_chunk::Column::Seq)
        .all(plane.store.db())
        .await?;
    let text = log_text(&run, events, &lines, &chunks);
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, text).into_response())
}

fn log_text(
    run: &run::Model,
    events: Vec<run_event::Model>,
    lines: &[run_log::Model],
    chunks: &[log_chunk::Model],
) -> String {
    let mut said: Vec<(i64, String)> = Vec::new();
    for event in events {
        let at = event.at;
        let event = event_view(event);
        said.push((
            at,
            format!("{} {:<7} {}", event.at, event.level, event.text),
        ));
    }
    for line in lines {
        let at = rfc3339(line.at);
        let details = match &*line.details_json {
            "" | "{}" | "[]" | "null" => "",
            details => details,
        };
        let line_text = format!("{at} {:<7} {} {details}", line.level, line.message);
        said.push((line.at, line_text.trim_end().to_owned()));
    }
    said.sort_by_key(|(at, _)| *at);
    let mut text = String::new();
    for (_, line) in said {
        text.push_str(&line);
        text.push('\n');
    }
    if !run.log_excerpt.is_empty() {
        let _infallible = write!(text, "\n--- as the agent ended ---\n{}\n", run.log_excerpt);
    }
    if !chunks.is_empty() {
        text.push_str("\n--- verbose log ---\n");
        text.push_str(&verbose(chunks));
    }
    text
}

fn verbose(chunks: &[log_chunk::Model]) -> String {
    let mut text = String::new();
    for chunk in chunks {
        let left = VERBOSE_BYTES_MAX.saturating_sub(text.len());
        if left == 0 {
            text.push_str("\n--- the rest is left out: it is too long ---\n");
            break;
        }
        let mut lines = Vec::new();
        let unpacked = flate2::read::GzDecoder::new(&*chunk.content)
            .take(left as u64)
            .read_to_end(&mut lines);
        text.push_str(&String::from_utf8_lossy(&lines));
        if unpacked.is_err() {
            let _infallible = writeln!(text, "--- piece {} is damaged ---", chunk.seq);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}
