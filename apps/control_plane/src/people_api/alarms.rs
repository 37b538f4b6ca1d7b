//! Alarms: what needs a decision.

use axum::Json;
use axum::extract::State;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TransactionTrait as _,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::live::What;
use crate::people_api::caller::{Caller, Operator, Viewer};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::input::{Input, Params, time_ms};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::request::{ChangeRefusals, Id, LookRefusals, number, shown};
use crate::plane::{SharedPlane, rfc3339};
use crate::store::entity::alarm;

/// An alarm is snoozed for this long at most: thirty days.
const SNOOZE_MS_MAX: i64 = 30 * 86_400_000;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(acknowledge))
        .routes(routes!(snooze))
        .routes(routes!(resolve))
}

/// Something that needs a decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alarm {
    /// Its number.
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// What is wrong, such as `run_failed` or `vm_unprotected`.
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// What kind of thing it is about: `vm`, `job`, `host`, `repository`, `channel`.
    pub subject_kind: String,
    /// Which one.
    pub subject_id: String,
    /// What people call it.
    pub subject_name: String,
    /// What is wrong and what to do next.
    pub message: String,
    /// Figures, and the ids of what else it is about.
    #[schema(value_type = Object)]
    pub detail: Value,
    /// When it began.
    pub opened_at: String,
    /// When it was last found true.
    pub last_seen_at: String,
    /// When somebody said to take care of it.
    pub acknowledged_at: Option<String>,
    /// Who.
    pub acknowledged_by: String,
    /// Until when it is kept quiet.
    pub snoozed_until: Option<String>,
    /// When it was over.
    pub resolved_at: Option<String>,
    /// Who said so, or `system`.
    pub resolved_by: String,
}

impl From<alarm::Model> for Alarm {
    fn from(row: alarm::Model) -> Self {
        Self {
            id: row.id,
            tenant_id: row.tenant_id,
            kind: row.kind,
            severity: row.severity,
            subject_kind: row.subject_kind,
            subject_id: row.subject_id,
            subject_name: row.subject_name,
            message: row.message,
            detail: serde_json::from_str(&row.detail_json).unwrap_or_default(),
            opened_at: rfc3339(row.opened_at),
            last_seen_at: rfc3339(row.last_seen_at),
            acknowledged_at: row.acknowledged_at.map(rfc3339),
            acknowledged_by: row.acknowledged_by,
            snoozed_until: row.snoozed_until.map(rfc3339),
            resolved_at: row.resolved_at.map(rfc3339),
            resolved_by: row.resolved_by,
        }
    }
}

/// Which alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AlarmState {
    /// Those that are not over.
    #[default]
    Open,
    /// Those that are over.
    Resolved,
    /// Both.
    All,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// `open` (when left out), `resolved` or `all`.
    #[serde(default)]
    #[param(inline)]
    state: AlarmState,
    /// The tenant, for people of the installation.
    tenant_id: Option<String>,
}

/// Until when an alarm is kept quiet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Snooze {
    /// A time within the next thirty days; after it the alarm is told anew.
    #[schema(example = "2026-03-02T08:00:00Z")]
    until: String,
}

/// Lists alarms, the newest first.
#[utoipa::path(get, path = "/alarms", tag = "alarms", params(Paging, Which),
    responses((status = 200, description = "The alarms", body = Page<Alarm>), LookRefusals))]
async fn all(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(paging): Params<Paging>,
    Params(which): Params<Which>,
) -> ApiResult<Json<Page<Alarm>>> {
    let limit = paging.limit()?;
    let mut query = alarm::Entity::find()
        .order_by_desc(alarm::Column::Id)
        .limit(limit + 1);
    if let Some(tenant) = caller.scope(which.tenant_id.as_deref())? {
        query = query.filter(alarm::Column::TenantId.eq(tenant));
    }
    query = match which.state {
        AlarmState::Open => query.filter(alarm::Column::OpenKey.is_not_null()),
        AlarmState::Resolved => query.filter(alarm::Column::OpenKey.is_null()),
        AlarmState::All => query,
    };
    if let Some(after) = paging.after_number()? {
        query = query.filter(alarm::Column::Id.lt(after));
    }
    let rows = query.all(plane.store.db()).await?;
    Ok(Json(Page::of(
        rows,
        limit,
        |row| row.id.to_string(),
        Alarm::from,
    )))
}

/// Says that the caller takes care of an alarm. It stays open until it is over.
#[utoipa::path(post, path = "/alarms/{id}/acknowledge", tag = "alarms", params(("id" = i64, Path)),
    responses((status = 200, description = "The alarm", body = Alarm), ChangeRefusals))]
async fn acknowledge(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<Alarm>> {
    let txn = plane.store.db().begin().await?;
    let row = found(&txn, &caller, &id).await?;
    let now = plane.now_ms();
    if !plane
        .store
        .acknowledge_alarm(&txn, row.id, &caller.name, now)
        .await?
    {
        return Err(is_over(&row));
    }
    changed(&plane, txn, &caller, &row, "alarm.acknowledge", Value::Null).await
}

/// Keeps an alarm quiet for a while.
#[utoipa::path(post, path = "/alarms/{id}/snooze", tag = "alarms", params(("id" = i64, Path)), request_body = Snooze,
    responses((status = 200, description = "The alarm", body = Alarm), ChangeRefusals))]
async fn snooze(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(snooze): Input<Snooze>,
) -> ApiResult<Json<Alarm>> {
    let until = time_ms("until", &snooze.until)?;
    let now = plane.now_ms();
    if until <= now || until - now > SNOOZE_MS_MAX {
        return Err(ApiError::invalid(
            "until",
            "say a time within the next thirty days",
        ));
    }
    let txn = plane.store.db().begin().await?;
    let row = found(&txn, &caller, &id).await?;
    if !plane.store.snooze_alarm(&txn, row.id, until).await? {
        return Err(is_over(&row));
    }
    let detail = json!({"until": rfc3339(until)});
    changed(&plane, txn, &caller, &row, "alarm.snooze", detail).await
}

/// Declares an alarm resolved. The same event opens no other; a state that lasts opens one again after a day.
#[utoipa::path(post, path = "/alarms/{id}/resolve", tag = "alarms", params(("id" = i64, Path)),
    responses((status = 200, description = "The alarm", body = Alarm), ChangeRefusals))]
async fn resolve(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<Alarm>> {
    let txn = plane.store.db().begin().await?;
    let row = found(&txn, &caller, &id).await?;
    let now = plane.now_ms();
    if !plane
        .store
        .resolve_alarm(&txn, row.id, &caller.name, now)
        .await?
    {
        return Err(is_over(&row));
    }
    changed(&plane, txn, &caller, &row, "alarm.resolve", Value::Null).await
}

async fn found(db: &impl ConnectionTrait, caller: &Caller, id: &str) -> ApiResult<alarm::Model> {
    let row = alarm::Entity::find_by_id(number("alarm", id)?)
        .one(db)
        .await?;
    row.filter(|row| caller.sees(&row.tenant_id))
        .ok_or_else(|| ApiError::not_found(format!("alarm {}", shown(id))))
}

fn is_over(row: &alarm::Model) -> ApiError {
    ApiError::conflict("resolved", format!("alarm {} is over already", row.id))
}

async fn changed(
    plane: &SharedPlane,
    txn: sea_orm::DatabaseTransaction,
    caller: &Caller,
    before: &alarm::Model,
    action: &str,
    detail: Value,
) -> ApiResult<Json<Alarm>> {
    let id = before.id.to_string();
    let entry = caller
        .did(action, "alarm", &id)
        .of_tenant(Some(&before.tenant_id))
        .with(detail);
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    let row = found(&txn, caller, &id).await?;
    txn.commit().await?;
    plane.live.tell(&row.tenant_id, What::Alarm, row.id);
    Ok(Json(row.into()))
}
