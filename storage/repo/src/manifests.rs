//! Manifests: small labelled documents, many of them in one content (Kopia spec 7.1).

pub(crate) mod packed;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use blob::BlobErrorKind;
use kopia::content_id::{ContentId, prefix};
use kopia::manifest::{ManifestContents, ManifestEntry, ManifestsEncoder};

use serde_json::value::RawValue;

use self::packed::{OpenedBlock, Packed, PackedEntry, PackedManifests};
use crate::error::{RepoError, RepoErrorKind};
use crate::{Encoder, Repository, Writer};

/// From this many contents on that are not full, they are rewritten into one, as Kopia does.
const COMPACT_AT: usize = 16;
/// A compacted content is closed when its JSON has this length: its bytes are in memory at once.
const COMPACTED_JSON_BYTES_MAX: usize = 64 << 20;
/// A load that meets a compaction by another client is repeated this often.
const ATTEMPTS_MAX: u32 = 5;
/// One that finds damage, this often: it may be such a compaction, too.
const DAMAGE_ATTEMPTS_MAX: u32 = 3;

/// All manifests of a repository at one moment.
#[derive(Debug)]
pub struct Manifests {
    packed: Packed,
    /// Those that exist, in the order of their ids.
    places: Vec<Place>,
    /// Those of each type, as they lie.
    by_type: BTreeMap<Box<str>, Vec<Place>>,
    unreadable: Vec<(ContentId, String)>,
}

/// Where a manifest is: the place of its content, and its place in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    content: u32,
    entry: u32,
}

impl Manifests {
    fn new(packed: Packed, unreadable: Vec<(ContentId, String)>) -> Self {
        let mut manifests = Self {
            packed,
            places: Vec::new(),
            by_type: BTreeMap::new(),
            unreadable,
        };
        let contents = (0..).zip(&manifests.packed);
        let mut places: Vec<Place> = contents
            .flat_map(|(content, (_, packed))| {
                let entries = (0..).zip(packed.entries());
                entries.map(move |(entry, _)| Place { content, entry })
            })
            .collect();
        places.sort_unstable_by(|a, b| manifests.entry(*a).id.cmp(&manifests.entry(*b).id));
        places.dedup_by(|next, kept| {
            let same = manifests.entry(*next).id == manifests.entry(*kept).id;
            if same && manifests.supersedes(*next, *kept) {
                *kept = *next;
            }
            same
        });
        places.retain(|place| !manifests.entry(*place).deleted);
        manifests.places.clone_from(&places);
        // As they lie, each block of text is opened once.
        places.sort_unstable();
        for place in places {
            let manifest_type = manifests.packed[place.content as usize]
                .1
                .type_of(manifests.entry(place));
            match manifests.by_type.get_mut(manifest_type) {
                Some(of_type) => of_type.push(place),
                None => {
                    manifests.by_type.insert(manifest_type.into(), vec![place]);
                }
            }
        }
        manifests
    }

    /// Says whether so many contents hold the manifests that they are worth rewriting.
    fn is_scattered(&self) -> bool {
        let is_full =
            |packed: &PackedManifests| packed.json_bytes() >= COMPACTED_JSON_BYTES_MAX / 2;
        let short = self.packed.iter().filter(|(_, packed)| !is_full(packed));
        short.count() >= COMPACT_AT
    }

    fn entry(&self, place: Place) -> &PackedEntry {
        &self.packed[place.content as usize].1.entries()[place.entry as usize]
    }

    fn read(&self, place: Place, opened: &mut OpenedBlock) -> ManifestEntry {
        self.packed[place.content as usize]
            .1
            .read(self.entry(place), opened)
    }

    fn supersedes(&self, new: Place, known: Place) -> bool {
        let rank = |place| {
            let entry = self.entry(place);
            (entry.modified, !entry.deleted)
        };
        rank(new).cmp(&rank(known)).then_with(|| {
            let [new, known] =
                [new, known].map(|place| self.read(place, &mut OpenedBlock::default()));
            new.data.get().cmp(known.data.get())
        }) == Ordering::Greater
    }

    /// Returns the manifest with this id.
    pub fn get(&self, id: &str) -> Option<ManifestEntry> {
        let found = self
            .places
            .binary_search_by(|place| (*self.entry(*place).id).cmp(id));
        let place = self.places[found.ok()?];
        Some(self.read(place, &mut OpenedBlock::default()))
    }

    /// Returns the contents whose manifests are lost to us, with the reason: what is not among
    /// the manifests may be in them.
    pub fn unreadable(&self) -> &[(ContentId, String)] {
        &self.unreadable
    }

    /// Reads all manifests of a type whose labels contain every one of `labels`, one after
    /// another.
    pub fn find<'a>(
        &'a self,
        manifest_type: &str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = ManifestEntry> + 'a {
        let places = self
            .by_type
            .get(manifest_type)
            .map_or(&[][..], Vec::as_slice);
        let (mut content, mut opened) = (0, OpenedBlock::default());
        let all = places.iter().map(move |place| {
            if std::mem::replace(&mut content, place.content) != place.content {
                opened = OpenedBlock::default();
            }
            self.read(*place, &mut opened)
        });
        all.filter(|entry| {
            let has = |(label, value): &(&str, &str)| {
                entry.labels.get(*label).is_some_and(|found| found == value)
            };
            labels.iter().all(has)
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
        let mut known: BTreeMap<ContentId, Arc<PackedManifests>> =
            self.manifests_read().iter().cloned().collect();
        known.retain(|id, _| contents.contains(id));
        let new: Vec<ContentId> = contents
            .into_iter()
            .filter(|id| !known.contains_key(id))
            .collect();
        let mut unreadable = Vec::new();
        match self.read_packed(&new, &mut known) {
            Err(error) if is_damage(error.kind()) => {
                for id in &new {
                    match self.read_packed(std::slice::from_ref(id), &mut known) {
                        Err(error) if is_damage(error.kind()) => {
                            unreadable.push((*id, error.to_string()));
                        }
                        read => read?,
                    }
                }
            }
            read => read?,
        }
        let packed: Packed = known.into_iter().collect();
        self.manifests_read().clone_from(&packed);
        Ok(Manifests::new(packed, unreadable))
    }

    fn manifests_read(&self) -> MutexGuard<'_, Packed> {
        let read = self.manifests_read.lock();
        read.expect("no thread panics while it holds the lock")
    }

    fn read_packed(
        &self,
        contents: &[ContentId],
        packed: &mut BTreeMap<ContentId, Arc<PackedManifests>>,
    ) -> Result<(), RepoError> {
        self.read_contents(contents, &mut |place, bytes| {
            let id = contents[place];
            let read = PackedManifests::parse(&bytes).map_err(|error| {
                RepoError::new(
                    RepoErrorKind::Damaged,
                    format!("read manifests from content {id}"),
                )
                .caused_by(error)
            })?;
            packed.insert(id, Arc::new(read));
            Ok(())
        })
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
        self.write_manifest_content(&bytes)
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

    /// Rewrites the contents that hold manifests into one, or few if there are very many, once
    /// there are too many of them; old ones and the new ones change hands in a single flush.
    pub fn compact_manifests(&self) -> Result<(), RepoError> {
        let manifests = self.repository().manifests()?;
        // What cannot be read would be dropped for good: somebody may still mend it.
        if !manifests.unreadable.is_empty() || !manifests.is_scattered() {
            return Ok(());
        }
        self.flush()?;
        let kept = self.write_all(&manifests)?;
        // What was made and deleted again since the last compaction leaves the same manifests as
        // then: the content that holds them all is one of the old ones.
        for (id, _) in manifests.packed.iter().filter(|(id, _)| !kept.contains(id)) {
            self.delete_content(id)?;
        }
        self.flush()
    }

    fn write_all(&self, manifests: &Manifests) -> Result<Vec<ContentId>, RepoError> {
        let failed =
            |error| RepoError::new(RepoErrorKind::Invalid, "encode manifests").caused_by(error);
        let mut written = Vec::new();
        let mut encoder = ManifestsEncoder::new();
        let mut places = manifests.places.iter().peekable();
        while let Some(place) = places.next() {
            let entry = manifests.read(*place, &mut OpenedBlock::default());
            encoder.push(&entry).map_err(failed)?;
            if encoder.json_bytes() >= COMPACTED_JSON_BYTES_MAX || places.peek().is_none() {
                let bytes = std::mem::take(&mut encoder).finish().map_err(failed)?;
                written.push(self.write_manifest_content(&bytes)?);
            }
        }
        Ok(written)
    }

    fn write_manifest_content(&self, bytes: &[u8]) -> Result<ContentId, RepoError> {
        let mut encoder = Encoder::metadata();
        let written = self.write_content(&mut encoder, Some(prefix::MANIFEST), bytes)?;
        Ok(written.id)
    }
}
