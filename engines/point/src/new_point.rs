//! A point while it is made: stored, looked at again, published.

use std::collections::BTreeMap;

use kopia::content_id::ContentId;
use kopia::object_id::ObjectId;
use kopia::snapshot::{SnapshotManifest, SnapshotStats};
use repo::Writer;
use snapshot::{PublishedSnapshot, Snapshots, TreeWriter};
use time_and_chance::Timestamp;

use crate::descriptor::{CONFIGURATION_FOLDER, DESCRIPTOR_NAME, DISKS_FOLDER, VmDescriptor};
use crate::error::{PointError, repo_error};
use crate::points::source_of;

/// A point whose parts are stored but which nobody can see yet.
#[derive(Debug)]
pub struct NewPoint {
    descriptor: VmDescriptor,
    disks: Vec<(ObjectId, u64)>,
    configuration: Vec<(String, Vec<u8>)>,
    manifest: SnapshotManifest,
    contents: Vec<ContentId>,
    published: Option<PublishedSnapshot>,
}

impl NewPoint {
    /// Stores the VM's configuration and description beside its disks, given as object and file
    /// length in the order of the descriptor's disks.
    pub fn store(
        writer: &Writer,
        host: &str,
        descriptor: VmDescriptor,
        disks: Vec<(ObjectId, u64)>,
        configuration: Vec<(String, Vec<u8>)>,
        now: Timestamp,
    ) -> Result<Self, PointError> {
        let source = source_of(host, descriptor.guid);
        let mut point = Self {
            manifest: SnapshotManifest {
                id: String::new(),
                source,
                description: format!(
                    "{} ({})",
                    descriptor.name,
                    descriptor.backup_type().as_str()
                ),
                start_time: descriptor.frozen_at,
                end_time: now.max(descriptor.frozen_at),
                stats: SnapshotStats::default(),
                incomplete: String::new(),
                root_entry: None,
                tags: tags_of(&descriptor),
                storage_stats: None,
                pins: Vec::new(),
                other: BTreeMap::new(),
            },
            descriptor,
            disks,
            configuration,
            contents: Vec::new(),
            published: None,
        };
        point.store_tree(writer)?;
        Ok(point)
    }

    /// Returns what the point says of itself.
    pub fn descriptor(&self) -> &VmDescriptor {
        &self.descriptor
    }

    fn store_tree(&mut self, writer: &Writer) -> Result<(), PointError> {
        let doing = "store the point's folders";
        let mut tree = TreeWriter::new(writer, self.descriptor.frozen_at);
        let json = serde_json::to_vec_pretty(&self.descriptor)
            .expect("a descriptor has no maps with odd keys");
        let mut configuration = Vec::new();
        for (name, bytes) in &self.configuration {
            configuration.push(tree.file(name, bytes).map_err(repo_error(doing))?);
        }
        let disks = self
            .descriptor
            .disks
            .iter()
            .zip(&self.disks)
            .map(|(disk, (object, bytes))| tree.stored_file(&disk.file, *object, *bytes))
            .collect();
        let entries = vec![
            tree.folder(CONFIGURATION_FOLDER, configuration)
                .map_err(repo_error(doing))?,
            tree.folder(DISKS_FOLDER, disks)
                .map_err(repo_error(doing))?,
            tree.file(DESCRIPTOR_NAME, &json)
                .map_err(repo_error(doing))?,
        ];
        let root = tree.folder("", entries).map_err(repo_error(doing))?;
        if let Some(summary) = &root.summary {
            self.manifest.stats.total_size = i64::try_from(summary.size).unwrap_or(i64::MAX);
            self.manifest.stats.file_count = i64::try_from(summary.files).unwrap_or(i64::MAX);
            self.manifest.stats.dir_count = i64::try_from(summary.dirs).unwrap_or(i64::MAX);
        }
        self.manifest.root_entry = Some(root);
        self.contents = tree.into_contents();
        Ok(())
    }

    /// Looks every part up again, the disks' own excepted, and stores again what is gone; returns
    /// whether anything was. Once the point is published, its manifest is one of the parts.
    pub fn restore_missing(&mut self, writer: &Writer) -> Result<bool, PointError> {
        let mut missing = false;
        for id in &self.contents {
            missing |= !writer
                .repository()
                .is_live(id)
                .map_err(repo_error("look up the point's folders"))?;
        }
        if missing {
            self.store_tree(writer)?;
        }
        if let Some(published) = &mut self.published {
            missing |= published
                .restore_missing(writer)
                .map_err(repo_error("publish the point again"))?;
        }
        Ok(missing)
    }

    /// Writes the point's manifest, visible after a flush; returns its id.
    pub fn publish(&mut self, writer: &Writer) -> Result<String, PointError> {
        let published =
            Snapshots::publish(writer, &self.manifest).map_err(repo_error("publish the point"))?;
        let id = published.id().to_owned();
        self.published = Some(published);
        Ok(id)
    }
}

fn tags_of(descriptor: &VmDescriptor) -> BTreeMap<String, String> {
    [
        ("engine", "hyperv".to_owned()),
        ("vm-guid", descriptor.guid.to_string()),
        ("vm-name", descriptor.name.clone()),
        ("point", descriptor.point.to_string()),
        ("run", descriptor.run.to_string()),
        ("backup-type", descriptor.backup_type().as_str().to_owned()),
        ("consistency", descriptor.consistency.as_str().to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("tag:{key}"), value))
    .collect()
}
