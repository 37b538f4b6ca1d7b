//! The service against a control plane that goes by a script and judges every call.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic in a test is its failure")]

mod commands;
mod enrolment;
mod files;
mod hyperv_restores;
mod hyperv_runs;
mod s3;
mod s3_server;
mod simulated_clock;
mod updates;
mod volumes;
mod world;
