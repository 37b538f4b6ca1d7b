//! The self-test against the model of Hyper-V, in either position of its switches, and killed.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

mod killed;
mod own_vm;
mod switches;
mod undone;
mod world;
