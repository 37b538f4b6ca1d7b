//! The server's side of the agent's API, for tests: it speaks the contract as the real server does, on old
//! and current forms, with its quirks and with faults, records every call, and judges them by the
//! contract's rules.
//!
//! It is written from the contract on plain JSON values and knows nothing of `protocol`: else it would
//! prove that we agree with ourselves.
//!
//! ```text
//! agent ─► http ─► fault plan ─► routes ─► world (rows, as in the database) ─► reply ─► fault plan ─► agent
//!                       └─► record ─► rules ─► violations()
//! ```
//!
//! # As a library
//!
//! ```no_run
//! use scripted_control_plane::{ControlPlane, Fault, RunOrder, Settings};
//! use time_and_chance::SystemClock;
//!
//! let plane = ControlPlane::start(Settings::default(), SystemClock::new()).expect("a port is free");
//! plane.with(|world| world.add_agent("0f0e0d0c-0000-4000-8000-000000000001", "token"));
//! let run = plane.with(|world| world.queue_run(RunOrder::hyperv("web01")));
//! plane.inject("agent_update_run", 3, Fault::AnswerLost);
//! // … let an agent work against plane.url() …
//! assert_eq!(plane.violations(), []);
//! assert_eq!(plane.with(|world| world.run_status(&run).to_owned()), "success");
//! ```
//!
//! The clock is the caller's: heartbeats, the watchdog, holding a long poll and the spacing of calls are
//! measured on it.
//!
//! # As a program
//!
//! `scripted-control-plane --listen 127.0.0.1:8080 --script FILE` prints its URL and serves until its
//! standard input ends; then it prints calls, rows and violations as one JSON document, and ends with
//! status 1 if there are violations. The script is described in [`script`].

pub mod downloads;
pub mod fault;
mod http;
pub mod packed;
mod plane;
pub mod record;
mod reply;
mod routes;
mod rules;
pub mod script;
pub mod world;

pub use fault::Fault;
pub use plane::{Answer, ControlPlane};
pub use record::Recorded;
pub use rules::Violation;
pub use world::{CommandOrder, Generation, RunOrder, Settings, World};
