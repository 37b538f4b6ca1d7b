//! e3-control-plane: the server that agents poll, with a people's API and a dashboard.
//!
//! ```text
//! agents ──► agent_api ─┐                       ┌─► store (SQLite, PostgreSQL)
//! people ──► people_api ┼─► rules (pure) ───────┤
//! web/   ──► dashboard  ┘   chores (periodic) ──┴─► mail, webhooks
//! ```
//!
//! `agent_api` is the contract that an existing addon serves too; only `protocol` knows its wire.
//! What is decided stands in pure modules (`schedule`, `watch`); what is stored, in `store`.

pub mod agent_api;
pub mod certificate;
pub mod chores;
pub mod connections;
pub mod credentials;
pub mod dashboard;
pub mod deliver;
pub mod headers;
pub mod health;
pub mod leftovers;
pub mod live;
pub mod log;
pub mod metrics;
pub mod passwords;
pub mod people_api;
pub mod plane;
pub mod public_url;
pub mod retention_preview;
pub mod run_rules;
pub mod schedule;
pub mod sealing;
pub mod serve;
pub mod setup_code;
pub mod sign_in;
pub mod source;
pub mod store;
pub mod totp;
pub mod vm_choice;
pub mod watch;
