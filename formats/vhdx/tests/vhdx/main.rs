//! What the crate promises, seen from outside: against models, against qemu, against libvhdi.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is the failure report, in what tests share too"
)]

mod canonical;
mod crash;
mod damage;
mod foreign_log;
mod libvhdi;
mod live;
mod log;
mod qemu;
mod sample;
mod thin;
