//! What restores order.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Command;
use crate::hyperv_results::BackupType;
use crate::identifier::{BackupPointId, RestorePointId};
use crate::path_map::PathMap;
use crate::{WireId, lenient};

/// Restores files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Restore {
    /// The restore point, where the order is about one.
    #[serde(deserialize_with = "lenient::optional_row")]
    pub restore_point_id: Option<RestorePointId>,
    /// The manifest; empty means that of the context.
    #[serde(deserialize_with = "lenient::text")]
    pub manifest_id: String,
    /// The folder to restore into.
    #[serde(deserialize_with = "lenient::text")]
    pub target_path: String,
    /// Whether the snapshot is to be mounted rather than restored.
    #[serde(deserialize_with = "lenient::boolean")]
    pub mount: bool,
    /// Which agent is to restore.
    #[serde(deserialize_with = "lenient::optional_text")]
    pub target_agent_uuid: Option<String>,
    /// Paths below the snapshot's root; none means everything.
    #[serde(deserialize_with = "lenient::texts")]
    pub selected_paths: Vec<String>,
    /// The run to report to; use [`Command::restore_run`].
    #[serde(deserialize_with = "lenient::optional_id")]
    pub restore_run_id: Option<WireId>,
    /// The same as a UUID.
    #[serde(deserialize_with = "lenient::optional_id")]
    pub restore_run_uuid: Option<WireId>,
    /// The repository's UUID on the server.
    #[serde(deserialize_with = "lenient::optional_text")]
    pub repository_id: Option<String>,
}

impl Command {
    /// Returns the run of the restore that the command orders, which everything is reported to and which has to
    /// end with it, whatever else of the payload makes no sense (7.1 to 7.3). `None` if it restores nothing.
    ///
    /// The command's own run is the restore's only where the order is about a restore point; else it is the backup's.
    pub fn restore_run(&self) -> Option<WireId> {
        let is_of_point = match self.name.as_str() {
            "restore" | "hyperv_restore" => false,
            "disk_restore" => true,
            _ => return None,
        };
        let members = self.payload.members().unwrap_or_default();
        let named = |name| WireId::optional(members.get(name)?).ok().flatten();
        let is_of_point = is_of_point || named("restore_point_id").is_some();
        named("restore_run_id")
            .or_else(|| named("restore_run_uuid"))
            .or_else(|| self.run_id.clone().filter(|_| is_of_point))
    }
}

/// Restores VMs, each into a folder of its own if there are several.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HypervRestore {
    /// The folder below which everything goes.
    #[serde(deserialize_with = "lenient::text")]
    pub target_path: String,
    /// `Incremental` if any of the points is one; for the event's text alone.
    #[serde(deserialize_with = "backup_type")]
    pub backup_type: Option<BackupType>,
    /// The run to report to; use [`Command::restore_run`].
    #[serde(deserialize_with = "lenient::optional_id")]
    pub restore_run_id: Option<WireId>,
    /// The same as a UUID.
    #[serde(deserialize_with = "lenient::optional_id")]
    pub restore_run_uuid: Option<WireId>,
    /// The VMs.
    #[serde(deserialize_with = "lenient::list")]
    pub vms: Vec<RestoreVm>,
    /// Brings whole VMs back onto the host instead. No part of the contract: only our own control plane sends
    /// it (`docs/decisions/hyperv-restore-register.md`).
    #[serde(deserialize_with = "register", skip_serializing_if = "Option::is_none")]
    pub register: Option<Register>,
    /// The only VM, from old servers; [`Command::order`] moves it into the list.
    #[serde(flatten, skip_serializing)]
    only: RestoreVm,
}

impl HypervRestore {
    pub(super) fn with_only_vm_listed(mut self) -> Self {
        let only = std::mem::take(&mut self.only);
        let has_only = !only.disk_manifests.is_empty() || !only.restore_chain.is_empty();
        if self.vms.is_empty() && has_only {
            self.vms.push(only);
        }
        self
    }
}

/// How VMs are brought back onto the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Register {
    /// Whether each gets a new id: a copy beside the original.
    pub new_id: bool,
    /// Whether each is switched on.
    pub start: bool,
    /// The switch that all network adapters hang on; `None` for those they last hung on.
    pub switch: Option<String>,
    /// The name of the only VM; `None` for the one it had.
    pub name: Option<String>,
}

/// A VM to restore.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RestoreVm {
    /// The server's row of the point.
    #[serde(deserialize_with = "lenient::optional_row")]
    pub backup_point_id: Option<BackupPointId>,
    /// The VM's name.
    #[serde(deserialize_with = "lenient::text")]
    pub vm_name: String,
    /// Hyper-V's id of the VM.
    #[serde(deserialize_with = "lenient::text")]
    pub vm_guid: String,
    /// The folder below the target's; empty for a single VM.
    #[serde(deserialize_with = "lenient::text")]
    pub subfolder: String,
    /// The disks that were picked: original path to manifest.
    pub disk_manifests: PathMap,
    /// Points from the last full one to this one. Each is whole, so the last is all that is needed.
    #[serde(deserialize_with = "chain")]
    pub restore_chain: Vec<ChainLink>,
    /// Whether the point is incremental in the server's eyes.
    #[serde(deserialize_with = "backup_type")]
    pub backup_type: Option<BackupType>,
}

/// A point in a chain.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ChainLink {
    /// The server's row of the point.
    #[serde(deserialize_with = "lenient::optional_row")]
    pub backup_point_id: Option<BackupPointId>,
    /// Its primary manifest.
    #[serde(deserialize_with = "lenient::text")]
    pub manifest_id: String,
    /// Whether it is incremental in the server's eyes.
    #[serde(deserialize_with = "backup_type")]
    pub backup_type: Option<BackupType>,
    /// Original path to manifest.
    pub disk_manifests: PathMap,
}

/// Links are manifests as texts, or objects.
fn chain<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ChainLink>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Link {
        Manifest(String),
        Point(ChainLink),
    }
    // Nobody acts on a chain here: what is no link is left out.
    let links = match Value::deserialize(from)? {
        Value::Array(links) => links,
        _ => return Ok(Vec::new()),
    };
    let read = links
        .into_iter()
        .filter_map(|link| serde_json::from_value(link).ok());
    Ok(read
        .map(|link| match link {
            Link::Manifest(manifest_id) => ChainLink {
                manifest_id,
                ..ChainLink::default()
            },
            Link::Point(point) => point,
        })
        .collect())
}

/// What is no object is refused: it would come to another restore than was meant. None at all comes to none.
fn register<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Register>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        it @ Value::Object(_) => serde_json::from_value(it)
            .map(Some)
            .map_err(D::Error::custom),
        _ => Err(D::Error::custom("register is no object")),
    }
}

/// For texts alone, so a word that is not known is none.
fn backup_type<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BackupType>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}
