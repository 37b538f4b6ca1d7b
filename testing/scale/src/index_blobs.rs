//! Index blobs as stock Kopia lays them out (Kopia spec 5.3, 5.5).
//!
//! ```text
//! xr0_7 (6 in 10 records)   xr8_15 (36 in 100)   xs16 xs17 xs18 (1 in 100 each)   xn19 xn20 (20 blobs each, 1 in 100)
//! ```

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use blob::{FilesystemStore, NewLayout, PutOptions, SharedBlobStore};
use kopia::cipher::ContentCipher;
use kopia::hash::ContentHasher;
use kopia::index::{shard_count, shard_of, write_index};
use kopia::record::ContentRecord;
use repo::{CreateOptions, Identity, Repository, Surroundings, create};
use time_and_chance::{Chance, StopSignal, SystemClock};

use crate::contents::{Contents, mix};

/// What the repositories are opened with.
pub const PASSWORD: &str = "scale";

/// The epoch that is written to.
const CURRENT_EPOCH: u64 = 20;
/// Blobs of each uncompacted epoch.
const UNCOMPACTED_BLOBS: u64 = 20;
/// One in this many records of the first range was rewritten since, in epoch 16.
const REWRITTEN_ONE_IN: u64 = 64;

/// What was made.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// Index blobs.
    pub blobs: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// The longest.
    pub bytes_max: u64,
}

/// Where a content's record is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Range(u64, u64),
    Single(u64),
    Uncompacted(u64, u64),
}

impl Part {
    fn of(number: u64) -> Self {
        match mix(number ^ 0xe7037ed1a0b428db) % 100 {
            0..60 => Self::Range(0, 7),
            60..96 => Self::Range(8, 15),
            96 => Self::Single(16),
            97 => Self::Single(17),
            98 => Self::Single(18),
            _ => {
                let place = mix(number) % (2 * UNCOMPACTED_BLOBS);
                let epoch = CURRENT_EPOCH - 1 + place / UNCOMPACTED_BLOBS;
                Self::Uncompacted(epoch, place % UNCOMPACTED_BLOBS)
            }
        }
    }

    fn blob_prefix(self) -> String {
        match self {
            Self::Range(first, last) => format!("xr{first}_{last}_"),
            Self::Single(epoch) => format!("xs{epoch}_"),
            Self::Uncompacted(epoch, _) => format!("xn{epoch}_"),
        }
    }

    fn small() -> Vec<Self> {
        let singles = (16..=18).map(Self::Single);
        let uncompacted = [CURRENT_EPOCH - 1, CURRENT_EPOCH]
            .into_iter()
            .flat_map(|epoch| {
                (0..UNCOMPACTED_BLOBS).map(move |blob| Self::Uncompacted(epoch, blob))
            });
        singles.chain(uncompacted).collect()
    }
}

/// Says whether maintenance rewrote a content after the first range was compacted.
fn is_rewritten(number: u64) -> bool {
    Part::of(number) == Part::Range(0, 7) && mix(number ^ 3).is_multiple_of(REWRITTEN_ONE_IN)
}

/// Returns the record that wins over any other of content `number`.
pub fn newest_record(contents: &Contents, number: u64) -> ContentRecord {
    contents.record(number, is_rewritten(number))
}

/// Returns what a repository needs, with its cache in `cache`.
pub fn surroundings(cache: &Path, seed: u64) -> Surroundings {
    Surroundings {
        cache_folder: cache.to_owned(),
        identity: Identity {
            username: "agent".into(),
            hostname: "scale".into(),
        },
        clock: SystemClock::new(),
        chance: Chance::from_seed(seed),
        stop: StopSignal::new(),
    }
}

/// Makes a repository in `folder` whose index names `contents`; memory holds one shard.
pub fn make(folder: &Path, contents: &Contents) -> Result<Made> {
    let store = FilesystemStore::create(folder, NewLayout::Sharded, Chance::from_seed(7))?;
    let store: SharedBlobStore = Arc::new(store);
    let cache = folder.join("cache-of-the-maker");
    let around = || surroundings(&cache, 8);
    create(
        Arc::clone(&store),
        PASSWORD,
        &CreateOptions::default(),
        around(),
    )?;
    let repo = Repository::open(Arc::clone(&store), PASSWORD, around())?;
    let format = repo.format();
    ensure!(
        format.effective_index_version() == 2,
        "index version 2 is the default"
    );
    let mut maker = Maker {
        hasher: format.hasher()?,
        cipher: format.cipher()?,
        chance: Chance::from_seed(9),
        store,
        made: Made {
            blobs: 0,
            bytes: 0,
            bytes_max: 0,
        },
    };
    for epoch in CURRENT_EPOCH - 1..=CURRENT_EPOCH {
        maker.put(&format!("xe{epoch}"), b"epoch")?;
    }
    for part in [Part::Range(0, 7), Part::Range(8, 15)] {
        maker.range(contents, part)?;
    }
    maker.small_parts(contents)?;
    std::fs::remove_dir_all(cache).context("remove the maker's cache")?;
    Ok(maker.made)
}

struct Maker {
    hasher: ContentHasher,
    cipher: ContentCipher,
    chance: Chance,
    store: SharedBlobStore,
    made: Made,
}

impl Maker {
    fn range(&mut self, contents: &Contents, part: Part) -> Result<()> {
        let numbers = || (0..contents.count()).filter(|number| Part::of(*number) == part);
        let shards = shard_count(numbers().count());
        let set = format!("-s{:016x}147-c{shards}", mix(u64::from(shards)));
        for shard in 0..shards {
            let records: Vec<ContentRecord> = numbers()
                .filter(|number| shards == 1 || shard_of(&contents.id(*number), shards) == shard)
                .map(|number| contents.record(number, false))
                .collect();
            self.index(&part.blob_prefix(), &records, &set)?;
        }
        Ok(())
    }

    fn small_parts(&mut self, contents: &Contents) -> Result<()> {
        let parts = Part::small();
        let mut records: Vec<Vec<ContentRecord>> = vec![Vec::new(); parts.len()];
        for number in 0..contents.count() {
            let rewritten = is_rewritten(number);
            let part = if rewritten {
                Part::Single(16)
            } else {
                Part::of(number)
            };
            if let Some(place) = parts.iter().position(|small| *small == part) {
                records[place].push(contents.record(number, rewritten));
            }
        }
        for (part, records) in parts.iter().zip(&records) {
            let set = format!("-s{:016x}147-c1", self.chance.below(u64::MAX));
            self.index(&part.blob_prefix(), records, &set)?;
        }
        Ok(())
    }

    fn index(&mut self, prefix: &str, records: &[ContentRecord], set: &str) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let payload = write_index(2, records)?;
        let hash = self.hasher.hash(&payload);
        let mut sealed = Vec::new();
        self.cipher
            .seal_into(&hash.iv(), self.chance.bytes(), &payload, &mut sealed);
        self.made.blobs += 1;
        self.made.bytes += sealed.len() as u64;
        self.made.bytes_max = self.made.bytes_max.max(sealed.len() as u64);
        self.put(
            &format!("{prefix}{}{set}", hex::encode(hash.as_bytes())),
            &sealed,
        )
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.store.put(name, &[bytes], &PutOptions::default())?;
        Ok(())
    }
}
