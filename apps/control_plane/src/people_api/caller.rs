//! Who calls the people's API, and what they may do: a person with a session's cookie, or a program with a token.

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::people_api::error::{ApiError, ApiResult};
use crate::plane::{SharedPlane, token_hash};
use crate::source::address_of;
use crate::store::audit::Entry;
use crate::store::entity::{api_token, session, user};

/// The session's cookie, where people reach the server by HTTPS; `__Host-` binds it to this very host.
pub const SECURE_COOKIE: &str = "__Host-e3_session";

/// The session's cookie elsewhere.
pub const PLAIN_COOKIE: &str = "e3_session";

/// The header that repeats the session's CSRF token on every call that changes something.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// How long a session lasts without being used.
pub const IDLE_MS: i64 = 12 * 3_600_000;

/// A session's last use is written down once in this time.
const TOUCH_MS: i64 = 60_000;

/// What somebody may do. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Runs, restores, changes jobs, answers alarms.
    Operator,
    /// Manages people, repositories, hosts and settings, and brings machines in.
    Owner,
}

impl Role {
    /// Reads a role's word.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "viewer" => Some(Self::Viewer),
            "operator" => Some(Self::Operator),
            "owner" => Some(Self::Owner),
            _ => None,
        }
    }

    /// Returns the role's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The person; of a token, who made it.
    pub user_id: String,
    /// In words, for the audit log: an address, or a token's name.
    pub name: String,
    /// The only tenant whose things the caller may see; none: all.
    pub tenant_id: Option<String>,
    /// What the caller may do.
    pub role: Role,
    /// The hash of the session's cookie, if a person calls.
    pub session: Option<String>,
    /// Where the call came from, as far as is known.
    pub address: String,
}

impl Caller {
    /// Tells whether the caller may see things of a tenant.
    pub fn sees(&self, tenant_id: &str) -> bool {
        self.tenant_id.as_deref().is_none_or(|own| own == tenant_id)
    }

    /// Returns the only tenant whose things a list may hold, none for all of them: the caller's own, or, for somebody
    /// of the installation, the one that was asked for.
    pub fn scope(&self, named: Option<&str>) -> ApiResult<Option<String>> {
        match (self.tenant_id.as_deref(), named) {
            (Some(own), Some(named)) if own != named => {
                Err(ApiError::not_found(format_args!("tenant {named}")))
            }
            (Some(own), _) => Ok(Some(own.to_owned())),
            (None, named) => Ok(named.map(str::to_owned)),
        }
    }

    /// Refuses whoever has less than a role.
    pub fn needs(&self, role: Role) -> ApiResult<()> {
        if self.role >= role {
            return Ok(());
        }
        Err(ApiError::forbidden(format!(
            "this takes the role {}; yours is {}",
            role.as_str(),
            self.role.as_str()
        )))
    }

    /// Refuses whoever belongs to a tenant: what concerns the installation is not theirs.
    pub fn needs_installation(&self) -> ApiResult<()> {
        match self.tenant_id {
            None => Ok(()),
            Some(_) => Err(ApiError::forbidden(
                "this is for owners of the installation, not for those of a tenant",
            )),
        }
    }

    /// Returns an audit entry that says what the caller did, to a thing of the caller's own tenant or of none.
    pub fn did<'a>(
        &'a self,
        action: &'a str,
        object_kind: &'a str,
        object_id: &'a str,
    ) -> Entry<'a> {
        Entry {
            tenant_id: self.tenant_id.as_deref(),
            user_id: Some(&self.user_id),
            actor: &self.name,
            action,
            object_kind,
            object_id,
            detail: serde_json::Value::Null,
            address: &self.address,
        }
    }

    /// Returns the tenant that something new belongs to: the caller's own, or the one that was named.
    pub fn tenant_for(&self, named: Option<&str>) -> ApiResult<String> {
        match (self.tenant_id.as_deref(), named) {
            (Some(own), None) => Ok(own.to_owned()),
            (Some(own), Some(named)) if own == named => Ok(own.to_owned()),
            (Some(_), Some(_)) => Err(ApiError::forbidden("this tenant is not yours")),
            (None, Some(named)) => Ok(named.to_owned()),
            (None, None) => Err(ApiError::invalid(
                "tenant_id",
                "say which tenant it belongs to",
            )),
        }
    }
}

/// A caller who may look.
#[derive(Clone, Debug)]
pub struct Viewer(pub Caller);

/// A caller who may run, restore and change jobs.
#[derive(Clone, Debug)]
pub struct Operator(pub Caller);

/// A caller who may manage.
#[derive(Clone, Debug)]
pub struct Owner(pub Caller);

/// A caller who may manage the installation itself: an owner of no tenant.
#[derive(Clone, Debug)]
pub struct InstallationOwner(pub Caller);

/// A person who is signed in, with the hash of the session's cookie: what concerns a session is not for programs.
#[derive(Clone, Debug)]
pub struct Person(pub Caller, pub String);

impl FromRequestParts<SharedPlane> for Person {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, plane: &SharedPlane) -> ApiResult<Self> {
        let caller = caller(parts, plane, Role::Viewer).await?;
        match caller.session.clone() {
            Some(session) => Ok(Self(caller, session)),
            None => Err(ApiError::forbidden(
                "this is for people who are signed in, not for tokens",
            )),
        }
    }
}

impl FromRequestParts<SharedPlane> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, plane: &SharedPlane) -> ApiResult<Self> {
        caller(parts, plane, Role::Viewer).await.map(Self)
    }
}

impl FromRequestParts<SharedPlane> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, plane: &SharedPlane) -> ApiResult<Self> {
        caller(parts, plane, Role::Operator).await.map(Self)
    }
}

impl FromRequestParts<SharedPlane> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, plane: &SharedPlane) -> ApiResult<Self> {
        caller(parts, plane, Role::Owner).await.map(Self)
    }
}

impl FromRequestParts<SharedPlane> for InstallationOwner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, plane: &SharedPlane) -> ApiResult<Self> {
        let caller = caller(parts, plane, Role::Owner).await?;
        caller.needs_installation()?;
        Ok(Self(caller))
    }
}

/// Finds out who calls; refuses whoever has less than the role that is needed.
pub async fn caller(parts: &Parts, plane: &SharedPlane, needed: Role) -> ApiResult<Caller> {
    let caller = match bearer(&parts.headers) {
        Some(token) => program(parts, plane, token).await?,
        None => person(parts, plane).await?,
    };
    caller.needs(needed)?;
    Ok(caller)
}

async fn program(parts: &Parts, plane: &SharedPlane, token: &str) -> ApiResult<Caller> {
    let now = plane.now_ms();
    let unknown =
        || ApiError::unauthenticated("this token is unknown, has ended or was taken back");
    let row = api_token::Entity::find()
        .filter(api_token::Column::TokenHash.eq(token_hash(token)))
        .one(plane.store.db())
        .await?
        .filter(|row| row.revoked_at.is_none() && row.expires_at.is_none_or(|end| now < end))
        .ok_or_else(unknown)?;
    let maker = user::Entity::find_by_id(&row.user_id)
        .one(plane.store.db())
        .await?
        .filter(|maker| !maker.is_disabled)
        .ok_or_else(unknown)?;
    let role = Role::of(&row.role)
        .min(Role::of(&maker.role))
        .ok_or_else(unknown)?;
    let caller = Caller {
        user_id: row.user_id.clone(),
        name: format!("token {} of {}", row.name, maker.email),
        tenant_id: maker.tenant_id.or_else(|| row.tenant_id.clone()),
        role,
        session: None,
        address: address_of(parts, &plane.options),
    };
    if row.last_used_at.is_none_or(|last| now - last >= TOUCH_MS) {
        api_token::Entity::update_many()
            .col_expr(api_token::Column::LastUsedAt, now.into())
            .filter(api_token::Column::Id.eq(row.id))
            .exec(plane.store.db())
            .await?;
    }
    Ok(caller)
}

async fn person(parts: &Parts, plane: &SharedPlane) -> ApiResult<Caller> {
    let now = plane.now_ms();
    let ended = || ApiError::unauthenticated("sign in: there is no session, or it has ended");
    let name = cookie_name(plane);
    let cookie = cookie(&parts.headers, name).ok_or_else(ended)?;
    let hash = token_hash(cookie);
    let row = session::Entity::find_by_id(&hash)
        .one(plane.store.db())
        .await?
        .filter(|row| now < row.expires_at && now < row.last_seen_at + IDLE_MS)
        .ok_or_else(ended)?;
    let user = user::Entity::find_by_id(&row.user_id)
        .one(plane.store.db())
        .await?
        .filter(|user| !user.is_disabled)
        .ok_or_else(ended)?;
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let sent = parts
            .headers
            .get(CSRF_HEADER)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        // Hashes are compared, so the time it takes says nothing about the token.
        if token_hash(sent) != token_hash(&row.csrf_token) {
            return Err(ApiError::new(
                axum::http::StatusCode::FORBIDDEN,
                "csrf",
                "the X-CSRF-Token header does not belong to this session; load the page again",
            ));
        }
    }
    if now - row.last_seen_at >= TOUCH_MS {
        // The session may end at this very moment; then there is nothing to write down.
        session::Entity::update_many()
            .col_expr(session::Column::LastSeenAt, now.into())
            .filter(session::Column::TokenHash.eq(&hash))
            .exec(plane.store.db())
            .await?;
    }
    Ok(Caller {
        role: Role::of(&user.role).ok_or_else(ended)?,
        user_id: user.id,
        name: user.email,
        tenant_id: user.tenant_id,
        session: Some(hash),
        address: address_of(parts, &plane.options),
    })
}

/// Returns the name of the session's cookie.
pub fn cookie_name(plane: &SharedPlane) -> &'static str {
    if plane.options.is_secure {
        SECURE_COOKIE
    } else {
        PLAIN_COOKIE
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}
