//! Enrolment: by token, by login in two steps, or in one on old servers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::record::Call;
use crate::reply::Reply;
use crate::world::{LoginSession, Now, World};

const SESSION_LASTS: Duration = Duration::from_secs(600);

fn field<'a>(call: &'a Call, name: &str) -> &'a str {
    call.body[name].as_str().unwrap_or_default()
}

pub(super) fn enroll(world: &mut World, call: &Call, _: Now) -> Reply {
    let (token, hostname) = (field(call, "token"), field(call, "hostname"));
    if token.is_empty() || hostname.is_empty() {
        return Reply::fail(400, "Missing token or hostname");
    }
    let found = world
        .enrollment_tokens
        .iter_mut()
        .find(|known| known.token == token);
    match found {
        None => return Reply::fail(401, "Invalid token"),
        Some(found) if found.revoked => return Reply::fail(401, "Token revoked"),
        Some(found) if found.uses_left == 0 => return Reply::fail(401, "Token usage exhausted"),
        Some(found) => found.uses_left -= 1,
    }
    let device_id = field(call, "device_id").to_owned();
    Reply::success(enrolled(world, &device_id))
}

/// The same machine gets its row again, with a new secret; the old one stops working.
fn enrolled(world: &mut World, device_id: &str) -> Value {
    let row = world.row();
    let token = format!("{row:040x}");
    let known = world
        .agents
        .iter()
        .position(|agent| !device_id.is_empty() && agent.device_id == device_id);
    let place = known.unwrap_or_else(|| {
        let id = match world.is_old() {
            true => row.to_string(),
            false => format!("0f0e0d0c-0000-4000-8000-{row:012x}"),
        };
        world.add_agent(&id, &token);
        world.agents.len() - 1
    });
    world.secrets.push(token.clone());
    let agent = &mut world.agents[place];
    agent.token.clone_from(&token);
    agent.device_id = device_id.to_owned();
    let id_name = match world.settings.generation {
        crate::world::Generation::Old => "agent_id",
        crate::world::Generation::Current => "agent_uuid",
    };
    json!({id_name: world.agents[place].id, "client_id": "1204", "tenant_id": null, "agent_token": token,
        "api_base_url": "https://accounts.example.com/modules/addons/cloudstorage/api",
        "message": "Agent enrolled"})
}

pub(super) fn login(world: &mut World, call: &Call, now: Now) -> Reply {
    match (field(call, "mode"), world.is_old()) {
        ("" | "authenticate" | "complete", true) | ("authenticate", false) => {
            authenticate(world, call, now)
        }
        ("complete", false) => complete(world, call, now),
        _ => Reply::fail(400, "Invalid mode"),
    }
}

fn authenticate(world: &mut World, call: &Call, now: Now) -> Reply {
    let (email, password) = (field(call, "email"), field(call, "password"));
    if email.is_empty() || password.is_empty() || field(call, "hostname").is_empty() {
        return Reply::fail(400, "Missing email, password or hostname");
    }
    if !world
        .accounts
        .contains(&(email.to_owned(), password.to_owned()))
    {
        return Reply::fail(401, "Invalid credentials");
    }
    let device_id = field(call, "device_id").to_owned();
    if world.is_old() {
        return Reply::success(enrolled(world, &device_id));
    }
    let row = world.row();
    let token = format!("{row:064x}");
    world.sessions.push(LoginSession {
        token: token.clone(),
        device_id,
        since: now.since,
        used: false,
    });
    Reply::success(
        json!({"mode": "authenticate", "client_id": "1204", "session_token": token,
        "users": [{"id": 31, "public_id": "u31", "username": "office", "email": email,
            "backup_type": "both", "tenant_id": null}], "message": "Choose a user"}),
    )
}

fn complete(world: &mut World, call: &Call, now: Now) -> Reply {
    let token = field(call, "session_token");
    let chosen =
        !field(call, "backup_user_id").is_empty() || field(call, "auto_create_user") == "true";
    if token.is_empty() || !chosen {
        return Reply::fail(400, "Missing session token or backup user");
    }
    let session = world
        .sessions
        .iter_mut()
        .find(|session| session.token == token);
    let Some(session) = session else {
        return Reply::fail(404, "Session not found");
    };
    if session.used {
        return Reply::fail(409, "Session already used");
    }
    if now.since.saturating_sub(session.since) > SESSION_LASTS {
        return Reply::fail(401, "Session expired");
    }
    session.used = true;
    let device_id = session.device_id.clone();
    let mut answer = enrolled(world, &device_id);
    answer["mode"] = "complete".into();
    answer["user"] = json!({"id": 31, "username": "office"});
    Reply::success(answer)
}
