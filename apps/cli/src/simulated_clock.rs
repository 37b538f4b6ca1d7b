//! Which clock a command lives by: the system's, or in a simulation the one that `E3_SIM_CLOCK` names.
//!
//! It is taken only where every host is simulated; anywhere else it would be trouble to believe another time
//! than the machine's, so the variable is refused.

use std::path::PathBuf;

use time_and_chance::{SIM_CLOCK_VARIABLE, SharedClock, SimClock, SystemClock};

use crate::arguments::Command;
use crate::commands::sim;
use crate::failure::{Failure, FailureKind};
use crate::hosts;

/// Returns the clock that a command lives by.
pub fn clock_of(command: &Command) -> Result<SharedClock, Failure> {
    let named = std::env::var_os(SIM_CLOCK_VARIABLE).filter(|file| !file.is_empty());
    let Some(file) = named.map(PathBuf::from) else {
        return Ok(SystemClock::new());
    };
    match command {
        // It is what moves the clock, so it lives by none.
        Command::Sim(sim::Command::Clock(_)) => return Ok(SystemClock::new()),
        Command::Sim(_) => {}
        Command::Run(run) if hosts::is_simulated(&run.host_of_configuration()?) => {}
        _ => return Err(refused()),
    }
    SimClock::following(&file)
        .map_err(|error| Failure::new(FailureKind::Failed, format!("failed to {error}")))
}

fn refused() -> Failure {
    Failure::wrong_usage(format!(
        "{SIM_CLOCK_VARIABLE} is set, and this command would not live by it: only `run` does, whose configuration names a simulated host (hyperv_host: sim:DIR), and `sim`; unset it"
    ))
}
