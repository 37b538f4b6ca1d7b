//! ReportVolumes: this machine's volumes, for choosing sources.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::lenient;
use crate::limit::VOLUMES_MAX;
use crate::request::{Body, Call};
use crate::words::closed_words;

closed_words! {
    /// What a volume is.
    VolumeKind {
        /// A fixed drive of Windows.
        Fixed = "fixed",
        /// A drive of another machine.
        Network = "network",
        /// A whole disk of Linux.
        Disk = "disk",
        /// A partition of Linux.
        Part = "part",
        /// A logical volume of Linux.
        Lvm = "lvm",
    }
}

/// A volume of this machine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Volume {
    /// Where it is, such as `C:\`.
    pub path: String,
    /// What its owner calls it.
    #[serde(default, deserialize_with = "lenient::text")]
    pub label: String,
    /// How large it is.
    #[serde(default, deserialize_with = "lenient::count")]
    pub size_bytes: u64,
    /// How much of it is free, where something can be written to it and that is known. Beyond the contract
    /// (`docs/decisions/own-control-plane-extensions.md`).
    #[serde(
        default,
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub free_bytes: Option<u64>,
    /// Its file system.
    #[serde(default, deserialize_with = "lenient::text")]
    pub filesystem: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: VolumeKind,
    /// Where a network drive leads.
    #[serde(default, deserialize_with = "lenient::text")]
    pub unc_path: String,
    /// Whether it is on another machine.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub is_network: bool,
}

/// Replaces the server's list of volumes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReportVolumes {
    /// The volumes.
    #[serde(default, deserialize_with = "lenient::list")]
    pub volumes: Vec<Volume>,
}

impl Call for ReportVolumes {
    const ENDPOINT: Endpoint = Endpoint::ReportVolumes;
    /// How many the server keeps.
    type Answer = u64;

    fn body(&self) -> Body {
        Body::json(&Self {
            volumes: self.volumes.iter().take(VOLUMES_MAX).cloned().collect(),
        })
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<u64, String> {
        #[derive(Deserialize)]
        struct Counted {
            #[serde(default, deserialize_with = "lenient::count")]
            count: u64,
        }
        lenient::read::<Counted>(members).map(|counted| counted.count)
    }
}
