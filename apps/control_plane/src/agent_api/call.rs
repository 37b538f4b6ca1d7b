//! A call as it came: who calls, how often, and what was sent.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Uri, header};
use protocol::endpoint::Endpoint;
use protocol::form::{self, Fields};
use protocol::identity::Program;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::agent_api::Shared;
use crate::agent_api::refusal::Refusal;
use crate::live::What;
use crate::plane::{Plane, SharedPlane, token_hash};
use crate::run_rules::finish::is_older;
use crate::source::{address_of, ip_of};
use crate::store::entity::host;

/// What an agent may send at once: lists of folders, pieces of logs.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What somebody may send at once who is not known yet, and what a form has.
const FORM_BYTES_MAX: usize = 128 << 10;

/// An authenticated call.
#[derive(Debug)]
pub(super) struct AgentCall {
    /// Who calls.
    pub(super) host: host::Model,
    /// What the calls of this instance share.
    pub(super) shared: Arc<Shared>,
    sent: Sent,
}

/// A call for the next run.
#[derive(Debug)]
pub(super) enum NextRunCall {
    /// Of somebody who is known to have none.
    Idle,
    /// Of somebody for whom there may be one.
    Asks(Box<AgentCall>),
}

/// A call of somebody who is not known yet.
#[derive(Debug)]
pub(super) struct OpenCall {
    /// The form that was sent.
    pub(super) fields: Fields,
    /// Where the call comes from, in words.
    pub(super) address: String,
    /// The headers.
    pub(super) headers: HeaderMap,
}

/// What was sent.
#[derive(Debug)]
struct Sent {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Sent {
    fn is_form(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE);
        kind.and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    }

    /// Returns the fields of the query and of a form.
    fn fields(&self) -> Fields {
        let mut fields = form::decode(self.uri.query().unwrap_or_default());
        if self.is_form() {
            fields.extend(form::decode(&String::from_utf8_lossy(&self.body)));
        }
        // PostgreSQL has no such character in texts.
        for (_, value) in &mut fields {
            value.retain(|letter| letter != '\0');
        }
        fields
    }

    /// Returns the name and the token that the headers say, if they say both.
    fn by_headers(&self) -> Option<(String, String)> {
        let (id, token) = (self.header("x-agent-uuid"), self.header("x-agent-token"));
        let says_both = !id.is_empty() && !token.is_empty();
        says_both.then(|| (id.to_owned(), token.to_owned()))
    }

    /// Returns what the headers say of the program.
    fn program(&self) -> Program {
        Program {
            version: self.header("x-agent-version").to_owned(),
            os: self.header("x-agent-os").to_owned(),
            arch: self.header("x-agent-arch").to_owned(),
            build: String::new(),
        }
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .trim()
    }
}

/// Returns a field of a form; empty if it is not there.
pub(super) fn field<'f>(fields: &'f Fields, name: &str) -> &'f str {
    let found = fields.iter().rev().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value.trim())
}

/// A call that its address may make, of somebody who has not shown yet who he is.
struct Admitted {
    shared: Arc<Shared>,
    endpoint: Option<Endpoint>,
    sent: Sent,
    body: Body,
}

impl Admitted {
    fn new(request: Request, plane: &SharedPlane) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let shared = parts
            .extensions
            .get::<Arc<Shared>>()
            .cloned()
            .expect("the routes bring it");
        let path = parts.uri.path();
        let mut endpoints = Endpoint::ALL.iter().copied();
        let endpoint = endpoints.find(|endpoint| path.ends_with(endpoint.script()));
        if is_hot(endpoint)
            && let Some(address) = ip_of(&parts, &plane.options)
            && !shared.paces.address_may(address, plane.clock.monotonic())
        {
            return Err(Refusal::too_often(1));
        }
        Ok(Self {
            shared,
            endpoint,
            sent: Sent {
                uri: parts.uri,
                headers: parts.headers,
                body: Bytes::new(),
            },
            body,
        })
    }

    fn agent_may(&self, plane: &SharedPlane, id: &str) -> Result<(), Refusal> {
        let now = plane.clock.monotonic();
        match !is_hot(self.endpoint) || self.shared.paces.agent_may(id, now) {
            true => Ok(()),
            false => Err(Refusal::too_often(1)),
        }
    }

    /// Finds out who calls, and reads what was sent.
    async fn identified(mut self, plane: &SharedPlane) -> Result<AgentCall, Refusal> {
        // Nobody sends much before it is known who calls.
        let host = match self.sent.by_headers() {
            Some((id, token)) => {
                let host = authenticate(plane, &id, &token).await?;
                self.agent_may(plane, &host.id)?;
                self.sent.body = read(self.body, BODY_BYTES_MAX).await?;
                host
            }
            None if self.sent.is_form() => {
                self.sent.body = read(std::mem::take(&mut self.body), FORM_BYTES_MAX).await?;
                let fields = self.sent.fields();
                let (id, token) = (field(&fields, "agent_uuid"), field(&fields, "agent_token"));
                let host = authenticate(plane, id, token).await?;
                self.agent_may(plane, &host.id)?;
                host
            }
            None => return Err(Refusal::new(401, "Missing agent headers")),
        };
        let says_program = matches!(
            self.endpoint,
            Some(
                Endpoint::NextRun
                    | Endpoint::Poll
                    | Endpoint::PollPendingCommands
                    | Endpoint::PollCommands
                    | Endpoint::PollRepoOperations
            )
        );
        let program = match says_program {
            true => self.sent.program(),
            false => Program::default(),
        };
        seen(plane, &host, &program).await?;
        Ok(AgentCall {
            host,
            shared: self.shared,
            sent: self.sent,
        })
    }
}

fn is_hot(endpoint: Option<Endpoint>) -> bool {
    endpoint.is_some_and(Endpoint::is_rate_limited)
}

impl FromRequest<SharedPlane> for AgentCall {
    type Rejection = Refusal;

    async fn from_request(request: Request, plane: &SharedPlane) -> Result<Self, Refusal> {
        Admitted::new(request, plane)?.identified(plane).await
    }
}

impl FromRequest<SharedPlane> for NextRunCall {
    type Rejection = Refusal;

    async fn from_request(request: Request, plane: &SharedPlane) -> Result<Self, Refusal> {
        let call = Admitted::new(request, plane)?;
        if let Some((id, token)) = call.sent.by_headers() {
            let program = call.sent.program();
            let idle = &call.shared.idle;
            if idle.has_no_run(plane, (&id, &token), &program).await? {
                call.agent_may(plane, &id)?;
                return Ok(Self::Idle);
            }
        }
        let call = call.identified(plane).await?;
        Ok(Self::Asks(Box::new(call)))
    }
}

/// Writes down that a host called, and tells whoever watches that it is online.
pub(super) async fn seen(
    plane: &SharedPlane,
    host: &host::Model,
    program: &Program,
) -> Result<(), Refusal> {
    let store = &plane.store;
    if store.touch_host(host, program, plane.now_ms()).await? {
        plane.live.tell(&host.tenant_id, What::Host, &host.id);
    }
    Ok(())
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    // What else can go wrong is that the caller has hung up, and nobody reads the answer.
    let read = to_bytes(body, bytes_max).await;
    read.map_err(|_| Refusal::new(413, "The request is too large"))
}

async fn authenticate(plane: &SharedPlane, id: &str, token: &str) -> Result<host::Model, Refusal> {
    if id.is_empty() || token.is_empty() {
        return Err(Refusal::new(401, "Missing agent headers"));
    }
    let host = match Uuid::parse_str(id) {
        Ok(id) => plane.store.host(&id.to_string()).await?,
        Err(_) => None,
    };
    // Hashes are compared, so the time it takes says nothing about the token.
    host.filter(|host| host.token_hash == token_hash(token) && !host.is_disabled)
        .ok_or_else(|| Refusal::new(401, "Unauthorized"))
}

impl FromRequest<SharedPlane> for OpenCall {
    type Rejection = Refusal;

    async fn from_request(request: Request, plane: &SharedPlane) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let address = address_of(&parts, &plane.options);
        let sent = Sent {
            uri: parts.uri,
            headers: parts.headers,
            body: read(body, FORM_BYTES_MAX).await?,
        };
        Ok(Self {
            fields: sent.fields(),
            address,
            headers: sent.headers,
        })
    }
}

impl AgentCall {
    /// Remembers that there is no run for who calls.
    pub(super) fn has_no_run(&self, plane: &Plane) {
        let program = self.sent.program();
        self.shared.idle.remember(plane, &self.host, program);
    }

    /// Returns the fields of the query and of a form.
    pub(super) fn fields(&self) -> Fields {
        self.sent.fields()
    }

    /// Returns the members of the document that was sent.
    pub(super) fn members(&self) -> Result<Map<String, Value>, Refusal> {
        match serde_json::from_slice(&self.sent.body) {
            Ok(Value::Object(mut members)) => {
                members.values_mut().for_each(without_nul);
                Ok(members)
            }
            _ => Err(Refusal::invalid("The body is not a JSON object")),
        }
    }

    /// Reads the document that was sent.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let wrong = |error: serde_json::Error| {
            Refusal::invalid(format!("The document cannot be read: {error}"))
        };
        // Straight from the bytes, where maps have their order.
        if !self.has_nul() {
            return serde_json::from_slice(&self.sent.body).map_err(wrong);
        }
        serde_json::from_value(Value::Object(self.members()?)).map_err(wrong)
    }

    fn has_nul(&self) -> bool {
        self.sent.body.windows(6).any(|bytes| bytes == b"\\u0000")
    }

    /// Refuses versions that are too old. `said` is what the body says of the version.
    pub(super) async fn pass_gate(&self, plane: &SharedPlane, said: &str) -> Result<(), Refusal> {
        let Some(min_version) = plane.store.min_agent_version().await? else {
            return Ok(());
        };
        let reported = match said.trim() {
            "" => &self.host.agent_version,
            said => said,
        };
        if !is_older(reported, &min_version) {
            return Ok(());
        }
        Err(Refusal::new(
            426,
            format!("This server wants version {min_version} of the agent or newer"),
        )
        .code("agent_version_too_old")
        .with("min_version", min_version.into())
        .with("reported_version", reported.into()))
    }
}

/// PostgreSQL has no U+0000 in texts, and nobody has a use for it.
fn without_nul(value: &mut Value) {
    match value {
        Value::String(text) => text.retain(|letter| letter != '\0'),
        Value::Array(list) => list.iter_mut().for_each(without_nul),
        Value::Object(members) => members.values_mut().for_each(without_nul),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the UUID that a member holds, as it is stored.
pub(super) fn uuid_of(members: &Map<String, Value>, name: &str) -> Result<String, Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Err(Refusal::invalid(format!("{name} is required"))),
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(Refusal::invalid(format!("{name} is required")))
        }
        Some(Value::String(text)) => uuid(text, name),
        Some(_) => Err(Refusal::identifier(name)),
    }
}

/// Returns a UUID as it is stored.
pub(super) fn uuid(text: &str, name: &str) -> Result<String, Refusal> {
    match Uuid::parse_str(text.trim()) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err(Refusal::identifier(name)),
    }
}
