//! What discovery commands found. It always goes packed: paths make firewalls nervous.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::identifier::CommandId;
use crate::lenient;
use crate::packing::{GZIP_BASE64, PackingError, UNPACKED_BYTES_MAX, pack, unpack};
use crate::request::{Body, Call};
use crate::words::closed_words;

/// Reports what a discovery command found, which also completes it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReportBrowse {
    /// The command.
    pub command_id: CommandId,
    /// How the result is packed.
    #[serde(default, deserialize_with = "lenient::text")]
    pub result_encoding: String,
    /// The result.
    #[serde(default, deserialize_with = "lenient::text")]
    pub result_b64: String,
}

impl ReportBrowse {
    /// Returns the report of a [`BrowseResult`], [`Disks`], [`Vms`], [`VmDetails`] or [`LogTail`].
    pub fn new(command_id: CommandId, result: &impl Report) -> Self {
        let json = serde_json::to_vec(result).expect("our documents have texts as keys");
        Self {
            command_id,
            result_encoding: GZIP_BASE64.to_owned(),
            result_b64: pack(&json),
        }
    }

    /// Returns the result's JSON.
    pub fn result_json(&self) -> Result<Vec<u8>, PackingError> {
        unpack(&self.result_b64, UNPACKED_BYTES_MAX)
    }
}

impl Call for ReportBrowse {
    const ENDPOINT: Endpoint = Endpoint::ReportBrowse;
    type Answer = ();

    fn body(&self) -> Body {
        Body::json(self)
    }

    fn answer(&self, _: &str, _: Map<String, Value>) -> Result<(), String> {
        Ok(())
    }
}

/// What a discovery command may find.
pub trait Report: Serialize + DeserializeOwned {}

impl Report for BrowseResult {}
impl Report for Disks {}
impl Report for Vms {}
impl Report for VmDetails {}
impl Report for LogTail {}

/// A folder's contents.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct BrowseResult {
    /// The folder.
    pub path: String,
    /// The folder above it; empty for the topmost.
    pub parent: String,
    /// What is in it.
    pub entries: Vec<BrowseEntry>,
    /// Why it cannot be listed; empty if it could.
    pub error: String,
}

closed_words! {
    /// What an entry is.
    EntryKind {
        /// A drive, or a root.
        Drive = "drive",
        /// A folder.
        Folder = "folder",
        /// A file.
        File = "file",
    }
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct BrowseEntry {
    /// Its name.
    pub name: String,
    /// Its whole path.
    pub path: String,
    /// Whether it can be opened like a folder.
    pub is_dir: bool,
    /// Its size; 0 for folders.
    pub size: u64,
    /// When it was changed, RFC 3339.
    pub modified_at: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// The icon to show, which is what it is.
    pub icon: EntryKind,
}

/// This machine's disks.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Disks {
    /// The disks.
    pub disks: Vec<Disk>,
    /// How many there are.
    pub count: usize,
}

impl From<Vec<Disk>> for Disks {
    fn from(disks: Vec<Disk>) -> Self {
        let count = disks.len();
        Self { disks, count }
    }
}

/// A disk of this machine.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Disk {
    /// The device.
    pub path: String,
    /// A name for people.
    pub name: String,
    /// What the maker calls it.
    pub model: String,
    /// The maker's number.
    pub serial: String,
    /// What it hangs on.
    pub bus_type: String,
    /// `gpt`, `mbr` or empty.
    pub partition_style: String,
    /// How large it is.
    pub size_bytes: u64,
    /// How it is divided.
    pub partitions: Vec<Partition>,
}

/// A part of a disk.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Partition {
    /// A name for people.
    pub name: String,
    /// The device.
    pub path: String,
    /// Where it begins.
    pub start_bytes: u64,
    /// How large it is.
    pub size_bytes: u64,
    /// What is on it.
    pub filesystem: String,
    /// What its owner calls it.
    pub label: String,
    /// What the table says it is.
    pub part_type: String,
    /// Whether firmware starts from it.
    pub is_efi: bool,
    /// Whether the system starts from it.
    pub is_system: bool,
    /// Whether it is for repairs.
    pub is_recovery: bool,
    /// Where it is mounted.
    pub mountpoint: String,
}

/// This host's VMs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Vms {
    /// The VMs.
    pub vms: Vec<Vm>,
    /// How many there are.
    pub count: usize,
}

impl From<Vec<Vm>> for Vms {
    fn from(vms: Vec<Vm>) -> Self {
        let count = vms.len();
        Self { vms, count }
    }
}

/// A VM of this host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Vm {
    /// Hyper-V's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does, such as `Running`.
    pub state: String,
    /// 1 or 2.
    pub generation: u32,
    /// Its processors.
    pub cpu_count: u32,
    /// Its memory.
    pub memory_mb: u64,
    /// Whether the guest answers the host.
    pub integration_services: bool,
    /// Whether the guest is a Linux.
    pub is_linux: bool,
    /// Whether what changes is tracked.
    pub rct_enabled: bool,
    /// How many disks it has.
    pub disk_count: usize,
}

/// Some VMs' disks.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct VmDetails {
    /// The VMs.
    pub details: Vec<VmDetail>,
    /// How many there are.
    pub count: usize,
}

impl From<Vec<VmDetail>> for VmDetails {
    fn from(details: Vec<VmDetail>) -> Self {
        let count = details.len();
        Self { details, count }
    }
}

/// A VM's disks.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct VmDetail {
    /// Hyper-V's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many disks it has.
    pub disk_count: usize,
    /// The disks.
    pub disks: Vec<VmDisk>,
    /// Ours: the checkpoints that are held, whoever left them; none if they could not be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leftovers: Option<Vec<VmLeftover>>,
}

/// A checkpoint that somebody left on a VM, or holds right now.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct VmLeftover {
    /// `own` (of this agent), `recovery` (of another backup), `user` or `other`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// When it was taken, RFC 3339.
    pub created_at: String,
}

/// A VM's disk.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct VmDisk {
    /// Its file.
    pub path: String,
    /// What the guest sees.
    pub size_bytes: u64,
    /// What the file takes.
    pub used_bytes: u64,
    /// `VHDX` or `VHD`.
    pub vhd_format: String,
    /// Whether what changes is tracked.
    pub rct_enabled: bool,
    /// `SCSI` or `IDE`.
    pub controller_type: String,
}

/// The end of a log.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct LogTail {
    /// The log.
    pub path: String,
    /// Whether there is more before it.
    pub truncated: bool,
    /// When it was read, RFC 3339.
    pub retrieved_at: String,
    /// The text.
    pub content: String,
}
