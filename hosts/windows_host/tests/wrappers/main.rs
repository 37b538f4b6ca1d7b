//! The wrappers of single Windows calls: a service that is this very test program, and leaks.

#![cfg(windows)]

#[path = "../held/mod.rs"]
#[expect(unsafe_code, reason = "Windows is asked what this process holds")]
mod held;
mod leaks;
mod service;
