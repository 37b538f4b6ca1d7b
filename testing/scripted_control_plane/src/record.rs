//! The record of every call: what came, what was sent back, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::fault::Fault;
use crate::packed;

/// A call as it came in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// The script's name without its ending, such as `agent_next_run`.
    pub endpoint: String,
    /// `GET` or `POST`.
    pub method: String,
    /// What stands behind the `?`.
    pub query: String,
    /// Headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, byte for byte.
    #[serde(skip)]
    pub raw: Vec<u8>,
    /// The body, decoded: a JSON document, or a form's fields as an object of texts.
    pub body: Value,
    /// What is packed in the body.
    pub unpacked: Option<Value>,
}

impl Call {
    pub(crate) fn new(
        method: String,
        target: &str,
        headers: BTreeMap<String, String>,
        raw: Vec<u8>,
    ) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let script = path.rsplit('/').next().unwrap_or_default();
        let is_form = headers
            .get("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let body = match is_form {
            true => form(&String::from_utf8_lossy(&raw)),
            false => serde_json::from_slice(&raw).unwrap_or_default(),
        };
        let packed = ["events_b64", "result_b64"]
            .iter()
            .find_map(|name| body[name].as_str());
        Self {
            endpoint: script.strip_suffix(".php").unwrap_or(script).to_owned(),
            method,
            query: query.to_owned(),
            headers,
            unpacked: packed.and_then(packed::json),
            raw,
            body,
        }
    }

    /// Returns a header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns the events of a batch, packed or not.
    pub fn events(&self) -> &[Value] {
        let events = self.unpacked.as_ref().unwrap_or(&self.body["events"]);
        events.as_array().map_or(&[], Vec::as_slice)
    }
}

/// A call that was served, or met a fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recorded {
    /// Its number, from 1.
    pub number: u64,
    /// When it came, on the server's steady clock.
    pub at: Duration,
    /// When the answer left.
    pub answered_at: Duration,
    /// What came.
    pub call: Call,
    /// What went wrong on purpose.
    pub fault: Option<Fault>,
    /// The status that was sent; 0 when none was.
    pub http_status: u16,
    /// The document that was sent, or would have been.
    pub answer: Value,
    /// Whether the server did what was asked.
    pub had_effect: bool,
    /// Whether the agent got the server's own answer.
    pub was_answered: bool,
}

impl Recorded {
    /// Tells whether the agent knows that the server did what it asked.
    pub fn was_acknowledged(&self) -> bool {
        self.was_answered && self.http_status == 200 && self.answer["status"] == "success"
    }
}

fn form(body: &str) -> Value {
    let pairs = body.split('&').filter(|pair| !pair.is_empty());
    let fields = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescaped(name), Value::String(unescaped(value)))
    });
    Value::Object(fields.collect())
}

/// Undoes the escapes of a form or a query.
pub(crate) fn unescaped(text: &str) -> String {
    let mut plain = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&plain).into_owned()
}
