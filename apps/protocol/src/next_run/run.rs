//! The run object, and what it shares with the context of commands: where a repository rests.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::policy::{HypervConfig, Policy};
use crate::identifier::VmNumber;
use crate::path_map::PathMap;
use crate::retention::Retention;
use crate::words::open_words;
use crate::{SecretText, WireId, lenient};

open_words! {
    /// What a job backs up, and how.
    Engine {
        /// Whole VMs of Hyper-V.
        Hyperv = "hyperv",
        /// Files and folders.
        Kopia = "kopia",
        /// Whole disks of a machine.
        DiskImage = "disk_image",
        /// Folders mirrored without a repository.
        Sync = "sync",
    }
}

/// An empty engine means files.
impl Default for Engine {
    fn default() -> Self {
        Self::Kopia
    }
}

/// A run that was handed out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Run {
    /// The run.
    pub run_id: WireId,
    /// Its job.
    #[serde(default, deserialize_with = "lenient::optional_id")]
    pub job_id: Option<WireId>,
    /// What is backed up, and how.
    #[serde(default, deserialize_with = "engine")]
    pub engine: Engine,
    /// `local_agent`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub source_type: String,
    /// Paths to back up; for Hyper-V possibly GUIDs of VMs. Use [`Run::sources`].
    #[serde(default, deserialize_with = "lenient::texts")]
    pub source_paths: Vec<String>,
    /// The only path, from old servers. Use [`Run::sources`].
    #[serde(default, deserialize_with = "lenient::text")]
    pub source_path: String,
    /// Where the backup goes.
    #[serde(flatten)]
    pub destination: Destination,
    /// The stable name of the job's source for retention.
    #[serde(default, deserialize_with = "lenient::text")]
    pub source_uuid: String,
    /// Patterns of files to take; empty means all.
    #[serde(default, deserialize_with = "lenient::text")]
    pub local_include_glob: String,
    /// Patterns of files to leave out; empty means none.
    #[serde(default, deserialize_with = "lenient::text")]
    pub local_exclude_glob: String,
    /// Whether to compress, where the policy names no compressor.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub compression_enabled: bool,
    /// When the server starts such runs; for information.
    #[serde(default, deserialize_with = "schedule")]
    pub schedule_json: Map<String, Value>,
    /// How long points are kept.
    #[serde(default)]
    pub retention_json: Retention,
    /// Details of how the work is done.
    #[serde(default, deserialize_with = "lenient::nested")]
    pub policy_json: Policy,
    /// Who may read network shares among the sources.
    #[serde(default, deserialize_with = "lenient::optional_nested")]
    pub network_credentials: Option<NetworkCredentials>,
    /// Which VMs, and how.
    #[serde(default, deserialize_with = "lenient::nested")]
    pub hyperv_config: HypervConfig,
    /// The VMs that the server has registered for the job, those that are to be backed up.
    #[serde(default, deserialize_with = "lenient::list")]
    pub hyperv_vms: Vec<HypervVm>,
    /// Whether the run was handed out before, and its heartbeat stopped.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub resume: bool,
    /// The last heartbeat, without zone, with [`Run::resume`].
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub last_heartbeat_at: Option<String>,
}

impl Run {
    /// Returns what is to be backed up, whichever server said it: paths, or GUIDs of VMs.
    pub fn sources(&self) -> Vec<String> {
        let listed: Vec<_> = self
            .source_paths
            .iter()
            .filter(|path| !path.trim().is_empty())
            .collect();
        if !listed.is_empty() {
            return listed.into_iter().cloned().collect();
        }
        match (&self.engine, self.source_path.trim()) {
            (_, "") => Vec::new(),
            (Engine::Hyperv, names) => {
                let names = names
                    .split(',')
                    .map(str::trim)
                    .filter(|name| !name.is_empty());
                names.map(str::to_owned).collect()
            }
            (_, path) => vec![path.to_owned()],
        }
    }
}

/// Where a repository rests, and how it is reached and opened.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Destination {
    /// `s3` or `local`.
    #[serde(deserialize_with = "lenient::text")]
    pub dest_type: String,
    /// The bucket.
    #[serde(deserialize_with = "lenient::text")]
    pub dest_bucket_name: String,
    /// The repository's prefix in the bucket, with or without slashes around it.
    #[serde(deserialize_with = "lenient::text")]
    pub dest_prefix: String,
    /// The repository's folder, when the type is `local`.
    #[serde(deserialize_with = "lenient::text")]
    pub dest_local_path: String,
    /// The endpoint, with or without a scheme.
    #[serde(deserialize_with = "lenient::text")]
    pub dest_endpoint: String,
    /// The region; may be empty.
    #[serde(deserialize_with = "lenient::text")]
    pub dest_region: String,
    /// The access key; empty when the server could not decrypt it.
    pub dest_access_key: SecretText,
    /// The secret key; likewise.
    pub dest_secret_key: SecretText,
    /// The limit of uploads in KiB/s; 0 means none.
    #[serde(deserialize_with = "lenient::count")]
    pub local_bandwidth_limit_kbps: u64,
    /// The repository's UUID on the server.
    #[serde(deserialize_with = "lenient::optional_text")]
    pub repository_id: Option<String>,
    /// The password that the server keeps for the repository.
    #[serde(deserialize_with = "lenient::optional_secret")]
    pub repository_password: Option<SecretText>,
    /// `v2` when a password is sent.
    #[serde(deserialize_with = "lenient::text")]
    pub repo_password_mode: String,
    /// `v2` from current servers.
    #[serde(deserialize_with = "lenient::text")]
    pub payload_version: String,
}

impl Destination {
    /// Tells whether the repository is a folder on this machine.
    pub fn is_local(&self) -> bool {
        self.dest_type == "local"
    }

    /// Returns the prefix as blobs have it: without a leading slash and with one at the end, or empty.
    pub fn blob_prefix(&self) -> String {
        match self.dest_prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    /// Returns the upload limit in bytes per second, if there is one.
    pub fn upload_bytes_per_second_max(&self) -> Option<u64> {
        let kib = self.local_bandwidth_limit_kbps;
        (kib > 0).then(|| kib.saturating_mul(1024))
    }
}

/// Who may read network shares.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct NetworkCredentials {
    /// The user.
    #[serde(deserialize_with = "lenient::text")]
    pub username: String,
    /// The password.
    pub password: SecretText,
    /// The domain.
    #[serde(deserialize_with = "lenient::text")]
    pub domain: String,
}

/// A VM that the server has registered for a job.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HypervVm {
    /// The server's row; 0 when there is none, and results for it are ignored.
    #[serde(default = "no_row", deserialize_with = "vm_number")]
    pub vm_id: VmNumber,
    /// The VM's name when the job was saved.
    #[serde(default, deserialize_with = "lenient::text")]
    pub vm_name: String,
    /// Hyper-V's id of the VM, in either case.
    #[serde(default, deserialize_with = "lenient::text")]
    pub vm_guid: String,
    /// What the last result with a pointer gave; a hint at best.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub last_checkpoint_id: Option<String>,
    /// Disk path to the change-tracking point that was reported with it.
    #[serde(default)]
    pub last_rct_ids: PathMap,
}

fn no_row() -> VmNumber {
    VmNumber(0)
}

fn vm_number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<VmNumber, D::Error> {
    Ok(lenient::optional_row(from)?.unwrap_or(VmNumber(0)))
}

fn engine<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Engine, D::Error> {
    let word = lenient::text(from)?;
    Ok(match word.trim() {
        "" => Engine::default(),
        word => Engine::from(word),
    })
}

/// Nobody acts on a schedule here, so one that cannot be read is none.
fn schedule<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Map<String, Value>, D::Error> {
    match Value::deserialize(from)? {
        Value::Object(members) => Ok(members),
        _ => Ok(Map::new()),
    }
}
