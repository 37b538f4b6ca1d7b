//! The log of who changed what.

use axum::Json;
use axum::extract::State;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::people_api::caller::Owner;
use crate::people_api::error::{ApiResult, ErrorBody};
use crate::people_api::input::{Params, time_ms};
use crate::people_api::paging::{Page, Paging};
use crate::plane::{SharedPlane, rfc3339};
use crate::store::entity::audit_entry;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Something that somebody changed.
#[derive(Debug, Serialize, ToSchema)]
struct AuditEntry {
    /// Its number.
    id: i64,
    /// When.
    at: String,
    /// The tenant whose thing it was; null: the installation's.
    tenant_id: Option<String>,
    /// Who, in words.
    actor: String,
    /// What was done, such as `job.update`.
    action: String,
    /// What kind of thing was changed.
    object_kind: String,
    /// Which one.
    object_id: String,
    /// What was changed, without secrets.
    #[schema(value_type = Object)]
    detail: Value,
    /// Where the call came from.
    address: String,
}

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// A tenant, for people of the installation.
    tenant_id: Option<String>,
    /// From this time on (RFC 3339).
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before this time (RFC 3339).
    #[param(format = DateTime)]
    to: Option<String>,
    /// What kind of thing was changed.
    object_kind: Option<String>,
    /// Which one.
    object_id: Option<String>,
}

/// Lists what was changed, newest first.
#[utoipa::path(
    get, path = "/audit", tag = "management", params(Filter, Paging),
    responses(
        (status = 200, description = "The entries", body = Page<AuditEntry>),
        (status = 404, description = "The tenant is not yours", body = ErrorBody),
    ),
)]
async fn list(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Params(filter): Params<Filter>,
    Params(paging): Params<Paging>,
) -> ApiResult<Json<Page<AuditEntry>>> {
    use audit_entry::Column;
    let limit = paging.limit()?;
    let mut query = audit_entry::Entity::find()
        .order_by_desc(Column::Id)
        .limit(limit + 1);
    if let Some(tenant) = caller.scope(filter.tenant_id.as_deref())? {
        query = query.filter(Column::TenantId.eq(tenant));
    }
    if let Some(from) = &filter.from {
        query = query.filter(Column::At.gte(time_ms("from", from)?));
    }
    if let Some(to) = &filter.to {
        query = query.filter(Column::At.lt(time_ms("to", to)?));
    }
    if let Some(kind) = &filter.object_kind {
        query = query.filter(Column::ObjectKind.eq(kind));
    }
    if let Some(id) = &filter.object_id {
        query = query.filter(Column::ObjectId.eq(id));
    }
    if let Some(after) = paging.after_number()? {
        query = query.filter(Column::Id.lt(after));
    }
    let rows = query.all(plane.store.db()).await?;
    let page = Page::of(
        rows,
        limit,
        |row| row.id.to_string(),
        |row| AuditEntry {
            id: row.id,
            at: rfc3339(row.at),
            tenant_id: row.tenant_id,
            actor: row.actor,
            action: row.action,
            object_kind: row.object_kind,
            object_id: row.object_id,
            detail: serde_json::from_str(&row.detail_json).unwrap_or_default(),
            address: row.address,
        },
    );
    Ok(Json(page))
}
