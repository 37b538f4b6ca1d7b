//! Tokens with which agents make themselves known. They are for owners: whoever brings a machine in can have a job handed to
//! it, and with the job the keys of a repository.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
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

use crate::agent_api;
use crate::people_api::caller::Owner;
use crate::people_api::error::{ApiError, ApiResult, ErrorBody};
use crate::people_api::input::{Input, Params, any_text, later_ms};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::request::OfTenant;
use crate::people_api::tenant_choice::new_thing_tenant;
use crate::plane::{SharedPlane, rfc3339, token_hash};
use crate::public_url::public_url;
use crate::store::entity::enrolment_token;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// A token with which agents make themselves known.
#[derive(Debug, Serialize, ToSchema)]
struct EnrolmentToken {
    /// Its id, which is no secret.
    id: String,
    /// The tenant that the agents will belong to.
    tenant_id: String,
    /// What it is for.
    description: String,
    /// How often it may be used; null: without limit.
    max_uses: Option<i64>,
    /// How often it was used.
    use_count: i64,
    /// When it was made.
    created_at: String,
    /// When it ends; null: when it is taken back.
    expires_at: Option<String>,
}

fn view(row: enrolment_token::Model) -> EnrolmentToken {
    EnrolmentToken {
        id: row.id,
        tenant_id: row.tenant_id,
        description: row.description,
        max_uses: row.max_uses,
        use_count: row.use_count,
        created_at: rfc3339(row.created_at),
        expires_at: row.expires_at.map(rfc3339),
    }
}

/// A token that was just made, with its secret.
#[derive(Serialize, ToSchema)]
struct NewEnrolmentTokenMade {
    /// The token's description.
    #[serde(flatten)]
    made: EnrolmentToken,
    /// The secret, shown this once.
    token: String,
    /// The line to run on the host.
    command: String,
}

/// Lists tokens that were not taken back.
#[utoipa::path(
    get, path = "/enrolment-tokens", tag = "management", params(OfTenant, Paging),
    responses(
        (status = 200, description = "The tokens, without their secrets", body = Page<EnrolmentToken>),
        (status = 404, description = "The tenant is not yours", body = ErrorBody),
    ),
)]
async fn list(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Params(of): Params<OfTenant>,
    Params(paging): Params<Paging>,
) -> ApiResult<Json<Page<EnrolmentToken>>> {
    let limit = paging.limit()?;
    let mut query = enrolment_token::Entity::find()
        .filter(enrolment_token::Column::RevokedAt.is_null())
        .order_by_asc(enrolment_token::Column::Id)
        .limit(limit + 1);
    if let Some(tenant) = caller.scope(of.tenant_id.as_deref())? {
        query = query.filter(enrolment_token::Column::TenantId.eq(tenant));
    }
    if let Some(after) = paging.after() {
        query = query.filter(enrolment_token::Column::Id.gt(after));
    }
    let rows = query.all(plane.store.db()).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id.clone(), view)))
}

/// A new token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEnrolmentToken {
    /// The tenant that the agents will belong to; people of the installation must name it.
    tenant_id: Option<String>,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: String,
    /// How often it may be used; left out: without limit.
    #[schema(minimum = 1, maximum = 1000000)]
    max_uses: Option<i64>,
    /// When it ends (RFC 3339); left out: when it is taken back.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

const USES_MAX: i64 = 1_000_000;

/// Makes a token.
#[utoipa::path(
    post, path = "/enrolment-tokens", tag = "management", request_body = NewEnrolmentToken,
    responses((status = 201, description = "The token, with its secret", body = NewEnrolmentTokenMade)),
)]
async fn create(
    State(plane): State<SharedPlane>,
    parts: Parts,
    Owner(caller): Owner,
    Input(wish): Input<NewEnrolmentToken>,
) -> ApiResult<(StatusCode, Json<NewEnrolmentTokenMade>)> {
    let tenant_id = new_thing_tenant(&plane, &caller, wish.tenant_id.as_deref()).await?;
    if wish
        .max_uses
        .is_some_and(|uses| !(1..=USES_MAX).contains(&uses))
    {
        return Err(ApiError::invalid(
            "max_uses",
            format!("a token may be used 1 to {USES_MAX} times"),
        ));
    }
    let now = plane.now_ms();
    let token = plane.new_token();
    let url = public_url(&plane, &parts.headers).await?;
    let row = enrolment_token::ActiveModel {
        id: Set(plane.new_id()),
        tenant_id: Set(tenant_id),
        token_hash: Set(token_hash(&token)),
        description: Set(any_text("description", &wish.description)?),
        max_uses: Set(wish.max_uses),
        use_count: Set(0),
        expires_at: Set(later_ms("expires_at", wish.expires_at.as_deref(), now)?),
        revoked_at: Set(None),
        created_at: Set(now),
    };
    let txn = plane.store.begin().await?;
    let row = row.insert(&txn).await?;
    let entry = caller
        .did("enrolment_token.create", "enrolment_token", &row.id)
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"description": row.description, "max_uses": row.max_uses}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    let made = NewEnrolmentTokenMade {
        made: view(row),
        command: format!(
            "e3-backup-agent enroll --url {url}{} --token {token}",
            agent_api::BASE
        ),
        token,
    };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Takes a token back. Agents that used it stay.
#[utoipa::path(
    delete, path = "/enrolment-tokens/{id}", tag = "management",
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
    let unknown = || ApiError::not_found(format_args!("enrolment token {id}"));
    let now = plane.now_ms();
    let txn = plane.store.begin().await?;
    let row = enrolment_token::Entity::find_by_id(&id)
        .one(&txn)
        .await?
        .filter(|row| caller.sees(&row.tenant_id))
        .ok_or_else(unknown)?;
    let done = enrolment_token::Entity::update_many()
        .col_expr(enrolment_token::Column::RevokedAt, Expr::value(Some(now)))
        .filter(enrolment_token::Column::Id.eq(&id))
        .filter(enrolment_token::Column::RevokedAt.is_null())
        .exec(&txn)
        .await?;
    if done.rows_affected == 0 {
        return Err(unknown());
    }
    let entry = caller
        .did("enrolment_token.revoke", "enrolment_token", &id)
        .of_tenant(Some(&row.tenant_id));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
