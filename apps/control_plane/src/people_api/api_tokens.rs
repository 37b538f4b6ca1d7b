//! Tokens with which programs call this API.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::people_api::caller::{Owner, Role};
use crate::people_api::error::{ApiError, ApiResult, ErrorBody};
use crate::people_api::input::{Input, Params, later_ms, text};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::request::OfTenant;
use crate::people_api::tenant_choice::new_owner_tenant;
use crate::plane::{SharedPlane, rfc3339, token_hash};
use crate::store::entity::api_token;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// A token with which a program calls.
#[derive(Debug, Serialize, ToSchema)]
struct ApiToken {
    /// Its id, which is no secret.
    id: String,
    /// The only tenant whose things it sees; null: all.
    tenant_id: Option<String>,
    /// Who made it. It ends with their account, and never may more than they.
    user_id: String,
    /// What it is for.
    name: String,
    /// What it may do.
    role: String,
    /// When it was made.
    created_at: String,
    /// When it was last used, to the minute.
    last_used_at: Option<String>,
    /// When it ends; null: when it is taken back.
    expires_at: Option<String>,
}

fn view(row: api_token::Model) -> ApiToken {
    ApiToken {
        id: row.id,
        tenant_id: row.tenant_id,
        user_id: row.user_id,
        name: row.name,
        role: row.role,
        created_at: rfc3339(row.created_at),
        last_used_at: row.last_used_at.map(rfc3339),
        expires_at: row.expires_at.map(rfc3339),
    }
}

/// A token that was just made, with its secret.
#[derive(Serialize, ToSchema)]
struct NewApiTokenMade {
    /// The token's description.
    #[serde(flatten)]
    made: ApiToken,
    /// The secret, shown this once: `Authorization: Bearer` and this.
    token: String,
}

/// Lists tokens that were not taken back.
#[utoipa::path(
    get, path = "/api-tokens", tag = "management", params(OfTenant, Paging),
    responses(
        (status = 200, description = "The tokens, without their secrets", body = Page<ApiToken>),
        (status = 404, description = "The tenant is not yours", body = ErrorBody),
    ),
)]
async fn list(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Params(of): Params<OfTenant>,
    Params(paging): Params<Paging>,
) -> ApiResult<Json<Page<ApiToken>>> {
    let limit = paging.limit()?;
    let mut query = api_token::Entity::find()
        .filter(api_token::Column::RevokedAt.is_null())
        .order_by_asc(api_token::Column::Id)
        .limit(limit + 1);
    if let Some(tenant) = caller.scope(of.tenant_id.as_deref())? {
        query = query.filter(api_token::Column::TenantId.eq(tenant));
    }
    if let Some(after) = paging.after() {
        query = query.filter(api_token::Column::Id.gt(after));
    }
    let rows = query.all(plane.store.db()).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id.clone(), view)))
}

/// A new token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApiToken {
    /// The only tenant whose things it sees; left out by people of the installation: all.
    tenant_id: Option<String>,
    /// What it is for.
    #[schema(min_length = 1, max_length = 1000)]
    name: String,
    /// What it may do.
    role: Role,
    /// When it ends (RFC 3339); left out: when it is taken back.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// Makes a token.
#[utoipa::path(
    post, path = "/api-tokens", tag = "management", request_body = NewApiToken,
    responses((status = 201, description = "The token, with its secret", body = NewApiTokenMade)),
)]
async fn create(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Input(wish): Input<NewApiToken>,
) -> ApiResult<(StatusCode, Json<NewApiTokenMade>)> {
    let tenant_id = new_owner_tenant(&plane, &caller, wish.tenant_id.as_deref()).await?;
    let now = plane.now_ms();
    let token = plane.new_token();
    let row = api_token::ActiveModel {
        id: Set(plane.new_id()),
        tenant_id: Set(tenant_id),
        user_id: Set(caller.user_id.clone()),
        name: Set(text("name", &wish.name)?),
        token_hash: Set(token_hash(&token)),
        role: Set(wish.role.as_str().to_owned()),
        created_at: Set(now),
        last_used_at: Set(None),
        expires_at: Set(later_ms("expires_at", wish.expires_at.as_deref(), now)?),
        revoked_at: Set(None),
    };
    let txn = plane.store.begin().await?;
    let row = row.insert(&txn).await?;
    let entry = caller
        .did("api_token.create", "api_token", &row.id)
        .of_tenant(row.tenant_id.as_deref())
        .with(json!({"name": row.name, "role": row.role}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    let made = view(row);
    Ok((StatusCode::CREATED, Json(NewApiTokenMade { made, token })))
}

/// Takes a token back.
#[utoipa::path(
    delete, path = "/api-tokens/{id}", tag = "management",
    params(("id" = String, Path, description = "The token's id")),
    responses(
        (status = 204, description = "Taken back"),
        (status = 404, description = "There is none, or not in your tenant", body = ErrorBody),
    ),
)]
async fn revoke(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let unknown = || ApiError::not_found(format_args!("API token {id}"));
    let now = plane.now_ms();
    let txn = plane.store.begin().await?;
    let row = api_token::Entity::find_by_id(&id)
        .one(&txn)
        .await?
        .filter(|row| caller.tenant_id.is_none() || caller.tenant_id == row.tenant_id)
        .ok_or_else(unknown)?;
    let done = api_token::Entity::update_many()
        .col_expr(api_token::Column::RevokedAt, Expr::value(Some(now)))
        .filter(api_token::Column::Id.eq(&id))
        .filter(api_token::Column::RevokedAt.is_null())
        .exec(&txn)
        .await?;
    if done.rows_affected == 0 {
        return Err(unknown());
    }
    let entry = caller
        .did("api_token.revoke", "api_token", &id)
        .of_tenant(row.tenant_id.as_deref())
        .with(json!({"name": row.name}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
