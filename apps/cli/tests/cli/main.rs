//! The executable as people and programs meet it: what it says, how it ends, what it leaves.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

mod agent;
mod damage;
mod end_to_end;
mod exit_status;
mod files;
mod help;
mod keeping;
mod kills;
mod kopias_own;
mod lock;
mod maintain;
mod older_agent;
mod on_every_system;
mod password;
mod performance;
mod remember;
