//! Manifests: small labelled documents, many of them in one content (Kopia spec 7.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use blob::BlobErrorKind;
use kopia::content_id::{ContentId, prefix};
use kopia::manifest::{self, ManifestContents, ManifestEntry};

use serde_json::value::RawValue;

use crate::error::{RepoError, RepoErrorKind};
use crate::{Encoder, Repository, Writer};

/// From this many contents on, they are rewritten into one, as Kopia does.
const COMPACT_AT: usize = 16;
/// A load that meets a compaction by another client is repeated this often.
const ATTEMPTS_MAX: u32 = 5;
/// One that finds damage, this often: it may be such a compaction, too.
const DAMAGE_ATTEMPTS_MAX: u32 = 3;

/// All manifests of a repository at one moment.
#[derive(Debug)]
pub struct Manifests {
    entries: BTreeMap<String, ManifestEntry>,
    contents: Vec<ContentId>,
    unreadable: Vec<(ContentId, String)>,
}

impl Manifests {
    /// Returns the manifest with this id.
    pub fn get(&self, id: &str) -> Option<&ManifestEntry> {
        self.entries.get(id)
    }

    /// Returns the contents whose manifests are lost to us, with the reason: what is not among
    /// the manifests may be in them.
    pub fn unreadable(&self) -> &[(ContentId, String)] {
        &self.unreadable
    }

    /// Returns all manifests whose labels contain every one of `labels`.
    pub fn find<'a>(
        &'a self,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a ManifestEntry> + 'a {
        self.entries.values().filter(|entry| {
            labels
                .iter()
                .all(|(key, value)| entry.labels.get(*key).is_some_and(|found| found == value))
        })
    }
}

impl Repository {
    /// Reads all manifests, after refreshing the index. Damaged ones do not hide the others.
    pub fn manifests(self: &Arc<Self>) -> Result<Manifests, RepoError> {
        let mut attempt = 1;
        loop {
            self.refresh()?;
            match self.load_manifests() {
                // Another client compacted the manifests between our look and our read.
                Err(error) if error.kind().is_gone() && attempt < ATTEMPTS_MAX => attempt += 1,
                Ok(found) if !found.unreadable.is_empty() && attempt < DAMAGE_ATTEMPTS_MAX => {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn load_manifests(&self) -> Result<Manifests, RepoError> {
        let mut contents = Vec::new();
        self.for_each_content(Some(prefix::MANIFEST), &mut |record| {
            if !record.deleted {
                contents.push(record.id);
            }
            Ok(())
        })?;
        let mut unreadable = Vec::new();
        let entries = match self.read_entries(&contents) {
            Err(error) if is_damage(error.kind()) => {
                let mut entries = Vec::new();
                for id in &contents {
                    match self.read_entries(std::slice::from_ref(id)) {
                        Ok(some) => entries.extend(some),
                        Err(error) if is_damage(error.kind()) => {
                            unreadable.push((*id, error.to_string()));
                        }
                        Err(error) => return Err(error),
                    }
                }
                entries
            }
            read => read?,
        };
        Ok(Manifests {
            entries: manifest::merge(entries),
            contents,
            unreadable,
        })
    }

    fn read_entries(&self, contents: &[ContentId]) -> Result<Vec<ManifestEntry>, RepoError> {
        let mut entries = Vec::new();
        self.read_contents(contents, &mut |place, bytes| {
            let parsed = ManifestContents::parse(&bytes).map_err(|error| {
                RepoError::new(
                    RepoErrorKind::Damaged,
                    format!("read manifests from content {}", contents[place]),
                )
                .caused_by(error)
            })?;
            entries.extend(parsed.entries);
            Ok(())
        })?;
        Ok(entries)
    }
}

/// Returns whether what was to be read is altered, cut or lost, rather than out of reach.
fn is_damage(kind: RepoErrorKind) -> bool {
    matches!(
        kind,
        RepoErrorKind::Damaged
            | RepoErrorKind::Store(BlobErrorKind::NotFound | BlobErrorKind::Invalid)
    )
}

impl Writer {
    /// Writes manifests and deletions of manifests into one content, whose id is returned;
    /// visible after a flush.
    pub fn write_manifests(&self, entries: Vec<ManifestEntry>) -> Result<ContentId, RepoError> {
        let bytes = ManifestContents { entries }.encode().map_err(|error| {
            RepoError::new(RepoErrorKind::Invalid, "encode manifests").caused_by(error)
        })?;
        let written =
            self.write_content(&mut Encoder::metadata(), Some(prefix::MANIFEST), &bytes)?;
        Ok(written.id)
    }

    /// Returns a new manifest with a fresh id.
    pub fn new_manifest(
        &self,
        labels: BTreeMap<String, String>,
        data: Box<RawValue>,
    ) -> ManifestEntry {
        let id = ManifestEntry::new_id(self.repository().chance().bytes());
        ManifestEntry {
            id,
            labels,
            modified: self.repository().clock().now(),
            deleted: false,
            data,
        }
    }

    /// Writes the deletion of a manifest; visible after a flush.
    pub fn delete_manifest(&self, entry: &ManifestEntry) -> Result<(), RepoError> {
        let now = self.repository().clock().now();
        self.write_manifests(vec![ManifestEntry::tombstone(entry, now)])
            .map(drop)
    }

    /// Rewrites the contents that hold manifests into one if there are many of them; old ones
    /// and the new one change hands in a single flush.
    pub fn compact_manifests(&self) -> Result<(), RepoError> {
        let manifests = self.repository().manifests()?;
        // What cannot be read would be dropped for good: somebody may still mend it.
        if manifests.contents.len() < COMPACT_AT || !manifests.unreadable.is_empty() {
            return Ok(());
        }
        let Manifests {
            entries, contents, ..
        } = manifests;
        self.flush()?;
        let mut kept = None;
        if !entries.is_empty() {
            kept = Some(self.write_manifests(entries.into_values().collect())?);
        }
        // What was made and deleted again since the last compaction leaves the same manifests as
        // then: the content that holds them all is one of the old ones.
        for id in contents.iter().filter(|id| Some(**id) != kept) {
            self.delete_content(id)?;
        }
        self.flush()
    }
}
