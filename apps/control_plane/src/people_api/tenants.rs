//! Tenants: customers or departments, to which everything belongs.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::people_api::caller::{InstallationOwner, Owner, Viewer};
use crate::people_api::error::{ApiError, ApiResult, ErrorBody};
use crate::people_api::input::{Input, Params, text, time_zone};
use crate::people_api::paging::{Page, Paging};
use crate::plane::{SharedPlane, rfc3339};
use crate::store::entity::{host, tenant, vm};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(update))
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
struct Tenant {
    /// Its id.
    id: String,
    /// What people call it.
    name: String,
    /// The IANA name of the zone that its days, quiet hours and summaries follow.
    time_zone: String,
    /// When it was made.
    created_at: String,
    /// How many hosts it has.
    host_count: i64,
    /// How many VMs are on them.
    vm_count: i64,
}

/// Returns tenants with what they have, by as many queries for a thousand as for one.
async fn with_counts(
    db: &impl ConnectionTrait,
    rows: Vec<tenant::Model>,
) -> ApiResult<Vec<Tenant>> {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let hosts = host::Entity::find()
        .select_only()
        .column(host::Column::TenantId)
        .column_as(host::Column::Id.count(), "count")
        .filter(host::Column::TenantId.is_in(ids.clone()))
        .group_by(host::Column::TenantId)
        .into_tuple::<(String, i64)>()
        .all(db)
        .await?;
    let vms = vm::Entity::find()
        .select_only()
        .column(vm::Column::TenantId)
        .column_as(vm::Column::Id.count(), "count")
        .filter(vm::Column::TenantId.is_in(ids))
        .filter(vm::Column::GoneAt.is_null())
        .group_by(vm::Column::TenantId)
        .into_tuple::<(String, i64)>()
        .all(db)
        .await?;
    let hosts: HashMap<String, i64> = hosts.into_iter().collect();
    let vms: HashMap<String, i64> = vms.into_iter().collect();
    Ok(rows
        .into_iter()
        .map(|row| Tenant {
            host_count: hosts.get(&row.id).copied().unwrap_or_default(),
            vm_count: vms.get(&row.id).copied().unwrap_or_default(),
            id: row.id,
            name: row.name,
            time_zone: row.time_zone,
            created_at: rfc3339(row.created_at),
        })
        .collect())
}

/// Lists the tenants that the caller may see.
#[utoipa::path(
    get, path = "/tenants", tag = "management", params(Paging),
    responses((status = 200, description = "The tenants", body = Page<Tenant>)),
)]
async fn list(
    State(plane): State<SharedPlane>,
    Viewer(caller): Viewer,
    Params(paging): Params<Paging>,
) -> ApiResult<Json<Page<Tenant>>> {
    let limit = paging.limit()?;
    let mut query = tenant::Entity::find()
        .order_by_asc(tenant::Column::Id)
        .limit(limit + 1);
    if let Some(own) = &caller.tenant_id {
        query = query.filter(tenant::Column::Id.eq(own));
    }
    if let Some(after) = paging.after() {
        query = query.filter(tenant::Column::Id.gt(after));
    }
    let rows = query.all(plane.store.db()).await?;
    let page = Page::of(rows, limit, |row| row.id.clone(), |row| row);
    Ok(Json(Page {
        items: with_counts(plane.store.db(), page.items).await?,
        next: page.next,
    }))
}

/// A new tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    /// What people call it.
    #[schema(min_length = 1, max_length = 1000)]
    name: String,
    /// The IANA name of its time zone.
    #[schema(min_length = 1, max_length = 1000, example = "Europe/Berlin")]
    time_zone: String,
}

/// Makes a tenant. For owners of the installation.
#[utoipa::path(
    post, path = "/tenants", tag = "management", request_body = NewTenant,
    responses((status = 201, description = "The tenant", body = Tenant)),
)]
async fn create(
    State(plane): State<SharedPlane>,
    InstallationOwner(caller): InstallationOwner,
    Input(wish): Input<NewTenant>,
) -> ApiResult<(StatusCode, Json<Tenant>)> {
    let now = plane.now_ms();
    let row = tenant::ActiveModel {
        id: Set(plane.new_id()),
        name: Set(text("name", &wish.name)?),
        time_zone: Set(time_zone("time_zone", &wish.time_zone)?),
        created_at: Set(now),
    };
    let txn = plane.store.begin().await?;
    let row = row.insert(&txn).await?;
    let entry = caller
        .did("tenant.create", "tenant", &row.id)
        .of_tenant(Some(&row.id))
        .with(json!({"name": row.name, "time_zone": row.time_zone}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok((
        StatusCode::CREATED,
        Json(Tenant {
            id: row.id,
            name: row.name,
            time_zone: row.time_zone,
            created_at: rfc3339(row.created_at),
            host_count: 0,
            vm_count: 0,
        }),
    ))
}

/// What is to be different about a tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantChange {
    /// What people call it.
    #[schema(min_length = 1, max_length = 1000)]
    name: Option<String>,
    /// The IANA name of its time zone.
    #[schema(min_length = 1, max_length = 1000, example = "Europe/Berlin")]
    time_zone: Option<String>,
}

/// Changes a tenant.
#[utoipa::path(
    patch, path = "/tenants/{id}", tag = "management", request_body = TenantChange,
    params(("id" = String, Path, description = "The tenant")),
    responses(
        (status = 200, description = "The tenant", body = Tenant),
        (status = 404, description = "There is none, or it is not yours", body = ErrorBody),
    ),
)]
async fn update(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Path(id): Path<String>,
    Input(wish): Input<TenantChange>,
) -> ApiResult<Json<Tenant>> {
    let unknown = || ApiError::not_found(format_args!("tenant {id}"));
    if !caller.sees(&id) {
        return Err(unknown());
    }
    let name = wish.name.map(|name| text("name", &name)).transpose()?;
    let zone = wish
        .time_zone
        .map(|zone| time_zone("time_zone", &zone))
        .transpose()?;
    let txn = plane.store.begin().await?;
    let row = tenant::Entity::find_by_id(&id).one(&txn).await?;
    let row = row.ok_or_else(unknown)?;
    let has_moved = zone.as_ref().is_some_and(|zone| *zone != row.time_zone);
    let change = tenant::ActiveModel {
        id: Set(row.id.clone()),
        name: Set(name.unwrap_or(row.name)),
        time_zone: Set(zone.unwrap_or(row.time_zone)),
        created_at: Set(row.created_at),
    };
    let row = change.update(&txn).await?;
    let now = plane.now_ms();
    if has_moved {
        plane.store.plan_anew(&txn, &id, now).await?;
    }
    let entry = caller
        .did("tenant.update", "tenant", &id)
        .of_tenant(Some(&id))
        .with(json!({"name": row.name, "time_zone": row.time_zone}));
    plane.store.audit(&txn, now, entry).await?;
    let mut tenants = with_counts(&txn, vec![row]).await?;
    txn.commit().await?;
    Ok(Json(tenants.remove(0)))
}
