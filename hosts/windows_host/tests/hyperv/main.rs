//! This machine's Hyper-V over the model of its provider and of virtdisk, in one process.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

mod cluster;
mod configuration;
mod contract;
mod definitions;
mod fault_table;
mod faults;
mod imports;
mod moments;
mod refused;
mod round_trips;
mod world;
