//! `policy edit`: a policy as JSON in the user's editor.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use clap::Args;
use kopia::policy::{Policy, PolicyTarget};
use repo::Writer;
use serde_json::json;
use snapshot::{policy_of, save_policy};

use super::show::value_of;
use super::target::TargetArguments;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::repositories::RepoArguments;
use crate::world::World;

const USUAL_EDITOR: &str = if cfg!(windows) { "notepad" } else { "vi" };

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  EDITOR=nano e3-backup-agent policy edit --vm web --repo /srv/backup

The editor is what VISUAL or EDITOR names. Nothing is stored if the text is not changed, or is no
policy; what was written is then kept in a file that the error names.")]
pub struct Edit {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    repo: RepoArguments,
}

impl Edit {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let target = self.target.require(&repo)?;
        let before = policy_of(&repo.manifests()?, &target)?.unwrap_or_default();
        let file = write_text(&format!("{:#}\n", value_of(&before)))?;
        run_editor(file.path())?;
        let text = std::fs::read_to_string(file.path()).map_err(failed("read what was edited"))?;
        let after = match read(&text, &target) {
            Ok(policy) => policy,
            Err(why) => {
                let (_, path) = file.keep().map_err(|error| {
                    Failure::new(FailureKind::Failed, format!("failed to {error}"))
                })?;
                return Err(Failure::wrong_usage(format!(
                    "what was written is no policy: {why}; it is kept in {}",
                    path.display()
                )));
            }
        };
        let changed = after != before;
        if changed {
            save_policy(&Writer::new(&repo, 1)?, &target, &after)?;
        }
        let word = if changed { "stored" } else { "unchanged:" };
        Ok(Answer::new(
            format!("{word} the policy of {target}"),
            json!({ "target": target.to_string(), "changed": changed, "policy": value_of(&after) }),
        ))
    }
}

fn read(text: &str, target: &PolicyTarget) -> Result<Policy, String> {
    let policy = Policy::parse(text).map_err(|error| error.to_string())?;
    policy.check(target).map_err(|error| error.to_string())?;
    Ok(policy)
}

fn write_text(text: &str) -> Result<tempfile::NamedTempFile, Failure> {
    let mut file = tempfile::Builder::new()
        .prefix("policy-")
        .suffix(".json")
        .tempfile()
        .map_err(failed("make a file to edit"))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.flush())
        .map_err(failed("write a file to edit"))?;
    Ok(file)
}

/// Runs the editor, whose name may be followed by options.
fn run_editor(path: &Path) -> Result<(), Failure> {
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.trim().is_empty()))
        .unwrap_or_else(|| USUAL_EDITOR.to_owned());
    let mut words = editor.split_whitespace();
    let program = words.next().expect("an editor's name is not blank");
    let status = Command::new(program)
        .args(words)
        .arg(path)
        .status()
        .map_err(failed(&format!("start the editor {program:?}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(
            FailureKind::Failed,
            format!("the editor {program:?} failed ({status}); nothing was stored"),
        )),
    }
}

fn failed(doing: &str) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |error| Failure::new(FailureKind::Failed, format!("failed to {doing}: {error}"))
}
