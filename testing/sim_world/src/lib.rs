//! A world from one seed: two Hyper-V hosts with an agent each, two repositories, guests,
//! administrators, other products and faults of every kind, in one process and on a clock that
//! is moved by hand.
//!
//! ```text
//! Storm ─ draws ─► guests, administrators, faults ─► Place: hosts, stores, state folders
//!   │          └─► backups, restores, cleaning     ─► the engines, as an agent calls them
//!   └─ compares with ─► Truth: what every disk and every point must hold
//! ```
//!
//! The truth is kept beside the product and never asks it: whoever writes to a disk writes into
//! both. A storm that fails prints its seed and what happened; the seed replays it.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

mod outside;
mod place;
mod storm;
mod truth;

pub use storm::{Storm, Tally};
