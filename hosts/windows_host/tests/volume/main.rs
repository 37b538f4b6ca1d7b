//! `VolumeHost` over models of VSS and of WMI's storage namespace.
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

mod contract;
mod faults;
mod world;
