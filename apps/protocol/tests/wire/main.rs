//! What the crate makes of the contract's own examples, of what PHP does to them, and of nonsense.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

mod answers;
mod contract_examples;
mod hostile;
mod php_artefacts;
mod requests;
mod survival;

use jiff::Timestamp;
use protocol::identity::{AgentId, Caller, Identity, Program};
use protocol::{Call, NoAnswer, Request, Response, SecretText, WireId};
use serde_json::Value;

/// Returns a response with a JSON body.
fn response(http_status: u16, body: &str) -> Response {
    Response {
        http_status,
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

/// Reads a successful answer to a call.
fn answer<C: Call>(call: &C, body: &str) -> Result<C::Answer, NoAnswer> {
    protocol::request::answer_of(call, &response(200, body))
}

fn program() -> Program {
    Program {
        version: "1.8.2".to_owned(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        build: String::new(),
    }
}

fn caller() -> Caller {
    Caller {
        identity: Some(Identity {
            agent: AgentId::Uuid("0f0e0d0c-0000-4000-8000-000000000001".to_owned()),
            token: SecretText::new("0123456789abcdef0123456789abcdef01234567"),
        }),
        program: program(),
        user_agent: String::new(),
    }
}

/// Returns the JSON body of a call.
fn sent(call: &impl Call) -> Value {
    serde_json::from_slice(&Request::new(call, &caller()).body).unwrap()
}

fn run_id() -> WireId {
    WireId::Text("0195d2a4-0000-7000-8000-000000000001".to_owned())
}

fn time() -> Timestamp {
    "2026-03-01T11:02:09Z".parse().unwrap()
}
