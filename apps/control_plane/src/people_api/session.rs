//! Signing in and out, and a person's own password and second factor.

use axum::Json;
use axum::extract::State;
use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::credentials::{Refused, check, check_again, check_both_again, totp_seal};
use crate::log;
use crate::passwords::{self, Busy};
use crate::people_api::caller::{Person, cookie_name};
use crate::people_api::error::{ApiError, ApiResult, ErrorBody};
use crate::people_api::input::Input;
use crate::plane::{Plane, SharedPlane, token_hash};
use crate::sign_in::{Door, network};
use crate::source::{address_of, ip_of};
use crate::store::audit::Entry;
use crate::store::entity::{session, tenant, user};
use crate::totp;

/// How long a session lasts, used or not.
const SESSION_MS: i64 = 7 * 86_400_000;

/// How much is kept of what a browser calls itself, in characters.
const USER_AGENT_MAX: usize = 300;

/// How many tenants a session names.
const TENANTS_MAX: u64 = 1_000;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(sign_in, current, sign_out))
        .routes(routes!(change_password))
        .routes(routes!(begin_totp, confirm_totp, remove_totp))
}

/// Somebody who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Who.
    pub user: SessionUser,
    /// What every changing call repeats in its `X-CSRF-Token` header.
    pub csrf_token: String,
    /// The tenants that the person may see.
    pub tenants: Vec<SessionTenant>,
}

/// A person who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionUser {
    /// The person's id.
    pub id: String,
    /// What the person signs in with.
    pub email: String,
    /// What the person is called.
    pub name: String,
    /// `owner`, `operator` or `viewer`.
    pub role: String,
    /// The person's tenant; null for people of the installation.
    pub tenant_id: Option<String>,
    /// Whether a code of a second factor is asked for.
    pub has_totp: bool,
}

/// A tenant that the person may see.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionTenant {
    /// The tenant's id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The IANA name of its time zone.
    pub time_zone: String,
}

/// Who wants to sign in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// The e-mail address.
    #[schema(max_length = 1000)]
    email: String,
    /// The password.
    #[schema(max_length = 1000)]
    password: String,
    /// The code that the second factor shows, where there is one.
    #[schema(max_length = 100)]
    code: Option<String>,
}

/// Signs in, by a cookie.
#[utoipa::path(
    post, path = "/session", tag = "sign-in", security(()),
    request_body = SignIn,
    responses(
        (status = 200, description = "Signed in; the cookie is set", body = Session),
        (status = 401, description = "`wrong_credentials`, or `code_needed`: the password is right", body = ErrorBody),
        (status = 429, description = "`locked` or `too_many`, with Retry-After", body = ErrorBody),
    ),
)]
async fn sign_in(
    State(plane): State<SharedPlane>,
    parts: Parts,
    Input(wish): Input<SignIn>,
) -> ApiResult<Response> {
    count(&plane, &parts)?;
    let from = ip_of(&parts, &plane.options);
    let (email, password, code) = (&wish.email, &wish.password, wish.code.as_deref());
    let checked = check(&plane, Door::People, from, email, password, code).await;
    let user = match checked {
        Ok(user) => user,
        Err(refused) => {
            if let Refused::Wrong { of: Some(user) } = &refused {
                note_refusal(&plane, user, address_of(&parts, &plane.options));
            }
            return Err(refused.into());
        }
    };
    begin_session(&plane, &parts, &user, "session.create").await
}

/// Writes down that somebody was refused, while the answer goes out: it takes as long as one to whom there is nothing to
/// write down.
fn note_refusal(plane: &SharedPlane, user: &user::Model, address: String) {
    let (plane, user) = (plane.clone(), user.clone());
    tokio::spawn(async move {
        let entry = Entry {
            tenant_id: user.tenant_id.as_deref(),
            user_id: None,
            actor: "somebody",
            action: "session.refuse",
            object_kind: "user",
            object_id: &user.id,
            detail: json!({"email": user.email}),
            address: &address,
        };
        let (store, now) = (&plane.store, plane.now_ms());
        if let Err(error) = store.audit(store.db(), now, entry).await {
            log::error(format_args!("writing down a refused sign-in: {error}"));
        }
    });
}

/// Counts a call that tries a password, by where it comes from.
pub(super) fn count(plane: &Plane, parts: &Parts) -> ApiResult<()> {
    plane
        .guard
        .count(Door::People, ip_of(parts, &plane.options), plane.now_ms())
        .map_err(|wait_ms| {
            ApiError::too_many(
                "too_many",
                "too many tries from your address; wait a little",
                wait_ms,
            )
        })
}

/// Begins a session of `user` and answers with it.
pub(super) async fn begin_session(
    plane: &SharedPlane,
    parts: &Parts,
    user: &user::Model,
    action: &str,
) -> ApiResult<Response> {
    let now = plane.now_ms();
    let (token, csrf_token) = (plane.new_token(), plane.new_token());
    let address = address_of(parts, &plane.options);
    let user_agent = parts.headers.get(USER_AGENT);
    let user_agent = user_agent.map_or_else(String::new, |name| {
        String::from_utf8_lossy(name.as_bytes())
            .chars()
            .take(USER_AGENT_MAX)
            .collect()
    });
    let row = session::ActiveModel {
        token_hash: Set(token_hash(&token)),
        user_id: Set(user.id.clone()),
        csrf_token: Set(csrf_token.clone()),
        created_at: Set(now),
        last_seen_at: Set(now),
        expires_at: Set(now + SESSION_MS),
        address: Set(address.clone()),
        user_agent: Set(user_agent),
    };
    let txn = plane.store.begin().await?;
    row.insert(&txn).await?;
    if let Some(from) = ip_of(parts, &plane.options) {
        plane
            .store
            .note_signed_in_from(&txn, &user.id, network(from), now)
            .await?;
    }
    let entry = Entry {
        tenant_id: user.tenant_id.as_deref(),
        user_id: Some(&user.id),
        actor: &user.email,
        action,
        object_kind: "user",
        object_id: &user.id,
        detail: serde_json::Value::Null,
        address: &address,
    };
    plane.store.audit(&txn, now, entry).await?;
    let session = session_of(&txn, user, csrf_token).await?;
    txn.commit().await?;
    let mut response = Json(session).into_response();
    let cookie = cookie(plane, &token, SESSION_MS / 1_000);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

fn cookie(plane: &SharedPlane, value: &str, seconds: i64) -> HeaderValue {
    let secure = if plane.options.is_secure {
        "; Secure"
    } else {
        ""
    };
    let name = cookie_name(plane);
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).expect("hex digits and our own words")
}

async fn session_of(
    db: &impl ConnectionTrait,
    user: &user::Model,
    csrf_token: String,
) -> ApiResult<Session> {
    let mut tenants = tenant::Entity::find()
        .order_by_asc(tenant::Column::Name)
        .limit(TENANTS_MAX);
    if let Some(own) = &user.tenant_id {
        tenants = tenants.filter(tenant::Column::Id.eq(own));
    }
    let tenants = tenants.all(db).await?.into_iter();
    Ok(Session {
        user: SessionUser {
            id: user.id.clone(),
            email: user.email.clone(),
            name: user.name.clone(),
            role: user.role.clone(),
            tenant_id: user.tenant_id.clone(),
            has_totp: user.totp_secret_sealed.is_some(),
        },
        csrf_token,
        tenants: tenants
            .map(|row| SessionTenant {
                id: row.id,
                name: row.name,
                time_zone: row.time_zone,
            })
            .collect(),
    })
}

/// Returns who is signed in.
#[utoipa::path(
    get, path = "/session", tag = "sign-in",
    responses(
        (status = 200, description = "Who is signed in", body = Session),
        (status = 403, description = "A program has no session", body = ErrorBody),
    ),
)]
async fn current(
    State(plane): State<SharedPlane>,
    Person(caller, session): Person,
) -> ApiResult<Json<Session>> {
    let row = session::Entity::find_by_id(&session)
        .one(plane.store.db())
        .await?
        .ok_or_else(ended)?;
    let user = plane.store.user(&caller.user_id).await?.ok_or_else(ended)?;
    let session = session_of(plane.store.db(), &user, row.csrf_token).await?;
    Ok(Json(session))
}

/// Signs out.
#[utoipa::path(
    delete, path = "/session", tag = "sign-in",
    responses(
        (status = 204, description = "Signed out; the cookie is gone"),
        (status = 403, description = "A program has no session, or the CSRF token is wrong", body = ErrorBody),
    ),
)]
async fn sign_out(
    State(plane): State<SharedPlane>,
    Person(caller, session): Person,
) -> ApiResult<Response> {
    let txn = plane.store.begin().await?;
    session::Entity::delete_by_id(&session).exec(&txn).await?;
    let entry = caller.did("session.delete", "user", &caller.user_id);
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let gone = cookie(&plane, "", 0);
    response.headers_mut().insert(SET_COOKIE, gone);
    Ok(response)
}

/// A new password of one's own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// The password as it is.
    #[schema(max_length = 1000)]
    current: String,
    /// The password as it is to be, of 12 characters at least.
    #[schema(min_length = 12, max_length = 1000)]
    new: String,
    /// Whether the API tokens that one has made end too: somebody else may have had the password. Left out: no.
    #[serde(default)]
    revoke_tokens: bool,
}

/// Changes one's own password; every other session ends, and, if it is asked for, every API token of one's own.
#[utoipa::path(
    post, path = "/session/password", tag = "sign-in",
    request_body = PasswordChange,
    responses(
        (status = 204, description = "Changed"),
        (status = 403, description = "`wrong_credentials`: the current password is wrong", body = ErrorBody),
        (status = 422, description = "The new password is too short", body = ErrorBody),
        (status = 429, description = "`locked` or `too_many`, with Retry-After", body = ErrorBody),
    ),
)]
async fn change_password(
    State(plane): State<SharedPlane>,
    parts: Parts,
    Person(caller, session): Person,
    Input(wish): Input<PasswordChange>,
) -> ApiResult<StatusCode> {
    count(&plane, &parts)?;
    let new_hash = new_password(&plane, "new", &wish.new, || {
        check_again(&plane, &caller.user_id, &wish.current)
    })
    .await?;
    let txn = plane.store.begin().await?;
    user::Entity::update_many()
        .col_expr(user::Column::PasswordHash, Expr::value(new_hash))
        .filter(user::Column::Id.eq(&caller.user_id))
        .exec(&txn)
        .await?;
    plane
        .store
        .end_sessions(&txn, &caller.user_id, Some(&session))
        .await?;
    let now = plane.now_ms();
    let revoked_tokens = match wish.revoke_tokens {
        true => {
            let store = &plane.store;
            store.revoke_tokens_of(&txn, &caller.user_id, now).await?
        }
        false => 0,
    };
    let entry = caller
        .did("user.password", "user", &caller.user_id)
        .with(json!({"revoked_tokens": revoked_tokens}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns what is kept of a new password that is long enough, once whoever asks has proven themselves.
async fn new_password<T>(
    plane: &Plane,
    field: &str,
    password: &str,
    proof: impl FnOnce() -> T,
) -> ApiResult<String>
where
    T: Future<Output = Result<user::Model, Refused>>,
{
    if let Some(flaw) = passwords::flaw(password) {
        return Err(ApiError::invalid(field, flaw));
    }
    proof().await.map_err(refused_again)?;
    hash_of(plane, password).await
}

/// Returns what is kept of a password.
pub(super) async fn hash_of(plane: &Plane, password: &str) -> ApiResult<String> {
    let hash = plane.guard.passwords.hash(password).await;
    hash.map_err(|Busy| Refused::Busy.into())
}

/// One's own password, before something that a borrowed browser must not do.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OwnPassword {
    /// The password.
    #[schema(max_length = 1000)]
    password: String,
}

/// The secret of a second factor, which is shown this once.
#[derive(Serialize, ToSchema)]
struct TotpSecret {
    /// The secret in base32, to type in.
    secret: String,
    /// The same to scan, as a QR code.
    uri: String,
}

/// Makes a second factor; it counts once its first code is confirmed.
#[utoipa::path(
    post, path = "/session/totp", tag = "sign-in",
    request_body = OwnPassword,
    responses(
        (status = 200, description = "The secret for the app", body = TotpSecret),
        (status = 403, description = "`wrong_credentials`: the password is wrong", body = ErrorBody),
        (status = 409, description = "`has_totp`: remove the one there is first", body = ErrorBody),
        (status = 429, description = "`locked` or `too_many`, with Retry-After", body = ErrorBody),
    ),
)]
async fn begin_totp(
    State(plane): State<SharedPlane>,
    parts: Parts,
    Person(caller, _): Person,
    Input(wish): Input<OwnPassword>,
) -> ApiResult<Json<TotpSecret>> {
    count(&plane, &parts)?;
    let user = check_again(&plane, &caller.user_id, &wish.password)
        .await
        .map_err(refused_again)?;
    if user.totp_secret_sealed.is_some() {
        return Err(ApiError::conflict(
            "has_totp",
            "you have a second factor already; remove it first",
        ));
    }
    let secret: [u8; totp::SECRET_BYTES] = plane.chance.bytes();
    let sealed = plane.sealing.seal(&totp_seal(&user.id), &secret);
    user::Entity::update_many()
        .col_expr(user::Column::TotpPendingSealed, Expr::value(Some(sealed)))
        .filter(user::Column::Id.eq(&user.id))
        .exec(plane.store.db())
        .await?;
    Ok(Json(TotpSecret {
        secret: totp::base32(&secret),
        uri: totp::uri(&secret, &user.email, "e3 backup"),
    }))
}

/// A code that the second factor shows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Code {
    /// Six digits.
    #[schema(max_length = 100)]
    code: String,
}

/// Confirms a second factor by its first code: from now on signing in takes one. Every other session ends.
#[utoipa::path(
    put, path = "/session/totp", tag = "sign-in",
    request_body = Code,
    responses(
        (status = 204, description = "Signing in takes a code from now on"),
        (status = 409, description = "`no_totp`: none was made", body = ErrorBody),
        (status = 422, description = "The code is wrong", body = ErrorBody),
    ),
)]
async fn confirm_totp(
    State(plane): State<SharedPlane>,
    Person(caller, session): Person,
    Input(wish): Input<Code>,
) -> ApiResult<StatusCode> {
    let user = plane.store.user(&caller.user_id).await?.ok_or_else(ended)?;
    let sealed = user.totp_pending_sealed.ok_or_else(no_totp)?;
    let secret = plane.sealing.open(&totp_seal(&user.id), &sealed)?;
    let now = plane.now_ms();
    let step = totp::step_of(&secret, &wish.code, now, 0)
        .ok_or_else(|| ApiError::invalid("code", "the code is wrong, or its time is over"))?;
    let txn = plane.store.begin().await?;
    let done = user::Entity::update_many()
        .col_expr(
            user::Column::TotpSecretSealed,
            Expr::value(Some(sealed.clone())),
        )
        .col_expr(
            user::Column::TotpPendingSealed,
            Expr::value(None::<Vec<u8>>),
        )
        .col_expr(user::Column::TotpLastStep, Expr::value(step))
        .filter(user::Column::Id.eq(&user.id))
        .filter(user::Column::TotpPendingSealed.eq(sealed))
        .exec(&txn)
        .await?;
    if done.rows_affected == 0 {
        return Err(no_totp());
    }
    plane
        .store
        .end_sessions(&txn, &user.id, Some(&session))
        .await?;
    let entry = caller.did("user.totp", "user", &caller.user_id);
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What it takes to remove a second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BothFactors {
    /// The password.
    #[schema(max_length = 1000)]
    password: String,
    /// A code that the second factor shows.
    #[schema(max_length = 100)]
    code: String,
}

/// Removes the second factor.
#[utoipa::path(
    delete, path = "/session/totp", tag = "sign-in",
    request_body = BothFactors,
    responses(
        (status = 204, description = "Signing in takes the password alone from now on"),
        (status = 403, description = "`wrong_credentials`: the password or the code is wrong", body = ErrorBody),
        (status = 409, description = "`no_totp`: there is none", body = ErrorBody),
        (status = 429, description = "`locked` or `too_many`, with Retry-After", body = ErrorBody),
    ),
)]
async fn remove_totp(
    State(plane): State<SharedPlane>,
    parts: Parts,
    Person(caller, _): Person,
    Input(wish): Input<BothFactors>,
) -> ApiResult<StatusCode> {
    count(&plane, &parts)?;
    let user = plane.store.user(&caller.user_id).await?.ok_or_else(ended)?;
    if user.totp_secret_sealed.is_none() {
        return Err(no_totp());
    }
    check_both_again(&plane, &caller.user_id, &wish.password, &wish.code)
        .await
        .map_err(refused_again)?;
    let txn = plane.store.begin().await?;
    user::Entity::update_many()
        .col_expr(user::Column::TotpSecretSealed, Expr::value(None::<Vec<u8>>))
        .filter(user::Column::Id.eq(&caller.user_id))
        .exec(&txn)
        .await?;
    let entry = caller.did("user.totp_remove", "user", &caller.user_id);
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_totp() -> ApiError {
    ApiError::conflict("no_totp", "there is no second factor; make one first")
}

fn ended() -> ApiError {
    ApiError::unauthenticated("sign in: the session has ended")
}

/// What to answer when somebody who is signed in gives a wrong password: 403, for the session itself is fine.
pub fn refused_again(refused: Refused) -> ApiError {
    match refused {
        Refused::Wrong { .. } | Refused::CodeNeeded => ApiError::new(
            StatusCode::FORBIDDEN,
            "wrong_credentials",
            "the password or the code is wrong",
        ),
        other => other.into(),
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::Wrong { .. } => {
                Self::new(StatusCode::UNAUTHORIZED, "wrong_credentials", message)
            }
            Refused::CodeNeeded => Self::new(StatusCode::UNAUTHORIZED, "code_needed", message),
            Refused::Locked { wait_ms } => Self::too_many("locked", message, wait_ms),
            Refused::Busy => Self::too_many("busy", message, 1_000),
            Refused::Store(error) => error.into(),
            Refused::Sealing(error) => error.into(),
        }
    }
}
