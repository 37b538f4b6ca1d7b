//! What an agent and a control plane say to each other, as values: no file, socket, clock or thread.
//!
//! ```text
//! agent:          a Call ─► Request (method, path, headers, body) ─► transport
//!                 transport ─► Response ─► Result<Answer, NoAnswer>        repeat.rs says what may be sent again, and when
//! control plane:  the same types, read and written the other way round
//! ```
//!
//! Nobody else knows the wire: numbers that come as text, empty maps that come as lists, identifiers
//! in two forms, bodies packed so that firewalls let them pass. What comes from outside is read
//! leniently and never panics; errors never repeat what was received, for it may be secret.
//! This crate knows no engine, and decides nothing about backups.

pub mod agent_events;
pub mod commands;
pub mod endpoint;
pub mod enrolment;
pub mod envelope;
pub mod event;
pub mod form;
pub mod hyperv_discover;
pub mod hyperv_results;
pub mod identifier;
pub mod identity;
mod lenient;
pub mod limit;
pub mod log_chunk;
pub mod moment;
pub mod next_run;
pub mod packing;
pub mod path_map;
pub mod repeat;
pub mod repo_operations;
pub mod reports;
pub mod request;
pub mod retention;
pub mod run_events;
pub mod secret;
pub mod update_progress;
pub mod update_run;
pub mod volumes;
mod words;

pub use envelope::{NoAnswer, Response};
pub use identifier::WireId;
pub use request::{Call, Request};
pub use secret::SecretText;
