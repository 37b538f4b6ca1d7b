//! A request as a value: sending it is the caller's business.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::endpoint::{Encoding, Endpoint, Method};
use crate::envelope::{NoAnswer, Response, judge};
use crate::form;
use crate::identity::Caller;

/// One call of an endpoint: what is sent, and how the answer is read.
pub trait Call {
    /// The endpoint.
    const ENDPOINT: Endpoint;

    /// What it answers.
    type Answer;

    /// Returns what is sent, within the server's limits.
    fn body(&self) -> Body;

    /// Reads the members of an envelope that says neither `fail` nor `error`. What is wrong is said
    /// without what was received.
    fn answer(&self, status: &str, members: Map<String, Value>) -> Result<Self::Answer, String>;
}

/// What a call sends.
#[derive(Clone, PartialEq)]
pub enum Body {
    /// Nothing, or the query behind the script's name.
    Query(&'static str),
    /// A JSON document.
    Json(Vec<u8>),
    /// A form.
    Form(form::Fields),
}

impl Body {
    /// Returns a JSON document.
    pub(crate) fn json(document: &impl Serialize) -> Self {
        Self::Json(serde_json::to_vec(document).expect("our documents have texts as keys"))
    }
}

/// A request, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The method.
    pub method: Method,
    /// The script and the query, to be put behind the base URL and a slash.
    pub path: String,
    /// All headers but those of the connection.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for GET.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the request for a call.
    pub fn new<C: Call>(call: &C, caller: &Caller) -> Self {
        let endpoint = C::ENDPOINT;
        let mut headers = caller.headers(endpoint.is_authenticated());
        let mut path = endpoint.script().to_owned();
        let body = match call.body() {
            Body::Query(query) => {
                if !query.is_empty() {
                    path = format!("{path}?{query}");
                }
                Vec::new()
            }
            Body::Json(body) => body,
            Body::Form(fields) => form::encode(&fields).into_bytes(),
        };
        match endpoint.encoding() {
            Encoding::None => {}
            Encoding::Json => headers.push(("Content-Type", "application/json".to_owned())),
            Encoding::Form => headers.push((
                "Content-Type",
                "application/x-www-form-urlencoded".to_owned(),
            )),
        }
        headers.push(("Accept", "application/json".to_owned()));
        Self {
            endpoint,
            method: endpoint.method(),
            path,
            headers,
            body,
        }
    }

    /// Returns the whole URL.
    pub fn url(&self, api_base_url: &str) -> String {
        format!(
            "{}/{}",
            api_base_url.trim().trim_end_matches('/'),
            self.path
        )
    }
}

/// Headers and bodies hold tokens and passwords, so only their size is shown.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({} bytes)",
            self.method.as_str(),
            self.path,
            self.body.len()
        )
    }
}

/// Reads what came back for a call.
pub fn answer_of<C: Call>(call: &C, response: &Response) -> Result<C::Answer, NoAnswer> {
    let (status, members) = judge(response)?;
    call.answer(&status, members)
        .map_err(|reason| NoAnswer::Unreadable {
            http_status: response.http_status,
            reason,
        })
}
