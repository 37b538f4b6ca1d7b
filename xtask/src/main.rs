//! Checks and chores of this repository, run as `cargo xtask <task>`.
//!
//! `check` is everything a change must pass; `tidy` is the part of it that reads the tree as text, and `server` what
//! its long form adds for the control plane; `windows` builds and tests the agent for Windows. `./check` prepares a
//! machine and then calls this; what Windows takes besides is looked after here, when it is needed.

mod check;
mod commands;
mod dashboard;
mod people_api;
mod test_programs;
mod test_totals;
mod tidy;
mod windows;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "usage: cargo xtask check [--long]
       cargo xtask server
       cargo xtask tidy
       cargo xtask unsafe-list
       cargo xtask windows build | clippy | test [--shipped | what cargo test takes, such as -p blob]";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the task that was asked for; `false` means it ran and found something.
fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check::run(&root()?, check::Length::Short),
        ["check", "--long"] => check::run(&root()?, check::Length::Long),
        ["server"] => check::server(&root()?),
        ["tidy"] => tidy::run(&root()?),
        ["windows", "build"] => windows::build(&root()?),
        ["windows", "clippy"] => windows::clippy(&root()?),
        ["windows", "test", chosen @ ..] => {
            let (passed, totals) = match chosen {
                ["--shipped"] => windows::test_shipped(&root()?)?,
                chosen => windows::test(&root()?, chosen)?,
            };
            println!("\n{totals}");
            Ok(passed)
        }
        ["unsafe-list"] => tidy::write_unsafe_list(&root()?).map(|()| true),
        _ => bail!("{USAGE}"),
    }
}

/// Returns the root of the repository we were called in, which need not be where we were called.
fn root() -> Result<PathBuf> {
    let answer = Command::new("git")
        .args(["rev-parse", "--show-toplevel"])
        .output()
        .context("failed to run git")?;
    ensure!(
        answer.status.success(),
        "failed to find the repository's root: {}",
        String::from_utf8_lossy(&answer.stderr).trim()
    );
    let path = String::from_utf8(answer.stdout).context("the root's path is not UTF-8")?;
    Ok(PathBuf::from(path.trim_end_matches('\n')))
}
