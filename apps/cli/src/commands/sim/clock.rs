//! `sim clock`: the clock that the programs of a simulation share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use time_and_chance::{SignedDuration, SimTime, Timestamp};

use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent sim clock /tmp/clock set 2026-10-27T20:55:00Z --rate 0    it stands still
  e3-backup-agent sim clock /tmp/clock run 20                               it goes twenty times as fast
  e3-backup-agent sim clock /tmp/clock advance 8h30m
  E3_SIM_CLOCK=/tmp/clock e3-backup-agent run --config agent.conf           lives by it

Server (`e3-control-plane serve --sim-clock FILE`), agents with a simulated host and `sim` itself live by it,
so that thirty nights can be played in minutes. What they wait for in between, a merge for example, takes a
clock that goes: let it stand still only while nothing is at work.")]
pub struct Clock {
    /// The clock's file; `set` makes it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(subcommand)]
    what: What,
}

/// What is done with the clock.
#[derive(Debug, Subcommand)]
enum What {
    /// Set it to a time.
    #[command(
        after_help = "Example:\n  e3-backup-agent sim clock /tmp/clock set 2026-10-27T20:55:00Z --rate 20"
    )]
    Set {
        /// The time in UTC, such as 2026-10-27T20:55:00Z.
        #[arg(value_name = "TIME")]
        time: Timestamp,
        /// How many times faster than real time it goes on; 0: it stands still [default: as before; 1 if it is new].
        #[arg(long, value_name = "N")]
        rate: Option<u32>,
    },
    /// Move it on.
    #[command(after_help = "Example:\n  e3-backup-agent sim clock /tmp/clock advance 8h30m")]
    Advance {
        /// By how much, such as 90s, 30m or 8h30m.
        #[arg(value_name = "DURATION", value_parser = duration)]
        by: Duration,
    },
    /// Let it go so many times faster than real time; 0: it stands still.
    #[command(after_help = "Example:\n  e3-backup-agent sim clock /tmp/clock run 20")]
    Run {
        /// How many times faster.
        #[arg(value_name = "N")]
        rate: u32,
    },
    /// Show what it says.
    #[command(after_help = "Example:\n  e3-backup-agent sim clock /tmp/clock show")]
    Show,
}

impl Clock {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let real = world.clock().now();
        let moved = match &self.what {
            What::Set { time, rate } => {
                let before = match self.file.exists() {
                    true => read(&self.file)?,
                    false => SimTime::first(*time, real, 1),
                };
                let set = before.set_to(*time, real);
                rate.map_or(set, |rate| set.running(rate, real))
            }
            What::Advance { by } => read(&self.file)?.advanced(*by, real),
            What::Run { rate } => read(&self.file)?.running(*rate, real),
            What::Show => return Ok(shown(&read(&self.file)?, real)),
        };
        local_file::replace(&self.file, moved.to_string().as_bytes()).map_err(|error| {
            let what = format!("failed to write {}: {error}", self.file.display());
            Failure::new(FailureKind::Failed, what)
        })?;
        Ok(shown(&moved, real))
    }
}

fn read(file: &Path) -> Result<SimTime, Failure> {
    SimTime::read(file).map_err(|error| Failure::wrong_usage(format!("failed to {error}")))
}

fn shown(setting: &SimTime, real: Timestamp) -> Answer {
    let now = setting.at(real);
    let how = match setting.rate {
        0 => "stands still".to_owned(),
        1 => "goes as real time does".to_owned(),
        rate => format!("goes {rate} times as fast as real time"),
    };
    Answer::new(
        format!("{now}; the clock {how}"),
        json!({ "time": now, "rate": setting.rate, "revision": setting.revision }),
    )
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    let positive = parsed.and_then(|it| Duration::try_from(it).ok());
    positive.ok_or_else(|| format!("{text:?} is no duration; write it like 90s, 30m or 8h30m"))
}
