//! Stories of the product's host for Windows, over the model of Hyper-V's provider and of virtdisk.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

mod cycle;
mod every_call;
mod faults;
mod machine;
mod moments;
