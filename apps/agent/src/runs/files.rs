//! Runs of files and folders.

use std::path::PathBuf;
use std::sync::Arc;

use backup::files::{FileBackup, FileOptions, FileReport, FileSource, FileThreads};
use backup::{LockWait, tidy_up};
use protocol::event::{
    CompletedSuccess, CompletedWarning, KopiaManifestRecorded, KopiaMultiSource,
    KopiaUploadComplete, KopiaUploadFailed, KopiaUploadFinished, KopiaUploadStart, Stage,
    SummaryTotal,
};
use protocol::next_run::Run;
use protocol::update_run::{Ending, Progress as Told, RunStatus};
use repo::Writer;
use serde_json::{Map, Value, json};

use super::{failed, stages, starting};
use crate::meter::Meter;
use crate::parts::{Parts, SOURCE_USER};
use crate::retention::Retained;
use crate::storage;
use crate::supervision::{Ended, Kind, Work, supervise};

/// So many entries that could not be read are named.
const NAMED_MAX: usize = 5;

/// Carries out a run of files.
pub fn carry_out(parts: &Parts, run: &Run, kind: &Kind) {
    let meter = Arc::new(Meter::new(1, |_| {}));
    supervise(parts, &run.run_id, kind, &meter, |work| {
        work.reporter.event(starting(&kind.name));
        match back_up(work, run) {
            Ok(done) => succeeded(work, run, kind, done),
            Err(error) => {
                // Who cancels a run, or stops the service, need not be told that it failed.
                if !work.cancellation.stop().is_stopped() {
                    work.reporter.event(KopiaUploadFailed {
                        error: error.clone(),
                    });
                }
                failed(work.fails(&error), &kind.name)
            }
        }
    });
}

/// What was stored.
struct Done {
    report: FileReport,
    retained: Option<Retained>,
    warnings: Vec<String>,
}

fn back_up(work: &Work<'_>, run: &Run) -> Result<Done, String> {
    let parts = work.parts;
    let _shares = parts.shares.reach(run, &parts.log)?;
    let source = source(run, &parts.ports.host_name)?;
    let lease = stages::open_repository(work, run)?;
    let repository = lease.repository();
    let splitter = repository
        .splitter()
        .map_err(|error| storage::because(work, &run.destination, &error))?;
    let segment_bytes_max = splitter.segment_bytes_max();
    let memory_bytes = u64::from(parts.config.memory_mib) << 20;
    let threads = FileThreads::within(memory_bytes, segment_bytes_max, None);
    let wanted = usize::try_from(run.policy_json.parallel_uploads_within()).unwrap_or(1);
    let uploads = threads.uploads.min(wanted);
    let writer = Writer::new(repository, uploads);
    let writer = writer.map_err(|error| storage::because(work, &run.destination, &error))?;
    let compression = stages::compression_of(&run.policy_json, run.compression_enabled);
    let excluded = run.local_exclude_glob.lines().map(str::trim);
    let options = FileOptions {
        exclude: excluded
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect(),
        compression: Some(compression),
        workers: threads.workers,
        ..FileOptions::default()
    };
    tell_of_upload(
        work,
        run,
        &source,
        uploads as u64,
        stages::compression_name(compression),
    );
    let backup = FileBackup {
        writer: &writer,
        options: &options,
    };
    let progress = work.progress().about(&source.identity.path);
    let wait = LockWait {
        clock: parts.ports.clock.as_ref(),
        progress: &progress,
        max: LockWait::USUAL_MAX,
    };
    let lock = parts
        .state
        .lock_source(&repository.unique_id_hex(), &source.identity, &wait);
    let report = {
        let _lock = lock.map_err(|error| format!("failed to {error}"))?;
        let _call = stages::UploadCall::begin(work, run, &source.identity.path);
        backup.run(&source, &progress)
    };
    let report = report.map_err(|error| storage::because(work, &run.destination, &error))?;
    work.meter.is_at("", "tidying up the repository");
    let warnings = tidy_up(&writer);
    let retained = stages::retain(work, &lease, run, std::slice::from_ref(&source.identity));
    Ok(Done {
        report,
        retained,
        warnings,
    })
}

/// Returns what a run backs up: one path under its own name, several under the job's (control-plane
/// API 9.5).
fn source(run: &Run, host: &str) -> Result<FileSource, String> {
    let paths: Vec<PathBuf> = run.sources().into_iter().map(PathBuf::from).collect();
    let refuse = |what: String| Err(format!("failed to {what}"));
    if let Some(odd) = paths.iter().find(|path| !path.is_absolute()) {
        return refuse(format!(
            "back up {}: it is no whole path; correct the job's sources",
            odd.display()
        ));
    }
    match &paths[..] {
        [] => refuse("back up files: the job names none; choose its sources".to_owned()),
        [only] => Ok(FileSource::one(SOURCE_USER, host, only)),
        several => {
            let job = run.job_id.as_ref().unwrap_or(&run.run_id);
            let name = format!("multi-job-{job}");
            Ok(FileSource::several(SOURCE_USER, host, &name, several))
        }
    }
}

fn tell_of_upload(
    work: &Work<'_>,
    run: &Run,
    source: &FileSource,
    uploads: u64,
    compression: String,
) {
    let sources = run.sources();
    if sources.len() > 1 {
        work.reporter.event(KopiaMultiSource {
            sources: sources.clone(),
        });
    }
    work.reporter.event(stages::stage(Stage::UploadStart, run));
    work.reporter.event(KopiaUploadStart {
        source: source.identity.path.clone(),
        bucket: run.destination.dest_bucket_name.clone(),
        prefix: run.destination.dest_prefix.clone(),
        parallel_uploads: Some(uploads),
        compression: Some(compression),
        previous_snapshots: None,
    });
}

fn succeeded(work: &Work<'_>, run: &Run, kind: &Kind, done: Done) -> Ended {
    let Done {
        report,
        retained,
        warnings,
    } = done;
    let counts = &report.counts;
    warnings
        .iter()
        .chain(&report.warnings)
        .for_each(|it| work.parts.log.warn(it));
    let source = report.source.path.clone();
    work.reporter.event(KopiaUploadFinished {
        bytes_hashed: counts.read_bytes,
        bytes_uploaded: counts.uploaded_bytes,
    });
    work.reporter.event(KopiaUploadComplete {
        manifest_id: report.point_id.clone(),
        stable_source: source.clone(),
    });
    work.reporter.event(KopiaManifestRecorded {
        manifest_id: report.point_id.clone(),
        source,
        bucket: run.destination.dest_bucket_name.clone(),
        prefix: run.destination.dest_prefix.clone(),
    });
    let is_whole = counts.failed == 0;
    let status = if is_whole {
        RunStatus::Success
    } else {
        RunStatus::Warning
    };
    let ending = Ending {
        error_summary: what_is_missing(&report),
        progress: Told {
            progress_pct: Some(100.0),
            bytes_processed: Some(counts.read_bytes),
            bytes_transferred: Some(counts.uploaded_bytes),
            bytes_total: Some(counts.bytes),
            objects_transferred: Some(counts.files),
            objects_total: Some(counts.files + counts.failed),
            ..Told::default()
        },
        manifest_id: report.point_id.clone(),
        stats: stats(run, &report, retained.as_ref()),
        ..Ending::new(status, work.parts.ports.clock.now())
    };
    let mut last_events = vec![
        SummaryTotal {
            bytes_done: counts.bytes,
        }
        .into(),
    ];
    last_events.push(match is_whole {
        true => CompletedSuccess {
            engine: kind.name.clone(),
        }
        .into(),
        false => CompletedWarning {}.into(),
    });
    Ended::new(ending, last_events)
}

/// Returns what could not be read, in words; nothing if all could.
fn what_is_missing(report: &FileReport) -> String {
    let failed = report.counts.failed;
    if failed == 0 {
        return String::new();
    }
    let is_fault = |failure: &&backup::files::FileFailure| !failure.is_ignored;
    let named: Vec<String> = report
        .failures
        .iter()
        .filter(is_fault)
        .take(NAMED_MAX)
        .map(|failure| format!("{} ({})", failure.path, failure.reason))
        .collect();
    let more = match failed.saturating_sub(named.len() as u64) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!(
        "{failed} entries could not be read and are not in the backup: {}{more}",
        named.join(", ")
    )
}

fn stats(run: &Run, report: &FileReport, retained: Option<&Retained>) -> Map<String, Value> {
    let counts = &report.counts;
    let mut stats = Map::new();
    stats.insert("manifest_id".to_owned(), json!(report.point_id));
    for (name, number) in [
        ("files", counts.files),
        ("bytes", counts.bytes),
        ("unchanged_files", counts.cached_files),
        ("read_files", counts.read_files),
        ("failed", counts.failed),
        ("excluded_files", counts.excluded_files),
    ] {
        stats.insert(name.to_owned(), json!(number));
    }
    if let Some(retained) = retained {
        let mut figures = retained.figures();
        if let Some(keep_last) = run.retention_json.keep_last {
            figures["keep_last"] = json!(keep_last);
        }
        stats.insert("retention".to_owned(), figures);
    }
    stats
}
