//! Restore points: what one holds, how it is described, found and listed (DESIGN section 3).
//!
//! A point is a Kopia snapshot of ours: `vm.json`, the configuration, the disks. Its identity is
//! a UUID of ours, since stock Kopia gives a snapshot a new manifest id when it edits it.

mod descriptor;
mod error;
mod names;
mod new_point;
mod points;
mod tree_difference;
mod unfinished;
mod vm_difference;

pub use descriptor::{
    BackupType, CONFIGURATION_FOLDER, DESCRIPTOR_NAME, DESCRIPTOR_VERSION, DISKS_FOLDER,
    DiskDescriptor, VmDescriptor,
};
pub use error::{PointError, PointErrorKind};
pub use names::{disk_file_names, file_stem, restored_file_names};
pub use new_point::NewPoint;
pub use points::{OpenPoint, Point, Points};
pub use tree_difference::{Amount, Change, ChangedEntry, TreeDifference, tree_difference};
pub use unfinished::{UnfinishedDisk, UnfinishedPoint};
pub use vm_difference::{
    ChangedField, ChangedFile, DiskPair, changed_configuration, disk_pairs, vm_fields,
};
