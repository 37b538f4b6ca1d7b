//! Hosts: machines with an agent.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::live::What;
use crate::people_api::caller::{Operator, Owner, Role, Viewer};
use crate::people_api::commands::{self, Command};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::event_text::sentence;
use crate::people_api::input::{Input, Params, text};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::request::{
    ChangeRefusals, Id, LookRefusals, OfTenant, page_by_name, path, shown,
};
use crate::plane::{Plane, SharedPlane, rfc3339};
use crate::store::agents::ONLINE_MS;
use crate::store::entity::{agent_event, command, host, job, run, vm};
use crate::store::work::GOING_ON;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(one, change, remove))
        .routes(routes!(refresh))
        .routes(routes!(browse))
        .routes(routes!(log_tail))
        .routes(routes!(events))
}

/// A machine with an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Host {
    /// The agent's UUID.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// What people call it.
    pub name: String,
    /// What the machine calls itself.
    pub hostname: String,
    /// `windows` or `linux`; empty when unknown.
    pub os: String,
    /// `amd64`, `arm64`, …; empty when unknown.
    pub arch: String,
    /// The agent's version; empty when unknown.
    pub agent_version: String,
    /// Whether it was heard of within three minutes.
    pub is_online: bool,
    /// Whether its calls are refused.
    pub is_disabled: bool,
    /// When it last called.
    pub last_seen_at: Option<String>,
    /// When it was enrolled.
    pub created_at: String,
    /// How many VMs it has.
    pub vm_count: i64,
    /// How many jobs it carries out.
    pub job_count: i64,
    /// Its volumes.
    pub volumes: Vec<HostVolume>,
    /// When it reported them.
    pub volumes_at: Option<String>,
    /// When its VMs were last listed.
    pub inventory_at: Option<String>,
}

/// A volume of a host.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct HostVolume {
    /// Where it is, such as `C:\`.
    #[serde(default)]
    pub path: String,
    /// What its owner calls it.
    #[serde(default)]
    pub label: String,
    /// How large it is.
    #[serde(default)]
    pub size_bytes: u64,
    /// How much of it is free; null where its agent does not say.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Its file system.
    #[serde(default)]
    pub filesystem: String,
    /// `fixed`, `network`, `disk`, `part` or `lvm`.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// Something of an agent's health.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostEvent {
    /// Its number.
    pub id: i64,
    /// When it happened there.
    pub at: String,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// A code for programs.
    pub code: String,
    /// With what.
    #[schema(value_type = Object)]
    pub params: Value,
    /// What happened, in English.
    pub text: String,
}

/// What is to be changed of a host.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HostChange {
    /// What people call it.
    name: Option<String>,
    /// Whether its calls are refused.
    is_disabled: Option<bool>,
}

/// Which folder is to be listed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Browse {
    /// The folder; empty: the drives, or the root.
    #[serde(default)]
    pub path: String,
}

fn view(row: host::Model, vm_count: i64, job_count: i64, now: i64) -> Host {
    Host {
        is_online: is_online(&row, now),
        volumes: serde_json::from_str(&row.volumes_json).unwrap_or_default(),
        id: row.id,
        tenant_id: row.tenant_id,
        name: row.name,
        hostname: row.hostname,
        os: row.os,
        arch: row.arch,
        agent_version: row.agent_version,
        is_disabled: row.is_disabled,
        last_seen_at: row.last_seen_at.map(rfc3339),
        created_at: rfc3339(row.created_at),
        vm_count,
        job_count,
        volumes_at: row.volumes_at.map(rfc3339),
        inventory_at: row.inventory_at.map(rfc3339),
    }
}

/// Tells whether a host was heard of within three minutes.
pub(super) fn is_online(host: &host::Model, now: i64) -> bool {
    !host.is_disabled
        && host
            .last_seen_at
            .is_some_and(|seen| now - seen <= ONLINE_MS)
}

async fn views(plane: &Plane, rows: Vec<host::Model>) -> ApiResult<Vec<Host>> {
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let vms = plane.store.vm_counts(&ids).await?;
    let jobs = plane.store.job_counts(job::Column::HostId, &ids).await?;
    let now = plane.now_ms();
    let count = |of: &std::collections::HashMap<String, i64>, id: &str| {
        of.get(id).copied().unwrap_or_default()
    };
    let viewed = rows.into_iter().map(|row| {
        let (vms, jobs) = (count(&vms, &row.id), count(&jobs, &row.id));
        view(row, vms, jobs, now)
    });
    Ok(viewed.collect())
}

/// Lists hosts, by name.
#[utoipa::path(get, path = "/hosts", tag = "hosts", params(Paging, OfTenant),
    responses((status = 200, body = Page<Host>), LookRefusals))]
async fn all(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(paging): Params<Paging>,
    Params(of): Params<OfTenant>,
) -> ApiResult<Json<Page<Host>>> {
    let tenant = caller.scope(of.tenant_id.as_deref())?;
    let behind = |after, limit| plane.store.hosts_of(tenant.as_deref(), after, limit);
    let page = page_by_name(&paging, behind, |row| (&row.name, &row.id)).await?;
    Ok(Json(Page {
        items: views(&plane, page.items).await?,
        next: page.next,
    }))
}

/// Shows a host.
#[utoipa::path(get, path = "/hosts/{id}", tag = "hosts", params(("id" = String, Path)),
    responses((status = 200, body = Host), LookRefusals))]
async fn one(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<Host>> {
    let row = found(&plane, plane.store.db(), caller.tenant_id.as_deref(), &id).await?;
    viewed(&plane, row).await
}

async fn viewed(plane: &Plane, row: host::Model) -> ApiResult<Json<Host>> {
    let id = row.id.clone();
    let mut views = views(plane, vec![row]).await?;
    let view = views.pop().ok_or_else(|| unknown(&id))?;
    Ok(Json(view))
}

/// Returns the host that a caller may know of.
pub(super) async fn found(
    plane: &Plane,
    db: &impl sea_orm::ConnectionTrait,
    tenant_id: Option<&str>,
    id: &str,
) -> ApiResult<host::Model> {
    let row = plane.store.host_of(db, tenant_id, id).await?;
    row.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("host {}", shown(id)))
}

/// Changes what a host is called, or whether it may call. Letting a disabled one in again takes the role owner.
#[utoipa::path(patch, path = "/hosts/{id}", tag = "hosts", params(("id" = String, Path)), request_body = HostChange,
    responses((status = 200, body = Host), ChangeRefusals))]
async fn change(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(change): Input<HostChange>,
) -> ApiResult<Json<Host>> {
    let txn = plane.store.begin().await?;
    let row = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    let tenant_id = row.tenant_id.clone();
    let mut row = row.into_active_model();
    let mut detail = json!({});
    if let Some(name) = &change.name {
        let name = text("name", name)?;
        detail["name"] = json!(name);
        row.name = Set(name);
    }
    if let Some(is_disabled) = change.is_disabled {
        if row.is_disabled.as_ref() != &is_disabled && !is_disabled {
            caller.needs(Role::Owner)?;
        }
        detail["is_disabled"] = json!(is_disabled);
        row.is_disabled = Set(is_disabled);
    }
    let row = match row.is_changed() {
        true => row.update(&txn).await?,
        false => found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?,
    };
    let entry = caller.did("host.update", "host", &id);
    let entry = entry.of_tenant(Some(&tenant_id)).with(detail);
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    plane.live.tell(&tenant_id, What::Host, &id);
    viewed(&plane, row).await
}

/// Removes a host that no job uses any more. Its points stay, and can be restored to other hosts.
#[utoipa::path(delete, path = "/hosts/{id}", tag = "hosts", params(("id" = String, Path)),
    responses((status = 204), ChangeRefusals))]
async fn remove(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<StatusCode> {
    use sea_orm::sea_query::Expr;
    let now = plane.now_ms();
    let txn = plane.store.begin().await?;
    let row = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    let jobs = job::Entity::find()
        .filter(job::Column::HostId.eq(&id))
        .filter(job::Column::Status.ne("deleted"))
        .count(&txn)
        .await?;
    let runs = run::Entity::find()
        .filter(run::Column::HostId.eq(&id))
        .filter(run::Column::Status.is_in(GOING_ON))
        .count(&txn)
        .await?;
    if jobs + runs > 0 {
        return Err(ApiError::conflict(
            "in_use",
            format!(
                "{} carries out {jobs} jobs and {runs} runs; delete its jobs and end its runs first",
                row.name
            ),
        ));
    }
    command::Entity::update_many()
        .col_expr(command::Column::Status, Expr::value("failed"))
        .col_expr(
            command::Column::ResultMessage,
            Expr::value("the host was removed"),
        )
        .col_expr(command::Column::FinishedAt, Expr::value(Some(now)))
        .filter(command::Column::HostId.eq(&id))
        .filter(command::Column::Status.is_in(["pending", "processing"]))
        .exec(&txn)
        .await?;
    plane.store.lose_vms(&txn, &row, now).await?;
    plane.store.leave_folders(&txn, &id).await?;
    host::Entity::delete_by_id(&id).exec(&txn).await?;
    let entry = caller.did("host.delete", "host", &id);
    let entry = entry
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"name": row.name}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    plane.live.tell(&row.tenant_id, What::Host, &id);
    Ok(StatusCode::NO_CONTENT)
}

/// Asks a host for its volumes and VMs now.
#[utoipa::path(post, path = "/hosts/{id}/refresh", tag = "hosts", params(("id" = String, Path)),
    responses((status = 202, body = Command), ChangeRefusals))]
async fn refresh(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<(StatusCode, Json<Command>)> {
    let txn = plane.store.begin().await?;
    let host = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    let vms = vm::Entity::find()
        .filter(vm::Column::HostId.eq(&id))
        .filter(vm::Column::GoneAt.is_null())
        .all(&txn)
        .await?;
    let order =
        |kind, payload| commands::order(&plane, &txn, &caller, &host, (kind, payload, Value::Null));
    let volumes = order("refresh_inventory", json!({})).await?;
    let list = order("list_hyperv_vms", json!({})).await?;
    if !vms.is_empty() {
        let guids: Vec<&str> = vms.iter().map(|vm| &*vm.guid).collect();
        order("list_hyperv_vm_details", json!({"vm_ids": guids})).await?;
    }
    // A machine that is no Hyper-V host fails to list VMs, which is no news.
    let has_hyperv = host.os == "windows" || !vms.is_empty();
    let shown = if has_hyperv { list } else { volumes };
    commands::accepted(&plane, txn, &host, shown).await
}

/// Asks a host what is in one of its folders.
#[utoipa::path(post, path = "/hosts/{id}/browse", tag = "hosts", params(("id" = String, Path)), request_body = Browse,
    responses((status = 202, body = Command), ChangeRefusals))]
async fn browse(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(browse): Input<Browse>,
) -> ApiResult<(StatusCode, Json<Command>)> {
    let folder = path("path", &browse.path)?;
    let payload = json!({"path": folder, "max_items": 1_000});
    ordered(&plane, &caller, &id, "browse_directory", payload).await
}

/// Asks a host for the end of its agent's log.
#[utoipa::path(post, path = "/hosts/{id}/log-tail", tag = "hosts", params(("id" = String, Path)),
    responses((status = 202, body = Command), ChangeRefusals))]
async fn log_tail(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<(StatusCode, Json<Command>)> {
    let payload = json!({"log_path": "agent.log", "max_bytes": 262_144});
    ordered(&plane, &caller, &id, "fetch_log_tail", payload).await
}

async fn ordered(
    plane: &Plane,
    caller: &crate::people_api::caller::Caller,
    host_id: &str,
    kind: &str,
    payload: Value,
) -> ApiResult<(StatusCode, Json<Command>)> {
    let txn = plane.store.begin().await?;
    let host = found(plane, &txn, caller.tenant_id.as_deref(), host_id).await?;
    let row = commands::order(plane, &txn, caller, &host, (kind, payload, Value::Null)).await?;
    commands::accepted(plane, txn, &host, row).await
}

/// Lists what a host's agent said of its own health, newest first.
#[utoipa::path(get, path = "/hosts/{id}/events", tag = "hosts", params(("id" = String, Path), Paging),
    responses((status = 200, body = Page<HostEvent>), LookRefusals))]
async fn events(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Params(paging): Params<Paging>,
) -> ApiResult<Json<Page<HostEvent>>> {
    let limit = paging.limit()?;
    let below = paging.after_number()?;
    found(&plane, plane.store.db(), caller.tenant_id.as_deref(), &id).await?;
    let rows = plane.store.host_events_of(&id, below, limit + 1).await?;
    Ok(Json(Page::of(
        rows,
        limit,
        |row| row.id.to_string(),
        event_view,
    )))
}

fn event_view(row: agent_event::Model) -> HostEvent {
    let params: Value = serde_json::from_str(&row.params_json).unwrap_or_default();
    let text = sentence(
        &row.message_id,
        params.as_object().unwrap_or(&serde_json::Map::new()),
    );
    HostEvent {
        id: row.id,
        at: rfc3339(row.at),
        level: row.level,
        code: row.code,
        params,
        text,
    }
}
