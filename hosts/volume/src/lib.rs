//! Disks and volumes of a machine, and frozen copies of them: the port, the simulated host and
//! the contract suite.
//!
//! ```text
//! StorageLayout   disks, volumes and where they lie           every system
//!   ▲
//! VolumeHost      a set of volumes frozen at one instant,     Windows, by VSS
//!                 read, released; what was left of others
//! ```
//!
//! It knows nothing of repositories, and of virtual machines neither.

pub mod contract;
mod error;
mod layout;
mod port;
mod raw_device;
pub mod sim;

pub use error::{VolumeError, VolumeErrorKind};
pub use layout::{Disk, Extent, Partition, PartitionTable, Volume};
pub use port::{
    Announce, Freeze, FrozenVolumes, Shadow, ShadowSet, ShadowSetId, StorageLayout, VolumeHost,
    WriterOutcome, Writers,
};
pub use raw_device::RawDevice;
