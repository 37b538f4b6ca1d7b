//! Checkpoint manifests: what protects a long backup's content before its point exists (Kopia
//! spec 7.2, 8.4).
//!
//! They are snapshots that say of themselves that they are incomplete: Kopia's maintenance keeps
//! what they name, and nobody lists them, restores from them or builds on them. Their files are
//! no disks: each holds the segments of one disk that are stored so far, without the gaps.

use std::collections::BTreeMap;

use hyperv::VmId;
use kopia::object_id::ObjectId;
use kopia::snapshot::{INCOMPLETE_CHECKPOINT, SnapshotManifest, SnapshotStats};
use repo::Writer;
use snapshot::{Snapshot, TreeWriter};
use time_and_chance::Timestamp;
use uuid::Uuid;

use crate::descriptor::DISKS_FOLDER;
use crate::error::{PointError, repo_error};
use crate::names::file_stem;
use crate::points::{Points, source_of};

/// A point that is still being stored.
#[derive(Debug, Clone)]
pub struct UnfinishedPoint {
    /// The host's name.
    pub host: String,
    /// The VM's GUID.
    pub vm: VmId,
    /// The VM's name.
    pub vm_name: String,
    /// The run that makes it.
    pub run: Uuid,
    /// When the disks were frozen.
    pub frozen_at: Timestamp,
}

/// What is stored of a disk so far.
#[derive(Debug, Clone)]
pub struct UnfinishedDisk {
    /// The disk's number.
    pub number: u32,
    /// The file at the root of its chain.
    pub original_path: String,
    /// The object that names what is stored.
    pub object: ObjectId,
    /// That object's length.
    pub bytes: u64,
}

impl UnfinishedPoint {
    /// Publishes a checkpoint manifest that names `disks`, in place of those among `points` that
    /// it supersedes; visible to everyone when this returns.
    ///
    /// The caller has looked everything up that `disks` name: a manifest that names what is not
    /// there stops Kopia's maintenance.
    pub fn publish(
        &self,
        writer: &Writer,
        points: &Points,
        disks: &[UnfinishedDisk],
    ) -> Result<(), PointError> {
        let doing = || repo_error("publish a checkpoint manifest");
        let mut tree = TreeWriter::new(writer, self.frozen_at);
        let files = disks.iter().map(|disk| {
            let name = format!("{}-{}.partial", disk.number, file_stem(&disk.original_path));
            tree.stored_file(&name, disk.object, disk.bytes)
        });
        let files = files.collect();
        let folder = tree.folder(DISKS_FOLDER, files).map_err(doing())?;
        let root = tree.folder("", vec![folder]).map_err(doing())?;
        let bytes: u64 = disks.iter().map(|disk| disk.bytes).sum();
        let manifest = SnapshotManifest {
            id: String::new(),
            source: source_of(&self.host, self.vm),
            description: format!("{} (not finished)", self.vm_name),
            start_time: self.frozen_at,
            end_time: writer.repository().clock().now().max(self.frozen_at),
            stats: SnapshotStats {
                total_size: i64::try_from(bytes).unwrap_or(i64::MAX),
                file_count: i64::try_from(disks.len()).unwrap_or(i64::MAX),
                dir_count: 2,
                ..SnapshotStats::default()
            },
            incomplete: INCOMPLETE_CHECKPOINT.to_owned(),
            root_entry: Some(root),
            tags: self.tags(),
            storage_stats: None,
            pins: Vec::new(),
            other: BTreeMap::new(),
        };
        let others: Vec<(String, i64)> = points
            .unfinished(self.vm)
            .map(|other| (other.id.clone(), other.manifest.stats.total_size))
            .collect();
        let superseded = superseded(&others, manifest.stats.total_size);
        points
            .snapshots()
            .replace(writer, &superseded, &manifest)
            .map_err(doing())?;
        writer.flush().map_err(doing())
    }

    fn tags(&self) -> BTreeMap<String, String> {
        [
            ("engine", "hyperv".to_owned()),
            ("vm-guid", self.vm.to_string()),
            ("vm-name", self.vm_name.clone()),
            ("run", self.run.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (format!("tag:{key}"), value))
        .collect()
    }
}

impl Points {
    /// Returns the checkpoint manifests of a VM.
    pub fn unfinished(&self, vm: VmId) -> impl Iterator<Item = &Snapshot> {
        let vm = vm.to_string();
        self.snapshots().iter().filter(move |snapshot| {
            let tag = |key: &str| snapshot.manifest.tags.get(key).map(String::as_str);
            snapshot.manifest.incomplete == INCOMPLETE_CHECKPOINT
                && tag("tag:engine") == Some("hyperv")
                && tag("tag:vm-guid") == Some(&vm)
        })
    }

    /// Removes the checkpoint manifests of a VM whose point is published; visible to everyone
    /// when this returns.
    pub fn remove_unfinished(&self, writer: &Writer, vm: VmId) -> Result<(), PointError> {
        let ids: Vec<String> = self.unfinished(vm).map(|other| other.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let doing = || repo_error("remove the checkpoint manifests of what is finished now");
        self.snapshots().remove(writer, &ids).map_err(doing())?;
        writer.flush().map_err(doing())
    }
}

/// Returns which checkpoint manifests of a VM a new one of `bytes` supersedes, given the ids and
/// sizes of `others`.
///
/// Disks are stored from front to back, so one that names no less covers what the other does.
/// One that got further, in an earlier pass or run, stays until the new one has caught up;
/// but only the largest of these, so that there are never more than two.
fn superseded(others: &[(String, i64)], bytes: i64) -> Vec<String> {
    let furthest = others
        .iter()
        .filter(|(_, other)| *other > bytes)
        .max_by_key(|(id, other)| (*other, id));
    others
        .iter()
        .filter(|other| Some(*other) != furthest)
        .map(|(id, _)| id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The others, the new one's size, and which go.
    type Case<'a> = (&'a [(&'a str, i64)], i64, &'a [&'a str]);

    #[test]
    fn what_got_further_stays_and_only_the_furthest_of_it() {
        let cases: [Case<'_>; 6] = [
            (&[], 10, &[]),
            (&[("mine", 5)], 10, &["mine"]),
            (&[("same", 10)], 10, &["same"]),
            (&[("further", 20), ("mine", 5)], 10, &["mine"]),
            (
                &[("far", 20), ("further", 30), ("near", 5)],
                10,
                &["far", "near"],
            ),
            (&[("further", 20), ("mine", 20)], 30, &["further", "mine"]),
        ];
        for (others, bytes, expected) in cases {
            let others: Vec<(String, i64)> = others
                .iter()
                .map(|(id, bytes)| ((*id).to_owned(), *bytes))
                .collect();
            assert_eq!(superseded(&others, bytes), *expected, "{others:?}");
        }
    }
}
