//! Commands for hosts: how they are queued, and how their outcome is waited for.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::DatabaseTransaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::live::What;
use crate::people_api::caller::{Caller, Viewer};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::input::Params;
use crate::people_api::request::{Id, LookRefusals, number};
use crate::plane::{Plane, SharedPlane, rfc3339};
use crate::store::entity::{command, host};
use crate::store::work::CommandOrder;

/// How long a caller may wait for an outcome.
const WAIT_SECONDS_MAX: u64 = 30;

/// How often the row is read again while nobody tells that it has changed: another instance may have written it.
const REREAD: Duration = Duration::from_secs(1);

/// How many commands may wait for one host.
const PENDING_MAX: usize = 50;

/// When somebody who found too many of them may ask again: an agent that runs has taken some.
const PENDING_WAIT_MS: i64 = 15_000;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new().routes(routes!(one))
}

/// Something that a host is told to do outside of runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Command {
    /// Its number.
    pub id: i64,
    /// The host.
    pub host_id: String,
    /// Its type on the wire, such as `browse_directory`.
    pub kind: String,
    /// `pending`, `processing`, `completed` or `failed`.
    pub status: String,
    /// How it ended, in words.
    pub result_message: String,
    /// What it found; none while it has not ended, and of commands that find nothing.
    #[schema(value_type = Option<Object>)]
    pub result: Value,
    /// When it was queued.
    pub created_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
}

impl From<command::Model> for Command {
    fn from(row: command::Model) -> Self {
        Self {
            id: row.id,
            host_id: row.host_id,
            kind: row.kind,
            status: row.status,
            result_message: row.result_message,
            result: serde_json::from_str(&row.result_json).unwrap_or_default(),
            created_at: rfc3339(row.created_at),
            finished_at: row.finished_at.map(rfc3339),
        }
    }
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Waiting {
    /// How many seconds to wait for it to end, at most.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u64>,
}

/// Shows a command, once it has ended or the wait is over.
#[utoipa::path(get, path = "/commands/{id}", tag = "hosts", params(("id" = i64, Path), Waiting),
    responses((status = 200, body = Command), LookRefusals))]
async fn one(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Params(asked): Params<Waiting>,
) -> ApiResult<Json<Command>> {
    let id = number("command", &id)?;
    let wait = asked.wait.unwrap_or(0);
    if wait > WAIT_SECONDS_MAX {
        let message = format!("say 0 to {WAIT_SECONDS_MAX}");
        return Err(ApiError::invalid("wait", message));
    }
    let mut changes = plane.live.listen();
    let mut row = found(&plane, &caller, id).await?;
    let over = tokio::time::sleep(Duration::from_secs(wait));
    tokio::pin!(over);
    while row.finished_at.is_none() && wait > 0 {
        let told = async {
            loop {
                match changes.recv().await {
                    Ok(change) if change.what == What::Command && change.id == id.to_string() => {
                        break;
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        };
        tokio::select! {
            () = &mut over => break,
            () = plane.live.stopped() => break,
            () = tokio::time::sleep(REREAD) => {}
            () = told => {}
        }
        row = found(&plane, &caller, id).await?;
    }
    Ok(Json(row.into()))
}

async fn found(plane: &Plane, caller: &Caller, id: i64) -> ApiResult<command::Model> {
    let row = plane
        .store
        .command_of(caller.tenant_id.as_deref(), id)
        .await?;
    row.ok_or_else(|| ApiError::not_found(format!("command {id}")))
}

/// Ends the transaction in which a command was ordered, tells its host, and answers with the command.
pub(super) async fn accepted(
    plane: &Plane,
    txn: DatabaseTransaction,
    host: &host::Model,
    row: command::Model,
) -> ApiResult<(StatusCode, Json<Command>)> {
    txn.commit().await?;
    plane.live.tell(&host.tenant_id, What::HostWork, &host.id);
    Ok((StatusCode::ACCEPTED, Json(row.into())))
}

/// Queues a command for a host on behalf of a caller; the same one that the host has not taken yet is not queued
/// twice.
pub(super) async fn order(
    plane: &Plane,
    txn: &DatabaseTransaction,
    caller: &Caller,
    host: &host::Model,
    (kind, payload, context): (&str, Value, Value),
) -> ApiResult<command::Model> {
    if host.is_disabled {
        return Err(ApiError::conflict(
            "host_disabled",
            format!(
                "{} is disabled: its agent gets no work; enable it first",
                host.name
            ),
        ));
    }
    let pending = plane.store.pending_commands_of(txn, &host.id).await?;
    let payload_text = payload.to_string();
    let same = pending
        .iter()
        .find(|it| it.kind == kind && it.run_id.is_none() && it.payload_json == payload_text);
    if let Some(same) = same {
        return Ok(same.clone());
    }
    if pending.len() >= PENDING_MAX {
        return Err(ApiError::too_many(
            "too_many_commands",
            format!(
                "{} commands wait for {} already; see that its agent runs",
                pending.len(),
                host.name
            ),
            PENDING_WAIT_MS,
        ));
    }
    let order = CommandOrder {
        tenant_id: &host.tenant_id,
        host_id: &host.id,
        run_id: None,
        kind,
        payload,
        context,
        requested_by: &caller.name,
    };
    let row = plane
        .store
        .order_command(txn, order, plane.now_ms())
        .await?;
    let id = row.id.to_string();
    let entry = caller
        .did("host.command", "host", &host.id)
        .of_tenant(Some(&host.tenant_id))
        .with(json!({"command": kind, "command_id": id}));
    plane.store.audit(txn, plane.now_ms(), entry).await?;
    Ok(row)
}
