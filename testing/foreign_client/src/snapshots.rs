//! Snapshots of another client's own, and what it does to ours.

use std::collections::BTreeMap;

use kopia::directory::{Directory, DirectoryEntry, DirectorySummary, EntryType};
use kopia::manifest::{ManifestContents, ManifestEntry};
use kopia::object_id::ObjectId;
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use second_reader::SecondReader;

use crate::session::Session;
use crate::{ForeignClient, text};

impl ForeignClient {
    /// Stores a folder of files as a snapshot, as `kopia snapshot create` does; returns its id.
    pub fn add_snapshot(&self, path: &str, files: &[(&str, &[u8])]) -> Result<String, String> {
        let now = self.clock.now();
        let mut session = Session::new(self);
        let mut entries = Vec::new();
        for (name, bytes) in files {
            let object = ObjectId::direct(session.add(None, bytes, None));
            entries.push(entry(
                name,
                EntryType::File,
                bytes.len() as u64,
                object,
                None,
                now,
            ));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let summary = DirectorySummary::of(&entries, now);
        let folder = Directory {
            entries,
            summary: Some(summary.clone()),
        }
        .encode()
        .map_err(text)?;
        let object = ObjectId::direct(session.add(Some(b'k'), &folder, None));
        let snapshot = SnapshotManifest {
            id: String::new(),
            source: SnapshotSource {
                host: "elsewhere".to_owned(),
                user_name: "someone".to_owned(),
                path: path.to_owned(),
            },
            description: String::new(),
            start_time: now,
            end_time: now,
            stats: SnapshotStats {
                total_size: files.iter().map(|(_, bytes)| bytes.len() as i64).sum(),
                file_count: files.len() as i64,
                non_cached_files: files.len() as i64,
                dir_count: 1,
                ..SnapshotStats::default()
            },
            incomplete: String::new(),
            root_entry: Some(entry(
                "",
                EntryType::Directory,
                0,
                object,
                Some(summary),
                now,
            )),
            tags: BTreeMap::new(),
            storage_stats: None,
            pins: Vec::new(),
            other: BTreeMap::new(),
        };
        let id = ManifestEntry::new_id(self.chance.bytes());
        let manifest = snapshot.to_manifest(id.clone(), now).map_err(text)?;
        self.add_manifests(session, vec![manifest])?;
        Ok(id)
    }

    /// Deletes a snapshot's manifest, as `kopia snapshot delete` does.
    pub fn delete_snapshot(&self, id: &str) -> Result<(), String> {
        let entry = find_manifest(&self.read()?, id)?;
        let gone = ManifestEntry::tombstone(&entry, self.clock.now());
        self.add_manifests(Session::new(self), vec![gone])
    }

    /// Pins a snapshot, as `kopia snapshot pin` does: it gets a new manifest id, which is returned.
    pub fn pin_snapshot(&self, id: &str) -> Result<String, String> {
        let entry = find_manifest(&self.read()?, id)?;
        let mut snapshot = SnapshotManifest::parse(entry.data.get()).map_err(text)?;
        snapshot.pins = vec!["keep".to_owned()];
        let now = self.clock.now();
        let new_id = ManifestEntry::new_id(self.chance.bytes());
        let pinned = snapshot.to_manifest(new_id.clone(), now).map_err(text)?;
        let gone = ManifestEntry::tombstone(&entry, now);
        self.add_manifests(Session::new(self), vec![gone, pinned])?;
        Ok(new_id)
    }

    fn add_manifests(
        &self,
        mut session: Session<'_>,
        entries: Vec<ManifestEntry>,
    ) -> Result<(), String> {
        let plain = ManifestContents { entries }.encode().map_err(text)?;
        session.add(Some(b'm'), &plain, None);
        session.flush().map(drop)
    }
}

fn find_manifest(reader: &SecondReader, id: &str) -> Result<ManifestEntry, String> {
    for record in reader.contents() {
        if !record.id.starts_with('m') || record.deleted {
            continue;
        }
        let plain = reader.read_content(&record.id)?;
        let contents = ManifestContents::parse(&plain).map_err(text)?;
        let found = contents
            .entries
            .into_iter()
            .find(|entry| entry.id == id && !entry.deleted);
        if let Some(entry) = found {
            return Ok(entry);
        }
    }
    Err(format!("there is no snapshot {id}"))
}

fn entry(
    name: &str,
    entry_type: EntryType,
    size: u64,
    object: ObjectId,
    summary: Option<DirectorySummary>,
    mtime: time_and_chance::Timestamp,
) -> DirectoryEntry {
    DirectoryEntry {
        name: name.to_owned(),
        mode: if entry_type == EntryType::Directory {
            0o755
        } else {
            0o644
        },
        entry_type,
        size,
        mtime,
        uid: 0,
        gid: 0,
        object,
        summary,
        other: BTreeMap::new(),
    }
}
