//! Snapshots and the trees below them, as they are read; whether they keep the rules is the audit's question.

use crate::directory::{Directory, DirectoryEntry, Summary};
use crate::manifest::{Manifest, SnapshotManifest};
use crate::moment::Moment;
use crate::reader::SecondReader;

const DEPTH_MAX: usize = 400;

/// One snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The manifest ID.
    pub id: String,
    /// The manifest as stored.
    pub manifest: serde_json::Value,
    /// Its root, with the empty path.
    pub root: Entry,
    /// Why it is incomplete; empty if it is complete.
    pub incomplete: String,
}

/// One file, directory or symbolic link in a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Names joined by `/`, empty for the root.
    pub path: String,
    /// `f`, `d` or `s`.
    pub kind: String,
    /// In Go's bits (Kopia spec 7.3).
    pub mode: u32,
    /// As stored: 0 for directories.
    pub size: u64,
    /// When it was modified.
    pub mtime: Moment,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The object with its bytes.
    pub object_id: String,
    /// Totals, for directories.
    pub summary: Option<Summary>,
}

impl Entry {
    pub(crate) fn new(path: String, entry: DirectoryEntry) -> Entry {
        Entry {
            path,
            kind: entry.kind,
            mode: entry.mode,
            size: entry.size,
            mtime: entry.mtime,
            uid: entry.uid,
            gid: entry.gid,
            object_id: entry.object,
            summary: entry.summary,
        }
    }

    pub(crate) fn child_path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.path)
        }
    }
}

impl SecondReader {
    /// All snapshots whose manifests keep the rules, by start time; the others are found by the audit.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut snapshots: Vec<Snapshot> = self
            .snapshot_manifests()
            .filter_map(|manifest| {
                let parsed = SnapshotManifest::parse(manifest).ok()?;
                Some(Snapshot {
                    id: manifest.id.clone(),
                    manifest: manifest.data.clone(),
                    root: Entry::new(String::new(), parsed.root),
                    incomplete: parsed.incomplete,
                })
            })
            .collect();
        snapshots.sort_by(|a, b| {
            let start =
                |snapshot: &Snapshot| snapshot.manifest["startTime"].as_str().map(Moment::parse);
            let start_ns = |snapshot: &Snapshot| {
                start(snapshot)
                    .and_then(Result::ok)
                    .map(|start| start.unix_ns)
            };
            start_ns(a).cmp(&start_ns(b)).then_with(|| a.id.cmp(&b.id))
        });
        snapshots
    }

    pub(crate) fn snapshot_manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests().filter(|manifest| {
            manifest
                .labels
                .get("type")
                .is_some_and(|kind| kind == "snapshot")
        })
    }

    /// All entries of a snapshot: the root first, each directory before what is in it.
    pub fn walk(&self, snapshot: &Snapshot) -> Result<Vec<Entry>, String> {
        let mut entries = Vec::new();
        let mut pending = vec![(snapshot.root.clone(), 0)];
        while let Some((entry, depth)) = pending.pop() {
            if entry.kind == "d" {
                if depth > DEPTH_MAX {
                    return Err("directories are nested too deeply".to_owned());
                }
                let children = self.children(&entry)?;
                pending.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Finds the entry at a path.
    pub fn entry(&self, snapshot: &Snapshot, path: &str) -> Result<Entry, String> {
        let mut entry = snapshot.root.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let wanted = entry.child_path(name);
            let children = self.children(&entry)?;
            entry = children
                .into_iter()
                .find(|child| child.path == wanted)
                .ok_or_else(|| format!("snapshot has no {wanted:?}"))?;
        }
        Ok(entry)
    }

    /// Reads the file, or the symbolic link's target, at a path.
    pub fn read_file(&self, snapshot: &Snapshot, path: &str) -> Result<Vec<u8>, String> {
        let entry = self.entry(snapshot, path)?;
        if entry.kind == "d" {
            Err(format!("{path:?} is a directory"))
        } else {
            self.read_object(&entry.object_id)
        }
    }

    fn children(&self, entry: &Entry) -> Result<Vec<Entry>, String> {
        let directory = Directory::parse(&self.read_object(&entry.object_id)?)
            .map_err(|error| format!("directory {:?}: {error}", entry.path))?;
        Ok(directory
            .entries
            .into_iter()
            .map(|child| Entry::new(entry.child_path(&child.name), child))
            .collect())
    }
}
