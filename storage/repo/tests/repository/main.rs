//! Repositories that are written, read back, judged, and shared with other clients.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

mod creation;
mod password;
mod sharing;
mod world;
mod writing;
