//! Refusals and failures of the people's API.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use sea_orm::DbErr;
use serde::Serialize;
use utoipa::ToSchema;

use crate::log;
use crate::sealing::SealingError;

/// Why a call did not do what it asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A word for programs, such as `not_found`.
    pub code: String,
    /// What was being done, on what, and what to do next.
    pub message: String,
    /// The member of the request that is wrong, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A refusal or a failure, with its HTTP status.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    retry_after_s: Option<i64>,
}

/// What a handler returns.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// Returns an error of any status.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody {
                code: code.to_owned(),
                message: message.into(),
                field: None,
            },
            retry_after_s: None,
        }
    }

    /// Too many calls or tries (429), with when to come back.
    pub fn too_many(code: &str, message: impl Into<String>, wait_ms: i64) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, code, message);
        error.retry_after_s = Some((wait_ms + 999).div_euclid(1_000).max(1));
        error
    }

    /// A member of the request that cannot be taken (422).
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
            .of_field(Some(field.to_owned()))
    }

    /// Names the member of the request that is wrong, where it is known.
    #[must_use]
    pub fn of_field(mut self, field: Option<String>) -> Self {
        self.body.field = field;
        self
    }

    /// Something that does not exist, or that the caller may not know of (404). `what` is such as `VM 7`.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("{what} does not exist, or belongs to another tenant"),
        )
    }

    /// Something that does not go with what is there (409).
    pub fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// A failure of the server (500): `what` is logged, the caller learns that it happened.
    pub fn internal(what: &dyn std::fmt::Display) -> Self {
        log::error(format_args!("people's API: {what}"));
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server could not do this; its log says why",
        )
    }

    /// Nobody is signed in (401).
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message)
    }

    /// Whoever is signed in may not (403).
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }
}

impl From<DbErr> for ApiError {
    fn from(error: DbErr) -> Self {
        // Nothing was done, for there was nobody to do it.
        if matches!(error, DbErr::Conn(_) | DbErr::ConnectionAcquire(_)) {
            log::error(format_args!("people's API: {error}"));
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_database",
                "the database does not answer; try again in a minute",
            );
        }
        Self::internal(&error)
    }
}

impl From<SealingError> for ApiError {
    fn from(error: SealingError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // For programs; no browser asks for a password because of it.
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
