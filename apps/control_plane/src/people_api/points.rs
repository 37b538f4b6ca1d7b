//! Restore points: what there is, and what is in them.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::path_map::PathMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::people_api::caller::{Operator, Viewer};
use crate::people_api::commands::{self, Command};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::hosts;
use crate::people_api::input::{Input, Params, any_text};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::repositories::within_reach;
use crate::people_api::request::{ChangeRefusals, Id, LookRefusals, moment, number, path};
use crate::plane::{Plane, SharedPlane, rfc3339};
use crate::run_rules::finish::{OWN_KINDS_SINCE, is_understood};
use crate::run_rules::listing::unconfirmed_since;
use crate::run_rules::pin::{PIN_POINT, Pin};
use crate::store::entity::point;
use crate::store::history::PointFilter;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(one))
        .routes(routes!(browse))
        .routes(routes!(pin))
}

/// A restore point.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Point {
    /// Its number.
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The host that made it.
    pub host_id: String,
    /// That host's name; empty when the host is gone.
    pub host_name: String,
    /// The repository that holds it.
    pub repository_id: String,
    /// That repository's name.
    pub repository_name: String,
    /// The job that made it.
    pub job_id: Option<String>,
    /// The run that made it.
    pub run_id: String,
    /// The engine.
    pub engine: String,
    /// The VM.
    pub vm_id: Option<i64>,
    /// The VM's name, or the sources.
    pub name: String,
    /// Its primary manifest.
    pub manifest_id: String,
    /// `full` or `incremental`; empty for files.
    pub backup_type: String,
    /// `application`, `crash` or `crash-no-checkpoint`; empty for files.
    pub consistency: String,
    /// The size of what it holds.
    pub total_bytes: i64,
    /// What had changed.
    pub changed_bytes: i64,
    /// How long it took.
    pub duration_seconds: i64,
    /// Its disks.
    pub disks: Vec<PointDisk>,
    /// What it warns of.
    pub warnings: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When it was last proven.
    pub proven_at: Option<String>,
    /// How: `structure`, `content`, `restore`; empty when never.
    pub proven_how: String,
    /// Whether it is pinned, so that retention leaves it alone.
    pub is_pinned: bool,
    /// Since when nobody has confirmed that it is still in the repository; null: it was confirmed within a week.
    pub unconfirmed_since: Option<String>,
    /// When it was found to be removed, by retention or by whomever.
    pub expired_at: Option<String>,
}

/// A disk in a restore point.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PointDisk {
    /// Its file on the host.
    pub path: String,
    /// Its manifest.
    pub manifest_id: String,
    /// How it was read, where the agent tells.
    #[serde(flatten)]
    pub how: DiskFigures,
}

/// How a disk was read: what agents of ours tell beyond the contract (`docs/decisions/own-control-plane-extensions.md`).
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct DiskFigures {
    /// `full` or `incremental`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Why it was read in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    full_reason: Option<String>,
    /// What was read of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_bytes: Option<i64>,
    /// What had changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed_bytes: Option<i64>,
    /// What was uploaded of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uploaded_bytes: Option<i64>,
}

/// Returns how the disks of a run were read, by their paths.
fn figures_of(stats_json: &str) -> HashMap<String, DiskFigures> {
    let stats: Value = serde_json::from_str(stats_json).unwrap_or_default();
    let vms = stats["vms"].as_array().into_iter().flatten();
    vms.flat_map(|vm| vm["disks"].as_array().into_iter().flatten())
        .filter_map(|disk| {
            let path = disk["path"].as_str()?.to_owned();
            Some((path, serde_json::from_value(disk.clone()).ok()?))
        })
        .collect()
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The tenant, for people of the installation.
    tenant_id: Option<String>,
    /// Of this VM.
    vm_id: Option<i64>,
    /// Of this job.
    job_id: Option<String>,
    /// Made by this host.
    host_id: Option<String>,
    /// Made by this engine.
    engine: Option<String>,
    /// Made at this moment or later.
    from: Option<String>,
    /// Made before this moment.
    to: Option<String>,
    /// Whose name holds this, in any case.
    q: Option<String>,
    /// Found to be removed from the repository, or not.
    is_removed: Option<bool>,
}

/// Which folder of a point is to be listed, and by whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BrowsePoint {
    /// The folder below the point's root; empty: the root.
    #[serde(default)]
    path: String,
    /// The host that is to look; left out: the one that made the point.
    host_id: Option<String>,
}

/// Whether a point is to stay whatever retention says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PinWish {
    /// Whether it is to be pinned; false takes every pin away, those that people set with Kopia too.
    is_pinned: bool,
    /// The host that is to do it; left out: the one that made the point.
    host_id: Option<String>,
}

/// Returns points as people see them, with the names of what they belong to.
pub(super) async fn point_views(plane: &Plane, rows: Vec<point::Model>) -> ApiResult<Vec<Point>> {
    let hosts: Vec<&str> = rows.iter().map(|row| &*row.host_id).collect();
    let repositories: Vec<&str> = rows.iter().map(|row| &*row.repository_id).collect();
    let runs: Vec<&str> = rows.iter().map(|row| &*row.run_id).collect();
    let names = plane.store.names(&hosts, &repositories, &[]).await?;
    let figures: HashMap<String, HashMap<String, DiskFigures>> = plane
        .store
        .stats_of(&runs)
        .await?
        .into_iter()
        .map(|(run, stats)| (run, figures_of(&stats)))
        .collect();
    let now = plane.now_ms();
    let views = rows.into_iter().map(|row| Point {
        host_name: names.host(&row.host_id),
        repository_name: names.repository(&row.repository_id),
        disks: disks_of(&row)
            .iter()
            .map(|(path, manifest_id)| PointDisk {
                path: path.to_owned(),
                manifest_id: manifest_id.to_owned(),
                how: figures
                    .get(&row.run_id)
                    .and_then(|run| run.get(path))
                    .cloned()
                    .unwrap_or_default(),
            })
            .collect(),
        warnings: serde_json::from_str(&row.warnings_json).unwrap_or_default(),
        id: row.id,
        tenant_id: row.tenant_id,
        host_id: row.host_id,
        repository_id: row.repository_id,
        job_id: row.job_id,
        run_id: row.run_id,
        engine: row.engine,
        vm_id: row.vm_id,
        name: row.name,
        manifest_id: row.manifest_id,
        backup_type: row.backup_type,
        consistency: row.consistency,
        total_bytes: row.total_bytes,
        changed_bytes: row.changed_bytes,
        duration_seconds: row.duration_seconds,
        created_at: rfc3339(row.created_at),
        proven_at: row.proven_at.map(rfc3339),
        proven_how: row.proven_how,
        is_pinned: row.is_pinned,
        unconfirmed_since: unconfirmed_since(row.confirmed_at, row.expired_at, now).map(rfc3339),
        expired_at: row.expired_at.map(rfc3339),
    });
    Ok(views.collect())
}

/// Returns the disks of a point, the primary one first.
pub(super) fn disks_of(row: &point::Model) -> PathMap {
    serde_json::from_str(&row.disk_manifests_json).unwrap_or_default()
}

/// Lists points, newest first.
#[utoipa::path(get, path = "/points", tag = "points", params(Paging, Wanted),
    responses((status = 200, body = Page<Point>), LookRefusals))]
async fn all(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(paging): Params<Paging>,
    Params(asked): Params<Wanted>,
) -> ApiResult<Json<Page<Point>>> {
    let tenant = caller.scope(asked.tenant_id.as_deref())?;
    let limit = paging.limit()?;
    let q = any_text("q", asked.q.as_deref().unwrap_or_default())?;
    let wanted = PointFilter {
        tenant_id: tenant.as_deref(),
        vm_id: asked.vm_id,
        job_id: asked.job_id.as_deref(),
        host_id: asked.host_id.as_deref(),
        engine: asked.engine.as_deref(),
        run_id: None,
        from: moment("from", asked.from.as_deref())?,
        to: moment("to", asked.to.as_deref())?,
        name_part: (!q.is_empty()).then_some(&*q),
        is_removed: asked.is_removed,
        below: paging.after_number()?,
    };
    let rows = plane.store.points_of(&wanted, limit + 1).await?;
    let page = Page::of(rows, limit, |row| row.id.to_string(), |row| row);
    Ok(Json(Page {
        items: point_views(&plane, page.items).await?,
        next: page.next,
    }))
}

/// Shows a point.
#[utoipa::path(get, path = "/points/{id}", tag = "points", params(("id" = i64, Path)),
    responses((status = 200, body = Point), LookRefusals))]
async fn one(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<Point>> {
    let row = found(&plane, caller.tenant_id.as_deref(), &id).await?;
    let mut views = point_views(&plane, vec![row]).await?;
    let view = views.pop();
    view.map(Json)
        .ok_or_else(|| ApiError::not_found("this point"))
}

/// Returns the point that a caller may know of.
pub(super) async fn found(
    plane: &Plane,
    tenant_id: Option<&str>,
    id: &str,
) -> ApiResult<point::Model> {
    let number = number("point", id)?;
    let row = plane.store.point_of(tenant_id, number).await?;
    row.ok_or_else(|| ApiError::not_found(format!("point {number}")))
}

/// Returns what a command's context is made from when it is handed out.
pub(super) fn context_of(point: &point::Model) -> Value {
    json!({
        "repository_id": point.repository_id,
        "point_id": point.id,
        "job_id": point.job_id,
    })
}

/// Refuses a point that retention has removed.
pub(super) fn still_there(point: &point::Model) -> ApiResult<()> {
    match point.expired_at {
        None => Ok(()),
        Some(at) => Err(ApiError::conflict(
            "expired",
            format!(
                "point {} is not in its repository any more: that was found at {}; choose another one",
                point.id,
                rfc3339(at)
            ),
        )),
    }
}

/// Asks a host what is in a folder of a point of files.
#[utoipa::path(post, path = "/points/{id}/browse", tag = "points", params(("id" = i64, Path)),
    request_body = BrowsePoint, responses((status = 202, body = Command), ChangeRefusals))]
async fn browse(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(browse): Input<BrowsePoint>,
) -> ApiResult<(StatusCode, Json<Command>)> {
    let folder = path("path", &browse.path)?;
    let point = found(&plane, caller.tenant_id.as_deref(), &id).await?;
    if point.engine != "kopia" {
        return Err(ApiError::conflict(
            "no_files",
            format!("point {id} holds disks; only points of files have folders to look into"),
        ));
    }
    still_there(&point)?;
    let host_id = browse.host_id.unwrap_or_else(|| point.host_id.clone());
    let txn = plane.store.begin().await?;
    let host = hosts::found(&plane, &txn, Some(&point.tenant_id), &host_id).await?;
    within_reach(&plane, &txn, &point.repository_id, &host).await?;
    let payload = json!({"restore_point_id": point.id, "path": folder, "max_items": 1_000});
    let order = ("browse_snapshot", payload, context_of(&point));
    let row = commands::order(&plane, &txn, &caller, &host, order).await?;
    commands::accepted(&plane, txn, &host, row).await
}

/// Has a point pinned, so that retention leaves it alone, or its pins taken away: pins are in the repository, so a host
/// does it. The point shows it once the command has ended. An earlier order that no host has taken is withdrawn: the last
/// one wins.
#[utoipa::path(post, path = "/points/{id}/pin", tag = "points", params(("id" = i64, Path)),
    request_body = PinWish, responses((status = 202, body = Command), ChangeRefusals))]
async fn pin(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(wish): Input<PinWish>,
) -> ApiResult<(StatusCode, Json<Command>)> {
    let point = found(&plane, caller.tenant_id.as_deref(), &id).await?;
    still_there(&point)?;
    let host_id = wish.host_id.unwrap_or_else(|| point.host_id.clone());
    let txn = plane.store.begin().await?;
    let host = hosts::found(&plane, &txn, Some(&point.tenant_id), &host_id).await?;
    if !is_understood(PIN_POINT, &host.agent_version) {
        return Err(ApiError::conflict(
            "agent_outdated",
            format!(
                "the agent on {} knows no pins: update it to {OWN_KINDS_SINCE}, or choose another host that reaches the repository",
                host.name
            ),
        ));
    }
    within_reach(&plane, &txn, &point.repository_id, &host).await?;
    let pin = Pin {
        restore_point_id: point.id,
        is_pinned: wish.is_pinned,
    };
    let store = &plane.store;
    store
        .withdraw_pins(&txn, &host, pin, plane.now_ms())
        .await?;
    let order = (PIN_POINT, json!(pin), context_of(&point));
    let row = commands::order(&plane, &txn, &caller, &host, order).await?;
    let what = if wish.is_pinned {
        "point.pin"
    } else {
        "point.unpin"
    };
    let entry = caller.did(what, "point", &id);
    let entry = entry
        .of_tenant(Some(&point.tenant_id))
        .with(json!({"name": point.name, "host_id": host.id}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    commands::accepted(&plane, txn, &host, row).await
}
