//! Making agents known: by a token, or by e-mail and password in two steps (contract 2.1 and 2.2).

use std::net::IpAddr;

use axum::extract::State;
use axum::http::HeaderMap;
use protocol::form::Fields;
use protocol::identity::Program;
use protocol::limit::shortened;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent_api::BASE;
use crate::agent_api::call::{OpenCall, field};
use crate::agent_api::refusal::{Answer, Refusal, success};
use crate::credentials::{self, Refused};
use crate::live::What;
use crate::people_api::caller::Role;
use crate::plane::{SharedPlane, token_hash};
use crate::public_url::public_url;
use crate::sign_in::Door;
use crate::store::agents::{Fresh, Newcomer, NotCompleted, NotEnrolled};
use crate::store::entity::{host, login_session, tenant, user};

/// Shorter tokens are none of ours.
const TOKEN_CHARS_MIN: usize = 32;
/// How long a sign-in may be completed.
const LOGIN_MS: i64 = 600_000;

/// What is kept of a machine between the two steps of a sign-in.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Machine {
    hostname: String,
    device_id: String,
    install_id: String,
    device_name: String,
    program: Program,
}

impl Machine {
    fn of(fields: &Fields) -> Self {
        let text = |name: &str, chars_max| shortened(field(fields, name), chars_max);
        Self {
            hostname: text("hostname", 191),
            device_id: text("device_id", 64),
            install_id: text("install_id", 64),
            device_name: text("device_name", 191),
            program: Program {
                version: text("agent_version", 64),
                os: text("agent_os", 32),
                arch: text("agent_arch", 16),
                build: text("agent_build", 64),
            },
        }
    }

    fn newcomer(self) -> Newcomer {
        Newcomer {
            hostname: self.hostname,
            device_id: self.device_id,
            install_id: self.install_id,
            device_name: self.device_name,
            program: self.program,
        }
    }
}

/// Enrols by a token.
pub(super) async fn enroll(State(plane): State<SharedPlane>, call: OpenCall) -> Answer {
    plane
        .guard
        .count_enrolment(call.address.parse().ok(), plane.now_ms())
        .map_err(too_often)?;
    let token = field(&call.fields, "token");
    let machine = Machine::of(&call.fields);
    if token.is_empty() || machine.hostname.is_empty() {
        return Err(Refusal::invalid("Missing token or hostname"));
    }
    let refuse = |why: NotEnrolled| {
        Refusal::new(
            401,
            match why {
                NotEnrolled::Invalid => "Invalid token",
                NotEnrolled::Revoked => "Token revoked",
                NotEnrolled::Expired => "Token expired",
                NotEnrolled::Exhausted => "Token usage exhausted",
                NotEnrolled::Disabled => "This agent was disabled by an administrator",
            },
        )
    };
    if token.len() < TOKEN_CHARS_MIN {
        return Err(refuse(NotEnrolled::Invalid));
    }
    let (agent_token, fresh) = fresh(&plane);
    let host = plane
        .store
        .enrol(
            &token_hash(token),
            &machine.newcomer(),
            &fresh,
            &call.address,
            plane.now_ms(),
        )
        .await?
        .map_err(refuse)?;
    enrolled(&plane, &call.headers, &host, &agent_token, json!({})).await
}

/// Signs an agent in, a step at a time.
pub(super) async fn login(State(plane): State<SharedPlane>, call: OpenCall) -> Answer {
    match field(&call.fields, "mode") {
        "authenticate" => authenticate(&plane, &call).await,
        "complete" => complete(&plane, &call).await,
        _ => Err(Refusal::invalid("Invalid mode")),
    }
}

async fn authenticate(plane: &SharedPlane, call: &OpenCall) -> Answer {
    let address = pace(plane, call)?;
    let email = field(&call.fields, "email");
    let password = call
        .fields
        .iter()
        .rev()
        .find(|(name, _)| name == "password")
        .map_or("", |(_, value)| value);
    let machine = Machine::of(&call.fields);
    if email.is_empty() || password.is_empty() || machine.hostname.is_empty() {
        return Err(Refusal::invalid("Missing email, password or hostname"));
    }
    let user = credentials::check(plane, Door::Agents, address, email, password, None)
        .await
        .map_err(not_let_in)?;
    may_enrol(&user)?;
    let tenants = plane.store.tenants_of(&user).await?;
    let session_token = hex::encode(plane.chance.bytes::<32>());
    let now = plane.now_ms();
    plane
        .store
        .begin_login(login_session::Model {
            token_hash: token_hash(&session_token),
            user_id: user.id.clone(),
            machine_json: json!(machine).to_string(),
            expires_at: now + LOGIN_MS,
            consumed_at: None,
        })
        .await?;
    let users: Vec<Value> = tenants.iter().map(|it| backup_user(&user, it)).collect();
    Ok(success(json!({
        "mode": "authenticate",
        "client_id": user.tenant_id.as_deref().unwrap_or(&user.id),
        "session_token": session_token,
        "users": users,
        "message": "Choose whom the agent belongs to",
    })))
}

/// Refuses whoever is no owner: an agent is handed the keys of repositories.
fn may_enrol(user: &user::Model) -> Result<(), Refusal> {
    match Role::of(&user.role) {
        Some(Role::Owner) => Ok(()),
        _ => Err(Refusal::new(
            403,
            "This person may not enrol agents; it takes the role owner",
        )),
    }
}

/// Counts a call that tries passwords; returns where it comes from.
fn pace(plane: &SharedPlane, call: &OpenCall) -> Result<Option<IpAddr>, Refusal> {
    let address: Option<IpAddr> = call.address.parse().ok();
    let counted = plane.guard.count(Door::Agents, address, plane.now_ms());
    counted.map_err(too_often)?;
    Ok(address)
}

fn too_often(wait_ms: i64) -> Refusal {
    Refusal::too_often(seconds(wait_ms))
}

fn seconds(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).div_ceil(1_000).max(1)
}

fn not_let_in(refused: Refused) -> Refusal {
    match refused {
        Refused::Wrong { .. } => Refusal::new(401, "Invalid credentials"),
        Refused::CodeNeeded => Refusal::new(
            403,
            "This person has a second factor; enrol the agent by an enrolment token",
        ),
        Refused::Locked { wait_ms } => too_often(wait_ms),
        Refused::Busy => Refusal::too_often(1),
        failed => Refusal::internal(&failed),
    }
}

/// What the contract calls a user that an agent may belong to is a tenant here.
fn backup_user(user: &user::Model, tenant: &tenant::Model) -> Value {
    json!({
        "id": tenant.id, "public_id": tenant.id, "username": tenant.name, "email": user.email,
        "backup_type": "both", "tenant_id": null,
    })
}

async fn complete(plane: &SharedPlane, call: &OpenCall) -> Answer {
    let session_token = match field(&call.fields, "session_token") {
        "" => return Err(Refusal::invalid("Missing session token")),
        token => token,
    };
    let now = plane.now_ms();
    let refuse = |why: NotCompleted| match why {
        NotCompleted::NoSession => Refusal::new(404, "Session not found"),
        NotCompleted::Expired => Refusal::new(401, "Session expired"),
        NotCompleted::Used => Refusal::new(409, "Session already used"),
        NotCompleted::NoTenant => Refusal::new(404, "User not found"),
        NotCompleted::Disabled => Refusal::new(403, "This agent was disabled by an administrator"),
    };
    let login = plane
        .store
        .login(&token_hash(session_token), now)
        .await?
        .map_err(refuse)?;
    // The role may have been taken since the first step.
    may_enrol(&login.1)?;
    let tenants = plane.store.tenants_of(&login.1).await?;
    let wants_new = matches!(
        field(&call.fields, "auto_create_user"),
        "true" | "1" | "yes"
    );
    let tenant = match (field(&call.fields, "backup_user_id"), &tenants[..]) {
        ("", [only]) if wants_new => only,
        ("", _) => return Err(Refusal::invalid("No backup user chosen")),
        (id, tenants) => tenants
            .iter()
            .find(|tenant| tenant.id == id)
            .ok_or_else(|| refuse(NotCompleted::NoTenant))?,
    };
    let machine: Machine = serde_json::from_str(&login.0.machine_json).unwrap_or_default();
    let (agent_token, fresh) = fresh(plane);
    let newcomer = machine.newcomer();
    let host = plane
        .store
        .complete_login(&login, &tenant.id, &newcomer, &fresh, &call.address, now)
        .await?
        .map_err(refuse)?;
    let members = json!({"mode": "complete", "user": backup_user(&login.1, tenant)});
    enrolled(plane, &call.headers, &host, &agent_token, members).await
}

fn fresh(plane: &SharedPlane) -> (String, Fresh) {
    let token = plane.new_token();
    let fresh = Fresh {
        host_id: plane.chance.uuid().to_string(),
        token_hash: token_hash(&token),
    };
    (token, fresh)
}

async fn enrolled(
    plane: &SharedPlane,
    headers: &HeaderMap,
    host: &host::Model,
    agent_token: &str,
    members: Value,
) -> Answer {
    plane.live.tell(&host.tenant_id, What::Host, &host.id);
    plane.live.tell(&host.tenant_id, What::HostWork, &host.id);
    let mut members = members;
    members["agent_uuid"] = json!(host.id);
    members["client_id"] = json!(host.tenant_id);
    members["tenant_id"] = Value::Null;
    members["agent_token"] = json!(agent_token);
    members["api_base_url"] = json!(format!("{}{BASE}", public_url(plane, headers).await?));
    members["message"] = json!("Agent enrolled");
    Ok(success(members))
}
