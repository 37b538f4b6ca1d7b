//! The snapshots a repository lists.

use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::manifest::ManifestEntry;
use kopia::snapshot::{SNAPSHOT_TYPE, SnapshotManifest};
use repo::{Manifests, RepoError, RepoErrorKind, Repository, Writer};

use crate::verified::Verified;

/// A snapshot and the id of its manifest.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The manifest's id; it changes when stock Kopia pins or edits the snapshot.
    pub id: String,
    /// What the manifest says.
    pub manifest: SnapshotManifest,
}

/// All snapshots of a repository at one moment.
#[derive(Debug)]
pub struct Snapshots {
    manifests: Manifests,
    snapshots: Vec<Snapshot>,
    unreadable: Vec<(String, String)>,
    verified: Verified,
}

/// A snapshot whose manifest was written a moment ago.
#[derive(Debug, Clone)]
pub struct PublishedSnapshot {
    entry: ManifestEntry,
    content: ContentId,
}

impl PublishedSnapshot {
    /// Returns the manifest's id.
    pub fn id(&self) -> &str {
        &self.entry.id
    }

    /// Writes the manifest again if the content that holds it was lost on its way; returns
    /// whether it was. Where another client has moved it to another content, or deleted it, it is
    /// left alone.
    pub fn restore_missing(&mut self, writer: &Writer) -> Result<bool, RepoError> {
        if writer.repository().was_here(&self.content)? {
            return Ok(false);
        }
        self.content = writer.write_manifests(vec![self.entry.clone()])?;
        Ok(true)
    }
}

impl Snapshots {
    /// Reads the snapshots, oldest first; manifests that are damaged or make no sense are kept
    /// apart. What verification found lost counts as missing from now on: whoever writes it
    /// stores it again.
    pub fn load(repo: &Arc<Repository>) -> Result<Self, RepoError> {
        let manifests = repo.manifests()?;
        let mut snapshots = Vec::new();
        let mut unreadable = Vec::new();
        for entry in manifests.find(SNAPSHOT_TYPE, &[]) {
            match SnapshotManifest::parse(entry.data.get()) {
                Ok(manifest) => snapshots.push(Snapshot {
                    id: entry.id,
                    manifest,
                }),
                Err(error) => unreadable.push((entry.id, error.to_string())),
            }
        }
        let of_contents = manifests.unreadable().iter();
        unreadable.extend(of_contents.map(|(id, why)| (id.to_string(), why.clone())));
        snapshots.sort_by(|a, b| {
            (a.manifest.start_time, a.manifest.end_time, &a.id).cmp(&(
                b.manifest.start_time,
                b.manifest.end_time,
                &b.id,
            ))
        });
        let verified = Verified::read(repo, &manifests);
        repo.note_lost(verified.lost().clone());
        Ok(Self {
            manifests,
            snapshots,
            unreadable,
            verified,
        })
    }

    /// Returns the snapshots, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.iter()
    }

    /// Returns the ids of manifests, or of contents full of them, that could not be read, with
    /// the reason.
    pub fn unreadable(&self) -> &[(String, String)] {
        &self.unreadable
    }

    /// Returns what verification found of them, as the repository and this machine remember it.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Returns the manifests the snapshots were read from.
    pub fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// Writes a snapshot's manifest; visible after a flush.
    ///
    /// # Errors
    /// `Invalid` if Kopia could not read it: it would then be ignored and its data collected.
    pub fn publish(
        writer: &Writer,
        manifest: &SnapshotManifest,
    ) -> Result<PublishedSnapshot, RepoError> {
        let entry = new_entry(writer, manifest)?;
        let content = writer.write_manifests(vec![entry.clone()])?;
        Ok(PublishedSnapshot { entry, content })
    }

    /// Writes a snapshot's manifest and the deletion of others in one content, so that they
    /// change hands in one flush.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn replace(
        &self,
        writer: &Writer,
        superseded: &[String],
        manifest: &SnapshotManifest,
    ) -> Result<(), RepoError> {
        let mut entries = tombstones(
            &self.manifests,
            writer,
            superseded.iter().map(String::as_str),
        );
        entries.push(new_entry(writer, manifest)?);
        writer.write_manifests(entries).map(|_| ())
    }

    /// Writes the deletion of several snapshots' manifests; visible after a flush.
    pub fn remove(&self, writer: &Writer, ids: &[String]) -> Result<(), RepoError> {
        writer
            .write_manifests(tombstones(
                &self.manifests,
                writer,
                ids.iter().map(String::as_str),
            ))
            .map(|_| ())
    }

    /// Changes a snapshot's manifest and keeps its id: of two entries with one id, the later one
    /// counts (Kopia spec 7.1). Visible to others when this returns.
    ///
    /// # Errors
    /// `NotFound` if the snapshot has gone meanwhile, `Invalid` if Kopia could not read the new
    /// manifest.
    pub fn edit(
        writer: &Writer,
        id: &str,
        change: impl FnOnce(&mut SnapshotManifest),
    ) -> Result<SnapshotManifest, RepoError> {
        let doing = || format!("change snapshot {id}");
        let manifests = writer.repository().manifests()?;
        let entry = manifests.get(id).ok_or_else(|| {
            RepoError::new(
                RepoErrorKind::NotFound,
                format!("{}: it was deleted meanwhile", doing()),
            )
        })?;
        let mut manifest = SnapshotManifest::parse(entry.data.get())
            .map_err(|error| RepoError::new(RepoErrorKind::Damaged, doing()).caused_by(error))?;
        change(&mut manifest);
        let now = writer.repository().clock().now();
        let edited = manifest
            .to_manifest(entry.id.clone(), entry.superseded_at(now))
            .map_err(|error| RepoError::new(RepoErrorKind::Invalid, doing()).caused_by(error))?;
        writer.write_manifests(vec![edited])?;
        writer.flush()?;
        Ok(manifest)
    }

    /// Deletes the manifests of several snapshots, all or none; returns how many there were. Their
    /// data goes with a later maintenance.
    pub fn delete_all<'i>(
        writer: &Writer,
        ids: impl IntoIterator<Item = &'i str>,
    ) -> Result<usize, RepoError> {
        let manifests = writer.repository().manifests()?;
        let entries = tombstones(&manifests, writer, ids);
        let count = entries.len();
        if count > 0 {
            writer.write_manifests(entries)?;
            writer.flush()?;
        }
        Ok(count)
    }

    /// Deletes a snapshot's manifest; its data goes with a later maintenance.
    pub fn delete(writer: &Writer, id: &str) -> Result<(), RepoError> {
        Self::delete_all(writer, [id]).map(|_| ())
    }
}

fn tombstones<'i>(
    manifests: &Manifests,
    writer: &Writer,
    ids: impl IntoIterator<Item = &'i str>,
) -> Vec<ManifestEntry> {
    let now = writer.repository().clock().now();
    ids.into_iter()
        .filter_map(|id| manifests.get(id))
        .map(|entry| ManifestEntry::tombstone(&entry, now))
        .collect()
}

fn new_entry(writer: &Writer, manifest: &SnapshotManifest) -> Result<ManifestEntry, RepoError> {
    let repo = writer.repository();
    let id = ManifestEntry::new_id(repo.chance().bytes());
    manifest
        .to_manifest(id, repo.clock().now())
        .map_err(|error| {
            RepoError::new(RepoErrorKind::Invalid, "publish the snapshot").caused_by(error)
        })
}
