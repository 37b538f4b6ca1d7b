//! NextRun: the run that the server hands out, and all that it says about it.

mod policy;
mod run;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use policy::{HypervConfig, Policy};
pub use run::{Destination, Engine, HypervVm, NetworkCredentials, Run};

use crate::endpoint::Endpoint;
use crate::request::{Body, Call};
use crate::{WireId, lenient};

/// Asks for a run. The answer changes the run's state, so it is asked for only when there is room.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextRun;

/// What NextRun answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Offer {
    /// There is nothing to do.
    NoRun,
    /// A run, claimed for this agent.
    Run(Box<Run>),
    /// A run, claimed for this agent, of which more than its name cannot be read: it is to be ended as
    /// failed.
    Unreadable {
        /// The run.
        run_id: WireId,
        /// Whether it was handed out before, and its heartbeat stopped.
        resume: bool,
        /// The last heartbeat, without zone, with `resume`.
        last_heartbeat_at: Option<String>,
        /// What is wrong, without what was received.
        reason: String,
    },
}

impl Call for NextRun {
    const ENDPOINT: Endpoint = Endpoint::NextRun;
    type Answer = Offer;

    fn body(&self) -> Body {
        Body::Query("")
    }

    fn answer(&self, status: &str, members: Map<String, Value>) -> Result<Offer, String> {
        if status == "no_run" {
            return Ok(Offer::NoRun);
        }
        let envelope: Envelope = lenient::read(members)?;
        if envelope.run.is_empty() {
            return Ok(Offer::NoRun);
        }
        let named: Named = lenient::read(envelope.run.clone())?;
        let history: History = lenient::read(envelope.run.clone()).unwrap_or_default();
        Ok(match lenient::read(envelope.run) {
            Ok(run) => Offer::Run(Box::new(run)),
            Err(reason) => Offer::Unreadable {
                run_id: named.run_id,
                resume: history.resume,
                last_heartbeat_at: history.last_heartbeat_at,
                reason,
            },
        })
    }
}

#[derive(Deserialize, Serialize)]
struct Envelope {
    #[serde(default, deserialize_with = "lenient::map")]
    run: Map<String, Value>,
}

#[derive(Deserialize)]
struct Named {
    run_id: WireId,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct History {
    #[serde(deserialize_with = "lenient::boolean")]
    resume: bool,
    #[serde(deserialize_with = "lenient::optional_text")]
    last_heartbeat_at: Option<String>,
}
