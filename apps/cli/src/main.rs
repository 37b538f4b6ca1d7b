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
mod password;
mod places;
mod plain;
mod program;
mod repositories;
mod shares;
mod signals;
mod stderr;
mod stdout;
mod storage;
mod table;
mod verified;
mod vm_names;
mod world;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::CommandLine;
use crate::failure::Failure;
use crate::world::World;

fn main() -> ExitCode {
    // Only the first call counts, and this is the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return wrong_usage(&error),
    };
    let json = line.globals.json;
    let outcome = World::new(&line.globals).and_then(|world| {
        let outcome = line.command.run(&world);
        world.tell_notes();
        outcome
    });
    match outcome {
        Ok(answer) => answer.show(json),
        Err(failure) => failure.show(json),
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
