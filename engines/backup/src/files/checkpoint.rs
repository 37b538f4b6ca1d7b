//! Checkpoint manifests: what protects a long backup's content before its snapshot exists, and
//! what the next run goes on from (Kopia spec 7.2, 8.4).
//!
//! As Kopia's own they are incomplete snapshots: every open folder with what is stored of it so far,
//! or that much of the one file.
//! Nobody lists them or restores from them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kopia::directory::{DirectoryEntry, DirectorySummary};
use kopia::snapshot::{INCOMPLETE_CHECKPOINT, SnapshotManifest, SnapshotStats};
use repo::Writer;
use snapshot::{Snapshot, Snapshots};
use time_and_chance::Timestamp;

use super::bases::Bases;
use super::node::{Node, Role};
use super::source::FileSource;
use super::walk::{Hand, Walk};
use crate::error::{BackupError, repo_error};

const ENGINE_TAG: (&str, &str) = ("tag:engine", "files");
const RUN_TAG: &str = "tag:run";

/// What the checkpoint manifests of a run say.
pub(super) struct Checkpoints<'a> {
    pub source: &'a FileSource,
    pub start_time: Timestamp,
    /// Names the run.
    pub run: String,
    pub bases: &'a Bases,
    pub every: Duration,
}

impl Walk<'_> {
    /// Protects what is stored so far, if that is due. A failure is only told of: what is stored
    /// is safe for a day without, and the store may be well again by the next time.
    pub fn protect_if_due(&self) {
        let now = self.repo().clock().monotonic();
        {
            let mut protected = self
                .protected
                .lock()
                .expect("no thread panics while it looks at the clock");
            if now.saturating_sub(*protected) < self.checkpoints.every {
                return;
            }
            *protected = now;
        }
        self.tell_if_unprotected(self.write_checkpoint());
    }

    /// Protects what is stored so far for the next run, which goes on from it: this one is told to
    /// stop. As every request to a store that does not answer ends soon after that, and the first
    /// that fails ends this, it takes seconds.
    pub fn protect_before_the_end(&self) {
        // What is only taken over has its snapshot already.
        if self.tally.read_files.load(Ordering::Relaxed) == 0 && self.open_files().is_empty() {
            return;
        }
        self.progress.phase("protecting what is stored so far");
        self.tell_if_unprotected(self.write_checkpoint());
    }

    fn tell_if_unprotected(&self, written: Result<(), BackupError>) {
        if let Err(error) = written {
            self.progress.warning(&format!(
                "what is stored so far is not protected from maintenance yet: could not {error}"
            ));
        }
    }

    fn write_checkpoint(&self) -> Result<(), BackupError> {
        let _one_at_a_time = self
            .protecting
            .lock()
            .expect("no thread panics while it writes a checkpoint manifest");
        match self.partial_root()? {
            Some(root) => self.checkpoints.write(self.writer, root),
            None => Ok(()),
        }
    }

    /// Stores every open folder with what is in it so far and returns the root's entry; `None` if
    /// there is nothing yet.
    fn partial_root(&self) -> Result<Option<DirectoryEntry>, BackupError> {
        let (open, files) = {
            // Whoever works at the moment ends that first: then everything that folders name is on
            // its way to the store, and the next flush ends behind it.
            let _nobody_works = self
                .working
                .write()
                .expect("no worker panics while it works");
            (self.open_folders(), self.open_files())
        };
        let mut hand = Hand::new(self);
        let mut below: HashMap<*const Node, Vec<DirectoryEntry>> = HashMap::new();
        for file in files {
            if let Some(entry) = hand.store_partial_file(&file)? {
                let parent = Arc::as_ptr(&file.job.parent);
                below.entry(parent).or_default().push(entry);
            }
        }
        for (node, mut entries) in open {
            entries.extend(below.remove(&Arc::as_ptr(&node)).unwrap_or_default());
            if entries.is_empty() {
                continue;
            }
            let entry = hand.store_partial_folder(&node, entries)?;
            if node.role == Role::Root {
                return Ok(Some(entry));
            }
            if let Some(parent) = &node.parent {
                below.entry(Arc::as_ptr(parent)).or_default().push(entry);
            }
        }
        // A source that is one file has no folder: what there is of it stands for itself.
        Ok(below.into_values().flatten().next().map(as_root))
    }
}

/// Gives what there is of a file the summary that a root has.
fn as_root(file: DirectoryEntry) -> DirectoryEntry {
    let summary = DirectorySummary {
        size: file.size,
        files: 1,
        max_time: file.mtime,
        incomplete: INCOMPLETE_CHECKPOINT.to_owned(),
        ..DirectorySummary::default()
    };
    DirectoryEntry {
        summary: Some(summary),
        ..file
    }
}

impl Checkpoints<'_> {
    /// Publishes a checkpoint manifest in place of this run's last one.
    pub fn write(&self, writer: &Writer, root: DirectoryEntry) -> Result<(), BackupError> {
        let doing = || repo_error("protect what is stored so far");
        let listed = Snapshots::load(writer.repository()).map_err(doing())?;
        // A manifest that names what is gone would stop Kopia's maintenance.
        if !self.bases.are_live(&listed) {
            return Ok(());
        }
        let superseded: Vec<String> = listed
            .iter()
            .filter(|snapshot| self.is_of_this_run(snapshot))
            .map(|snapshot| snapshot.id.clone())
            .collect();
        let now = writer.repository().clock().now();
        let manifest = self.manifest(root, now);
        listed
            .replace(writer, &superseded, &manifest)
            .map_err(doing())?;
        writer.flush().map_err(doing())
    }

    fn manifest(&self, root: DirectoryEntry, now: Timestamp) -> SnapshotManifest {
        let (engine, files) = ENGINE_TAG;
        let tags = [(engine, files), (RUN_TAG, &self.run)];
        let summary = root.summary.clone().unwrap_or_default();
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        SnapshotManifest {
            id: String::new(),
            source: self.source.identity.clone(),
            description: String::new(),
            start_time: self.start_time,
            end_time: now.max(self.start_time),
            stats: SnapshotStats {
                total_size: signed(summary.size),
                file_count: signed(summary.files),
                dir_count: signed(summary.dirs),
                ..SnapshotStats::default()
            },
            incomplete: INCOMPLETE_CHECKPOINT.to_owned(),
            root_entry: Some(root),
            tags: tags
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            storage_stats: None,
            pins: Vec::new(),
            other: self.source.manifest_members(),
        }
    }

    fn is_of_this_run(&self, snapshot: &Snapshot) -> bool {
        let run = snapshot.manifest.tags.get(RUN_TAG);
        run.is_some_and(|run| *run == self.run)
    }

    /// Returns the ids of the checkpoint manifests that a published snapshot makes needless:
    /// this run's, and those of ours that were there when it began.
    pub fn needless(&self, listed: &Snapshots) -> Vec<String> {
        let (engine, files) = ENGINE_TAG;
        let is_ours = |snapshot: &&Snapshot| {
            let tag = snapshot.manifest.tags.get(engine);
            snapshot.manifest.incomplete == INCOMPLETE_CHECKPOINT
                && tag.is_some_and(|tag| tag == files)
        };
        let ours = listed.iter().filter(is_ours);
        ours.filter(|snapshot| {
            self.is_of_this_run(snapshot) || self.bases.found_unfinished(&snapshot.id)
        })
        .map(|snapshot| snapshot.id.clone())
        .collect()
    }
}
