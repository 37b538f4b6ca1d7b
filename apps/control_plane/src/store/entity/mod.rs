//! The tables, a file each. Times are milliseconds since 1970 in UTC, ids that leave the server are UUIDs or numbers,
//! and what ends in `_json` is a JSON document, what ends in `_sealed` is encrypted (`crate::sealing`).

pub mod agent_event;
pub mod alarm;
pub mod alarm_channel;
pub mod api_token;
pub mod audit_entry;
pub mod command;
pub mod delivery;
pub mod enrolment_token;
pub mod host;
pub mod job;
pub mod lease;
pub mod log_chunk;
pub mod login_session;
pub mod notice;
pub mod point;
pub mod repo_operation;
pub mod repository;
pub mod repository_size;
pub mod run;
pub mod run_event;
pub mod run_log;
pub mod session;
pub mod setting;
pub mod sign_in_address;
pub mod tenant;
pub mod user;
pub mod vm;
