//! `policy delete`: a policy goes, and less specific ones apply.

use clap::Args;
use repo::Writer;
use serde_json::json;
use snapshot::delete_policy;

use super::target::TargetArguments;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent policy delete --vm web --repo /srv/backup
  e3-backup-agent policy delete @hv01 --repo /srv/backup")]
pub struct Delete {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    repo: RepoArguments,
}

impl Delete {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let target = self.target.require(&repo)?;
        let writer = Writer::new(&repo, 1)?;
        let deleted = delete_policy(&writer, &target)?;
        let text = match deleted {
            true => format!("deleted the policy of {target}"),
            false => format!("{target} has no policy of its own"),
        };
        Ok(Answer::new(
            text,
            json!({ "target": target.to_string(), "deleted": deleted }),
        ))
    }
}
