//! What people send: JSON, with refusals in the API's own form, and the checks that many members share.

use std::error::Error;
use std::iter::successors;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use protocol::limit::shortened;
use serde::de::{self, DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::Path;

use crate::people_api::error::{ApiError, ApiResult};
use crate::plane::SharedPlane;

/// How long a text may be, in characters, unless it is a path.
pub const TEXT_MAX: usize = 1_000;

/// How many items a list may have.
pub const LIST_MAX: usize = 1_000;

/// How much is said of what cannot be read, in characters: it repeats what was sent.
const REASON_CHARS_MAX: usize = 300;

/// How long the name of a member is that is repeated, in characters.
const FIELD_CHARS_MAX: usize = 100;

/// The body of a request, read from JSON.
#[derive(Clone, Copy, Debug)]
pub struct Input<T>(pub T);

impl<T: DeserializeOwned> FromRequest<SharedPlane> for Input<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, plane: &SharedPlane) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let whole = Request::from_parts(parts.clone(), body);
        let bytes = Bytes::from_request(whole, plane)
            .await
            .map_err(|rejection| refusal(&rejection.into()))?;
        let whole = Request::from_parts(parts, Body::from(bytes.clone()));
        let Json(value) = Json::<Value>::from_request(whole, plane)
            .await
            .map_err(|rejection| refusal(&rejection))?;
        if !value.is_object() {
            // Or serde would take a list for an object whose members come in order.
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "the body must be a JSON object",
            ));
        }
        if holds_nul(&value) {
            // PostgreSQL keeps no such text, and nobody means one.
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "a text holds the character U+0000",
            ));
        }
        // From the bytes, for a value no longer knows that a member came twice.
        let mut bytes = serde_json::Deserializer::from_slice(&bytes);
        serde_path_to_error::deserialize(&mut bytes)
            .map(Self)
            .map_err(|error| {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                let reason = shortened(&error.inner().to_string(), REASON_CHARS_MAX);
                ApiError::new(status, "invalid", reason).of_field(field_at(error.path()))
            })
    }
}

/// The parameters behind the `?` of an address.
#[derive(Clone, Copy, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<SharedPlane> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, plane: &SharedPlane) -> ApiResult<Self> {
        match Query::<T>::from_request_parts(parts, plane).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let first: &(dyn Error + 'static) = &rejection;
                let field = successors(Some(first), |&error| error.source())
                    .find_map(|error| {
                        error.downcast_ref::<serde_path_to_error::Error<de::value::Error>>()
                    })
                    .and_then(|error| field_at(error.path()));
                let reason = shortened(&rejection.body_text(), REASON_CHARS_MAX);
                Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", reason).of_field(field))
            }
        }
    }
}

/// Returns the name of what a path leads to; none: the whole.
fn field_at(path: &Path) -> Option<String> {
    let is_whole = path.iter().next().is_none();
    (!is_whole).then(|| shortened(&path.to_string(), FIELD_CHARS_MAX))
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn refusal(rejection: &JsonRejection) -> ApiError {
    let status = rejection.status();
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "no_json",
        _ => "malformed",
    };
    let reason = shortened(&rejection.body_text(), REASON_CHARS_MAX);
    ApiError::new(status, code, reason)
}

/// Takes a text that must say something: without space around it, at most `TEXT_MAX` characters, none that controls.
pub fn text(field: &str, value: &str) -> ApiResult<String> {
    let value = any_text(field, value)?;
    if value.is_empty() {
        return Err(ApiError::invalid(field, "it must not be empty"));
    }
    Ok(value)
}

/// Takes a text that may be empty.
pub fn any_text(field: &str, value: &str) -> ApiResult<String> {
    let value = value.trim();
    if value.chars().count() > TEXT_MAX {
        return Err(ApiError::invalid(
            field,
            format!("it may have {TEXT_MAX} characters at most"),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(ApiError::invalid(field, "it holds control characters"));
    }
    Ok(value.to_owned())
}

/// Takes an e-mail address.
pub fn email(field: &str, value: &str) -> ApiResult<String> {
    const EMAIL_BYTES_MAX: usize = 254;
    let value = text(field, value)?;
    let is_address = value.len() <= EMAIL_BYTES_MAX
        && !value.contains(char::is_whitespace)
        && value.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
    if !is_address {
        return Err(ApiError::invalid(
            field,
            "it must be an e-mail address such as ann@example.com",
        ));
    }
    Ok(value)
}

/// Takes a time, RFC 3339, as milliseconds since 1970.
pub fn time_ms(field: &str, value: &str) -> ApiResult<i64> {
    Some(value)
        .filter(|value| has_form_of_time(value))
        .and_then(|value| value.parse::<jiff::Timestamp>().ok())
        .map(jiff::Timestamp::as_millisecond)
        .ok_or_else(|| {
            ApiError::invalid(
                field,
                "it must be a time such as 2026-03-01T08:00:00Z (RFC 3339)",
            )
        })
}

/// Tells whether a text is written as RFC 3339 says; ISO 8601, which the parser takes too, has more: years before
/// Christ, moments without seconds.
fn has_form_of_time(text: &str) -> bool {
    let has_form = |text: &str, form: &str| {
        let mut pairs = text.bytes().zip(form.bytes());
        text.len() == form.len()
            && pairs.all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                wanted => byte.eq_ignore_ascii_case(&wanted),
            })
    };
    let form = "0000-00-00T00:00:00";
    let Some((local, rest)) = text.split_at_checked(form.len()) else {
        return false;
    };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|letter: char| letter.is_ascii_digit()),
        None => rest,
    };
    let is_zone = ["Z", "+00:00", "-00:00"]
        .iter()
        .any(|form| has_form(zone, form));
    has_form(local, form) && is_zone && rest != format!(".{zone}")
}

/// Takes a time that has not come yet, if one is given, as milliseconds since 1970.
pub fn later_ms(field: &str, value: Option<&str>, now_ms: i64) -> ApiResult<Option<i64>> {
    let Some(value) = value else {
        return Ok(None);
    };
    let time = time_ms(field, value)?;
    if time <= now_ms {
        return Err(ApiError::invalid(field, "this time is over already"));
    }
    Ok(Some(time))
}

/// Takes the IANA name of a time zone.
pub fn time_zone(field: &str, value: &str) -> ApiResult<String> {
    let value = text(field, value)?;
    jiff::tz::TimeZone::get(&value).map_err(|_| {
        ApiError::invalid(
            field,
            "there is no such time zone; give one such as Europe/Berlin or UTC",
        )
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_wherever_it_hides() {
        assert!(holds_nul(&serde_json::json!({"a": [{"b\0": 1}]})));
        assert!(holds_nul(&serde_json::json!([["\0"]])));
        assert!(!holds_nul(&serde_json::json!({"a": ["\\0", 0, null]})));
    }

    #[test]
    fn texts_have_bounds() {
        assert_eq!(text("name", "  Köln ").expect("fine"), "Köln");
        assert!(text("name", " ").is_err());
        assert!(text("name", "a\0b").is_err());
        assert!(text("name", &"ä".repeat(TEXT_MAX)).is_ok());
        assert!(text("name", &"ä".repeat(TEXT_MAX + 1)).is_err());
        assert!(email("email", "Ann@example.com").is_ok());
        assert!(email("email", "ann@@example.com").is_err());
        assert!(email("email", "@").is_err());
        assert!(time_zone("time_zone", "Europe/Berlin").is_ok());
        assert!(time_zone("time_zone", "../etc/passwd").is_err());
    }

    #[test]
    fn times_are_written_as_rfc_3339_says() {
        for (text, at_ms) in [
            ("2026-03-01T08:00:00Z", 1_772_352_000_000),
            ("2026-03-01t08:00:00.0015z", 1_772_352_000_001),
            ("2026-03-01T10:00:00+02:00", 1_772_352_000_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
        ] {
            assert_eq!(time_ms("from", text).expect(text), at_ms);
        }
        for wrong in [
            "",
            "yesterday",
            "2026-03-01",
            "2026-03-01T08:00Z",
            "2026-03-01T08:00:00",
            "2026-03-01T08:00:00.Z",
            "2026-03-01T08:00:00+0200",
            "2026-03-01T08:00:00+01:00[Europe/Berlin]",
            "2026-02-30T08:00:00Z",
            "-009999-01-02T01:59:59Z",
            "+292277026596-12-04T15:30:07Z",
            "2026-03-01T08:00:0\u{664}Z",
        ] {
            assert!(time_ms("from", wrong).is_err(), "{wrong}");
        }
    }
}
