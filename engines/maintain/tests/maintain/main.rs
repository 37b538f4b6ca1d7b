//! Repositories that are maintained for days of a clock that tests move.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

mod crashes;
mod days;
mod locks;
mod others;
mod refusals;
mod world;
