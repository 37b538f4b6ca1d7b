//! `vm.json`: what a VM was when its restore point was made (DESIGN section 3).

use hyperv::{
    CheckpointId, Consistency, Controller, Generation, NetworkAdapter, OmittedDisk, VmId,
};
use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;
use uuid::Uuid;

/// The name of the descriptor in a point's root folder.
pub const DESCRIPTOR_NAME: &str = "vm.json";
/// The folder with the VM's configuration files.
pub const CONFIGURATION_FOLDER: &str = "config";
/// The folder with the VM's disks.
pub const DISKS_FOLDER: &str = "disks";
/// The form of the descriptor that this program writes.
pub const DESCRIPTOR_VERSION: u32 = 1;

/// Whether all of a disk was read, or what changed since a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// All that is allocated.
    Full,
    /// What changed since the base.
    Incremental,
}

impl BackupType {
    /// Returns the word used everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

/// A VM as a restore point holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmDescriptor {
    /// The form of this document.
    pub descriptor_version: u32,
    /// The point's own identity; bases bind to it.
    pub point: Uuid,
    /// The run that made it.
    pub run: Uuid,
    /// The VM's name.
    pub name: String,
    /// The VM's GUID.
    pub guid: VmId,
    /// First or second generation hardware.
    pub generation: Generation,
    /// The configuration version.
    pub version: String,
    /// "BIOS", "UEFI" and the like.
    pub firmware: String,
    /// Virtual processors.
    pub processors: u32,
    /// Start-up memory.
    pub memory_bytes: u64,
    /// Network adapters.
    pub network_adapters: Vec<NetworkAdapter>,
    /// The recovery checkpoint whose content this is.
    pub checkpoint: CheckpointId,
    /// When the disks were frozen.
    pub frozen_at: Timestamp,
    /// The consistency obtained.
    pub consistency: Consistency,
    /// Why it is not what was asked for, or what it rests on.
    pub consistency_reason: String,
    /// The disks, by number.
    pub disks: Vec<DiskDescriptor>,
    /// Disks that are not in the point, each with its reason.
    pub omitted_disks: Vec<OmittedDisk>,
}

/// A disk as a restore point holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskDescriptor {
    /// Counted from 0 by controller kind, number and location.
    pub number: u32,
    /// The file's name in the point's `disks` folder.
    pub file: String,
    /// The disk's own identity.
    pub virtual_disk_id: Uuid,
    /// The disk's length.
    pub virtual_bytes: u64,
    /// 512 or 4096.
    pub logical_sector_bytes: u32,
    /// 512 or 4096.
    pub physical_sector_bytes: u32,
    /// The source file's block size.
    pub source_block_bytes: u32,
    /// The kind of controller.
    pub controller: Controller,
    /// Which controller of that kind.
    pub controller_number: u32,
    /// Which place on it.
    pub location: u32,
    /// The file at the root of the chain, never an `.avhdx`.
    pub original_path: String,
    /// The id that names the frozen instant in the disk's tracking, if it is tracked.
    pub change_id: Option<String>,
    /// Whether all was read.
    #[serde(rename = "type")]
    pub backup_type: BackupType,
    /// Why all was read.
    pub full_reason: Option<String>,
    /// What was read from the source, sample included.
    pub read_bytes: u64,
    /// What was read only to prove that tracking missed nothing.
    pub sample_bytes: u64,
    /// What tracking reported, rounded to chunks.
    pub changed_bytes: u64,
    /// What new chunks take in packs.
    pub uploaded_bytes: u64,
    /// The length chunks were cut to.
    pub chunk_bytes: u64,
}

impl DiskDescriptor {
    /// Returns where the disk's file is in the point.
    pub fn path(&self) -> String {
        format!("{DISKS_FOLDER}/{}", self.file)
    }
}

impl VmDescriptor {
    /// Returns `Incremental` if any disk is.
    pub fn backup_type(&self) -> BackupType {
        let incremental = self
            .disks
            .iter()
            .any(|disk| disk.backup_type == BackupType::Incremental);
        if incremental {
            BackupType::Incremental
        } else {
            BackupType::Full
        }
    }
}
