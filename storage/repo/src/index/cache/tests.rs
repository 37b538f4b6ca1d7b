//! Tests of the cache: a map beside it, while blobs come and go, files vanish, and several
//! clients use one folder.

use blob::{MemoryStore, PutOptions};
use kopia::cipher::{ContentCipher, EncryptionAlgorithm};
use kopia::content_id::ContentId;
use kopia::error_correction::ErrorCorrection;
use kopia::hash::{HashAlgorithm, HashOutput};
use kopia::record::ContentRecord;
use time_and_chance::{Chance, ManualClock};

use super::super::sealed_pieces::PIECE_BYTES;
use super::*;

type Records = BTreeMap<ContentId, ContentRecord>;

/// A repository that has nothing but index blobs, without epochs: what is listed counts.
struct World {
    clock: Arc<ManualClock>,
    store: MemoryStore,
    hasher: ContentHasher,
    cipher: ContentCipher,
    opener: Opener,
    chance: Chance,
    folder: tempfile::TempDir,
    blobs: BTreeMap<String, Records>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::with_correction(seed, None)
    }

    fn with_correction(seed: u64, correction: Option<ErrorCorrection>) -> Self {
        let cipher = ContentCipher::new(EncryptionAlgorithm::Aes256Gcm, &[7; 32]);
        let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
        Self {
            store: MemoryStore::new(clock.clone()),
            clock,
            hasher: ContentHasher::new(HashAlgorithm::Blake2b256_128, b"secret"),
            opener: Opener::new(cipher.clone(), correction),
            cipher,
            chance: Chance::from_seed(seed),
            folder: tempfile::tempdir().unwrap(),
            blobs: BTreeMap::new(),
        }
    }

    fn cache(&self) -> IndexCache {
        let folder = self.folder.path().to_owned();
        IndexCache::new(
            folder,
            self.hasher.clone(),
            self.opener.clone(),
            false,
            IndexDamage::IsAnError,
        )
        .unwrap()
    }

    fn record(&self, number: u64) -> ContentRecord {
        let hash = self.hasher.hash(&number.to_le_bytes());
        ContentRecord {
            id: ContentId::new(None, HashOutput::new(hash.as_bytes()).unwrap()),
            pack_blob: format!("p{:032x}-s1", self.chance.below(1000)).into(),
            pack_offset: self.chance.below(1 << 20) as u32,
            packed_bytes: 128,
            original_bytes: 100,
            timestamp_seconds: 1_700_000_000 + self.chance.below(4) as i64,
            deleted: self.chance.below(5) == 0,
            compression_header_id: 0,
            format_version: 3,
            encryption_key_id: 0,
        }
    }

    /// Puts an index blob of so many records.
    fn put(&mut self, records: u64) -> (String, Vec<u8>) {
        let numbers = (0..records).map(|_| self.chance.below(CONTENTS));
        let records: Records = numbers
            .map(|number| self.record(number))
            .map(|record| (record.id, record))
            .collect();
        let rows: Vec<ContentRecord> = records.values().cloned().collect();
        let payload = kopia::index::write_index(2, &rows).unwrap();
        let hash = self.hasher.hash(&payload);
        let name = format!("n{}-s1", hash.to_hex());
        let mut sealed = Vec::new();
        self.cipher
            .seal_into(&hash.iv(), self.chance.bytes(), &payload, &mut sealed);
        self.store
            .put(&name, &[&sealed], &PutOptions::default())
            .unwrap();
        self.blobs.insert(name.clone(), records);
        (name, payload)
    }

    fn any_of(&self, names: Vec<String>) -> Option<String> {
        let count = names.len() as u64;
        (count > 0).then(|| names[self.chance.below(count) as usize].clone())
    }

    fn drop_blob(&mut self) {
        if let Some(name) = self.any_of(self.blobs.keys().cloned().collect()) {
            self.store.delete(&name).unwrap();
            self.blobs.remove(&name);
        }
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn refresh(&self, cache: &IndexCache, previous: &IndexView) -> IndexView {
        let stop = StopSignal::new();
        cache
            .refresh(&self.store, previous, self.clock.as_ref(), &stop)
            .unwrap()
    }

    fn assert_says_what_is_listed(&self, view: &IndexView, context: &str) {
        let mut model = Records::new();
        for record in self.blobs.values().flat_map(BTreeMap::values) {
            let kept = model.entry(record.id).or_insert_with(|| record.clone());
            if record.supersedes(kept) {
                *kept = record.clone();
            }
        }
        let rank = |record: &ContentRecord| {
            let pack = record.pack_blob.to_string();
            (record.id, record.timestamp_seconds, record.deleted, pack)
        };
        for number in 0..CONTENTS {
            let id = self.record(number).id;
            let found = view.newest(&id).unwrap();
            assert_eq!(
                found.as_ref().map(rank),
                model.get(&id).map(rank),
                "{context}, content {number}"
            );
        }
        let mut held: Vec<&String> = view.tables.iter().flat_map(|table| table.blobs()).collect();
        held.sort();
        let listed: Vec<&String> = self.blobs.keys().collect();
        assert_eq!(held, listed, "{context}: every blob is held once");
    }
}

const CONTENTS: u64 = 300;

#[test]
fn a_view_says_what_is_listed_whatever_becomes_of_blobs_and_files() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        let caches = [world.cache(), world.cache()];
        let mut views = [IndexView::empty(), IndexView::empty()];
        for step in 0..120 {
            let client = world.chance.below(2) as usize;
            match world.chance.below(10) {
                0..5 => {
                    world.put(world.chance.clone().below(40) + 1);
                }
                5 => {
                    let (name, payload) = world.put(3);
                    views[client] = caches[client]
                        .adopt(&views[client], &name, &payload)
                        .unwrap();
                }
                6 | 7 => world.drop_blob(),
                8 => {
                    if let Some(file) = world.any_of(world.files()) {
                        fs::remove_file(world.folder.path().join(file)).unwrap();
                    }
                }
                // The process ends, and another one begins.
                _ => views[client] = IndexView::empty(),
            }
            let view = world.refresh(&caches[client], &views[client]);
            world.assert_says_what_is_listed(&view, &format!("seed {seed}, step {step}"));
            assert!(view.tables.len() <= SMALL_TABLES_MAX);
            views[client] = view;
        }
    }
}

#[test]
fn a_record_of_a_blob_that_is_gone_does_not_come_back_from_a_merged_table() {
    let mut world = World::new(9);
    let cache = world.cache();
    for _ in 0..20 {
        world.put(10);
    }
    world.refresh(&cache, &IndexView::empty());
    let merged = |world: &World| {
        let files = world.files();
        files
            .iter()
            .filter(|name| name.starts_with(MERGED_PREFIX))
            .count()
    };
    assert!(merged(&world) > 0, "tables were merged");
    while !world.blobs.is_empty() {
        world.drop_blob();
        let view = world.refresh(&cache, &IndexView::empty());
        world.assert_says_what_is_listed(&view, "after a blob went");
    }
    assert_eq!(world.files(), Vec::<String>::new(), "nothing is kept of it");
}

/// Returns the records of an index blob that takes more than one piece, its name and its sealed
/// bytes.
fn long_index_blob(world: &World) -> (Vec<ContentRecord>, String, Vec<u8>) {
    let records: Vec<ContentRecord> = {
        let all = (0..150_000).map(|number| world.record(number));
        let all: Records = all.map(|record| (record.id, record)).collect();
        all.into_values().collect()
    };
    let payload = kopia::index::write_index(2, &records).unwrap();
    assert!(payload.len() as u64 > PIECE_BYTES, "it takes more than one");
    let hash = world.hasher.hash(&payload);
    let name = format!("n{}-s1", hash.to_hex());
    let mut sealed = Vec::new();
    world
        .cipher
        .seal_into(&hash.iv(), world.chance.bytes(), &payload, &mut sealed);
    (records, name, sealed)
}

#[test]
fn an_index_blob_longer_than_a_piece_is_opened_and_an_altered_one_is_not() {
    let world = World::new(10);
    let (records, name, sealed) = long_index_blob(&world);
    let put = |world: &World, sealed: &[u8]| {
        world
            .store
            .put(&name, &[sealed], &PutOptions::default())
            .unwrap();
    };
    put(&world, &sealed);
    let view = world.refresh(&world.cache(), &IndexView::empty());
    for record in records.iter().step_by(997) {
        assert_eq!(view.newest(&record.id).unwrap().as_ref(), Some(record));
    }
    let path = world.cache().path_of(&name);
    fs::remove_file(&path).unwrap();
    for place in [0, 20, sealed.len() / 2, sealed.len() - 1] {
        let mut altered = sealed.clone();
        altered[place] ^= 1;
        put(&world, &altered);
        let stop = StopSignal::new();
        let error = world
            .cache()
            .refresh(
                &world.store,
                &IndexView::empty(),
                world.clock.as_ref(),
                &stop,
            )
            .unwrap_err();
        assert_eq!(error.kind(), RepoErrorKind::Damaged, "{error}");
        assert!(!path.exists(), "nothing altered is kept");
    }
}

/// Lays data out as error correction of 20 percent does (Kopia spec 3.3), with parity that makes up
/// for nothing: zeros.
fn with_useless_parity(data: &[u8]) -> Vec<u8> {
    const SHARD_BYTES: usize = 64;
    let crc = |shard: &[u8]| {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, shard);
        (crc as u32).to_be_bytes()
    };
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    bytes.extend(data);
    let zeros = [0; SHARD_BYTES];
    let parity = [&crc(&zeros)[..], &zeros].concat();
    let mut stored = parity.repeat(17 * bytes.len().div_ceil(128 * SHARD_BYTES));
    for shard in bytes.chunks(SHARD_BYTES) {
        let mut padded = shard.to_vec();
        padded.resize(SHARD_BYTES, 0);
        stored.extend(crc(&padded));
        stored.extend(shard);
    }
    stored
}

#[test]
fn a_long_index_blob_with_error_correction_is_opened_in_pieces() {
    let world = World::with_correction(11, ErrorCorrection::with_overhead(20));
    let (records, name, sealed) = long_index_blob(&world);
    let stored = with_useless_parity(&sealed);
    let refresh = |stored: &[u8]| {
        let _ = fs::remove_file(world.cache().path_of(&name));
        world
            .store
            .put(&name, &[stored], &PutOptions::default())
            .unwrap();
        let (clock, stop) = (world.clock.as_ref(), StopSignal::new());
        world
            .cache()
            .refresh(&world.store, &IndexView::empty(), clock, &stop)
    };
    let opens = |stored: &[u8]| {
        let view = refresh(stored).unwrap();
        for record in records.iter().step_by(997) {
            assert_eq!(view.newest(&record.id).unwrap().as_ref(), Some(record));
        }
    };
    opens(&stored);
    assert!(world.opener.corrected().is_empty());

    let mut damaged = stored.clone();
    damaged[500_000] ^= 1;
    opens(&damaged);
    assert!(
        world.opener.corrected().contains(&name),
        "parity is damaged"
    );

    let data_damaged = |shards: usize| {
        let mut damaged = stored.clone();
        let blocks = (sealed.len() + 4).div_ceil(128 * 64);
        let third_block = (17 * blocks + 128 * 2) * 68;
        for shard in 0..shards {
            damaged[third_block + 68 * shard + 10] ^= 1;
        }
        refresh(&damaged).unwrap_err()
    };
    let error = data_damaged(1);
    assert_eq!(error.kind(), RepoErrorKind::Damaged, "{error}");
    let error = data_damaged(18).to_string();
    assert!(error.contains("18 of 145 shards are damaged"), "{error}");

    for cut in [1, 68, 10_000, stored.len() / 2] {
        let error = refresh(&stored[..stored.len() - cut]).unwrap_err();
        assert_eq!(error.kind(), RepoErrorKind::Damaged, "{error}");
    }
}
