//! `repo password`: another password for a repository.

use std::path::PathBuf;

use agent::credentials::Credentials;
use blob::Location;
use clap::Args;
use repo::{PasswordChange, change_password};
use serde_json::json;

use crate::answer::Answer;
use crate::credentials;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent repo password --repo /srv/backup                           asks for all of it
  e3-backup-agent repo password --repo /srv/backup --new-password-file FILE  unattended

The new password comes from --new-password-file, from E3_REPO_NEW_PASSWORD, or is asked for twice;
the one so far as everywhere; one that is remembered here (`repo remember`) is replaced. Nothing is encrypted anew: the password seals the keys, not the data,
so who kept a copy of the repository's two small format blobs still opens it with the old one.

If the change is interrupted, run it again with the same two passwords. Other clients need the new
one: ours end within a quarter of an hour with status 4, a stock Kopia has to connect again.
Repositories of format version 1 cannot change theirs.")]
pub struct Password {
    #[command(flatten)]
    repo: RepoArguments,
    /// Read the new password from this file, white space at the ends dropped.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

impl Password {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let location = self.repo.location()?;
        let old = self.repo.password(world)?.text;
        let new = world.new_password(self.new_password_file.as_deref())?;
        if new == old {
            return Err(Failure::wrong_usage("the new password is the one so far"));
        }
        let store = self.repo.open_store(world)?;
        let change = change_password(&store, &old, &new, world.clock(), world.chance())?;
        let remembered = remember(world, &location, &new);
        let mut text = match change {
            PasswordChange::Done => format!(
                "the password of {location} was changed; tell it to the repository's other clients\n"
            ),
            PasswordChange::Finished => {
                format!("the password of {location} had been changed to this one already\n")
            }
        };
        if let Remembered::Replaced = remembered {
            text.push_str("the one that is remembered on this machine was replaced\n");
        }
        let document = json!({
            "location": location.to_string(),
            "changed_before": change == PasswordChange::Finished,
            "remembered_replaced": remembered == Remembered::Replaced,
        });
        Ok(Answer::new(text, document))
    }
}

/// What became of a password that this machine remembers.
#[derive(PartialEq, Eq)]
enum Remembered {
    Nothing,
    Replaced,
    /// It could not be replaced, and a warning said so.
    Stale,
}

/// Lets a remembered password be the new one. The change is made by now: what fails here fails
/// nothing else.
fn remember(world: &World, location: &Location, new: &str) -> Remembered {
    let replace = || -> Result<Remembered, Failure> {
        let Some(keeper) = credentials::keeper(world, location)? else {
            return Ok(Remembered::Nothing);
        };
        let Some(known) = keeper.read()? else {
            return Ok(Remembered::Nothing);
        };
        keeper.keep(&Credentials::new(location, new, known.s3_keys.clone()))?;
        Ok(Remembered::Replaced)
    };
    replace().unwrap_or_else(|failure| {
        failure.tell_of("the password was changed, but not the one that is remembered here");
        Remembered::Stale
    })
}
