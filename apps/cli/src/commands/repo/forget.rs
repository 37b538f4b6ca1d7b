//! `repo forget`: a repository's password, kept on this machine no more.

use clap::Args;
use serde_json::json;

use crate::answer::Answer;
use crate::credentials;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent repo forget --repo /srv/backup

Deletes the password and the S3 keys that `repo remember` kept on this machine. The repository is not
touched, and need not be there. Copies that were made of the state folder keep what they hold:
`repo password` and new keys make it worthless.")]
pub struct Forget {
    #[command(flatten)]
    repo: RepoArguments,
}

impl Forget {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let location = self.repo.location()?;
        let forgotten = match credentials::keeper(world, &location)? {
            Some(keeper) => keeper.forget()?,
            None => false,
        };
        let text = match forgotten {
            true => format!("what was remembered of {location} is deleted\n"),
            false => format!("nothing was remembered of {location}\n"),
        };
        let document = json!({ "location": location.to_string(), "forgotten": forgotten });
        Ok(Answer::new(text, document))
    }
}
