//! The service: takes runs and commands from a control plane, carries them out with the engines,
//! and reports, whatever happens to the line, the server or itself.
//!
//! ```text
//! service     takes runs, commands; sends what waits
//!   runs, commands          one thread each, within supervision
//!     repositories          opened for them, handed on
//!   outbox, events, health  told sooner or later; the first for certain
//! control_plane  calls, over http (a Transport)
//! ```
//!
//! Everything real is handed in as [`ports::Ports`]. Of the wire it knows nothing that `protocol`
//! does not say.

mod active;
mod arrived;
mod bandwidth;
mod cancellation;
mod command_journal;
mod commands;
pub mod config;
mod control_plane;
pub mod credentials;
mod destination;
mod durable;
pub mod enrolment;
mod events;
mod health;
pub mod http;
mod left_runs;
mod leftovers;
pub mod log;
mod meter;
mod outbox;
mod pace;
mod parts;
pub mod ports;
pub mod pulse;
mod receiving;
mod records;
mod reporter;
mod repositories;
mod retention;
mod runs;
mod runs_begun;
pub mod service;
mod shares;
pub mod status;
mod storage;
mod supervision;
mod tap;
#[cfg(test)]
mod test_parts;
pub mod update;
mod verbose;
mod verbose_logs;
pub mod volumes;

pub use parts::Afterwards;
