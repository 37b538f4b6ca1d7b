//! The first start: who calls first from the server's own machine, or with the code that the server printed, owns the
//! installation.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, EntityTrait as _, SqlErr};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::credentials::email_key;
use crate::passwords;
use crate::people_api::error::{ApiError, ApiResult, ErrorBody};
use crate::people_api::input::{Input, email, text, time_zone};
use crate::people_api::session::{Session, begin_session, count, hash_of};
use crate::plane::{Plane, SharedPlane};
use crate::setup_code;
use crate::store::entity::{setting, tenant, user};

/// The row that only one of two first calls at the same moment can write.
const DONE: &str = "setup_done";

/// The routes.
pub fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new().routes(routes!(state, set_up))
}

/// Whether the installation has an owner.
#[derive(Serialize, ToSchema)]
struct SetupState {
    /// Whether nobody has an account yet, so that `POST /setup` makes the owner.
    needs_owner: bool,
    /// Whether `POST /setup` takes a `setup_code` from this very caller: from everywhere but the server's own machine.
    needs_code: bool,
}

/// Tells whether the installation still needs its owner, and what that takes from this caller.
#[utoipa::path(
    get, path = "/setup", tag = "sign-in", security(()),
    responses((status = 200, description = "Whether it does, and whether with a code", body = SetupState)),
)]
async fn state(State(plane): State<SharedPlane>, parts: Parts) -> ApiResult<Json<SetupState>> {
    let needs_owner = !plane.store.has_users(plane.store.db()).await?;
    Ok(Json(SetupState {
        needs_owner,
        needs_code: needs_owner && setup_code::is_needed(&parts),
    }))
}

/// The owner of a new installation, and its first tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Setup {
    /// What the owner is called.
    #[schema(min_length = 1, max_length = 1000)]
    name: String,
    /// What the owner signs in with.
    #[schema(max_length = 254)]
    email: String,
    /// The owner's password, of 12 characters at least.
    #[schema(min_length = 12, max_length = 1000)]
    password: String,
    /// What the first tenant is called.
    #[schema(min_length = 1, max_length = 1000)]
    tenant_name: String,
    /// The IANA name of its time zone.
    #[schema(min_length = 1, max_length = 1000, example = "Europe/Berlin")]
    time_zone: String,
    /// The code that the server printed to its log when it started; from the server's own machine it may be left out.
    #[schema(max_length = 100, example = "ABCD-EFGH-IJKL-MNOP")]
    setup_code: Option<String>,
}

/// Makes the owner's account and the first tenant, and signs in. Only while there is no account.
#[utoipa::path(
    post, path = "/setup", tag = "sign-in", security(()),
    request_body = Setup,
    responses(
        (status = 200, description = "Signed in as the owner; the cookie is set", body = Session),
        (status = 403, description = "`setup_code`: it is missing or wrong; the server's log says it", body = ErrorBody),
        (status = 409, description = "`already_set_up`: there is an owner", body = ErrorBody),
        (status = 429, description = "`too_many`, with Retry-After", body = ErrorBody),
    ),
)]
async fn set_up(
    State(plane): State<SharedPlane>,
    parts: Parts,
    Input(wish): Input<Setup>,
) -> ApiResult<Response> {
    count(&plane, &parts)?;
    if plane.store.has_users(plane.store.db()).await? {
        return Err(already());
    }
    check_code(&plane, &parts, wish.setup_code.as_deref())?;
    let name = text("name", &wish.name)?;
    let email = email_key(&email("email", &wish.email)?);
    let tenant_name = text("tenant_name", &wish.tenant_name)?;
    let zone = time_zone("time_zone", &wish.time_zone)?;
    if let Some(flaw) = passwords::flaw(&wish.password) {
        return Err(ApiError::invalid("password", flaw));
    }
    let password_hash = hash_of(&plane, &wish.password).await?;
    let now = plane.now_ms();
    let txn = plane.store.begin().await?;
    let done = setting::ActiveModel {
        name: Set(DONE.to_owned()),
        value: Set("yes".to_owned()),
    };
    match setting::Entity::insert(done)
        .exec_without_returning(&txn)
        .await
    {
        Ok(_) => {}
        Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            return Err(already());
        }
        Err(error) => return Err(error.into()),
    }
    let tenant = tenant::ActiveModel {
        id: Set(plane.new_id()),
        name: Set(tenant_name),
        time_zone: Set(zone),
        created_at: Set(now),
    };
    tenant.insert(&txn).await?;
    let owner = user::ActiveModel {
        id: Set(plane.new_id()),
        tenant_id: Set(None),
        email: Set(email),
        name: Set(name),
        role: Set("owner".to_owned()),
        password_hash: Set(password_hash),
        totp_secret_sealed: Set(None),
        totp_pending_sealed: Set(None),
        totp_last_step: Set(0),
        is_disabled: Set(false),
        created_at: Set(now),
    };
    let owner = owner.insert(&txn).await?;
    txn.commit().await?;
    begin_session(&plane, &parts, &owner, "setup").await
}

/// Refuses whoever calls from elsewhere without the code. How often they may try, [`count`] says.
fn check_code(plane: &Plane, parts: &Parts, given: Option<&str>) -> ApiResult<()> {
    let wrong = match given.unwrap_or_default() {
        _ if !setup_code::is_needed(parts) => return Ok(()),
        "" => "the first start takes a setup code from elsewhere than the server's own machine",
        given if plane.setup_code.is(given) => return Ok(()),
        _ => "this is not the setup code",
    };
    let found = "the server printed it to its log (standard error, with systemd `journalctl -u e3-control-plane`) when it last started";
    let message = format!("{wrong}; {found}");
    Err(ApiError::new(StatusCode::FORBIDDEN, "setup_code", message))
}

fn already() -> ApiError {
    ApiError::conflict("already_set_up", "there is an owner already; sign in")
}
