//! `service settle-update`: the program from before an update judges the one that took its place,
//! before each of its starts, for one that does not even begin cannot judge itself.

use agent::status::ServiceLock;
use agent::update::{self, AtStart};
use clap::Args;
use serde_json::json;

use crate::answer::Answer;
use crate::commands::run::START_VARIABLE;
use crate::failure::{Failure, FailureKind};
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
pub struct SettleUpdate {}

impl SettleUpdate {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let start = std::env::var(START_VARIABLE).ok();
        let state = world.state_folder()?;
        // What a service at work is about to do is its own.
        let settled = match ServiceLock::is_held(&state) {
            true => Ok(AtStart::GoOn),
            false => update::at_start(&state, world.clock(), start.as_deref()),
        };
        let settled = settled
            .map_err(|error| Failure::new(FailureKind::State, format!("failed to {error}")))?;
        let (text, is_put_back) = match settled {
            AtStart::GoOn => ("", false),
            AtStart::StartAnew => ("the version from before the update was put back", true),
        };
        let document = json!({ "put_back": is_put_back });
        Ok(Answer::new(text.to_owned(), document))
    }
}
