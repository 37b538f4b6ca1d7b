//! What is answered when a call is refused or fails (contract 1.3).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sea_orm::DbErr;
use serde_json::{Map, Value, json};

use crate::log;

/// A refusal, as an envelope.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    members: Map<String, Value>,
    retry_after_secs: Option<u64>,
}

/// What handlers answer: the members of an envelope.
pub(super) type Answer = Result<Json<Value>, Refusal>;

impl Refusal {
    /// Returns a refusal with a text for people.
    pub(super) fn new(http_status: u16, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(http_status).expect("a status of the contract"),
            members: Map::from_iter([
                ("status".to_owned(), json!("fail")),
                ("message".to_owned(), json!(message.into())),
            ]),
            retry_after_secs: None,
        }
    }

    /// Adds a code for machines.
    pub(super) fn code(self, code: &str) -> Self {
        self.with("code", json!(code))
    }

    /// Adds a member.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Something in the call that makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// An identifier that is no UUID.
    pub(super) fn identifier(name: &str) -> Self {
        Self::invalid(format!("{name} must be a UUID")).code("invalid_identifier_format")
    }

    /// Too many calls.
    pub(super) fn too_often(retry_after_secs: u64) -> Self {
        let mut refusal = Self::new(429, "Too many requests")
            .code("rate_limited")
            .with("retry_after_secs", json!(retry_after_secs));
        refusal.retry_after_secs = Some(retry_after_secs);
        refusal
    }

    /// A failure inside: it is logged, and the caller learns that it was one.
    pub(super) fn internal(what: &dyn std::fmt::Display) -> Self {
        log::error(format_args!("agents' API: {what}"));
        Self::new(500, "Server error")
    }
}

impl From<DbErr> for Refusal {
    fn from(error: DbErr) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Value::Object(self.members))).into_response();
        if let Some(seconds) = self.retry_after_secs {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Returns an envelope that says that all went well.
pub(super) fn success(members: Value) -> Json<Value> {
    let mut envelope = members;
    envelope["status"] = json!("success");
    Json(envelope)
}
