//! The people who may sign in.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, SqlErr,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::credentials::email_key;
use crate::passwords;
use crate::people_api::caller::{Caller, Owner, Role};
use crate::people_api::error::{ApiError, ApiResult, ErrorBody};
use crate::people_api::input::{Input, Params, email, text};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::request::OfTenant;
use crate::people_api::session::hash_of;
use crate::people_api::tenant_choice::new_owner_tenant;
use crate::plane::{SharedPlane, rfc3339};
use crate::store::Store;
use crate::store::entity::user;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(update, remove))
}

/// A person who may sign in.
#[derive(Debug, Serialize, ToSchema)]
struct User {
    /// The person's id.
    id: String,
    /// The person's tenant; null for people of the installation, who see every tenant.
    tenant_id: Option<String>,
    /// What the person signs in with.
    email: String,
    /// What the person is called.
    name: String,
    /// `owner`, `operator` or `viewer`.
    role: String,
    /// Whether a code of a second factor is asked for.
    has_totp: bool,
    /// Whether the person may not sign in.
    is_disabled: bool,
    /// When the account was made.
    created_at: String,
}

fn view(row: user::Model) -> User {
    User {
        id: row.id,
        tenant_id: row.tenant_id,
        email: row.email,
        name: row.name,
        role: row.role,
        has_totp: row.totp_secret_sealed.is_some(),
        is_disabled: row.is_disabled,
        created_at: rfc3339(row.created_at),
    }
}

/// Lists people.
#[utoipa::path(
    get, path = "/users", tag = "management", params(OfTenant, Paging),
    responses(
        (status = 200, description = "The people", body = Page<User>),
        (status = 404, description = "The tenant is not yours", body = ErrorBody),
    ),
)]
async fn list(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Params(of): Params<OfTenant>,
    Params(paging): Params<Paging>,
) -> ApiResult<Json<Page<User>>> {
    let limit = paging.limit()?;
    let mut query = user::Entity::find()
        .order_by_asc(user::Column::Id)
        .limit(limit + 1);
    if let Some(tenant) = caller.scope(of.tenant_id.as_deref())? {
        query = query.filter(user::Column::TenantId.eq(tenant));
    }
    if let Some(after) = paging.after() {
        query = query.filter(user::Column::Id.gt(after));
    }
    let rows = query.all(plane.store.db()).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id.clone(), view)))
}

/// A new person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// The person's tenant; left out by people of the installation: none, so that the person sees every tenant.
    tenant_id: Option<String>,
    /// What the person signs in with.
    #[schema(max_length = 254)]
    email: String,
    /// What the person is called.
    #[schema(min_length = 1, max_length = 1000)]
    name: String,
    /// `owner`, `operator` or `viewer`.
    role: Role,
    /// The first password, of 12 characters at least.
    #[schema(min_length = 12, max_length = 1000)]
    password: String,
}

/// Makes an account.
#[utoipa::path(
    post, path = "/users", tag = "management", request_body = NewUser,
    responses(
        (status = 201, description = "The person", body = User),
        (status = 409, description = "`email_taken`: somebody has this address", body = ErrorBody),
    ),
)]
async fn create(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Input(wish): Input<NewUser>,
) -> ApiResult<(StatusCode, Json<User>)> {
    let tenant_id = new_owner_tenant(&plane, &caller, wish.tenant_id.as_deref()).await?;
    let email = email_key(&email("email", &wish.email)?);
    let name = text("name", &wish.name)?;
    let password_hash = new_password_hash(&plane, &wish.password).await?;
    let now = plane.now_ms();
    let row = user::ActiveModel {
        id: Set(plane.new_id()),
        tenant_id: Set(tenant_id),
        email: Set(email),
        name: Set(name),
        role: Set(wish.role.as_str().to_owned()),
        password_hash: Set(password_hash),
        totp_secret_sealed: Set(None),
        totp_pending_sealed: Set(None),
        totp_last_step: Set(0),
        is_disabled: Set(false),
        created_at: Set(now),
    };
    let txn = plane.store.begin().await?;
    let row = row
        .insert(&txn)
        .await
        .map_err(|error| match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => ApiError::conflict(
                "email_taken",
                "somebody has an account with this e-mail address already",
            ),
            _ => error.into(),
        })?;
    let entry = caller
        .did("user.create", "user", &row.id)
        .of_tenant(row.tenant_id.as_deref())
        .with(json!({"email": row.email, "role": row.role}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok((StatusCode::CREATED, Json(view(row))))
}

async fn new_password_hash(plane: &SharedPlane, password: &str) -> ApiResult<String> {
    if let Some(flaw) = passwords::flaw(password) {
        return Err(ApiError::invalid("password", flaw));
    }
    hash_of(plane, password).await
}

/// What is to be different about a person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    /// What the person is called.
    #[schema(min_length = 1, max_length = 1000)]
    name: Option<String>,
    /// `owner`, `operator` or `viewer`.
    role: Option<Role>,
    /// Whether the person may not sign in.
    is_disabled: Option<bool>,
    /// A new password, of 12 characters at least. It also ends a lock and, unless `keeps_tokens`, takes back the API tokens
    /// that the person made: whoever had the old one may have made some.
    #[schema(min_length = 12, max_length = 1000)]
    password: Option<String>,
    /// Whether the person's API tokens go on with a new password: the old one was forgotten, and nobody else had it. Left
    /// out: no.
    keeps_tokens: Option<bool>,
    /// Whether the second factor, which was lost, is removed.
    reset_totp: Option<bool>,
}

/// Changes a person. A new role, a new password, a removed second factor or being disabled ends their sessions; a new
/// password their API tokens, too, unless they are to be kept.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "management", request_body = UserChange,
    params(("id" = String, Path, description = "The person")),
    responses(
        (status = 200, description = "The person", body = User),
        (status = 404, description = "There is none, or not in your tenant", body = ErrorBody),
        (status = 409, description = "`last_owner`, or `own_account`: your own password and second factor are changed under /session", body = ErrorBody),
    ),
)]
async fn update(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Path(id): Path<String>,
    Input(wish): Input<UserChange>,
) -> ApiResult<Json<User>> {
    let resets_totp = wish.reset_totp == Some(true);
    let name = wish.name.map(|name| text("name", &name)).transpose()?;
    // Before anything is made of the password: a stranger's account costs nothing.
    visible(plane.store.db(), &caller, &id).await?;
    if id == caller.user_id && (wish.password.is_some() || resets_totp) {
        return Err(ApiError::conflict(
            "own_account",
            "change your own password and second factor in your account, which asks for the password",
        ));
    }
    let password_hash = match &wish.password {
        Some(password) => Some(new_password_hash(&plane, password).await?),
        None => None,
    };
    let txn = plane.store.begin().await?;
    let row = visible(&txn, &caller, &id).await?;
    let role = match wish.role {
        Some(role) => role.as_str().to_owned(),
        None => row.role.clone(),
    };
    let is_disabled = wish.is_disabled.unwrap_or(row.is_disabled);
    if role != "owner" || is_disabled {
        keep_an_owner(&plane.store, &txn, &caller, &row).await?;
    }
    let ends_sessions = role != row.role || is_disabled || password_hash.is_some() || resets_totp;
    let now = plane.now_ms();
    let revokes_tokens = password_hash.is_some() && wish.keeps_tokens != Some(true);
    let revoked_tokens = match revokes_tokens {
        true => plane.store.revoke_tokens_of(&txn, &id, now).await?,
        false => 0,
    };
    let detail = json!({
        "email": row.email,
        "revoked_tokens": revoked_tokens,
        "role": role,
        "is_disabled": is_disabled,
        "has_new_password": password_hash.is_some(),
        "is_totp_reset": resets_totp,
    });
    let tenant_id = row.tenant_id.clone();
    let mut change = row.into_active_model();
    if let Some(name) = name {
        change.name = Set(name);
    }
    // What was not asked for stays as it is by now: somebody else may have changed it meanwhile.
    if wish.role.is_some() {
        change.role = Set(role);
    }
    if wish.is_disabled.is_some() {
        change.is_disabled = Set(is_disabled);
    }
    if let Some(hash) = password_hash {
        change.password_hash = Set(hash);
    }
    if resets_totp {
        change.totp_secret_sealed = Set(None);
        change.totp_pending_sealed = Set(None);
    }
    let has_new_password = wish.password.is_some();
    let row = change.update(&txn).await?;
    if has_new_password {
        plane.store.forget_addresses(&txn, &id).await?;
    }
    if ends_sessions {
        plane.store.end_sessions(&txn, &id, None).await?;
    }
    let entry = caller
        .did("user.update", "user", &id)
        .of_tenant(tenant_id.as_deref())
        .with(detail);
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok(Json(view(row)))
}

/// Removes a person, with their sessions and tokens.
#[utoipa::path(
    delete, path = "/users/{id}", tag = "management",
    params(("id" = String, Path, description = "The person")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "There is none, or not in your tenant", body = ErrorBody),
        (status = 409, description = "`last_owner`: there must be one", body = ErrorBody),
    ),
)]
async fn remove(
    State(plane): State<SharedPlane>,
    Owner(caller): Owner,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let now = plane.now_ms();
    let txn = plane.store.begin().await?;
    let row = visible(&txn, &caller, &id).await?;
    keep_an_owner(&plane.store, &txn, &caller, &row).await?;
    user::Entity::delete_by_id(&id).exec(&txn).await?;
    plane.store.end_sessions(&txn, &id, None).await?;
    plane.store.revoke_tokens_of(&txn, &id, now).await?;
    plane.store.forget_addresses(&txn, &id).await?;
    let entry = caller
        .did("user.delete", "user", &id)
        .of_tenant(row.tenant_id.as_deref())
        .with(json!({"email": row.email}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns a person whom the caller may manage.
async fn visible(db: &impl ConnectionTrait, caller: &Caller, id: &str) -> ApiResult<user::Model> {
    user::Entity::find_by_id(id)
        .one(db)
        .await?
        .filter(|row| match (&caller.tenant_id, &row.tenant_id) {
            (None, _) => true,
            (Some(own), Some(theirs)) => own == theirs,
            (Some(_), None) => false,
        })
        .ok_or_else(|| ApiError::not_found(format_args!("user {id}")))
}

/// Refuses to take the role from the last owner of the installation, or of a tenant, unless an owner of the
/// installation asks, who can make another.
async fn keep_an_owner(
    store: &Store,
    txn: &impl ConnectionTrait,
    caller: &Caller,
    row: &user::Model,
) -> ApiResult<()> {
    let is_owner = row.role == "owner" && !row.is_disabled;
    let may_be_missed = caller.tenant_id.is_none() && row.tenant_id.is_some();
    if is_owner
        && !may_be_missed
        && !store
            .has_other_owner(txn, row.tenant_id.as_deref(), &row.id)
            .await?
    {
        return Err(ApiError::conflict(
            "last_owner",
            "this is the last owner; make another one first",
        ));
    }
    Ok(())
}
