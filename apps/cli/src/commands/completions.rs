//! `completions`: what a shell needs to complete this command line.

use clap::{Args, Command};
use clap_complete::Shell;
use serde_json::json;

use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent completions bash > /etc/bash_completion.d/e3-backup-agent
  e3-backup-agent completions zsh  > \"${fpath[1]}/_e3-backup-agent\"
  e3-backup-agent completions fish > ~/.config/fish/completions/e3-backup-agent.fish
  e3-backup-agent completions powershell >> $PROFILE")]
pub struct Completions {
    /// The shell.
    #[arg(value_parser = ["bash", "zsh", "fish", "powershell"])]
    shell: String,
}

impl Completions {
    /// Runs the command; `line` is the whole command line.
    pub fn run(&self, mut line: Command) -> Result<Answer, Failure> {
        let shell: Shell = self
            .shell
            .parse()
            .map_err(|error| Failure::wrong_usage(format!("there is no such shell: {error}")))?;
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut line, "e3-backup-agent", &mut script);
        let script = String::from_utf8(script).map_err(|error| {
            let message = format!("failed to make the completions: {error}");
            Failure::new(FailureKind::Failed, message)
        })?;
        let document = json!({ "shell": self.shell, "script": script });
        Ok(Answer::new(script, document))
    }
}
