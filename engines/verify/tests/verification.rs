//! Damage of every kind, and what is no damage: a store that does not answer, a stop.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use blob::{
    BlobErrorKind, Faulty, MemoryStore, Operation, PutOptions, Rule, SharedBlobStore, Strike,
};
use kopia::directory::DirectoryEntry;
use kopia::indirect::IndirectEntry;
use kopia::object_id::ObjectId;
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use progress::{Progress, StopSignal};
use repo::{
    CreateOptions, Encoder, Identity, RepoErrorKind, Repository, Surroundings, Writer, create,
};
use snapshot::{Snapshots, TreeWriter};
use time_and_chance::{Chance, SharedClock, SystemClock};
use verify::{Damage, Verification, VerifyErrorKind, VerifyOptions, remember, verify};

const SEED: u64 = 11;

/// A repository in memory, whose store can be told to fail.
struct World {
    repo: Arc<Repository>,
    store: SharedBlobStore,
    faulty: Arc<Faulty>,
    clock: SharedClock,
    _cache: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let clock = SystemClock::new();
        let cache = tempfile::tempdir().unwrap();
        let store: SharedBlobStore = Arc::new(MemoryStore::new(clock.clone()));
        let faulty = Arc::new(Faulty::new(store.clone(), clock.clone(), StopSignal::new()));
        let surroundings = Surroundings {
            cache_folder: cache.path().to_owned(),
            identity: Identity {
                username: "agent".into(),
                hostname: "host".into(),
            },
            clock: clock.clone(),
            chance: Chance::from_seed(SEED),
            stop: StopSignal::new(),
        };
        let repo = create(
            faulty.clone(),
            "password",
            &CreateOptions::default(),
            surroundings,
        )
        .unwrap();
        Self {
            repo,
            store,
            faulty,
            clock,
            _cache: cache,
        }
    }

    /// Returns a writer; what it writes before a flush lies in packs of its own.
    fn writer(&self) -> Writer {
        Writer::new(&self.repo, 1).unwrap()
    }

    fn publish(
        &self,
        writer: &Writer,
        path: &str,
        root: DirectoryEntry,
        tags: &[(&str, &str)],
    ) -> String {
        let now = self.clock.now();
        let manifest = SnapshotManifest {
            id: String::new(),
            source: SnapshotSource {
                host: "host".into(),
                user_name: "user".into(),
                path: path.into(),
            },
            description: String::new(),
            start_time: now,
            end_time: now,
            stats: SnapshotStats::default(),
            incomplete: String::new(),
            root_entry: Some(root),
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            storage_stats: None,
            pins: Vec::new(),
            other: BTreeMap::new(),
        };
        let published = Snapshots::publish(writer, &manifest).unwrap();
        let id = published.id().to_owned();
        writer.flush().unwrap();
        id
    }

    /// Makes two snapshots that share `shared/victim`, a list of four contents in a pack of their
    /// own, and each have a file of their own; returns their ids and the victim's contents.
    fn two_snapshots(&self) -> ([String; 2], Vec<ObjectId>) {
        let writer = self.writer();
        let mut encoder = Encoder::new(None);
        let mut entries = Vec::new();
        for part in 0..4u64 {
            let object = writer
                .write_object(&mut encoder, None, &noise(part, 5000), 1 << 20)
                .unwrap();
            entries.push(IndirectEntry {
                start: part * 5000,
                bytes: 5000,
                object,
            });
        }
        writer.flush().unwrap();
        let list = writer
            .write_list(&mut Encoder::metadata(), entries.iter().copied())
            .unwrap();
        let time = self.clock.now();
        let ids = ["/one", "/two"].map(|path| {
            let mut tree = TreeWriter::new(&writer, time);
            let victim = tree.stored_file("victim", list.object, 20_000);
            let beside = tree.file("beside", b"sound").unwrap();
            let own = tree.file("own", path.as_bytes()).unwrap();
            let shared = tree.folder("shared", vec![beside, victim]).unwrap();
            let root = tree.folder("", vec![own, shared]).unwrap();
            self.publish(&writer, path, root, &[])
        });
        (ids, entries.into_iter().map(|entry| entry.object).collect())
    }

    fn pack_of(&self, object: &ObjectId) -> String {
        self.repo
            .find(&object.content)
            .unwrap()
            .unwrap()
            .pack_blob
            .to_string()
    }

    fn verify(&self, data_percent: f64) -> Verification {
        verify(&self.repo, &options(data_percent), &Progress::silent()).unwrap()
    }
}

fn options(data_percent: f64) -> VerifyOptions {
    VerifyOptions {
        data_percent,
        seed: SEED,
        readers: 2,
        points: Vec::new(),
        until: None,
    }
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Chance::from_seed(seed).fill(&mut noise);
    noise
}

fn places(damages: &[Damage]) -> Vec<(&str, &str)> {
    damages
        .iter()
        .map(|damage| (&*damage.point_id, &*damage.path))
        .collect()
}

#[test]
fn a_sound_repository_is_sound_and_all_of_it_is_read() {
    let world = World::new();
    world.two_snapshots();
    let looked = world.verify(0.0);
    assert!(looked.is_sound(), "{looked:?}");
    assert_eq!((looked.points, looked.read_contents), (2, 0));
    let read = world.verify(100.0);
    assert!(read.is_sound(), "{read:?}");
    // Four parts, their list, two own files, one beside, the shared folder, two roots.
    assert_eq!(read.read_contents, 4 + 1 + 2 + 1 + 1 + 2);
    assert!(read.read_bytes > 20_000);
}

#[test]
fn damage_in_what_points_share_is_told_for_each_of_them() {
    let world = World::new();
    let ([one, two], parts) = world.two_snapshots();
    let pack = world.pack_of(&parts[0]);
    let whole = world.store.get(&pack).unwrap();
    let both = [
        (one.as_str(), "shared/victim"),
        (two.as_str(), "shared/victim"),
    ];

    world
        .store
        .put(
            &pack,
            &[&whole[..whole.len() - 3000]],
            &PutOptions::default(),
        )
        .unwrap();
    assert_eq!(places(&world.verify(0.0).damages), both);
    world.store.delete(&pack).unwrap();
    let found = world.verify(0.0);
    assert_eq!(places(&found.damages), both);
    assert!(found.damages[0].reason.contains(&pack), "{found:?}");
    assert_eq!(found.damages[0].source, "user@host:/one");

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    world
        .store
        .put(&pack, &[&flipped], &PutOptions::default())
        .unwrap();
    assert!(world.verify(0.0).is_sound(), "nothing was read");
    assert_eq!(places(&world.verify(100.0).damages), both);

    world
        .store
        .put(&pack, &[&whole], &PutOptions::default())
        .unwrap();
    assert!(world.verify(100.0).is_sound());
}

#[test]
fn a_folder_that_cannot_be_read_is_told_and_what_stands_beside_it_is_looked_at() {
    let world = World::new();
    let writer = world.writer();
    let mut tree = TreeWriter::new(&writer, world.clock.now());
    let deep = tree.file("deep", b"deep").unwrap();
    let lost = tree.folder("lost", vec![deep]).unwrap();
    writer.flush().unwrap();
    let pack = world.pack_of(&lost.object);
    let mut tree = TreeWriter::new(&writer, world.clock.now());
    let last = tree.file("z", b"last").unwrap();
    let root = tree.folder("", vec![lost, last]).unwrap();
    let id = world.publish(&writer, "/folder", root, &[]);
    world.store.delete(&pack).unwrap();
    let found = world.verify(0.0);
    assert_eq!(places(&found.damages), [(&*id, "lost")]);
    assert_eq!(found.files, 1, "the file beside it");
}

#[test]
fn a_disk_of_ours_that_is_not_as_long_as_it_says_is_damaged() {
    let world = World::new();
    let writer = world.writer();
    let mut tree = TreeWriter::new(&writer, world.clock.now());
    let short = tree.file("0-disk.vhdx", b"four").unwrap();
    let file = tree.stored_file("0-disk.vhdx", short.object, 5);
    let root = tree.folder("", vec![file]).unwrap();
    let kopias = world.publish(&writer, "/kopia", root.clone(), &[]);
    assert!(
        world.verify(0.0).is_sound(),
        "{kopias}: Kopia's own sizes are only declared"
    );
    let uuid = "0d6a2f8e-3a3c-4c6e-9d43-2f53b5d3a001";
    let ours = world.publish(&writer, "/ours", root, &[("tag:point", uuid)]);
    let found = world.verify(0.0);
    assert_eq!(places(&found.damages), [(&*ours, "0-disk.vhdx")]);
    assert!(
        found.damages[0].reason.contains("4 bytes instead of 5"),
        "{found:?}"
    );
}

#[test]
fn a_point_of_ours_without_its_description_is_damaged() {
    let world = World::new();
    let writer = world.writer();
    let mut tree = TreeWriter::new(&writer, world.clock.now());
    let file = tree.file("config", b"").unwrap();
    let root = tree.folder("", vec![file]).unwrap();
    let id = world.publish(
        &writer,
        "/ours",
        root,
        &[("tag:point", "0d6a2f8e-3a3c-4c6e-9d43-2f53b5d3a001")],
    );
    assert_eq!(places(&world.verify(0.0).damages), [(&*id, "vm.json")]);
}

#[test]
fn a_store_that_does_not_answer_is_an_error_and_never_damage() {
    let world = World::new();
    world.two_snapshots();
    for (operation, percent) in [(Operation::List, 0.0), (Operation::GetRange, 100.0)] {
        let rule = Rule::on(operation, Strike::Fail(BlobErrorKind::Unavailable))
            .named("p")
            .times(u64::MAX);
        world.faulty.add(rule);
        let error = verify(&world.repo, &options(percent), &Progress::silent()).unwrap_err();
        let unavailable = RepoErrorKind::Store(BlobErrorKind::Unavailable);
        assert_eq!(
            error.kind(),
            VerifyErrorKind::Repo(unavailable),
            "{operation:?}: {error}"
        );
        world.faulty.clear();
    }
    assert!(world.verify(100.0).is_sound());
}

#[test]
fn a_pack_known_to_be_gone_is_not_forgotten_while_the_store_does_not_answer() {
    let world = World::new();
    let (ids, contents) = world.two_snapshots();
    let pack = world.pack_of(&contents[0]);
    let whole = world.store.get(&pack).unwrap();
    world.store.delete(&pack).unwrap();
    let lost = || {
        let found = world.verify(0.0);
        let remembered = found.remembered(&world.repo, world.clock.now(), 0.0);
        remembered.unwrap().lost().packs.clone()
    };
    let found = world.verify(0.0);
    let remembered = found.remembered(&world.repo, world.clock.now(), 0.0);
    remember(&world.repo, &remembered.unwrap()).unwrap();
    // No point names it any more, but a backup would still take what the index says for stored.
    Snapshots::delete_all(&world.writer(), ids.iter().map(String::as_str)).unwrap();
    assert!(lost().contains(pack.as_str()));
    let fail = Strike::Fail(BlobErrorKind::Unavailable);
    let silent = Rule::on(Operation::Metadata, fail).named(&pack);
    world.faulty.add(silent.times(u64::MAX));
    assert!(lost().contains(pack.as_str()));
    world.faulty.clear();
    let options = PutOptions::default();
    world.store.put(&pack, &[&whole], &options).unwrap();
    assert!(lost().is_empty());
}

#[test]
fn a_stop_is_heard() {
    let world = World::new();
    world.two_snapshots();
    let progress = Progress::silent();
    progress.stop.stop();
    let error = verify(&world.repo, &options(100.0), &progress).unwrap_err();
    assert_eq!(error.kind(), VerifyErrorKind::Stopped);
}
