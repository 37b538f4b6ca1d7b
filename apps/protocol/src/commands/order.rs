//! What commands order.

use serde::{Deserialize, Serialize};

use super::Command;
use super::restore_order::{HypervRestore, Restore};
use crate::identifier::{RestorePointId, UpdateJobId};
use crate::next_run::{Destination, Engine, Policy};
use crate::{WireId, lenient};

/// What a command orders.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// The run that was asked about is to stop. Nothing is to be completed.
    Cancel,
    /// Restore files.
    Restore(Restore),
    /// Restore VMs.
    HypervRestore(HypervRestore),
    /// Quick maintenance of the repository in the context.
    MaintenanceQuick,
    /// Full maintenance of the repository in the context.
    MaintenanceFull,
    /// List a folder of this machine.
    BrowseDirectory(BrowseDirectory),
    /// List a folder of a restore point.
    BrowseSnapshot(BrowseSnapshot),
    /// Ours: pin a restore point, or take its pins away (`docs/decisions/own-control-plane-extensions.md`).
    PinPoint(PinPoint),
    /// List this machine's disks.
    ListDisks,
    /// List this host's VMs.
    ListHypervVms,
    /// List the disks of some VMs.
    ListHypervVmDetails(ListVmDetails),
    /// Report the volumes now.
    RefreshInventory,
    /// Send the end of the agent's log.
    FetchLogTail(FetchLogTail),
    /// Restart the service, after completing the command.
    ResetAgent,
    /// Replace the program.
    AgentUpdate(AgentUpdate),
    /// Send a run's verbose log.
    EnableVerboseAdminLogging(VerboseLogging),
    /// Something that this version does not do: drives of the cloud, whole disks of a machine, or a
    /// command it does not know.
    Unsupported,
}

impl Command {
    /// Returns what the command orders. What is wrong is said without what was received, and fit for the
    /// command's result.
    pub fn order(&self) -> Result<Order, String> {
        self.read_order()
            .map_err(|wrong| format!("the payload of `{}` {wrong}", self.shown_name()))
    }

    /// Returns where the repository rests that the command is about.
    pub fn context(&self) -> Result<Option<JobContext>, String> {
        let wrong = |reason| {
            format!(
                "the context of `{}` cannot be used: {reason}",
                self.shown_name()
            )
        };
        let members = self.job_context.members().map_err(wrong)?;
        match members.is_empty() {
            true => Ok(None),
            false => lenient::read(members).map(Some).map_err(wrong),
        }
    }

    fn shown_name(&self) -> String {
        crate::limit::shortened(&self.name, 64)
    }

    fn read_order(&self) -> Result<Order, String> {
        Ok(match self.name.as_str() {
            "cancel" => Order::Cancel,
            "restore" => Order::Restore(self.read()?),
            "hyperv_restore" => {
                Order::HypervRestore(self.read::<HypervRestore>()?.with_only_vm_listed())
            }
            "maintenance_quick" => Order::MaintenanceQuick,
            "maintenance_full" => Order::MaintenanceFull,
            "browse_directory" => Order::BrowseDirectory(self.read()?),
            "browse_snapshot" => Order::BrowseSnapshot(self.read()?),
            "pin_point" => Order::PinPoint(self.read()?),
            "list_disks" => Order::ListDisks,
            "list_hyperv_vms" => Order::ListHypervVms,
            "list_hyperv_vm_details" => Order::ListHypervVmDetails(self.read()?),
            "refresh_inventory" => Order::RefreshInventory,
            "fetch_log_tail" => Order::FetchLogTail(self.read()?),
            "reset_agent" => Order::ResetAgent,
            "agent_update" => Order::AgentUpdate(self.read()?),
            "enable_verbose_admin_logging" => Order::EnableVerboseAdminLogging(self.read()?),
            _ => Order::Unsupported,
        })
    }

    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        let members = self
            .payload
            .members()
            .map_err(|_| "is not an object".to_owned())?;
        lenient::read(members).map_err(|reason| format!("cannot be used: {reason}"))
    }
}

/// Where the repository rests that a command is about, and what else the server knows of the job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct JobContext {
    /// The job.
    #[serde(deserialize_with = "lenient::optional_id")]
    pub job_id: Option<WireId>,
    /// The backup run.
    #[serde(deserialize_with = "lenient::optional_id")]
    pub run_id: Option<WireId>,
    /// What the job backs up, and how.
    pub engine: Engine,
    /// What was backed up.
    #[serde(deserialize_with = "lenient::text")]
    pub source_path: String,
    /// Where it rests.
    #[serde(flatten)]
    pub destination: Destination,
    /// The manifest of the restore point or of the backup run.
    #[serde(deserialize_with = "lenient::text")]
    pub manifest_id: String,
    /// Details of how the work is done.
    #[serde(deserialize_with = "lenient::nested")]
    pub policy_json: Policy,
}

/// Lists a folder of this machine.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct BrowseDirectory {
    /// The folder; empty means the drives, or the root.
    #[serde(deserialize_with = "lenient::text")]
    pub path: String,
    /// How many entries at most; use [`entries_max`](Self::entries_max).
    #[serde(deserialize_with = "lenient::optional_count")]
    pub max_items: Option<u64>,
}

impl BrowseDirectory {
    /// Returns how many entries at most: 500 unless the order says otherwise, and never more than 1000.
    pub fn entries_max(&self) -> usize {
        entries_max(self.max_items)
    }
}

fn entries_max(max_items: Option<u64>) -> usize {
    match max_items {
        None | Some(0) => 500,
        Some(items) => items.min(1000) as usize,
    }
}

/// Lists a folder of a restore point.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct BrowseSnapshot {
    /// The restore point.
    #[serde(deserialize_with = "lenient::optional_row")]
    pub restore_point_id: Option<RestorePointId>,
    /// The folder below the snapshot's root.
    #[serde(deserialize_with = "lenient::text")]
    pub path: String,
    /// The manifest, where the payload has it; else the context does.
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub manifest_id: String,
    /// How many entries at most; use [`entries_max`](Self::entries_max).
    #[serde(deserialize_with = "lenient::optional_count")]
    pub max_items: Option<u64>,
}

impl BrowseSnapshot {
    /// Returns how many entries at most: 500 unless the order says otherwise, and never more than 1000.
    pub fn entries_max(&self) -> usize {
        entries_max(self.max_items)
    }
}

/// Pins a restore point, which then stays whatever retention says, or takes all its pins away.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct PinPoint {
    /// The manifest, where the payload has it; else the context does.
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub manifest_id: String,
    /// Whether it is to be pinned; nothing is done where this is not said.
    #[serde(deserialize_with = "lenient::optional_boolean")]
    pub is_pinned: Option<bool>,
}

/// Lists the disks of some VMs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ListVmDetails {
    /// GUIDs of the VMs.
    #[serde(deserialize_with = "lenient::texts")]
    pub vm_ids: Vec<String>,
}

/// Sends the end of the agent's log.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct FetchLogTail {
    /// Which log; only the agent's own are sent.
    #[serde(deserialize_with = "lenient::text")]
    pub log_path: String,
    /// How much; use [`bytes_max`](Self::bytes_max).
    #[serde(deserialize_with = "lenient::optional_count")]
    pub max_bytes: Option<u64>,
}

impl FetchLogTail {
    /// Returns how much at most: 128 KiB unless the order says otherwise, and never more than 256 KiB.
    pub fn bytes_max(&self) -> usize {
        match self.max_bytes {
            None | Some(0) => 131_072,
            Some(bytes) => bytes.min(262_144) as usize,
        }
    }
}

/// Replaces the program.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AgentUpdate {
    /// By what progress is reported.
    pub update_job_id: UpdateJobId,
    /// The version for people.
    #[serde(default, deserialize_with = "lenient::text")]
    pub version_label: String,
    /// Where it is to be had.
    #[serde(default, deserialize_with = "lenient::text")]
    pub download_url: String,
    /// The SHA-256 of what is there, in hexadecimal.
    #[serde(default, deserialize_with = "lenient::text")]
    pub sha256: String,
    /// How large it is.
    #[serde(default, deserialize_with = "lenient::count")]
    pub size_bytes: u64,
    /// For which system it is.
    #[serde(default, deserialize_with = "lenient::text")]
    pub platform: String,
    /// Whether a signature is demanded even where none is offered.
    #[serde(
        default,
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub require_signature: bool,
    /// Whether a version before the one that runs is meant.
    #[serde(
        default,
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub allow_downgrade: bool,
}

/// Sends a run's verbose log.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct VerboseLogging {
    /// For how long; use [`minutes`](Self::minutes).
    #[serde(deserialize_with = "lenient::optional_count")]
    pub ttl_minutes: Option<u64>,
}

impl VerboseLogging {
    /// Returns for how long: 30 minutes unless the order says otherwise, and 1 to 240.
    pub fn minutes(&self) -> u64 {
        self.ttl_minutes.unwrap_or(30).clamp(1, 240)
    }
}
