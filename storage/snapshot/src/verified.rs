//! What verification found, remembered in the repository for every client of ours, or on this machine
//! where the repository cannot be written.
//!
//! It stands in manifests of a type of our own, which stock Kopia keeps and never looks at. They
//! name objects and contents as text only: nothing is kept alive by them (Kopia spec 7.1). Results
//! belong to root objects, so that a snapshot that is pinned, edited or copied keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::manifest::{ManifestEntry, TYPE_LABEL};
use kopia::object_id::ObjectId;
use repo::{LostContents, Manifests, RepoError, RepoErrorKind, Repository, Writer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time_and_chance::Timestamp;

/// The type of the manifests.
const VERIFICATION_TYPE: &str = "e3-verification";
/// The form of the document in them.
const VERSION: u32 = 1;

/// A snapshot was found whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proof {
    /// When.
    pub time: Timestamp,
    /// The share of its contents that was read; 0 if only the structure was looked at.
    pub percent: f64,
}

/// A file of a snapshot that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedFile {
    /// Its path; empty for the snapshot as a whole.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// A snapshot was found damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDamage {
    /// When.
    pub time: Timestamp,
    /// What is damaged.
    pub files: Vec<DamagedFile>,
    /// How many files more than are listed.
    pub files_not_listed: u64,
}

impl KnownDamage {
    /// Damaged files of one snapshot that are remembered by name.
    pub const FILES_MAX: usize = 100;

    /// Returns what was found at `time`, and how many files more than these are damaged; long lists
    /// are cut.
    pub fn new(time: Timestamp, mut files: Vec<DamagedFile>, more: u64) -> Self {
        let cut = files.len().saturating_sub(Self::FILES_MAX);
        files.truncate(Self::FILES_MAX);
        Self {
            time,
            files,
            files_not_listed: more + cut as u64,
        }
    }

    /// Says whether a file is damaged, as far as is known: so is everything below a folder that is.
    pub fn hurts(&self, path: &str) -> bool {
        let is_at_or_below = |damaged: &str| {
            damaged.is_empty()
                || path
                    .strip_prefix(damaged)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.files_not_listed > 0 || self.files.iter().any(|file| is_at_or_below(&file.path))
    }
}

/// What is remembered of one snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remembered {
    /// When it was last found whole, at each depth: structure, a share of the contents, all.
    pub proofs: Vec<Proof>,
    /// What was wrong with it when it was last looked at, if anything was.
    pub damage: Option<KnownDamage>,
}

impl Remembered {
    /// Returns the deepest proof.
    pub fn deepest(&self) -> Option<Proof> {
        self.proofs.last().copied()
    }

    /// Returns when it was last found whole, at any depth.
    pub fn latest(&self) -> Option<Timestamp> {
        self.proofs.iter().map(|proof| proof.time).max()
    }

    fn add(&mut self, proof: Proof) {
        let depth = |proof: &Proof| match proof.percent {
            none if none <= 0.0 => 0,
            all if all >= 100.0 => 2,
            _ => 1,
        };
        match self
            .proofs
            .iter_mut()
            .find(|known| depth(known) == depth(&proof))
        {
            Some(known) if known.time < proof.time => *known = proof,
            Some(_) => {}
            None => self.proofs.push(proof),
        }
        self.proofs.sort_by_key(depth);
        if self.damage.as_ref().is_some_and(|it| it.time <= proof.time) {
            self.damage = None;
        }
    }

    fn add_damage(&mut self, damage: KnownDamage) {
        let is_newest = |time: Timestamp| time <= damage.time;
        if self.latest().is_none_or(is_newest)
            && self.damage.as_ref().is_none_or(|it| is_newest(it.time))
        {
            self.proofs.clear();
            self.damage = Some(damage);
        }
    }
}

/// Everything that is remembered.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    roots: BTreeMap<ObjectId, Remembered>,
    lost: LostContents,
    given_up: BTreeMap<ContentId, Arc<str>>,
    read_from: Vec<ManifestEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    proofs: Vec<ProofDocument>,
    damaged: Vec<DamageDocument>,
    lost_packs: Vec<String>,
    /// Contents, as objects of their own, by the pack in which they cannot be read.
    lost_contents: BTreeMap<String, Vec<ObjectId>>,
    /// Contents with manifests, likewise, that were given up as lost.
    #[serde(default)]
    given_up: BTreeMap<String, Vec<ObjectId>>,
}

/// Snapshots that were proven together.
#[derive(Debug, Serialize, Deserialize)]
struct ProofDocument {
    time: Timestamp,
    percent: f64,
    roots: Vec<ObjectId>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DamageDocument {
    root: ObjectId,
    time: Timestamp,
    files: Vec<DamagedFile>,
    files_not_listed: u64,
}

impl Verified {
    /// Reads what a repository remembers, and what this machine does of it. What makes no sense, cannot
    /// be read, or was written by a newer version, is as if it were not there.
    pub fn read(repo: &Repository, manifests: &Manifests) -> Self {
        let mut verified = Self::default();
        for entry in manifests.find(VERIFICATION_TYPE, &[]) {
            if verified.take(entry.data.get()) {
                verified.read_from.push(entry);
            }
        }
        if let Ok(Some(note)) = repo.local_note() {
            verified.take(&note);
        }
        verified
    }

    /// Checks that what this machine remembers of a repository can be read and makes sense.
    ///
    /// # Errors
    /// `Local` if not: then it is as if it were not there.
    pub fn check_kept_here(repo: &Repository) -> Result<(), RepoError> {
        let is_sense = |note: &String| Self::default().take(note);
        match repo.local_note()?.is_none_or(|note| is_sense(&note)) {
            true => Ok(()),
            false => Err(RepoError::new(
                RepoErrorKind::Local,
                "understand it: it is damaged, or of a newer version",
            )),
        }
    }

    /// Stores it on this machine, in place of what was there; nothing is written into the
    /// repository.
    pub fn keep_here(&self, repo: &Repository) -> Result<(), RepoError> {
        repo.write_local_note(&self.encode())
    }

    /// Takes over what a document says; returns whether it makes sense.
    fn take(&mut self, json: &str) -> bool {
        let Ok(document) = serde_json::from_str::<Document>(json) else {
            return false;
        };
        if document.version > VERSION {
            return false;
        }
        for run in document.proofs {
            for root in run.roots {
                self.note_proof(root, run.time, run.percent);
            }
        }
        for damaged in document.damaged {
            let damage = KnownDamage {
                time: damaged.time,
                files: damaged.files,
                files_not_listed: damaged.files_not_listed,
            };
            self.note_damage(damaged.root, damage);
        }
        let packs = document.lost_packs.iter().map(|pack| pack.as_str().into());
        self.lost.packs.extend(packs);
        for (pack, ids) in document.lost_contents {
            let pack: Arc<str> = pack.into();
            for id in ids {
                self.lost.add(id.content, &pack);
            }
        }
        for (pack, ids) in document.given_up {
            let pack: Arc<str> = pack.into();
            for id in ids {
                self.note_given_up(id.content, &pack);
            }
        }
        true
    }

    /// Returns what is remembered of the snapshots with this root.
    pub fn of(&self, root: &ObjectId) -> Option<&Remembered> {
        self.roots.get(root)
    }

    /// Returns what nobody can read.
    pub fn lost(&self) -> &LostContents {
        &self.lost
    }

    /// Remembers that the snapshots with this root are whole.
    pub fn note_proof(&mut self, root: ObjectId, time: Timestamp, percent: f64) {
        let proof = Proof { time, percent };
        self.roots.entry(root).or_default().add(proof);
    }

    /// Remembers that the snapshots with this root are damaged.
    pub fn note_damage(&mut self, root: ObjectId, damage: KnownDamage) {
        self.roots.entry(root).or_default().add_damage(damage);
    }

    /// Remembers what nobody can read, in place of what was remembered of that.
    pub fn note_lost(&mut self, lost: LostContents) {
        self.lost = lost;
    }

    /// Returns contents with manifests that were given up as lost, with the pack they lay in.
    pub fn given_up(&self) -> &BTreeMap<ContentId, Arc<str>> {
        &self.given_up
    }

    /// Remembers that a content with manifests was given up as lost: should it be there again, so are
    /// its manifests.
    pub fn note_given_up(&mut self, id: ContentId, pack: &Arc<str>) {
        self.given_up.insert(id, Arc::clone(pack));
    }

    /// Forgets that a content was given up.
    pub fn forget_given_up(&mut self, id: &ContentId) {
        self.given_up.remove(id);
    }

    /// Forgets snapshots with other roots than these.
    pub fn keep_only(&mut self, roots: &BTreeSet<ObjectId>) {
        self.roots.retain(|root, _| roots.contains(root));
    }

    /// Returns it as a document.
    fn encode(&self) -> String {
        let mut proofs: BTreeMap<(Timestamp, u64), ProofDocument> = BTreeMap::new();
        let mut damaged = Vec::new();
        for (root, remembered) in &self.roots {
            for Proof { time, percent } in remembered.proofs.iter().copied() {
                let empty = || ProofDocument {
                    time,
                    percent,
                    roots: Vec::new(),
                };
                let run = proofs.entry((time, percent.to_bits()));
                run.or_insert_with(empty).roots.push(*root);
            }
            damaged.extend(remembered.damage.iter().map(|damage| DamageDocument {
                root: *root,
                time: damage.time,
                files: damage.files.clone(),
                files_not_listed: damage.files_not_listed,
            }));
        }
        let document = Document {
            version: VERSION,
            proofs: proofs.into_values().collect(),
            damaged,
            lost_packs: self.lost.packs.iter().map(ToString::to_string).collect(),
            lost_contents: by_pack(&self.lost.contents),
            given_up: by_pack(&self.given_up),
        };
        serde_json::to_string(&document).expect("texts and numbers have JSON")
    }

    /// Stores it in place of what it was read from, on this machine too; visible to others when this
    /// returns. What another client remembered meanwhile stays beside it.
    pub fn save(&self, writer: &Writer) -> Result<(), RepoError> {
        let data = RawValue::from_string(self.encode()).map_err(|error| {
            RepoError::new(RepoErrorKind::Invalid, "encode what verification found")
                .caused_by(error)
        })?;
        let labels = BTreeMap::from([(TYPE_LABEL.to_owned(), VERIFICATION_TYPE.to_owned())]);
        let now = writer.repository().clock().now();
        let mut entries: Vec<ManifestEntry> = self
            .read_from
            .iter()
            .map(|entry| ManifestEntry::tombstone(entry, now))
            .collect();
        entries.push(writer.new_manifest(labels, data));
        writer.write_manifests(entries)?;
        writer.flush()?;
        writer.repository().delete_local_note()
    }
}

fn by_pack(contents: &BTreeMap<ContentId, Arc<str>>) -> BTreeMap<String, Vec<ObjectId>> {
    let mut by_pack: BTreeMap<String, Vec<ObjectId>> = BTreeMap::new();
    for (id, pack) in contents {
        let ids = by_pack.entry(pack.to_string()).or_default();
        ids.push(ObjectId::from(*id));
    }
    by_pack
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn root(number: u8) -> ObjectId {
        format!("k{}", hex_of(number)).parse().unwrap()
    }

    fn hex_of(number: u8) -> String {
        format!("{number:02x}").repeat(16)
    }

    fn damage(time: i64, path: &str) -> KnownDamage {
        let file = DamagedFile {
            path: path.to_owned(),
            reason: "lost".to_owned(),
        };
        KnownDamage::new(second(time), vec![file], 0)
    }

    #[test]
    fn what_is_remembered_comes_back_from_its_document() {
        let mut verified = Verified::default();
        verified.note_proof(root(1), second(10), 0.0);
        verified.note_proof(root(1), second(20), 100.0);
        verified.note_proof(root(2), second(20), 100.0);
        verified.note_damage(root(3), damage(30, "disks/0.vhdx"));
        let lost = LostContents {
            packs: BTreeSet::from(["p1".into()]),
            contents: BTreeMap::from([(hex_of(9).parse().unwrap(), "p2".into())]),
        };
        verified.note_lost(lost.clone());
        let given_up = format!("m{}", hex_of(8)).parse().unwrap();
        verified.note_given_up(given_up, &"q1".into());
        let mut read = Verified::default();
        assert!(read.take(&verified.encode()));
        assert_eq!(read.roots, verified.roots);
        assert_eq!(read.lost(), &lost);
        assert_eq!(read.given_up(), verified.given_up());
        assert_eq!(read.encode(), verified.encode());
    }

    #[test]
    fn the_latest_look_decides_in_whatever_order_it_is_heard_of() {
        let events: [fn(&mut Verified); 3] = [
            |it| it.note_proof(root(1), second(10), 100.0),
            |it| it.note_damage(root(1), damage(20, "")),
            |it| it.note_proof(root(1), second(30), 5.0),
        ];
        let after = |order: &[usize]| {
            let mut verified = Verified::default();
            order.iter().for_each(|place| events[*place](&mut verified));
            verified.of(&root(1)).cloned().unwrap()
        };
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
            assert_eq!(after(&order).damage, None, "{order:?}");
        }
        for order in [[0, 1], [1, 0]] {
            assert!(after(&order).damage.is_some(), "{order:?}");
        }
        assert_eq!(after(&[0, 1, 2]).deepest().unwrap().percent, 5.0);
    }

    #[test]
    fn what_a_newer_version_wrote_is_left_alone() {
        let newer = Verified::default()
            .encode()
            .replace("\"version\":1", "\"version\":2");
        assert!(!Verified::default().take(&newer));
        assert!(!Verified::default().take("[]"));
    }

    #[test]
    fn a_damaged_folder_hurts_what_is_in_it() {
        let damage = damage(1, "disks/0");
        assert!(damage.hurts("disks/0"));
        assert!(damage.hurts("disks/0/part"));
        assert!(!damage.hurts("disks/01"));
        assert!(self::damage(1, "").hurts("anything"));
    }
}
