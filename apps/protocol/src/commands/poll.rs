//! The three ways to ask for commands.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Command;
use crate::endpoint::Endpoint;
use crate::repo_operations::RepoOperation;
use crate::request::{Body, Call};
use crate::{WireId, lenient};

/// Asks for the commands of one run, while it works: `cancel` comes this way alone.
#[derive(Clone, Debug)]
pub struct PollCommands {
    /// The run; of a restore, the restore's.
    pub run_id: WireId,
}

impl Call for PollCommands {
    const ENDPOINT: Endpoint = Endpoint::PollCommands;
    type Answer = Vec<Command>;

    fn body(&self) -> Body {
        Body::Form(vec![("run_id".to_owned(), self.run_id.to_string())])
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<Vec<Command>, String> {
        lenient::read::<Polled>(members).map(|polled| polled.commands)
    }
}

/// Asks for commands, on servers that have no combined poll.
#[derive(Clone, Copy, Debug)]
pub struct PollPendingCommands;

impl Call for PollPendingCommands {
    const ENDPOINT: Endpoint = Endpoint::PollPendingCommands;
    type Answer = Vec<Command>;

    fn body(&self) -> Body {
        Body::Query("")
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<Vec<Command>, String> {
        lenient::read::<Polled>(members).map(|polled| polled.commands)
    }
}

/// Asks for commands and repository operations.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// Whether the server may hold its answer for up to 25 seconds, until there is work.
    pub long: bool,
}

impl Call for Poll {
    const ENDPOINT: Endpoint = Endpoint::Poll;
    type Answer = Polled;

    fn body(&self) -> Body {
        Body::Query(if self.long { "long_poll=1" } else { "" })
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<Polled, String> {
        lenient::read(members)
    }
}

/// What a poll hands out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Polled {
    /// Commands, the oldest first. What is no command at all is left out.
    #[serde(deserialize_with = "lenient::readable")]
    pub commands: Vec<Command>,
    /// An operation on a repository.
    #[serde(deserialize_with = "operation")]
    pub repo_operation: Option<RepoOperation>,
    /// When the server wants to be asked again; only the combined poll says.
    #[serde(deserialize_with = "lenient::optional_count")]
    pub next_poll_secs: Option<u64>,
}

/// An operation that makes no sense must not cost the commands beside it; its lock runs out by itself.
fn operation<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<RepoOperation>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(lenient::optional_nested(value).unwrap_or_default())
}
