//! What a verification is asked for and what it found.

use std::collections::BTreeMap;
use std::time::Duration;

use kopia::directory::DirectoryEntry;
use kopia::object_id::ObjectId;
use snapshot::{DamagedFile, KnownDamage};

use crate::harm::Harm;

/// How thoroughly to verify.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyOptions {
    /// The share of all contents that is read, from 0 to 100; the structure is always checked.
    pub data_percent: f64,
    /// Draws the contents that are read.
    pub seed: u64,
    /// How many readers work at once.
    pub readers: usize,
    /// The manifest ids of the points to look at; all points if there are none.
    pub points: Vec<String>,
    /// When no further point is begun, by the clock's monotonic time. Those that were proven
    /// longest ago come first then.
    pub until: Option<Duration>,
}

/// Something that cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The manifest id of the point it hurts.
    pub point_id: String,
    /// Where the point is filed, as `user@host:path`.
    pub source: String,
    /// The file in the point; empty if it is the point as a whole.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// The ranges of the file, as start and length, that cannot be read, as far as they are known;
    /// not more than a hundred.
    pub ranges: Vec<(u64, u64)>,
}

/// A blob that is damaged, whether a point needs it or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobDamage {
    /// Its name.
    pub blob: String,
    /// What it is for.
    pub role: BlobRole,
    /// What is wrong.
    pub reason: String,
}

/// What a blob is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobRole {
    /// It says where contents are.
    Index,
    /// It says that an epoch has begun.
    EpochMarker,
    /// It says when maintenance did what.
    Schedule,
    /// It says that a client is at work.
    Session,
    /// A client logged what it did.
    Log,
    /// It holds contents, and ends with an index of them that serves repair alone.
    PackIndex,
    /// It holds contents that were in an index blob and are in none any more.
    Unindexed,
    /// Like every other pack it holds contents, and there is no index blob at all.
    IndexGone,
}

impl BlobRole {
    /// Returns the word for it in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::EpochMarker => "epoch_marker",
            Self::Schedule => "maintenance_schedule",
            Self::Session => "session_marker",
            Self::Log => "log",
            Self::PackIndex => "pack_index",
            Self::Unindexed => "unindexed_pack",
            Self::IndexGone => "index_gone",
        }
    }

    /// Says whether something does not work without it; otherwise it is a warning.
    pub fn is_needed(self) -> bool {
        matches!(
            self,
            Self::Index | Self::EpochMarker | Self::Schedule | Self::IndexGone
        )
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Points and snapshots looked at.
    pub points: u64,
    /// Those for which there was no time.
    pub points_left: u64,
    /// Files in them; those of a directory that several points share count once.
    pub files: u64,
    /// References to contents that were followed; those of a list that several files share count
    /// once.
    pub references: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Contents that were read and compared.
    pub read_contents: u64,
    /// Their plain bytes.
    pub read_bytes: u64,
    /// The names of blobs that are damaged in what was read of them, though not beyond what the
    /// repository's error correction makes up for.
    pub corrected_blobs: Vec<String>,
    /// What is damaged.
    pub damages: Vec<Damage>,
    /// How many damages more there are than are listed.
    pub damages_not_listed: u64,
    /// Blobs that are damaged and hold no content of a point.
    pub blobs: Vec<BlobDamage>,
    /// What became of each root object that was looked at.
    pub(crate) roots: BTreeMap<ObjectId, DamageAtRoot>,
    pub(crate) harm: Harm,
    /// So many damages are listed, and so many files of roots by name, one for each root beside.
    named_max: usize,
    /// Files of roots that are.
    named: usize,
}

/// What is damaged below a root object; nothing if it is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DamageAtRoot {
    /// Files that are.
    pub(crate) files: Vec<DamagedFile>,
    /// How many more.
    pub(crate) files_not_listed: u64,
    /// Whether it is looked at again, by way of another point.
    is_known: bool,
}

impl Verification {
    /// Returns whether nothing is damaged; what error correction made up for does not count, nor do
    /// blobs that nothing needs.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty() && self.blobs.iter().all(|damage| !damage.role.is_needed())
    }

    /// Returns whether what was found tells of points; where the index is damaged, much is missing that is
    /// there, and nothing is to be remembered.
    pub fn tells_of_points(&self) -> bool {
        let of_index =
            |damage: &BlobDamage| matches!(damage.role, BlobRole::Index | BlobRole::EpochMarker);
        !self.blobs.iter().any(of_index)
    }
}

impl Verification {
    /// Returns that nothing is found yet.
    pub(crate) fn begin(packs: u64, harm: Harm, named_max: usize) -> Self {
        Self {
            points: 0,
            points_left: 0,
            files: 0,
            references: 0,
            packs,
            read_contents: 0,
            read_bytes: 0,
            corrected_blobs: Vec::new(),
            damages: Vec::new(),
            damages_not_listed: 0,
            blobs: Vec::new(),
            roots: BTreeMap::new(),
            harm,
            named_max,
            named: 0,
        }
    }

    /// Forgets what was found damaged: the same points are walked through again.
    pub(crate) fn begin_again(&mut self) {
        self.damages = Vec::new();
        self.damages_not_listed = 0;
        self.roots = BTreeMap::new();
        self.named = 0;
    }

    /// Notes that a point with this root is looked at from now on.
    pub(crate) fn look_at(&mut self, root: ObjectId) {
        match self.roots.get_mut(&root) {
            Some(known) => known.is_known = true,
            None => drop(self.roots.insert(root, DamageAtRoot::default())),
        }
    }

    /// Notes damage of the point that is looked at, whose root this is.
    pub(crate) fn note_of(&mut self, root: &DirectoryEntry, damage: Damage) {
        let known = self.roots.entry(root.object).or_default();
        let may_be_named = known.files.is_empty()
            || (self.named < self.named_max && known.files.len() < KnownDamage::FILES_MAX);
        if known.is_known {
            // The point before said the same.
        } else if may_be_named {
            self.named += 1;
            known.files.push(DamagedFile {
                path: damage.path.clone(),
                reason: damage.reason.clone(),
            });
        } else {
            known.files_not_listed += 1;
        }
        self.note(damage);
    }

    /// Counts damaged files of the point that is looked at, beside those that are noted.
    pub(crate) fn count_of(&mut self, root: &DirectoryEntry, files: u64) {
        let known = self.roots.entry(root.object).or_default();
        if !known.is_known {
            known.files_not_listed += files;
        }
        self.damages_not_listed += files;
    }

    pub(crate) fn note(&mut self, damage: Damage) {
        if self.damages.len() < self.named_max {
            self.damages.push(damage);
        } else {
            self.damages_not_listed += 1;
        }
    }
}
