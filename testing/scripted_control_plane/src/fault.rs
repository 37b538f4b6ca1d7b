//! Faults: what goes wrong with which call of which endpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reply::Reply;

/// Something that goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The server fails, without effect.
    ServerError,
    /// The server fails after the effect: the agent cannot know.
    ServerErrorAfterEffect,
    /// A firewall answers with a page.
    Firewall,
    /// The limit of calls is reached.
    RateLimited {
        /// What `Retry-After` says.
        retry_after_secs: u64,
    },
    /// The administrator wants a newer version.
    TooOld {
        /// Which.
        min_version: String,
    },
    /// The agent is not known.
    Unauthorized,
    /// Nothing is answered, and nothing was done.
    TimeOutBeforeEffect,
    /// Nothing is answered, although it was done.
    TimeOutAfterEffect,
    /// The connection is reset before anything is done.
    Reset,
    /// It was done, and the connection is reset in place of the answer.
    AnswerLost,
    /// The answer breaks off in the middle.
    AnswerCut,
    /// It is done, and answered late.
    Slow {
        /// How late, in real time.
        millis: u64,
    },
    /// What is handed out is handed out again by the next call.
    DeliveredTwice,
    /// All connections are cut and what the server keeps in memory is gone; the call is not served.
    Restart,
    /// The answer is not JSON.
    Garbage,
}

impl Fault {
    /// Tells whether the call has its effect.
    pub(crate) fn has_effect(&self) -> bool {
        matches!(
            self,
            Self::ServerErrorAfterEffect
                | Self::TimeOutAfterEffect
                | Self::AnswerLost
                | Self::AnswerCut
                | Self::Slow { .. }
                | Self::DeliveredTwice
                | Self::Garbage
        )
    }

    /// Tells whether the agent gets the server's own answer.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::DeliveredTwice)
    }
}

/// Which fault meets which call.
#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    /// By endpoint and number of its call, from 1.
    at: BTreeMap<(String, u64), Fault>,
    /// Calls of each endpoint so far.
    calls: BTreeMap<String, u64>,
}

impl FaultPlan {
    /// Plans a fault for a call, counted from now on.
    pub(crate) fn inject(&mut self, endpoint: &str, call: u64, fault: Fault) {
        let so_far = self.calls.get(endpoint).copied().unwrap_or_default();
        self.at.insert((endpoint.to_owned(), so_far + call), fault);
    }

    /// Counts a call and returns what goes wrong with it.
    pub(crate) fn next(&mut self, endpoint: &str) -> Option<Fault> {
        let count = self.calls.entry(endpoint.to_owned()).or_default();
        *count += 1;
        self.at.remove(&(endpoint.to_owned(), *count))
    }
}

/// Returns the status that a fault puts in the place of the server's own; 0 when none is sent.
pub(crate) fn faulty_status(fault: Option<&Fault>) -> Option<u16> {
    Some(match fault? {
        Fault::ServerError | Fault::ServerErrorAfterEffect => 500,
        Fault::Firewall => 403,
        Fault::RateLimited { .. } => 429,
        Fault::TooOld { .. } => 426,
        Fault::Unauthorized => 401,
        Fault::Garbage => 200,
        Fault::TimeOutBeforeEffect
        | Fault::TimeOutAfterEffect
        | Fault::Reset
        | Fault::AnswerLost
        | Fault::AnswerCut
        | Fault::Restart => 0,
        Fault::Slow { .. } | Fault::DeliveredTwice => return None,
    })
}

/// Returns what is sent in place of a reply, if anything is.
pub(crate) fn outgoing(fault: Option<&Fault>, reply: &Reply) -> Option<Reply> {
    Some(match fault {
        None | Some(Fault::DeliveredTwice | Fault::Slow { .. } | Fault::AnswerCut) => reply.clone(),
        Some(Fault::ServerError | Fault::ServerErrorAfterEffect) => {
            Reply::fail(500, "Server error")
        }
        Some(Fault::Firewall) => Reply::html(403),
        Some(Fault::RateLimited { retry_after_secs }) => {
            let limited = Reply::fail(429, "Rate limit exceeded");
            limited.with_header("Retry-After", retry_after_secs.to_string())
        }
        Some(Fault::TooOld { min_version }) => {
            let body = serde_json::json!({"status": "fail", "code": "agent_version_too_old",
                "message": "Agent version too old", "min_version": min_version, "reported_version": ""});
            Reply::json(426, &body)
        }
        Some(Fault::Unauthorized) => Reply::fail(401, "Unauthorized"),
        Some(Fault::Garbage) => Reply {
            body: b"<br /><b>Warning</b>: Undefined index {".to_vec(),
            ..reply.clone()
        },
        Some(
            Fault::TimeOutBeforeEffect
            | Fault::TimeOutAfterEffect
            | Fault::Reset
            | Fault::AnswerLost
            | Fault::Restart,
        ) => return None,
    })
}
