//! HypervDiscover: registers a job's VMs, so that their restore points can be listed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::identifier::VmNumber;
use crate::limit::{RCT_ID_CHARS_MAX, shorten};
use crate::request::{Body, Call};
use crate::words::closed_words;
use crate::{WireId, lenient};

closed_words! {
    /// What a VM's disk hangs on.
    ControllerType {
        /// A SCSI controller.
        Scsi = "SCSI",
        /// An IDE controller.
        Ide = "IDE",
    }
}

closed_words! {
    /// What a VM's disk is a file of.
    VhdFormat {
        /// VHDX.
        Vhdx = "VHDX",
        /// VHD.
        Vhd = "VHD",
    }
}

/// A VM of a job. The server switches on the backup of those that are new to it, so only the job's own are
/// sent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct DiscoveredVm {
    /// Hyper-V's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// 1 or 2.
    #[serde(default, deserialize_with = "lenient::count")]
    pub generation: u64,
    /// Whether the guest is a Linux.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub is_linux: bool,
    /// Whether the guest answers the host.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub integration_services: bool,
    /// Whether what changes is tracked.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub rct_enabled: bool,
    /// All disks: those that are not here are deleted on the server.
    #[serde(default, deserialize_with = "lenient::list")]
    pub disks: Vec<DiscoveredDisk>,
}

/// A VM's disk.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct DiscoveredDisk {
    /// Its file.
    pub path: String,
    /// What it hangs on.
    pub controller_type: ControllerType,
    /// The controller's number.
    #[serde(default, deserialize_with = "lenient::count")]
    pub controller_number: u64,
    /// The place on the controller.
    #[serde(default, deserialize_with = "lenient::count")]
    pub controller_location: u64,
    /// What it is a file of.
    pub vhd_format: VhdFormat,
    /// What the guest sees.
    #[serde(default, deserialize_with = "lenient::count")]
    pub size_bytes: u64,
    /// What the file takes.
    #[serde(default, deserialize_with = "lenient::count")]
    pub used_bytes: u64,
    /// Whether what changes is tracked.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub rct_enabled: bool,
    /// The point from which it is tracked.
    #[serde(default, deserialize_with = "lenient::text")]
    pub rct_id: String,
}

/// Registers a job's VMs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HypervDiscover {
    /// The job.
    pub job_id: WireId,
    /// The VMs.
    #[serde(default, deserialize_with = "lenient::list")]
    pub vms: Vec<DiscoveredVm>,
}

/// What the server did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Registered {
    /// VMs that were new.
    #[serde(deserialize_with = "lenient::count")]
    pub created: u64,
    /// VMs that it knew.
    #[serde(deserialize_with = "lenient::count")]
    pub updated: u64,
    /// Their rows, in whichever form the server lists them.
    #[serde(deserialize_with = "rows")]
    pub vm_ids: Vec<VmNumber>,
}

impl Call for HypervDiscover {
    const ENDPOINT: Endpoint = Endpoint::HypervDiscover;
    type Answer = Registered;

    fn body(&self) -> Body {
        let mut registered = self.clone();
        for vm in &mut registered.vms {
            shorten(&mut vm.name, 255);
            for disk in &mut vm.disks {
                shorten(&mut disk.rct_id, RCT_ID_CHARS_MAX);
            }
        }
        Body::json(&registered)
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<Registered, String> {
        lenient::read(members)
    }
}

/// The contract does not say whether the rows are a list or a map by GUID: both are taken, in their order.
fn rows<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<VmNumber>, D::Error> {
    let rows: Vec<Value> = match Value::deserialize(from)? {
        Value::Array(rows) => rows,
        Value::Object(rows) => rows.into_iter().map(|(_, row)| row).collect(),
        _ => Vec::new(),
    };
    let numbers = rows
        .into_iter()
        .filter_map(|row| serde_json::from_value(row).ok());
    Ok(numbers.collect())
}
