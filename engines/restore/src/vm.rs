//! A whole virtual machine: into a folder, or onto a Hyper-V host.

mod folder;
mod host;
mod plan;

pub use folder::to_folder;
pub use host::{HostTarget, RestoredVm, to_host};
