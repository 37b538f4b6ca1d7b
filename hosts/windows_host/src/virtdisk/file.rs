//! What virtdisk offers, as far as backups and restores need it (Hyper-V spec 7.1 and 8).

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use hyperv::query_loop::PartialAnswer;
use uuid::Uuid;

use super::VirtualDiskError;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Asking only; works beside a VM that has it open.
    Information,
    /// Reading and asking; it is attached without a local host, or else as a drive.
    Read,
    /// Writing to a disk that holds no file system yet; it is attached without a local host, or
    /// else as a drive that is offline. A file system the host would mount, and write to, in the
    /// moment before its drive is offline.
    Write,
}

/// The format of a virtual disk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// VHD.
    Vhd,
    /// VHDX.
    Vhdx,
    /// A VHD set.
    VhdSet,
    /// Anything else, by virtdisk's number.
    Other(u32),
}

/// The kind of a virtual disk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subtype {
    /// All blocks are in the file.
    Fixed,
    /// Blocks are added as they are written.
    Dynamic,
    /// It holds what differs from a parent.
    Differencing,
    /// Anything else, by virtdisk's number.
    Other(u32),
}

/// Sizes of a virtual disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualDiskSize {
    /// The disk's length as its guest sees it.
    pub virtual_bytes: u64,
    /// The block size of the file.
    pub block_bytes: u32,
    /// Logical sectors.
    pub sector_bytes: u32,
}

/// The tracking state of a disk (information version 15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeTracking {
    /// Whether it is tracked.
    pub enabled: bool,
    /// Whether there were writes after the newest id.
    pub newer_changes: bool,
    /// The newest id; empty if there is none.
    pub most_recent_id: String,
}

/// A virtual disk file to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewVirtualDisk {
    /// The disk's length.
    pub virtual_bytes: u64,
    /// The block size; none for virtdisk's own choice.
    pub block_bytes: Option<u32>,
    /// 512 or 4096.
    pub logical_sector_bytes: u32,
    /// 512 or 4096.
    pub physical_sector_bytes: u32,
    /// The disk's identity.
    pub virtual_disk_id: Uuid,
}

/// virtdisk.dll.
pub trait VirtualDisks: Send + Sync + Debug {
    /// Opens a file and everything beneath it; dropping it detaches and closes it.
    ///
    /// # Errors
    /// 32 if it is open in a way that does not go together with `access`.
    fn open(
        &self,
        path: &Path,
        access: Access,
    ) -> Result<Box<dyn VirtualDiskFile>, VirtualDiskError>;

    /// Makes a dynamic VHDX.
    ///
    /// # Errors
    /// 80 if a file is there already, 3 if its folder is missing.
    fn create(&self, path: &Path, disk: &NewVirtualDisk) -> Result<(), VirtualDiskError>;
}

/// An open virtual disk file. Offsets are those of the virtual disk, always.
pub trait VirtualDiskFile: Send + Sync + Debug {
    /// Returns sizes (information version 1).
    fn size(&self) -> Result<VirtualDiskSize, VirtualDiskError>;

    /// Returns the physical sector size (version 10).
    fn physical_sector_bytes(&self) -> Result<u32, VirtualDiskError>;

    /// Returns the format (version 6).
    fn container(&self) -> Result<Container, VirtualDiskError>;

    /// Returns the kind (version 7).
    fn subtype(&self) -> Result<Subtype, VirtualDiskError>;

    /// Returns the parent of a differencing disk, where it was found (version 3).
    fn parent(&self) -> Result<Option<PathBuf>, VirtualDiskError>;

    /// Returns the disk's identity, stable along its chain (version 14).
    fn virtual_disk_id(&self) -> Result<Uuid, VirtualDiskError>;

    /// Returns the tracking state (version 15).
    fn change_tracking(&self) -> Result<ChangeTracking, VirtualDiskError>;

    /// Returns whether nobody but this handle sees the disk that it is attached as; otherwise the
    /// host shows a drive without letters, offline if it is written (Hyper-V spec 8, RH-14).
    fn is_unseen(&self) -> bool;

    /// Asks what changed since an id in one stretch of the disk; the answer may be partial.
    fn query_changes(
        &self,
        id: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<PartialAnswer, VirtualDiskError>;

    /// Fills `buf` from `offset` on; both are multiples of the logical sector.
    ///
    /// # Errors
    /// Any, among them a short read; nothing is ever filled in.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), VirtualDiskError>;

    /// Writes `data` from `offset` on; both are multiples of the logical sector.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), VirtualDiskError>;

    /// Makes everything written so far durable.
    fn flush(&self) -> Result<(), VirtualDiskError>;
}
