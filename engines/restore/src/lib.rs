//! Restore engines: virtual machines, disks, files.
//!
//! ```text
//! vm      a restore point ─► a folder, or a VM on a Hyper-V host
//! disk    one stored disk ─► a VHDX or raw file
//! files   a snapshot's tree, Kopia's own included ─► a folder
//! ```
//!
//! Nothing that exists is overwritten unless that is asked for, and under a final name there is
//! either nothing or a whole file: data goes to a temporary name beside it first. How a person
//! asks for a restore, this crate does not know.

mod copy;
pub mod disk;
mod error;
mod file_name;
pub mod files;
mod new_file;
mod options;
mod os;
mod place;
pub mod vm;
mod zeros;

pub use error::{RestoreError, RestoreErrorKind};
pub use file_name::check as check_file_name;
pub use options::{DiskFormat, RestoreOptions, RestoredDisk};
