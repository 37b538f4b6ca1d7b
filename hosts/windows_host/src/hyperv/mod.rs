//! This machine's Hyper-V behind the port `hyperv::HypervHost`, over WMI and virtdisk.
//!
//! ```text
//! host                     the port
//!   │
//! discovery  checkpoints  frozen_disks  reference_points  merges  planned  configuration_files
//!   │                      what the port's words mean in Hyper-V's classes
//! probing ─ own_vm         what a self-test asks beside the port, and the VM that it makes
//!   │
//! settings  disk_kinds  network  guest  chains      objects to values
//! provider ─ jobs ─ return_codes ─ errors           calls followed to their ends
//! ```
//!
//! It translates and decides nothing: what is believed of Hyper-V without a source stands in
//! [`Beliefs`], what a caller may act on in `HypervErrorKind`.

mod allocation;
mod beliefs;
mod chains;
mod checkpoints;
mod cim_date;
mod cluster;
mod configuration_files;
mod defined;
mod descriptor;
mod discovery;
mod disk_facts;
mod disk_kinds;
#[cfg(test)]
mod documented_codes;
mod embedded;
mod errors;
mod events;
mod frozen_disk;
mod frozen_disks;
mod guest;
mod guest_cluster;
mod host;
mod imported;
mod instance_id;
mod jobs;
mod merge_settings;
mod merges;
mod method;
mod network;
mod new_disk;
mod occupation;
mod open_disks;
mod own_vm;
mod patience;
mod planned;
mod planned_parts;
mod planned_system;
mod power;
mod probing;
mod provider;
mod recorded_settings;
mod reference_points;
mod return_codes;
mod sectors;
mod settings;
mod staging;
mod volumes;

pub use beliefs::{Beliefs, Limits};
pub use events::{EventChannels, LoggedEvent};
pub use host::{Parts, WindowsHypervHost};
pub use own_vm::OwnVm;
pub use probing::{DiskEntry, Ending, Probing, WatchedEnd, WindowsVersion, windows_version};
pub use volumes::{SystemVolumes, Volumes};
