//! What backups of files and of VMs share: the repository of a run, how data is compressed, and the
//! events that tell of it.

use std::time::Duration;

use kopia::compression::CompressionAlgorithm;
use kopia::snapshot::SnapshotSource;
use protocol::event::{
    Cancelled, KopiaPolicy, KopiaRetentionComplete, KopiaRetentionFailed, KopiaRetentionStart,
    KopiaStage, KopiaThrottleSet, KopiaUploadCallDone, KopiaUploadCallStart, Stage,
};
use protocol::next_run::{Policy, Run};

use crate::bandwidth::lower;
use crate::destination::Destination;
use crate::repositories::{Absent, Lease};
use crate::retention::{Retained, Retaining, rule_of};
use crate::storage;
use crate::supervision::Work;

/// What compresses where a job wants compression and names no compressor.
const COMPRESSOR: &str = "zstd";

/// Opens the repository of a run, which is made if it is not there, and tells of it.
pub fn open_repository<'p>(work: &Work<'p>, run: &Run) -> Result<Lease<'p>, String> {
    let parts = work.parts;
    work.meter.is_at("", "opening the repository");
    work.reporter.event(stage(Stage::StorageInit, run));
    let destination = Destination::of(&run.destination, &parts.config);
    let destination = destination.map_err(|error| {
        storage::tell_of_address(work, &run.destination, &error);
        format!("failed to {error}")
    })?;
    let of_job = run.destination.upload_bytes_per_second_max();
    work.reporter.event(stage(Stage::RepoInitConnect, run));
    let lease = parts
        .repositories
        .open(
            &destination,
            Absent::IsCreated,
            of_job.unwrap_or(0),
            work.cancellation,
        )
        .map_err(|error| storage::because(work, &run.destination, &error))?;
    work.reporter.event(stage(Stage::RepoOpen, run));
    let compression = compression_of(&run.policy_json, run.compression_enabled);
    let limit = lower(of_job, parts.uploads.bytes_per_second());
    work.reporter.event(KopiaPolicy {
        compression: compression_name(compression),
        parallel_uploads: run.policy_json.parallel_uploads_within(),
        bandwidth_kbps: limit.map(|it| it / 1024),
    });
    if let Some(limit) = limit {
        work.reporter.event(KopiaThrottleSet {
            upload_bytes_per_sec: limit,
            bandwidth_kbps: limit / 1024,
        });
    }
    Ok(lease)
}

/// A call of an engine, of which more is told where the job wants to know more (`debug_logs`).
pub struct UploadCall<'w> {
    work: &'w Work<'w>,
    begun: Option<Duration>,
}

impl<'w> UploadCall<'w> {
    /// Tells that the engine is called for a source.
    pub fn begin(work: &'w Work<'w>, run: &Run, source: &str) -> Self {
        let begun = run.policy_json.debug_logs.then(|| {
            work.reporter.event(KopiaUploadCallStart {
                stable_source: source.to_owned(),
                bucket: run.destination.dest_bucket_name.clone(),
                prefix: run.destination.dest_prefix.clone(),
            });
            work.parts.ports.clock.monotonic()
        });
        Self { work, begun }
    }
}

impl Drop for UploadCall<'_> {
    fn drop(&mut self) {
        let Some(begun) = self.begun else { return };
        let took = self
            .work
            .parts
            .ports
            .clock
            .monotonic()
            .saturating_sub(begun);
        self.work.reporter.event(KopiaUploadCallDone {
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error: String::new(),
        });
    }
}

/// Returns the event of a stage.
pub fn stage(stage: Stage, run: &Run) -> KopiaStage {
    let some = |text: &str| Some(text.to_owned()).filter(|it| !it.is_empty());
    let sent = &run.destination;
    KopiaStage {
        stage,
        bucket: some(&sent.dest_bucket_name),
        prefix: some(&sent.dest_prefix),
        endpoint: some(&sent.dest_endpoint),
        region: some(&sent.dest_region),
        source: None,
        stable_source: None,
        compression: None,
        parallel_uploads: None,
        bandwidth_kbps: None,
        include_glob: some(&run.local_include_glob),
        exclude_glob: some(&run.local_exclude_glob),
        repo_path: some(&sent.dest_local_path),
    }
}

/// Returns what a run's data is compressed with (control-plane API 9.5): what the policy names, else
/// the usual if compression is wanted. A name that nobody knows means none.
pub fn compression_of(policy: &Policy, is_wanted: bool) -> Option<CompressionAlgorithm> {
    let default = if is_wanted { COMPRESSOR } else { "none" };
    let named = policy.compression.as_deref().map(str::trim);
    let name = match named {
        None | Some("") => default,
        // Not a name of Kopia's, but what servers say for it.
        Some("zstd-default") => COMPRESSOR,
        Some(name) => name,
    };
    CompressionAlgorithm::from_name(name).filter(|algorithm| algorithm.is_writable())
}

/// Returns Kopia's name for it.
pub fn compression_name(compression: Option<CompressionAlgorithm>) -> String {
    compression
        .map_or("none", CompressionAlgorithm::name)
        .to_owned()
}

/// Lets the job's own rule decide how long the points of its sources are kept. That it fails is
/// nothing to the run, whose points are stored.
pub fn retain(
    work: &Work<'_>,
    lease: &Lease<'_>,
    run: &Run,
    sources: &[SnapshotSource],
) -> Option<Retained> {
    let rule = rule_of(&run.retention_json)?;
    let keep_last = run.retention_json.keep_last.unwrap_or(0);
    work.meter.is_at("", "applying retention");
    work.reporter.event(KopiaRetentionStart {
        keep_last,
        source: sources
            .first()
            .map_or_else(String::new, |it| it.path.clone()),
    });
    let retaining = Retaining {
        repository: lease.repository(),
        state: &work.parts.state,
        time_zone: &work.parts.ports.time_zone,
    };
    match retaining.of_sources(sources, rule) {
        Ok(retained) => {
            retained
                .warnings
                .iter()
                .for_each(|it| work.parts.log.warn(it));
            work.reporter.event(KopiaRetentionComplete {
                deleted_count: retained.deleted_count,
                keep_last,
            });
            Some(retained)
        }
        Err(error) => {
            work.parts.log.warn(&format!("failed to {error}"));
            work.reporter.event(KopiaRetentionFailed {
                error: error.to_string(),
            });
            None
        }
    }
}

/// Returns the event of a run that was cancelled.
pub fn cancelled(vm_name: &str) -> Cancelled {
    Cancelled {
        message: "The run was cancelled on request.".to_owned(),
        vm_name: vm_name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_compressed_as_it_says() {
        for (named, is_wanted, expected) in [
            (None, false, "none"),
            (None, true, "zstd"),
            (Some("zstd-default"), false, "zstd"),
            (Some("s2-default"), true, "s2-default"),
            (Some("none"), true, "none"),
            (Some("never heard of"), true, "none"),
            (Some(" "), true, "zstd"),
        ] {
            let policy = Policy {
                compression: named.map(str::to_owned),
                ..Policy::default()
            };
            let compression = compression_of(&policy, is_wanted);
            assert_eq!(compression_name(compression), expected, "{named:?}");
        }
    }
}
