//! Restores as a whole: disks, VMs and trees come back as they were, or nothing does.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

mod disks;
mod kopia_fixtures;
mod trees;
mod vm_folders;
mod vm_hosts;
mod world;
