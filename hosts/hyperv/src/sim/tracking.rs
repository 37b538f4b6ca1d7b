//! The write history of one disk, as its `.rct` file holds it.
//!
//! A history is a row of sealed instants with the ranges written before each, and the ranges
//! written since the last one:
//!
//! ```text
//! ── writes ──┤ seal 1 ├── writes ──┤ seal 2 ├── writes (open)
//! ```
//!
//! The file is a log of lines, each with its checksum. Ranges are logged *before* the guest's
//! data is written, so that whoever is killed in between leaves a superset; a torn last line
//! stands for data that was never written. Ranges are rounded outwards to whole blocks.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use disk::{ByteRange, RangeSet, UnknownReason};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::state::TrackingRecord;
use crate::codes;

const FILE_BYTES_MAX: u64 = 512 << 20;

/// A disk's history, loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    pub id: Uuid,
    pub generation: u64,
    pub block_bytes: u64,
    pub virtual_bytes: u64,
    /// The number the next seal gets.
    next_number: u64,
    seals: Vec<Seal>,
    open: Vec<ByteRange>,
    /// How long the file is, without a torn last line.
    file_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seal {
    id: String,
    written_before: Vec<ByteRange>,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Begin {
        history: Uuid,
        generation: u64,
        block_bytes: u64,
        virtual_bytes: u64,
        next_number: u64,
    },
    /// Pairs of a range's first block and its number of blocks.
    Written(Vec<(u64, u64)>),
    Sealed(String),
}

/// Why a history cannot be used: a code of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost(pub u32);

impl Lost {
    /// Returns the reason as the port tells it.
    pub(super) fn reason(self) -> UnknownReason {
        UnknownReason {
            code: Some(self.0),
            text: codes::tracking_text(self.0).to_owned(),
        }
    }
}

impl History {
    /// Returns a history that begins now.
    pub(super) fn new(id: Uuid, block_bytes: u64, virtual_bytes: u64) -> Self {
        Self {
            id,
            generation: 0,
            block_bytes,
            virtual_bytes,
            next_number: 0,
            seals: Vec::new(),
            open: Vec::new(),
            file_bytes: 0,
        }
    }

    /// Reads the file of a history and checks that it is the one that `record` means.
    pub(super) fn load(path: &Path, record: &TrackingRecord) -> Result<Self, Lost> {
        let bytes = read_file(path)?;
        let history = Self::parse(&bytes)?;
        let same = history.id == record.history
            && (history.generation > record.generation
                || (history.generation == record.generation
                    && history.file_bytes >= record.file_bytes));
        if same {
            Ok(history)
        } else {
            Err(Lost(codes::TRACKING_INCONSISTENT_FILE))
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Lost> {
        let damaged = Lost(codes::TRACKING_INCONSISTENT_FILE);
        let mut history: Option<Self> = None;
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line = parse_line(&rest[..end]).ok_or(damaged)?;
            rest = &rest[end + 1..];
            match (&mut history, line) {
                (
                    None,
                    Line::Begin {
                        history: id,
                        generation,
                        block_bytes,
                        virtual_bytes,
                        next_number,
                    },
                ) if block_bytes > 0 => {
                    history = Some(Self {
                        generation,
                        next_number,
                        ..Self::new(id, block_bytes, virtual_bytes)
                    });
                }
                (Some(history), Line::Written(blocks)) => {
                    for (first, count) in blocks {
                        history
                            .open
                            .push(history.range_of(first, count).ok_or(damaged)?);
                    }
                }
                (Some(history), Line::Sealed(id)) => history.push_seal(id),
                _ => return Err(damaged),
            }
        }
        let mut history = history.ok_or(damaged)?;
        history.file_bytes = (bytes.len() - rest.len()) as u64;
        Ok(history)
    }

    fn range_of(&self, first: u64, count: u64) -> Option<ByteRange> {
        let start = first.checked_mul(self.block_bytes)?;
        let end = start
            .checked_add(count.checked_mul(self.block_bytes)?)?
            .min(self.virtual_bytes);
        ByteRange::new(start, end)
    }

    fn push_seal(&mut self, id: String) {
        let written = RangeSet::from_unsorted(std::mem::take(&mut self.open));
        self.seals.push(Seal {
            id,
            written_before: written.iter().collect(),
        });
        self.next_number += 1;
    }

    /// Returns what the host's state has to remember of the file.
    pub(super) fn record(&self) -> TrackingRecord {
        TrackingRecord {
            history: self.id,
            generation: self.generation,
            file_bytes: self.file_bytes,
        }
    }

    /// Logs that the guest is about to write `ranges`.
    pub(super) fn log_writes(&mut self, path: &Path, ranges: &[ByteRange]) -> io::Result<()> {
        let rounded = RangeSet::from_unsorted(ranges.to_vec())
            .rounded_out(self.block_bytes, self.virtual_bytes);
        if rounded.is_empty() {
            return Ok(());
        }
        self.append(path, &Line::Written(self.blocks_of(&rounded)))?;
        self.open.extend(rounded.iter());
        Ok(())
    }

    /// Seals this instant and returns the id that names it.
    pub(super) fn seal(&mut self, path: &Path, instant: Uuid) -> io::Result<String> {
        let id = format!("rctX:{}:{}:{:08X}", self.id, instant, self.next_number);
        self.append(path, &Line::Sealed(id.clone()))?;
        self.push_seal(id.clone());
        Ok(id)
    }

    fn blocks_of(&self, ranges: &RangeSet) -> Vec<(u64, u64)> {
        ranges
            .iter()
            .map(|range| {
                let first = range.start() / self.block_bytes;
                (first, range.end().div_ceil(self.block_bytes) - first)
            })
            .collect()
    }

    fn append(&mut self, path: &Path, line: &Line) -> io::Result<()> {
        let bytes = line_bytes(line)?;
        let mut file = File::options().write(true).open(path)?;
        file.set_len(self.file_bytes)?;
        file.seek(SeekFrom::Start(self.file_bytes))?;
        file.write_all(&bytes)?;
        self.file_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes the whole file anew.
    pub(super) fn rewrite(&mut self, path: &Path) -> io::Result<()> {
        self.generation += 1;
        let mut bytes = line_bytes(&Line::Begin {
            history: self.id,
            generation: self.generation,
            block_bytes: self.block_bytes,
            virtual_bytes: self.virtual_bytes,
            next_number: self.next_number - self.seals.len() as u64,
        })?;
        for seal in &self.seals {
            let written = RangeSet::from_unsorted(seal.written_before.clone());
            bytes.extend(line_bytes(&Line::Written(self.blocks_of(&written)))?);
            bytes.extend(line_bytes(&Line::Sealed(seal.id.clone()))?);
        }
        let open = RangeSet::from_unsorted(self.open.clone());
        bytes.extend(line_bytes(&Line::Written(self.blocks_of(&open)))?);
        let new = path.with_extension("rct.new");
        fs::write(&new, &bytes)?;
        local_file::take_the_name_of(&new, path)?;
        self.file_bytes = bytes.len() as u64;
        Ok(())
    }

    /// Forgets every seal that is not in `pinned`; returns whether there was any.
    pub(super) fn keep_only(&mut self, pinned: &[String]) -> bool {
        let before = self.seals.len();
        let mut carried: Vec<ByteRange> = Vec::new();
        let mut kept = Vec::new();
        for mut seal in std::mem::take(&mut self.seals) {
            carried.append(&mut seal.written_before);
            if pinned.contains(&seal.id) {
                let merged = RangeSet::from_unsorted(std::mem::take(&mut carried));
                seal.written_before = merged.iter().collect();
                kept.push(seal);
            }
        }
        carried.append(&mut self.open);
        self.open = RangeSet::from_unsorted(carried).iter().collect();
        self.seals = kept;
        self.seals.len() != before
    }

    /// Forgets everything before the instant `seal`.
    pub(super) fn forget_before(&mut self, seal: &str) {
        if let Some(index) = self.position(seal) {
            self.seals.drain(..index);
        }
    }

    /// Returns whether the history knows the instant.
    pub(super) fn knows(&self, seal: &str) -> bool {
        self.position(seal).is_some()
    }

    /// Returns the newest sealed instant.
    pub(super) fn newest(&self) -> Option<&str> {
        self.seals.last().map(|seal| seal.id.as_str())
    }

    /// Returns whether anything was written after the newest sealed instant.
    pub(super) fn was_written_since_newest(&self) -> bool {
        !self.open.is_empty()
    }

    fn position(&self, seal: &str) -> Option<usize> {
        self.seals.iter().position(|known| known.id == seal)
    }

    /// Returns everything written since an instant.
    pub(super) fn since(&self, base: &str) -> Result<RangeSet, Lost> {
        let newest = self.newest().unwrap_or_default();
        let mut written: Vec<_> = self.between(base, newest)?.iter().collect();
        written.extend(&self.open);
        Ok(RangeSet::from_unsorted(written))
    }

    /// Returns everything written between two instants.
    pub(super) fn between(&self, base: &str, frozen: &str) -> Result<RangeSet, Lost> {
        let unknown = Lost(codes::TRACKING_INVALID_ID);
        let base = self.position(base).ok_or(unknown)?;
        let frozen = self.position(frozen).ok_or(unknown)?;
        if base > frozen {
            return Err(unknown);
        }
        let written = self.seals[base + 1..=frozen]
            .iter()
            .flat_map(|seal| seal.written_before.iter().copied());
        Ok(RangeSet::from_unsorted(written.collect()))
    }
}

/// Returns the history that an id of ours belongs to.
pub(super) fn history_of(change_id: &str) -> Option<Uuid> {
    let mut parts = change_id.split(':');
    (parts.next() == Some("rctX"))
        .then(|| parts.next())
        .flatten()
        .and_then(|history| Uuid::parse_str(history).ok())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Lost> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Lost(codes::TRACKING_MISSING),
        _ => Lost(codes::TRACKING_INVALID_STATE),
    })?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Lost(codes::TRACKING_INVALID_STATE))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Lost(codes::TRACKING_INVALID_STATE));
    }
    Ok(bytes)
}

fn line_bytes(line: &Line) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string(line)?;
    Ok(format!("{:08x} {text}\n", checksum(text.as_bytes())).into_bytes())
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let (sum, text) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (sum == checksum(text))
        .then(|| serde_json::from_slice(text).ok())
        .flatten()
}

/// FNV-1a: enough to notice a line that was cut or changed.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |sum, &byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).expect("tests ask for ranges that are not empty")
    }

    fn history(folder: &tempfile::TempDir) -> (PathBuf, History) {
        let path = folder.path().join("d.rct");
        let mut history = History::new(Uuid::from_u128(1), 65536, 10 * MIB);
        history.rewrite(&path).unwrap();
        (path, history)
    }

    fn set(ranges: &[ByteRange]) -> RangeSet {
        RangeSet::from_unsorted(ranges.to_vec())
    }

    #[test]
    fn the_answer_is_the_union_of_the_intervals_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut history) = history(&folder);
        let a = history.seal(&path, Uuid::from_u128(2)).unwrap();
        history.log_writes(&path, &[range(5, 6)]).unwrap();
        let b = history.seal(&path, Uuid::from_u128(3)).unwrap();
        history.log_writes(&path, &[range(MIB, MIB + 1)]).unwrap();
        let c = history.seal(&path, Uuid::from_u128(4)).unwrap();
        history
            .log_writes(&path, &[range(2 * MIB, 2 * MIB + 1)])
            .unwrap();
        let loaded = History::load(&path, &history.record()).unwrap();
        for history in [&history, &loaded] {
            let first = range(0, 65536);
            let second = range(MIB, MIB + 65536);
            assert_eq!(history.between(&a, &b), Ok(set(&[first])));
            assert_eq!(history.between(&b, &c), Ok(set(&[second])));
            assert_eq!(history.between(&a, &c), Ok(set(&[first, second])));
            assert_eq!(history.between(&c, &c), Ok(RangeSet::new()));
            let unknown = Err(Lost(codes::TRACKING_INVALID_ID));
            assert_eq!(history.between(&c, &a), unknown);
            assert_eq!(history.between("rctX:other", &c), unknown);
        }
    }

    #[test]
    fn forgetting_a_seal_keeps_the_writes_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut history) = history(&folder);
        let a = history.seal(&path, Uuid::from_u128(2)).unwrap();
        history.log_writes(&path, &[range(0, 1)]).unwrap();
        let b = history.seal(&path, Uuid::from_u128(3)).unwrap();
        history.log_writes(&path, &[range(MIB, MIB + 1)]).unwrap();
        let c = history.seal(&path, Uuid::from_u128(4)).unwrap();
        assert!(history.keep_only(&[a.clone(), c.clone()]));
        history.rewrite(&path).unwrap();
        let mut loaded = History::load(&path, &history.record()).unwrap();
        let both = set(&[range(0, 65536), range(MIB, MIB + 65536)]);
        assert_eq!(loaded.between(&a, &c), Ok(both));
        assert!(!loaded.knows(&b));
        let d = loaded.seal(&path, Uuid::from_u128(5)).unwrap();
        assert!(d.ends_with(":00000003"), "numbers never come twice: {d}");
    }

    #[test]
    fn a_torn_last_line_is_as_if_never_begun() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut history) = history(&folder);
        let a = history.seal(&path, Uuid::from_u128(2)).unwrap();
        let record = history.record();
        let whole = fs::read(&path).unwrap().len();
        history.log_writes(&path, &[range(0, 1)]).unwrap();
        let bytes = fs::read(&path).unwrap();
        for cut in whole..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let mut torn = History::load(&path, &record).unwrap();
            torn.log_writes(&path, &[range(MIB, MIB + 1)]).unwrap();
            let b = torn.seal(&path, Uuid::from_u128(3)).unwrap();
            let loaded = History::load(&path, &torn.record()).unwrap();
            assert_eq!(loaded.between(&a, &b), Ok(set(&[range(MIB, MIB + 65536)])));
        }
    }

    #[test]
    fn damage_is_noticed_and_never_guessed_away() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut history) = history(&folder);
        history.seal(&path, Uuid::from_u128(2)).unwrap();
        let old = fs::read(&path).unwrap();
        history.log_writes(&path, &[range(0, 1)]).unwrap();
        history.seal(&path, Uuid::from_u128(3)).unwrap();
        let record = history.record();
        let good = fs::read(&path).unwrap();
        let inconsistent = Err(Lost(codes::TRACKING_INCONSISTENT_FILE));

        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert_eq!(
                History::load(&path, &record),
                inconsistent,
                "flipped at {place}"
            );
        }
        fs::write(&path, &old).unwrap();
        assert_eq!(History::load(&path, &record), inconsistent, "an older copy");
        let other = TrackingRecord {
            history: Uuid::from_u128(9),
            ..record
        };
        fs::write(&path, &good).unwrap();
        assert_eq!(History::load(&path, &other), inconsistent, "another disk's");
        fs::remove_file(&path).unwrap();
        assert_eq!(
            History::load(&path, &record),
            Err(Lost(codes::TRACKING_MISSING))
        );
    }

    #[test]
    fn an_id_tells_its_history() {
        let id = format!(
            "rctX:{}:{}:00000001",
            Uuid::from_u128(7),
            Uuid::from_u128(8)
        );
        assert_eq!(history_of(&id), Some(Uuid::from_u128(7)));
        assert_eq!(history_of("anything else"), None);
    }
}
