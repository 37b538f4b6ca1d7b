//! What comes back: an envelope that says how it went, or something else in its place.
//!
//! ```text
//! 2xx JSON, status neither fail nor error ─► members     426 ─► TooOld
//! JSON with fail or error, 4xx             ─► Refused    401 ─► Unauthorized
//! 429 (but for a cap), 5xx                 ─► Retry      404 that is no envelope ─► NoSuchEndpoint
//! any other HTML                           ─► Firewall   anything else ─► Unreadable
//! ```

use std::error::Error;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::{Map, Value};

use crate::lenient;
use crate::limit::shortened;

/// The longest wait that a server may ask for: a wrong header must not silence an agent.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);
/// How much of a server's message is kept.
const MESSAGE_CHARS_MAX: usize = 300;
/// More than any answer needs, a list of runs and commands with their payloads included.
pub const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// A response as transport received it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status of HTTP.
    pub http_status: u16,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// The body, of which no more than [`RESPONSE_BYTES_MAX`] need be read.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(found.1.trim())
    }
}

/// Bodies hold keys and passwords, so only their size is shown.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {} ({} bytes)", self.http_status, self.body.len())
    }
}

/// What came in place of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The server understood and refuses; asking again will not help.
    Refused {
        /// The status of HTTP, which may be 200.
        http_status: u16,
        /// A code for machines.
        code: Option<String>,
        /// A text for people.
        message: String,
    },
    /// The server cannot now; asking again may help.
    Retry {
        /// The status of HTTP.
        http_status: u16,
        /// How long the server wants to be left alone.
        after: Option<Duration>,
        /// A text for people.
        message: String,
    },
    /// The agent is disabled, deleted, or was enrolled again elsewhere.
    Unauthorized {
        /// A text for people.
        message: String,
    },
    /// The administrator wants a newer version.
    TooOld {
        /// The oldest version that is let in.
        min_version: String,
        /// The version that the server saw.
        reported_version: String,
    },
    /// This server does not have the endpoint.
    NoSuchEndpoint,
    /// A firewall or a page for people stands in front of the server.
    Firewall {
        /// The status of HTTP.
        http_status: u16,
    },
    /// The answer makes no sense.
    Unreadable {
        /// The status of HTTP.
        http_status: u16,
        /// What is wrong, without what was received.
        reason: String,
    },
}

impl NoAnswer {
    /// Returns a command's or a run's code, where the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused {
                http_status,
                code: Some(code),
                message,
            } => {
                write!(
                    f,
                    "the server refuses: {message} ({code}, HTTP {http_status})"
                )
            }
            Self::Refused {
                http_status,
                code: None,
                message,
            } => {
                write!(f, "the server refuses: {message} (HTTP {http_status})")
            }
            Self::Retry {
                http_status,
                message,
                ..
            } => {
                write!(
                    f,
                    "the server cannot answer now: {message} (HTTP {http_status})"
                )
            }
            Self::Unauthorized { message } => write!(
                f,
                "the server lets nobody in by this name and secret: {message} (HTTP 401); an agent that worked before was \
                 disabled, deleted or enrolled elsewhere: look it up in the portal, and enrol it again if needed"
            ),
            Self::TooOld {
                min_version,
                reported_version,
            } => write!(
                f,
                "the server wants version {min_version} or newer and was told {reported_version}; update the agent"
            ),
            Self::NoSuchEndpoint => {
                f.write_str("the server does not have this endpoint (HTTP 404)")
            }
            Self::Firewall { http_status } => write!(
                f,
                "a page for people came in place of an answer (HTTP {http_status}): a firewall or a proxy \
                 stands in front of the server; let it pass `X-Agent-*` headers and this user agent"
            ),
            Self::Unreadable {
                http_status,
                reason,
            } => {
                write!(
                    f,
                    "the answer cannot be read: {reason} (HTTP {http_status})"
                )
            }
        }
    }
}

impl Error for NoAnswer {}

/// Returns the envelope's status and members if it says that all went well.
pub(crate) fn judge(response: &Response) -> Result<(String, Map<String, Value>), NoAnswer> {
    let http_status = response.http_status;
    let unreadable = |reason: &str| NoAnswer::Unreadable {
        http_status,
        reason: reason.to_owned(),
    };
    let envelope = Envelope::of(&response.body);
    let message = envelope.message(http_status);
    match (http_status, &envelope) {
        (401, _) => Err(NoAnswer::Unauthorized { message }),
        (426, _) => Err(NoAnswer::TooOld {
            min_version: envelope.text("min_version"),
            reported_version: envelope.text("reported_version"),
        }),
        (429, _) if envelope.text("code") != "chunks_cap_reached" => {
            Err(retry(response, &envelope, message))
        }
        (500.., _) => Err(retry(response, &envelope, message)),
        (_, Envelope::Members(members)) if members.contains_key("status") => {
            let status = envelope.text("status");
            let went_well = http_status < 300 && !matches!(status.as_str(), "fail" | "error" | "");
            match envelope {
                Envelope::Members(members) if went_well => Ok((status, members)),
                _ => Err(NoAnswer::Refused {
                    http_status,
                    code: Some(envelope.text("code")).filter(|code| !code.is_empty()),
                    message,
                }),
            }
        }
        (404, _) => Err(NoAnswer::NoSuchEndpoint),
        (_, Envelope::Html) => Err(NoAnswer::Firewall { http_status }),
        (403 | 406, _) => Err(NoAnswer::Firewall { http_status }),
        (300..=399, _) => Err(unreadable(
            "the server sends elsewhere: set `api_base_url` to the address it really has",
        )),
        (_, Envelope::Members(_)) => Err(unreadable("an object without `status`")),
        (_, Envelope::Nonsense) => Err(unreadable("not a JSON object")),
    }
}

fn retry(response: &Response, envelope: &Envelope, message: String) -> NoAnswer {
    let in_body = envelope
        .text("retry_after_secs")
        .parse()
        .ok()
        .map(Duration::from_secs);
    let after = retry_after(response).or(in_body);
    NoAnswer::Retry {
        http_status: response.http_status,
        after: after.map(|after| after.min(RETRY_AFTER_MAX)),
        message,
    }
}

/// Reads `Retry-After`: seconds, or a date, which is compared with the server's own clock and not with
/// ours.
fn retry_after(response: &Response) -> Option<Duration> {
    let after = response.header("Retry-After")?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(after)?;
    let now = http_date(response.header("Date")?)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

fn http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

enum Envelope {
    Members(Map<String, Value>),
    Html,
    Nonsense,
}

impl Envelope {
    fn of(body: &[u8]) -> Self {
        let body = body
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(body)
            .trim_ascii();
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Self::Members(members),
            _ if body.starts_with(b"<") => Self::Html,
            _ => Self::Nonsense,
        }
    }

    /// Returns a member as text; empty if it is none.
    fn text(&self, name: &str) -> String {
        match self {
            Self::Members(members) => {
                let member = members.get(name).cloned().unwrap_or_default();
                shortened(
                    &lenient::text_of(member).unwrap_or_default(),
                    MESSAGE_CHARS_MAX,
                )
            }
            Self::Html | Self::Nonsense => String::new(),
        }
    }

    fn message(&self, http_status: u16) -> String {
        let message = self.text("message");
        let words = message.split(|letter: char| letter.is_control() || letter == ' ');
        let message = words
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        match message.as_str() {
            "" => format!("HTTP {http_status} without a message"),
            _ => message,
        }
    }
}
