//! Commands: how they are asked for, what they order, and how their outcome is reported.
//!
//! A command that was handed out is not handed out again, so one that cannot be understood still has its
//! number: it is completed as failed, never dropped.

mod order;
mod poll;
mod restore_order;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use order::{
    AgentUpdate, BrowseDirectory, BrowseSnapshot, FetchLogTail, JobContext, ListVmDetails, Order,
    PinPoint, VerboseLogging,
};
pub use poll::{Poll, PollCommands, PollPendingCommands, Polled};
pub use restore_order::{ChainLink, HypervRestore, Register, Restore, RestoreVm};

use crate::endpoint::Endpoint;
use crate::identifier::CommandId;
use crate::limit::shorten;
use crate::request::{Body, Call};
use crate::words::closed_words;
use crate::{WireId, lenient};

/// How long a message on a command's outcome may be.
const RESULT_MESSAGE_CHARS_MAX: usize = 4_000;

/// A command as it is handed out; [`Command::order`] says what it orders.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Command {
    /// Its number. Only `cancel` has none.
    #[serde(
        default,
        deserialize_with = "lenient::optional_row",
        skip_serializing_if = "Option::is_none"
    )]
    pub command_id: Option<CommandId>,
    /// Its name.
    #[serde(rename = "type", default, deserialize_with = "lenient::text")]
    pub name: String,
    /// The run it is about: of a restore from a run, the backup's.
    #[serde(default, deserialize_with = "lenient::optional_id")]
    pub run_id: Option<WireId>,
    /// The job it is about.
    #[serde(default, deserialize_with = "lenient::optional_id")]
    pub job_id: Option<WireId>,
    /// What the order says.
    #[serde(default)]
    pub payload: Payload,
    /// Where the repository rests that it is about.
    #[serde(default)]
    pub job_context: Payload,
}

/// Something that is read when the order is, so that what is wrong with it costs no other command.
/// It may hold keys, so nothing of it is shown.
#[derive(Clone, Default, PartialEq, Serialize)]
pub struct Payload(pub(crate) Value);

impl Payload {
    fn members(&self) -> Result<Map<String, Value>, String> {
        lenient::map(self.0.clone()).map_err(|error: serde_json::Error| error.to_string())
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Value::deserialize(from).map(Self)
    }
}

impl From<Map<String, Value>> for Payload {
    fn from(members: Map<String, Value>) -> Self {
        Self(Value::Object(members))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
    }
}

closed_words! {
    /// What became of a command. The server knows no other word: one that was cancelled has failed.
    CommandStatus {
        /// It was carried out.
        Completed = "completed",
        /// It was not.
        Failed = "failed",
    }
}

/// Reports what became of a command.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CompleteCommand {
    /// The command.
    pub command_id: CommandId,
    /// What became of it.
    pub status: CommandStatus,
    /// A text for people.
    #[serde(default, deserialize_with = "lenient::text")]
    pub result_message: String,
}

impl Call for CompleteCommand {
    const ENDPOINT: Endpoint = Endpoint::CompleteCommand;
    type Answer = ();

    fn body(&self) -> Body {
        let mut complete = self.clone();
        shorten(&mut complete.result_message, RESULT_MESSAGE_CHARS_MAX);
        Body::json(&complete)
    }

    fn answer(&self, _: &str, _: Map<String, Value>) -> Result<(), String> {
        Ok(())
    }
}
