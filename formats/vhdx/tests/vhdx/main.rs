//! What the crate promises, seen from outside: against models, against qemu, against libvhdi.

mod canonical;
mod qemu;
mod sample;
mod thin;
