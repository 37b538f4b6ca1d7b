//! The model of Hyper-V's WMI provider, asked the way a client asks.
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

mod backup;
mod define;
mod queries;
mod restore;
mod storage;
mod world;
