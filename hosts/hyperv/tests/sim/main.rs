//! The simulated host: the contract of all hosts, strictness, tracking, faults, crashes and
//! several processes.
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

mod contract;
mod crash;
mod faults;
mod host;
mod processes;
mod restore;
mod tracking;
mod world;
