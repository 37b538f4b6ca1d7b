//! What arrived from the control plane and waits to be carried out.

use protocol::WireId;
use protocol::commands::Command;
use protocol::identifier::CommandId;
use protocol::repo_operations::RepoOperation;

use crate::command_journal::Arrival;

/// Something that arrived, is written down, and is to be carried out.
#[derive(Debug)]
pub struct Arrived {
    /// What it is.
    pub what: What,
    /// Whether it is new, as far as it could be written down.
    pub arrival: Result<Arrival, String>,
}

/// What arrives.
#[derive(Debug)]
pub enum What {
    /// A command; with the run that was asked about, if it came that way.
    Command(CommandId, Box<Command>, Option<WireId>),
    /// An operation on a repository.
    Operation(Box<RepoOperation>),
}
