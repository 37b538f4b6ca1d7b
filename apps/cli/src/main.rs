//! The `e3-backup-agent` executable: reads the command line, runs one command, tells the outcome.
//!
//! The answer goes to stdout, as text or (`--json`) as one document; progress, warnings and
//! errors go to stderr. Only this wing chooses real or simulated parts.

mod amounts;
mod answer;
mod arguments;
mod commands;
mod credentials;
mod display;
mod failure;
mod globals;
mod hosts;
mod identity;
mod old_flags;
mod password;
mod places;
mod plain;
mod private;
mod program;
mod repositories;
mod service_manager;
mod shares;
mod signals;
mod simulated_clock;
mod stderr;
mod stdout;
mod storage;
mod supervisor;
mod table;
mod verified;
mod vm_names;
mod world;

use std::ffi::OsString;
use std::process::ExitCode;
#[cfg(windows)]
use std::sync::Arc;

use clap::Parser;

use crate::answer::Answer;
use crate::arguments::CommandLine;
use crate::failure::Failure;
use crate::supervisor::Supervisor;
use crate::world::World;

fn main() -> ExitCode {
    // Only the first call counts, and this is the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let line = match CommandLine::try_parse_from(words()) {
        Ok(line) => line,
        Err(error) => return wrong_usage(&error),
    };
    #[cfg(windows)]
    let line = match as_service(line) {
        Ok(status) => return ExitCode::from(status),
        Err(line) => line,
    };
    let json = line.globals.json;
    match carry_out(&line, Supervisor::of_this_process()) {
        Ok(answer) => answer.show(json),
        Err(failure) => failure.show(json),
    }
}

/// Runs the command of a command line.
fn carry_out(line: &CommandLine, supervisor: Supervisor) -> Result<Answer, Failure> {
    let clock = simulated_clock::clock_of(&line.command)?;
    let world = World::new(&line.globals, supervisor, clock)?;
    let outcome = line.command.run(&world);
    world.tell_notes();
    outcome
}

/// Runs the command as the service that Windows started this process as, and returns its exit
/// status; or returns the command line, which is for people then.
#[cfg(windows)]
fn as_service(line: CommandLine) -> Result<u8, Arc<CommandLine>> {
    let line = Arc::new(line);
    if !line.command.is_the_service() {
        return Err(line);
    }
    let same = Arc::clone(&line);
    let status =
        supervisor::windows::run_as_service(move |supervisor| match carry_out(&same, supervisor) {
            Ok(answer) => (answer.status(), None),
            Err(failure) => (failure.kind().status(), Some(failure.to_string())),
        });
    status.ok_or(line)
}

/// Returns the program's name and arguments, those of the older agent in today's words.
fn words() -> Vec<OsString> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let translated = words.get(1..).and_then(old_flags::in_todays_words);
    match translated {
        Some(arguments) => words.into_iter().take(1).chain(arguments).collect(),
        None => words,
    }
}

/// Shows what clap has to say: help that was asked for, or what is wrong with the command line.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is the reader's wish.
    let _ = error.print();
    if error.exit_code() == 0 {
        return ExitCode::SUCCESS;
    }
    // Nothing was parsed, so the wish for JSON has to be looked for by hand.
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        // Usage and further hints follow after an empty line.
        let what = text.split("\n\n").next().unwrap_or_default();
        let words: Vec<&str> = what
            .trim_start_matches("error: ")
            .split_whitespace()
            .collect();
        Failure::wrong_usage(words.join(" ")).show_json();
    }
    ExitCode::from(failure::WRONG_USAGE)
}
