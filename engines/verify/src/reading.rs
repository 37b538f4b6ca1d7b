//! Reading a sample of the contents: decrypted, decompressed, hashed, compared with their names.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};
use kopia::content_id::ContentId;
use repo::{RepoError, RepoErrorKind, Repository};

use crate::bad::{Bad, reason_of};
use crate::error::{VerifyError, repo_error};

/// Contents that are read together, since they mostly lie together.
const BATCH: usize = 128;
/// Contents remembered as handed over already; then all are forgotten, and some are read twice. A
/// table of 2^20 places holds so many.
const REMEMBERED_MAX: usize = (1 << 20) / 8 * 7;
/// What is told of a content whose bytes are not those that its name stands for.
const OTHER_HASH: &str = "its bytes have another hash than its name says";

/// Which contents are read: a share of them, drawn by a seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    seed: u64,
    /// A content whose number is below this is drawn; `None` draws all.
    below: Option<u64>,
}

impl Draw {
    /// Returns a draw of `percent` of all contents.
    pub(crate) fn new(percent: f64, seed: u64) -> Self {
        let share = (percent / 100.0).clamp(0.0, 1.0);
        let below = (share < 1.0).then_some((share * u64::MAX as f64) as u64);
        Self { seed, below }
    }

    fn takes(&self, id: &ContentId) -> bool {
        let hash = id.hash().as_bytes();
        let mut number = [0; 8];
        number.copy_from_slice(&hash[..8]);
        self.takes_number(u64::from_le_bytes(number))
    }

    /// Says whether a blob is drawn.
    pub(crate) fn takes_blob(&self, name: &str) -> bool {
        let number = name.bytes().fold(0u64, |number, byte| {
            number.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        self.takes_number(mixed(number))
    }

    fn takes_number(&self, number: u64) -> bool {
        self.below
            .is_none_or(|below| mixed(number ^ self.seed) < below)
    }
}

/// Spreads the bits of a number over all of it (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// What readers found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Contents that cannot be read or are not what their name says.
    pub(crate) bad: Mutex<Bad>,
    /// Contents that were read.
    pub(crate) contents: AtomicU64,
    /// Their plain bytes.
    pub(crate) bytes: AtomicU64,
    /// What ended the reading, if anything did.
    pub(crate) failure: Mutex<Option<RepoError>>,
}

impl Findings {
    /// Returns none so far; what is bad is told apart up to a number.
    pub(crate) fn telling(told_max: usize) -> Self {
        Self {
            bad: Mutex::new(Bad::telling(told_max)),
            contents: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failure: Mutex::new(None),
        }
    }
}

/// Collects drawn contents into batches for the readers.
#[derive(Debug)]
pub(crate) struct Sampler {
    draw: Draw,
    handed_over: HashSet<ContentId>,
    batch: Vec<ContentId>,
    to_readers: Sender<Vec<ContentId>>,
}

impl Sampler {
    pub(crate) fn new(draw: Draw, to_readers: Sender<Vec<ContentId>>) -> Self {
        Self {
            draw,
            handed_over: HashSet::new(),
            batch: Vec::new(),
            to_readers,
        }
    }

    /// Takes a content that exists.
    pub(crate) fn offer(&mut self, id: ContentId) {
        if !self.draw.takes(&id) {
            return;
        }
        if self.handed_over.len() >= REMEMBERED_MAX {
            self.handed_over.clear();
        }
        if self.handed_over.insert(id) {
            self.batch.push(id);
        }
        if self.batch.len() >= BATCH {
            self.hand_over();
        }
    }

    /// Gives the readers what was collected.
    pub(crate) fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            // Readers that are gone left their reason in the findings.
            let _ = self.to_readers.send(batch);
        }
    }
}

/// Reads batches until there are no more.
pub(crate) fn read_all(repo: &Repository, batches: &Receiver<Vec<ContentId>>, findings: &Findings) {
    for batch in batches {
        if let Err(error) = read_batch(repo, &batch, findings) {
            let mut failure = findings.failure.lock().expect("no reader panics");
            failure.get_or_insert(error);
            return;
        }
    }
}

/// Returns what ended the reading, if anything did.
pub(crate) fn check_failure(findings: &Findings) -> Result<(), VerifyError> {
    match findings.failure.lock().expect("no reader panics").take() {
        Some(error) => Err(repo_error("read the repository's contents")(error)),
        None => Ok(()),
    }
}

fn read_batch(repo: &Repository, ids: &[ContentId], findings: &Findings) -> Result<(), RepoError> {
    let mut was_read = vec![false; ids.len()];
    let together = repo.read_contents(ids, &mut |place, bytes| {
        was_read[place] = true;
        note_read(repo, findings, &ids[place], &bytes)
    });
    match together {
        Ok(()) => return Ok(()),
        Err(error) if !error.kind().is_damage() => return Err(error),
        Err(_) => {}
    }
    // Something among them is damaged: one by one tells which.
    for (id, _) in ids
        .iter()
        .zip(&was_read)
        .filter(|(_, was_read)| !**was_read)
    {
        match repo.read_content(id) {
            Ok(bytes) => note_read(repo, findings, id, &bytes)?,
            Err(error) if error.kind() == RepoErrorKind::Stopped => return Err(error),
            Err(error) if error.kind().is_damage() => note_bad(repo, findings, id, &error)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn note_read(
    repo: &Repository,
    findings: &Findings,
    id: &ContentId,
    bytes: &[u8],
) -> Result<(), RepoError> {
    findings.contents.fetch_add(1, Ordering::Relaxed);
    findings
        .bytes
        .fetch_add(bytes.len() as u64, Ordering::Relaxed);
    match repo.content_id(id.prefix(), bytes) == *id {
        true => Ok(()),
        false => note_bad(repo, findings, id, &OTHER_HASH),
    }
}

/// Notes a content that is bad, unless the index has none any more: the walk tells that itself.
fn note_bad(
    repo: &Repository,
    findings: &Findings,
    id: &ContentId,
    why: &dyn Display,
) -> Result<(), RepoError> {
    if let Some(record) = repo.find(id)? {
        let mut bad = findings.bad.lock().expect("no reader panics");
        bad.add(&record, || reason_of(id, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kopia::hash::HashOutput;

    use super::*;

    fn ids() -> impl Iterator<Item = ContentId> {
        (0..10_000u64).map(|number| {
            let mut hash = [7; 16];
            hash[..8].copy_from_slice(&mixed(number).to_le_bytes());
            ContentId::new(None, HashOutput::new(&hash).unwrap())
        })
    }

    #[test]
    fn a_draw_takes_about_the_share_that_was_asked_for() {
        for (percent, expected) in [
            (0.0, 0..=0),
            (10.0, 850..=1150),
            (50.0, 4800..=5200),
            (100.0, 10_000..=10_000),
        ] {
            let draw = Draw::new(percent, 5);
            let taken = ids().filter(|id| draw.takes(id)).count();
            assert!(expected.contains(&taken), "{percent} %: {taken}");
        }
    }

    #[test]
    fn a_seed_draws_the_same_again_and_another_draws_others() {
        let drawn = |seed| {
            ids()
                .filter(|id| Draw::new(20.0, seed).takes(id))
                .collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
