//! What is sent back.

use serde_json::{Value, json};

/// A page for people, as firewalls and web servers send it.
const HTML: &str = "<!DOCTYPE html><html><head><title>Forbidden</title></head><body>Request blocked.</body></html>";

/// A reply over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) http_status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(http_status: u16, body: &Value) -> Self {
        Self {
            http_status,
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// Returns `success` with the members of `more`.
    pub(crate) fn success(more: Value) -> Self {
        let mut body = more;
        body["status"] = "success".into();
        Self::json(200, &body)
    }

    pub(crate) fn fail(http_status: u16, message: &str) -> Self {
        Self::json(http_status, &json!({"status": "fail", "message": message}))
    }

    pub(crate) fn fail_with_code(http_status: u16, code: &str, message: &str) -> Self {
        Self::json(
            http_status,
            &json!({"status": "fail", "code": code, "message": message}),
        )
    }

    pub(crate) fn html(http_status: u16) -> Self {
        Self {
            http_status,
            headers: vec![("Content-Type".to_owned(), "text/html".to_owned())],
            body: HTML.into(),
        }
    }

    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}
