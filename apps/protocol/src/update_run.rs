//! UpdateRun: a run's state. Every update is a heartbeat; only the last one has a terminal status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::hyperv_results::HypervResult;
use crate::identity::Program;
use crate::limit::{
    CURRENT_ITEM_CHARS_MAX, ERROR_SUMMARY_CHARS_MAX, MANIFEST_ID_CHARS_MAX, shorten,
};
use crate::path_map::PathMap;
use crate::request::{Body, Call};
use crate::words::closed_words;
use crate::{WireId, lenient, moment};

/// How much of a log an update may carry.
const LOG_EXCERPT_CHARS_MAX: usize = 8_000;

/// Of how many disks an update tells how far they are: bodies stay small, and nobody looks at more.
const DISKS_TOLD_MAX: usize = 100;

closed_words! {
    /// A run's state, as an agent reports it.
    RunStatus {
        /// The run works.
        Running = "running",
        /// All went well; restore points are recorded.
        Success = "success",
        /// Something is to be looked at; restore points are recorded all the same.
        Warning = "warning",
        /// Some VMs failed. The server then records no restore point at all: [`RunStatus::Warning`] is better.
        PartialSuccess = "partial_success",
        /// There is no restore point.
        Failed = "failed",
        /// It was told to stop.
        Cancelled = "cancelled",
    }
}

impl RunStatus {
    /// Tells whether the run is over.
    pub fn is_terminal(self) -> bool {
        self != Self::Running
    }
}

closed_words! {
    /// What checking a run's result came to.
    ValidationStatus {
        /// It was not asked for.
        NotRun = "not_run",
        /// It is going on.
        Running = "running",
        /// All was found sound.
        Success = "success",
        /// Something was found damaged.
        Failed = "failed",
    }
}

/// An update of a run. What is `None` or empty is left alone by the server.
///
/// Built by [`started`](Self::started), [`heartbeat`](Self::heartbeat), [`progressed`](Self::progressed) and
/// [`ended`](Self::ended), which keep the rule that an error summary without a terminal status fails a
/// run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct UpdateRun {
    /// The run.
    pub run_id: WireId,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    /// When work began.
    #[serde(
        default,
        with = "moment::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub started_at: Option<Timestamp>,
    /// When work ended.
    #[serde(
        default,
        with = "moment::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub finished_at: Option<Timestamp>,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progress,
    /// Why it failed, or what to look at.
    #[serde(
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub error_summary: String,
    /// The end of the run's log.
    #[serde(
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub log_excerpt: String,
    /// What checking the result came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_status: Option<ValidationStatus>,
    /// The end of the check's log.
    #[serde(
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub validation_log_excerpt: String,
    /// The run's primary manifest.
    #[serde(
        default,
        alias = "log_ref",
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub manifest_id: String,
    /// Figures, merged into those that the server has.
    #[serde(
        default,
        deserialize_with = "lenient::map",
        skip_serializing_if = "Map::is_empty"
    )]
    pub stats_json: Map<String, Value>,
    /// Progress in the form of the client's own, replaced each time.
    #[serde(
        default,
        deserialize_with = "lenient::map",
        skip_serializing_if = "Map::is_empty"
    )]
    pub progress_json: Map<String, Value>,
    /// Disk path to manifest, over all VMs.
    #[serde(default, skip_serializing_if = "PathMap::is_empty")]
    pub disk_manifests_json: PathMap,
    /// What the run has of each VM; sent once, with the terminal status.
    #[serde(
        default,
        deserialize_with = "lenient::ordered_list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub hyperv_results: Vec<HypervResult>,
    /// Who reports; the version gate wants it.
    #[serde(flatten)]
    pub program: Program,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Progress {
    /// Percent; 100 is kept for what is done.
    #[serde(
        deserialize_with = "lenient::optional_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub progress_pct: Option<f64>,
    /// Bytes read from the source.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub bytes_processed: Option<u64>,
    /// Bytes uploaded; of a restore, bytes written.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub bytes_transferred: Option<u64>,
    /// Bytes that will be read.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub bytes_total: Option<u64>,
    /// Files, or VMs, that are done.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub objects_transferred: Option<u64>,
    /// Files, or VMs, in all.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub objects_total: Option<u64>,
    /// The rate.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub speed_bytes_per_sec: Option<u64>,
    /// The time that is left.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub eta_seconds: Option<u64>,
    /// What is worked on, for people.
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub current_item: String,
}

/// How far a disk of a run's VMs is: a member of `progress_json` that our own server shows, and others pass over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskProgress {
    /// The VM.
    pub vm_name: String,
    /// The disk's path on the host.
    pub disk_path: String,
    /// Bytes that were dealt with.
    pub bytes_done: u64,
    /// Bytes that are to be dealt with.
    pub bytes_total: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// A terminal status.
    pub status: RunStatus,
    /// When.
    pub finished_at: Timestamp,
    /// Why it failed, or what to look at; empty when all went well.
    pub error_summary: String,
    /// The last figures.
    pub progress: Progress,
    /// The run's primary manifest.
    pub manifest_id: String,
    /// Disk path to manifest, over all VMs.
    pub disk_manifests: PathMap,
    /// What the run has of each VM.
    pub hyperv_results: Vec<HypervResult>,
    /// Figures for the server.
    pub stats: Map<String, Value>,
}

impl Ending {
    /// Returns an ending without results.
    pub fn new(status: RunStatus, finished_at: Timestamp) -> Self {
        Self {
            status,
            finished_at,
            error_summary: String::new(),
            progress: Progress::default(),
            manifest_id: String::new(),
            disk_manifests: PathMap::default(),
            hyperv_results: Vec::new(),
            stats: Map::new(),
        }
    }

    /// Returns an ending without results that says why.
    pub fn failed(finished_at: Timestamp, why: impl Into<String>) -> Self {
        Self {
            error_summary: why.into(),
            ..Self::new(RunStatus::Failed, finished_at)
        }
    }
}

impl UpdateRun {
    /// Returns an update that says nothing but that the run lives.
    pub fn heartbeat(run_id: WireId, program: &Program) -> Self {
        Self {
            run_id,
            status: None,
            started_at: None,
            finished_at: None,
            progress: Progress::default(),
            error_summary: String::new(),
            log_excerpt: String::new(),
            validation_status: None,
            validation_log_excerpt: String::new(),
            manifest_id: String::new(),
            stats_json: Map::new(),
            progress_json: Map::new(),
            disk_manifests_json: PathMap::default(),
            hyperv_results: Vec::new(),
            program: program.clone(),
        }
    }

    /// Returns the first update of a run.
    pub fn started(run_id: WireId, program: &Program, started_at: Timestamp) -> Self {
        Self {
            status: Some(RunStatus::Running),
            started_at: Some(started_at),
            ..Self::heartbeat(run_id, program)
        }
    }

    /// Returns an update that says how far the run is. It has no status, so that one that comes late
    /// overwrites none.
    pub fn progressed(run_id: WireId, program: &Program, progress: Progress) -> Self {
        Self {
            progress,
            ..Self::heartbeat(run_id, program)
        }
    }

    /// Returns the same update that also says how far the disks are that are worked on now.
    pub fn with_disks(mut self, disks: &[DiskProgress]) -> Self {
        let told = &disks[..disks.len().min(DISKS_TOLD_MAX)];
        self.progress_json.insert("disks".to_owned(), json!(told));
        self
    }

    /// Returns the last update of a run.
    ///
    /// # Panics
    /// If the status is not terminal.
    pub fn ended(run_id: WireId, program: &Program, ending: Ending) -> Self {
        assert!(
            ending.status.is_terminal(),
            "a run ends with a terminal status"
        );
        Self {
            status: Some(ending.status),
            finished_at: Some(ending.finished_at),
            progress: ending.progress,
            error_summary: ending.error_summary,
            manifest_id: ending.manifest_id,
            disk_manifests_json: ending.disk_manifests,
            hyperv_results: ending.hyperv_results,
            stats_json: ending.stats,
            ..Self::heartbeat(run_id, program)
        }
    }

    /// Returns the update within the server's limits.
    fn within_limits(&self) -> Self {
        let mut update = self.clone();
        let is_terminal = update.status.is_some_and(RunStatus::is_terminal);
        shorten(&mut update.error_summary, ERROR_SUMMARY_CHARS_MAX);
        shorten(&mut update.log_excerpt, LOG_EXCERPT_CHARS_MAX);
        shorten(&mut update.validation_log_excerpt, LOG_EXCERPT_CHARS_MAX);
        shorten(&mut update.manifest_id, MANIFEST_ID_CHARS_MAX);
        shorten(&mut update.progress.current_item, CURRENT_ITEM_CHARS_MAX);
        if !is_terminal {
            // The server would take it for a start that failed, and end the run.
            update.error_summary.clear();
        }
        let pct_max = if is_terminal { 100.0 } else { 99.9 };
        update.progress.progress_pct = update
            .progress
            .progress_pct
            .map(|pct| rounded(pct, pct_max));
        update.hyperv_results = update
            .hyperv_results
            .iter()
            .map(HypervResult::within_limits)
            .collect();
        update
    }
}

/// Two decimals, between 0 and `max`; what is no number is 0.
fn rounded(pct: f64, max: f64) -> f64 {
    if pct.is_nan() {
        return 0.0;
    }
    (pct.clamp(0.0, max) * 100.0).round() / 100.0
}

impl Call for UpdateRun {
    const ENDPOINT: Endpoint = Endpoint::UpdateRun;
    type Answer = ();

    fn body(&self) -> Body {
        Body::json(&self.within_limits())
    }

    fn answer(&self, _: &str, _: Map<String, Value>) -> Result<(), String> {
        Ok(())
    }
}
