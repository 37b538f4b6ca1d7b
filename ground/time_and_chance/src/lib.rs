//! Time, waiting and randomness as values that are handed in.
//!
//! Nothing above this crate asks the operating system for the time, sleeps, or draws random
//! numbers: it takes a [`Clock`] and a [`Chance`]. So a whole world can be played from a seed,
//! and thirty nights pass in a test without waiting for one.

mod chance;
mod clock;
mod sim_clock;
mod stop;

pub use chance::Chance;
pub use clock::{Clock, ManualClock, SharedClock, SystemClock, system_time_zone};
pub use jiff::tz::TimeZone;
pub use jiff::{SignedDuration, Timestamp};
pub use sim_clock::{SIM_CLOCK_VARIABLE, SimClock, SimClockError, SimTime};
pub use stop::{StopSignal, Stopped};
