//! What a host tells about its virtual machines: plain values, no behaviour.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use disk::{ChangeId, Geometry};
use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;
use uuid::Uuid;

macro_rules! guid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

guid_type! {
    /// A virtual machine's GUID, the only key to use; shown in lower case without braces.
    VmId
}
guid_type! {
    /// A checkpoint's GUID (WMI calls it a snapshot's).
    CheckpointId
}

/// A reference point's `InstanceID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferencePointId(pub String);

impl fmt::Display for ReferencePointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a VM is doing (Hyper-V spec 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// The guest runs.
    Running,
    /// Switched off.
    Off,
    /// Its memory lies in a file.
    Saved,
    /// Its processors stand still.
    Paused,
    /// Anything else, by the host's number.
    Other(u16),
}

/// First or second generation hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generation {
    /// BIOS, boots from IDE.
    #[serde(rename = "1")]
    One,
    /// UEFI, boots from SCSI.
    #[serde(rename = "2")]
    Two,
}

/// What the guest says it is; for display only (Hyper-V spec 3.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSystem {
    /// Whether it is a Windows.
    pub windows: bool,
    /// Its name, as the guest tells it.
    pub name: String,
}

/// Where a disk hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// An emulated IDE controller.
    Ide,
    /// A synthetic SCSI controller.
    Scsi,
    /// A persistent-memory controller.
    Pmem,
}

/// A disk of a VM that lies in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualDisk {
    /// The kind of controller.
    pub controller: Controller,
    /// Which controller of that kind.
    pub controller_number: u32,
    /// Which place on it.
    pub location: u32,
    /// The file the VM writes to now; an `.avhdx` while checkpoints exist.
    pub path: PathBuf,
    /// The file at the root of its chain: the name an administrator knows.
    pub original_path: PathBuf,
    /// The disk's own identity, stable along its chain.
    pub virtual_disk_id: Uuid,
    /// The disk's length.
    pub virtual_bytes: u64,
    /// The block size of the file at the root of the chain.
    pub block_bytes: u32,
    /// Logical sectors, 512 or 4096.
    pub logical_sector_bytes: u32,
    /// Physical sectors, 512 or 4096.
    pub physical_sector_bytes: u32,
    /// Whether change tracking is on, where the host can tell.
    pub tracked: Option<bool>,
    /// Whether it is shared between VMs or belongs to a VHD set: not to be backed up from a host.
    pub shared: bool,
    /// How many differencing files lie above the root.
    pub chain_depth: u32,
}

/// A disk of a VM that cannot be captured from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OmittedDisk {
    /// What it is called: a physical disk's or a LUN's name.
    pub name: String,
    /// Why it is left out, such as "pass-through".
    pub reason: String,
}

/// A network adapter, as far as a restore needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAdapter {
    /// Its name.
    pub name: String,
    /// Its MAC address, 12 hex digits.
    pub mac_address: String,
    /// The switch it hangs on, by name.
    pub switch: Option<String>,
}

/// An operation the VM is busy with (`OperationalStatus[1]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationInProgress {
    /// A checkpoint is being made.
    CreatingCheckpoint,
    /// A checkpoint is being deleted.
    DeletingCheckpoint,
    /// A checkpoint is being applied.
    ApplyingCheckpoint,
    /// Disks are being merged.
    MergingDisks,
    /// The VM is being exported.
    Exporting,
    /// The VM is moving to another host.
    Migrating,
    /// Anything else, by the host's number.
    Other(u16),
}

/// What [`Vm::firmware`] says of firmware that starts signed systems alone.
pub const SECURE_BOOT: &str = "secure boot";

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    /// Its GUID.
    pub id: VmId,
    /// Its name; not unique.
    pub name: String,
    /// First or second generation.
    pub generation: Generation,
    /// The configuration version, such as "9.0".
    pub version: String,
    /// What it is doing.
    pub state: VmState,
    /// What else it is busy with.
    pub operation: Option<OperationInProgress>,
    /// What the guest says it is, if it ever said.
    pub guest: Option<GuestSystem>,
    /// "BIOS", "UEFI", "UEFI, secure boot", for display and restore.
    pub firmware: String,
    /// Virtual processors.
    pub processors: u32,
    /// Start-up memory.
    pub memory_bytes: u64,
    /// Network adapters.
    pub network_adapters: Vec<NetworkAdapter>,
    /// Disks in files, by controller kind, number and location.
    pub disks: Vec<VirtualDisk>,
    /// Disks that cannot be captured.
    pub omitted_disks: Vec<OmittedDisk>,
    /// When it was made on this host; a base older than that is none.
    pub created: Timestamp,
    /// The checkpoint last applied to it, if any: applying one makes every older base void.
    pub last_applied_checkpoint: Option<CheckpointId>,
}

impl Vm {
    /// Returns a running VM of generation 2 that has nothing but its name: no guest that speaks, no
    /// disks, no adapters. What describes VMs to test what decides about them begins with this.
    pub fn bare(id: VmId, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            generation: Generation::Two,
            version: "10.0".to_owned(),
            state: VmState::Running,
            operation: None,
            guest: None,
            firmware: "UEFI".to_owned(),
            processors: 1,
            memory_bytes: 1 << 30,
            network_adapters: Vec::new(),
            disks: Vec::new(),
            omitted_disks: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
            last_applied_checkpoint: None,
        }
    }
}

/// How consistent a checkpoint is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestedConsistency {
    /// `ConsistencyLevel` 1: the guest is quiesced.
    Application,
    /// `ConsistencyLevel` 2: as at power loss.
    Crash,
}

/// How consistent it is in truth (DESIGN, promise 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// A Windows guest's VSS writers were frozen.
    Application,
    /// A Linux guest's file systems were frozen.
    Filesystem,
    /// The VM was off.
    Offline,
    /// As at power loss.
    Crash,
}

impl Consistency {
    /// Returns the word used everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Filesystem => "filesystem",
            Self::Offline => "offline",
            Self::Crash => "crash",
        }
    }
}

/// What kind of checkpoint it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// A backup's: `…:Snapshot:Recovery`.
    Recovery,
    /// A user's.
    User,
    /// Replica's or anything else.
    Other,
}

/// A checkpoint of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its GUID.
    pub id: CheckpointId,
    /// Its kind.
    pub kind: CheckpointKind,
    /// Its name; ours carry the run's mark.
    pub name: String,
    /// When it was taken.
    pub created: Timestamp,
}

/// A disk as a checkpoint holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrozenDisk {
    /// The kind of controller.
    pub controller: Controller,
    /// Which controller of that kind.
    pub controller_number: u32,
    /// Which place on it.
    pub location: u32,
    /// The frozen file.
    pub path: PathBuf,
    /// The file at the root of its chain.
    pub original_path: PathBuf,
}

/// A file of the VM's configuration as the checkpoint holds it: `.vmcx`, `.vmrs`, `.vmgs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationFile {
    /// The file's name.
    pub name: String,
    /// Its content; at most some tens of MiB.
    pub content: Vec<u8>,
}

/// One tracked disk in a reference point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencePointDisk {
    /// The disk's own identity.
    pub virtual_disk_id: Uuid,
    /// The kind of controller.
    pub controller: Controller,
    /// Which controller of that kind.
    pub controller_number: u32,
    /// Which place on it.
    pub location: u32,
    /// The id that names the instant in this disk's tracking.
    pub change_id: ChangeId,
}

/// A named instant in the tracking of a VM's disks (Hyper-V spec 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencePoint {
    /// Its `InstanceID`.
    pub id: ReferencePointId,
    /// Whether it is of the change tracking kind (2), not Replica's log kind (1).
    pub tracking: bool,
    /// The consistency recorded in it: whether level 1 was obtained.
    pub application_level: bool,
    /// Its disks.
    pub disks: Vec<ReferencePointDisk>,
}

/// How far a merge is, as far as the host tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergeProgress {
    /// Percent done.
    pub percent: Option<u8>,
    /// How long the differencing files are that are still to be merged.
    pub left_bytes: Option<u64>,
}

/// Whether disks are being merged after a checkpoint went away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeState {
    /// Nothing to merge: chains are as deep as the checkpoints that exist ask for.
    Idle,
    /// A merge runs.
    Running(MergeProgress),
    /// A differencing file lies above a disk and no checkpoint owns it, and nothing runs.
    Stuck(String),
}

/// Room on a volume that holds files of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpace {
    /// The volume, as the host names it.
    pub volume: String,
    /// Free for writing.
    pub free_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}

/// A disk to be made on a host for a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDisk {
    /// Size and sectors.
    pub geometry: Geometry,
    /// Block size wanted, if any.
    pub block_bytes: Option<u32>,
    /// The identity it shall have: the original's when it replaces the same VM, else a new one.
    pub virtual_disk_id: Uuid,
}

/// A VM that was imported but is not yet one (`Msvm_PlannedComputerSystem`).
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedVm {
    /// Its GUID: the original's or a new one, as asked.
    pub id: VmId,
    /// Its disks as the imported configuration names them, still with the old paths.
    pub disks: Vec<FrozenDisk>,
    /// Its network adapters, with the switch they last hung on.
    pub network_adapters: Vec<NetworkAdapter>,
}

/// What a VM is defined from anew (Hyper-V spec 10.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmDefinition {
    /// Its name.
    pub name: String,
    /// First or second generation.
    pub generation: Generation,
    /// Its firmware, as [`Vm::firmware`] has it.
    pub firmware: String,
    /// Virtual processors.
    pub processors: u32,
    /// Start-up memory.
    pub memory_bytes: u64,
    /// Network adapters, with the switches they last hung on.
    pub network_adapters: Vec<NetworkAdapter>,
    /// Disks, whose files are there.
    pub disks: Vec<DefinedDisk>,
}

impl VmDefinition {
    /// Returns whether its firmware starts signed systems alone.
    pub fn has_secure_boot(&self) -> bool {
        self.firmware.contains(SECURE_BOOT)
    }
}

/// A disk of a VM that is defined anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinedDisk {
    /// The kind of controller.
    pub controller: Controller,
    /// Which controller of that kind.
    pub controller_number: u32,
    /// Which place on it.
    pub location: u32,
    /// Its file.
    pub path: PathBuf,
}

impl DefinedDisk {
    /// Returns it as a planned VM lists it.
    pub fn frozen(&self) -> FrozenDisk {
        FrozenDisk {
            controller: self.controller,
            controller_number: self.controller_number,
            location: self.location,
            path: self.path.clone(),
            original_path: self.path.clone(),
        }
    }
}

/// A planned VM that was defined anew.
#[derive(Debug, Clone, PartialEq)]
pub struct DefinedVm {
    /// The planned VM.
    pub planned: PlannedVm,
    /// What was recorded of the original and did not come along, for people.
    pub left_out: Vec<String>,
}

/// What validation says about a planned VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationMessage {
    /// Whether the VM cannot be realised because of it.
    pub fatal: bool,
    /// What the host says.
    pub text: String,
}
