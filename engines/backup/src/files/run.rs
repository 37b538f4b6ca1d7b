//! A run: what it builds on, the walk, the looks before and after publishing (DESIGN section 3,
//! reuse rule).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use kopia::directory::DirectoryEntry;
use kopia::object_id::ObjectId;
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use kopia::splitter::Splitter;
use progress::Progress;
use repo::{RepoErrorKind, Repository, Writer};
use snapshot::Snapshots;
use time_and_chance::Timestamp;

use super::bases::Bases;
use super::checkpoint::Checkpoints;
use super::content_log::ContentLog;
use super::links::HardLinks;
use super::options::FileOptions;
use super::os;
use super::policies::Policies;
use super::queue::Queue;
use super::source::FileSource;
use super::tally::{FileCounts, FileFailure, Tally};
use super::walk::{OpenThings, Trust, Walk};
use crate::error::{BackupError, BackupErrorKind, repo_error};

/// How often what was stored may vanish before the run gives up.
const WALKS_MAX: u32 = 5;

/// Backs files and folders up.
#[derive(Debug, Clone, Copy)]
pub struct FileBackup<'a> {
    /// Writes to the repository.
    pub writer: &'a Writer,
    /// How it is done.
    pub options: &'a FileOptions,
}

/// What became of a source.
#[derive(Debug, Clone)]
pub struct FileReport {
    /// The id of the snapshot's manifest.
    pub point_id: String,
    /// What it is of.
    pub source: SnapshotSource,
    /// The object of its root.
    pub root: ObjectId,
    /// How much there was.
    pub counts: FileCounts,
    /// What could not be read; not all of it where that is very much.
    pub failures: Vec<FileFailure>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub duration: Duration,
}

/// What a run would read.
#[derive(Debug, Clone)]
pub struct FileEstimate {
    /// How much there is.
    pub counts: FileCounts,
    /// What could not be looked at.
    pub failures: Vec<FileFailure>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub duration: Duration,
}

/// What a run builds on.
struct Run<'s> {
    source: &'s FileSource,
    start_time: Timestamp,
    name: String,
    bases: Bases,
    /// How far the bases are believed.
    trust: Trust,
    policies: Policies,
    splitter: Splitter,
}

impl FileBackup<'_> {
    /// Backs a source up: reads what changed since the last snapshot, and publishes a complete
    /// snapshot.
    ///
    /// # Errors
    /// `Source` if nothing could be read, or something could not and that was to end the run;
    /// then there is no snapshot.
    pub fn run(&self, source: &FileSource, progress: &Progress) -> Result<FileReport, BackupError> {
        let _in_use = self.writer.begin_use();
        let done = self.run_with(source, progress);
        if let Err(error) = &done
            && is_worth_going_on(error)
        {
            // Best effort: without it the next run stores a little again.
            let _ = self.writer.flush();
        }
        done
    }

    /// Counts what a run would read, and stores nothing.
    pub fn estimate(
        &self,
        source: &FileSource,
        progress: &Progress,
    ) -> Result<FileEstimate, BackupError> {
        let begun = self.repo().clock().monotonic();
        progress.phase("looking through the folders");
        let run = self.begin(source)?;
        let (counts, failures, mut warnings) = self.count(&run, progress)?.take();
        warnings.extend(run.bases.warning());
        Ok(FileEstimate {
            counts,
            failures,
            warnings,
            duration: self.repo().clock().monotonic().saturating_sub(begun),
        })
    }

    fn run_with(
        &self,
        source: &FileSource,
        progress: &Progress,
    ) -> Result<FileReport, BackupError> {
        let begun = self.repo().clock().monotonic();
        os::allow_many_open_files();
        progress.phase("looking for earlier snapshots");
        let run = self.begin(source)?;
        progress.phase("reading files");
        if let Some(bytes) = run.bases.bytes() {
            progress.disk_begins(0, bytes);
        }
        let log = ContentLog::new()?;
        let mut trust = run.trust;
        let mut olds = run.bases.roots();
        let mut earlier: Option<FileCounts> = None;
        for _ in 0..WALKS_MAX {
            let walk = self.walk(&run, &log, trust, progress, false);
            let is_length_unknown = run.bases.bytes().is_none() && earlier.is_none();
            let root = match is_length_unknown {
                true => self.walk_beside_count(&walk, &run, progress),
                false => walk.run(&source.content, &olds),
            };
            let root = root.inspect_err(|error| {
                if is_worth_going_on(error) {
                    walk.protect_before_the_end();
                }
            });
            let root = root?.expect("only an estimate has no root");
            let Walk {
                tally, checkpoints, ..
            } = walk;
            let (mut counts, failures, mut warnings) = tally.take();
            warnings.extend(run.bases.warning());
            if counts.files == 0 {
                warnings.extend(run.bases.warning_of_no_files());
            }
            counts.add_what_was_done(earlier.as_ref());
            earlier = Some(counts);
            progress.phase("publishing the snapshot");
            let manifest = self.manifest(&run, &root, &counts);
            let published = self.publish(&manifest, &run.bases, trust, &log, progress);
            let published = published.inspect_err(|error| {
                if is_worth_going_on(error) {
                    // Best effort: without it the next run reads all that this one read.
                    let _ = checkpoints.write(self.writer, root.clone());
                }
            })?;
            let Some(point_id) = published else {
                // What this walk stored is read from disk only where it is gone.
                trust = Trust::Checked;
                olds = std::iter::once(root).chain(run.bases.roots()).collect();
                continue;
            };
            if let Err(error) = self.remove_needless(&checkpoints) {
                warnings.push(format!("checkpoint manifests of this source are still in the repository, which the next run will remove: could not {error}"));
            }
            progress.disk_ends(0);
            for warning in &warnings {
                progress.warning(warning);
            }
            return Ok(FileReport {
                point_id,
                source: source.identity.clone(),
                root: root.object,
                counts,
                failures,
                warnings,
                duration: self.repo().clock().monotonic().saturating_sub(begun),
            });
        }
        Err(BackupError::new(
            BackupErrorKind::Repo(RepoErrorKind::NotFound),
            "store the snapshot: another client keeps deleting what was just written; is maintenance running without its safety margins?",
        ))
    }

    /// Walks over a source and stores nothing.
    fn count(&self, run: &Run<'_>, progress: &Progress) -> Result<Tally, BackupError> {
        let log = ContentLog::new()?;
        let walk = self.walk(run, &log, run.trust, progress, true);
        walk.run(&run.source.content, &run.bases.roots())?;
        Ok(walk.tally)
    }

    /// Walks over a source that has no earlier snapshot, while another walk finds out how much
    /// there is: progress is shown as soon as that is known.
    fn walk_beside_count(
        &self,
        walk: &Walk<'_>,
        run: &Run<'_>,
        progress: &Progress,
    ) -> Result<Option<DirectoryEntry>, BackupError> {
        let stop = progress.stop.child();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let quiet = Progress {
                    stop: stop.clone(),
                    ..Progress::silent()
                };
                let options = FileOptions {
                    workers: 1,
                    fail_fast: false,
                    ..self.options.clone()
                };
                let counting = FileBackup {
                    options: &options,
                    ..*self
                };
                // Without it there is no progress to be seen, and nothing else is missing.
                if let Ok(tally) = counting.count(run, &quiet) {
                    progress.disk_begins(0, tally.bytes.into_inner());
                    let dealt_bytes = walk.tally.bytes.load(Ordering::Relaxed);
                    progress.disk_advances(0, dealt_bytes, 0);
                }
            });
            let root = walk.run(&run.source.content, &Vec::new());
            stop.stop();
            root
        })
    }

    /// Looks up what a run builds on.
    fn begin<'s>(&self, source: &'s FileSource) -> Result<Run<'s>, BackupError> {
        let start_time = self.repo().clock().now();
        let listed = self.list()?;
        let splitter = self.repo().splitter().map_err(repo_error("begin"))?;
        let policies = Policies::load(listed.manifests(), source, &splitter)
            .map_err(repo_error("look up the source's policies"))?;
        Ok(Run {
            source,
            start_time,
            name: self.repo().chance().uuid().to_string(),
            bases: Bases::find(&listed, source),
            // A manifest that is live protects nothing that is lost already.
            trust: match listed.verified().lost().is_empty() {
                true => Trust::Live,
                false => Trust::Checked,
            },
            policies,
            splitter,
        })
    }

    fn walk<'r>(
        &'r self,
        run: &'r Run<'_>,
        log: &'r ContentLog,
        trust: Trust,
        progress: &'r Progress,
        is_estimate: bool,
    ) -> Walk<'r> {
        Walk {
            writer: self.writer,
            options: self.options,
            progress,
            log,
            trust,
            policies: &run.policies,
            list_splitter: run.splitter.clone(),
            is_estimate,
            checkpoints: Checkpoints {
                source: run.source,
                start_time: run.start_time,
                run: run.name.clone(),
                bases: &run.bases,
                every: self.options.checkpoint_manifest_every,
            },
            tally: Tally::default(),
            links: HardLinks::default(),
            queue: Queue::default(),
            open: OpenThings::default(),
            working: RwLock::default(),
            protected: Mutex::new(self.repo().clock().monotonic()),
            protecting: Mutex::default(),
        }
    }

    /// Removes the checkpoint manifests that nobody needs any more.
    fn remove_needless(&self, checkpoints: &Checkpoints<'_>) -> Result<(), BackupError> {
        let ids = checkpoints.needless(&self.list()?);
        let ids = ids.iter().map(String::as_str);
        Snapshots::delete_all(self.writer, ids)
            .map(drop)
            .map_err(repo_error("remove the checkpoint manifests"))
    }

    fn repo(&self) -> &Arc<Repository> {
        self.writer.repository()
    }

    /// Reads the index anew and lists the snapshots.
    fn list(&self) -> Result<Snapshots, BackupError> {
        Snapshots::load(self.repo()).map_err(repo_error("list the snapshots"))
    }

    /// Publishes a snapshot and returns its id; `None`, and nothing is published, if something
    /// that it names is gone.
    fn publish(
        &self,
        manifest: &SnapshotManifest,
        bases: &Bases,
        trust: Trust,
        log: &ContentLog,
        progress: &Progress,
    ) -> Result<Option<String>, BackupError> {
        let doing = || repo_error("publish the snapshot");
        self.writer.flush().map_err(repo_error("write the index"))?;
        if !self.is_all_there(bases, trust)? || log.is_any_missing(self.repo(), &progress.stop)? {
            return Ok(None);
        }
        let mut published = Snapshots::publish(self.writer, manifest).map_err(doing())?;
        self.writer.flush().map_err(doing())?;
        // Maintenance without safety margins may have run between the look and the publication.
        let is_whole = self.is_all_there(bases, trust)?
            && !published.restore_missing(self.writer).map_err(doing())?;
        if is_whole {
            return Ok(Some(published.id().to_owned()));
        }
        Snapshots::delete(self.writer, published.id())
            .map_err(repo_error("withdraw the snapshot"))?;
        Ok(None)
    }

    /// Returns whether the bases are listed, as far as that counts, and every pack of this run is
    /// where it was put.
    fn is_all_there(&self, bases: &Bases, trust: Trust) -> Result<bool, BackupError> {
        let listed = self.list()?;
        let lost = self
            .writer
            .find_lost_packs()
            .map_err(repo_error("look for the packs just written"))?;
        Ok(lost == 0 && (trust == Trust::Checked || bases.are_live(&listed)))
    }

    fn manifest(
        &self,
        run: &Run<'_>,
        root: &DirectoryEntry,
        counts: &FileCounts,
    ) -> SnapshotManifest {
        let options = self.options;
        let tags = options.tags.iter();
        SnapshotManifest {
            id: String::new(),
            source: run.source.identity.clone(),
            description: options.description.clone(),
            start_time: run.start_time,
            end_time: self.repo().clock().now().max(run.start_time),
            stats: stats(counts),
            incomplete: String::new(),
            root_entry: Some(root.clone()),
            tags: tags
                .map(|(key, value)| (format!("tag:{key}"), value.clone()))
                .collect(),
            storage_stats: None,
            pins: Vec::new(),
            other: run.source.manifest_members(),
        }
    }
}

/// Returns whether the repository is well, so that the next run can go on from what this one stored.
fn is_worth_going_on(error: &BackupError) -> bool {
    matches!(
        error.kind(),
        BackupErrorKind::Stopped | BackupErrorKind::Source
    )
}

/// Returns the counts as Kopia has them.
fn stats(counts: &FileCounts) -> SnapshotStats {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    SnapshotStats {
        total_size: signed(counts.bytes),
        excluded_total_size: signed(counts.excluded_bytes),
        file_count: signed(counts.files),
        cached_files: signed(counts.cached_files),
        non_cached_files: signed(counts.read_files),
        dir_count: signed(counts.folders),
        excluded_file_count: signed(counts.excluded_files),
        excluded_dir_count: signed(counts.excluded_folders),
        ignored_error_count: signed(counts.ignored),
        error_count: signed(counts.failed),
        other: BTreeMap::new(),
    }
}
