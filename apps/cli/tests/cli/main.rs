//! The executable as people and programs meet it: what it says, how it ends, what it leaves.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

mod agent;
mod agent_kills;
mod damage;
mod damage_of_kopias;
mod end_to_end;
mod exit_status;
mod few_rights;
mod files;
mod help;
mod keeping;
mod kills;
mod kopias_own;
mod lock;
mod maintain;
mod odd_names;
mod older_agent;
mod on_every_system;
#[cfg(windows)]
mod on_hyperv;
mod password;
mod performance;
mod remember;
mod s3_server;
mod self_update;
mod selftest;
mod service;
mod sim_clock;
mod supervised_run;
#[cfg(unix)]
mod systemd_world;
mod volumes;
#[cfg(windows)]
mod windows_program;
mod windows_service;
