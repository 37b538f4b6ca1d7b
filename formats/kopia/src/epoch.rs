//! Which index blobs count, where the epoch manager is in use.
//!
//! Kopia spec 5.5. A function from listings to a plan: knows names, not what the blobs hold, and
//! lists nothing itself.
//!
//! ```text
//! xr0_7      xr8_15       xs16  xs17   xn18_…  xn19_…  xn20_…
//! └─ range chain ──┘      └ settled ┘    W−1      W      W+1
//! ```

mod upkeep;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::blob_name::{BlobName, parse_number, uncompacted_prefix};
use crate::decode_error::DecodeError;

pub use upkeep::{EpochListing, is_epoch_over};

const STRUCTURE: &str = "epoch state";

/// How many epochs without a compacted index we follow. Kopia compacts them long before; a
/// number beyond that comes from a marker that nobody meant.
pub const OPEN_EPOCHS_MAX: u64 = 100_000;

/// One blob of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobListing {
    /// The name of the blob.
    pub name: String,
    /// How many bytes it has.
    pub length: u64,
    /// When the storage says it was written.
    pub modified: Timestamp,
}

impl AsRef<str> for BlobListing {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

/// Several epochs whose indexes were compacted to one complete set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRange {
    /// The first epoch in it.
    pub first: u64,
    /// The last epoch in it.
    pub last: u64,
    /// The index blobs that hold them.
    pub blobs: Vec<String>,
}

/// What the names of epoch blobs say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochState {
    /// The epoch to write to.
    pub current: u64,
    /// Tombstones up to this Unix second are dropped. Without a watermark, none are.
    pub watermark_seconds: i64,
    /// Complete single-epoch sets by epoch.
    pub single_epochs: BTreeMap<u64, Vec<String>>,
    /// The ranges that follow one another from epoch 0.
    pub range_chain: Vec<EpochRange>,
}

/// Where a part of the active index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActiveSource {
    /// In these blobs.
    Blobs(Vec<String>),
    /// In whatever [`uncompacted_prefix`] of this epoch lists at the moment.
    ListUncompacted(u64),
}

impl EpochState {
    /// Returns the state that a listing says. It needs all `xe`, `xw`, `xs` and `xr` names in the
    /// order of the listing; others, and those whose numbers do not parse, are ignored.
    pub fn from_listing<I>(names: I) -> Result<Self, DecodeError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut current = 0;
        let mut watermark_seconds = 0;
        let mut single_epochs: BTreeMap<u64, SetFinder> = BTreeMap::new();
        let mut ranges: BTreeMap<(u64, u64), SetFinder> = BTreeMap::new();
        for name in names {
            let name = name.as_ref();
            match BlobName::parse(name) {
                BlobName::EpochMarker { epoch } => current = current.max(epoch),
                BlobName::DeletionWatermark { seconds } => {
                    watermark_seconds = watermark_seconds.max(seconds);
                }
                BlobName::IndexSingleEpoch { epoch } => {
                    single_epochs.entry(epoch).or_default().see(name);
                }
                BlobName::IndexEpochRange { first, last } if first <= last => {
                    ranges.entry((first, last)).or_default().see(name);
                }
                _ => {}
            }
        }
        let state = Self {
            current,
            watermark_seconds,
            single_epochs: single_epochs
                .into_iter()
                .filter_map(|(epoch, sets)| Some((epoch, sets.complete?)))
                .collect(),
            range_chain: longest_chain(ranges.into_iter().filter_map(|((first, last), sets)| {
                Some(EpochRange {
                    first,
                    last,
                    blobs: sets.complete?,
                })
            })),
        };
        if state.current.saturating_sub(state.first_unchained()) > OPEN_EPOCHS_MAX {
            let reason = format!("epoch {current} follows no compacted ones");
            return Err(DecodeError::too_large(STRUCTURE, reason));
        }
        Ok(state)
    }

    /// Returns where the whole active index is, oldest first (the read algorithm of Kopia spec 5.5).
    pub fn plan_active(&self) -> Vec<ActiveSource> {
        let chain = self.range_chain.iter();
        let mut plan: Vec<ActiveSource> = chain
            .map(|range| ActiveSource::Blobs(range.blobs.clone()))
            .collect();
        let last = self.current.saturating_add(1);
        for epoch in self.first_unchained()..=last {
            plan.push(match self.single_epochs.get(&epoch) {
                Some(blobs) if self.is_settled(epoch) => ActiveSource::Blobs(blobs.clone()),
                _ => ActiveSource::ListUncompacted(epoch),
            });
        }
        plan
    }

    /// Returns the first epoch that no range of the chain covers.
    pub fn first_unchained(&self) -> u64 {
        let last = self.range_chain.last();
        last.map_or(0, |range| range.last.saturating_add(1))
    }

    /// Says whether no writer may add to an epoch any more.
    pub fn is_settled(&self, epoch: u64) -> bool {
        epoch.checked_add(2).is_some_and(|end| end <= self.current)
    }
}

/// Returns the names of all active index blobs, given a listing of everything that begins with `x`.
pub fn active_index_blobs<S: AsRef<str>>(names: &[S]) -> Result<Vec<String>, DecodeError> {
    let state = EpochState::from_listing(names)?;
    let mut active = Vec::new();
    for source in state.plan_active() {
        match source {
            ActiveSource::Blobs(blobs) => active.extend(blobs),
            ActiveSource::ListUncompacted(epoch) => {
                let prefix = uncompacted_prefix(epoch);
                let names = names.iter().map(AsRef::as_ref);
                active.extend(
                    names
                        .filter(|name| name.starts_with(&prefix))
                        .map(str::to_owned),
                );
            }
        }
    }
    Ok(active)
}

/// Finds the first set of index blobs of which all are there.
#[derive(Default)]
struct SetFinder {
    incomplete: HashMap<String, Vec<String>>,
    complete: Option<Vec<String>>,
}

impl SetFinder {
    fn see(&mut self, name: &str) {
        if self.complete.is_some() {
            return;
        }
        let Some((set_id, count)) = set_of(name) else {
            self.complete = Some(vec![name.to_owned()]);
            return;
        };
        let seen = self.incomplete.entry(set_id.to_owned()).or_default();
        seen.push(name.to_owned());
        if seen.len() as u64 == count {
            self.complete = self.incomplete.remove(set_id);
        }
    }
}

/// Returns the set ID and the size of the set, if the name has them.
fn set_of(name: &str) -> Option<(&str, u64)> {
    let mut parts = name.split('-').skip(1);
    let set_id = parts.next().filter(|set_id| set_id.starts_with('s'))?;
    let count = parse_number(parts.next()?.strip_prefix('c')?)?;
    Some((set_id, count))
}

/// Returns the ranges that follow one another from epoch 0 and reach furthest, with the fewest
/// of them.
fn longest_chain(ranges: impl Iterator<Item = EpochRange>) -> Vec<EpochRange> {
    let mut by_first: BTreeMap<u64, Vec<EpochRange>> = BTreeMap::new();
    for range in ranges {
        by_first.entry(range.first).or_default().push(range);
    }
    // From the back: the best way onwards from each epoch at which a range begins.
    let mut best: HashMap<u64, Way> = HashMap::new();
    for (&first, ranges) in by_first.iter().rev() {
        let way = ranges
            .iter()
            .enumerate()
            .map(|(choice, range)| {
                let onwards = range.last.checked_add(1).and_then(|next| best.get(&next));
                Way {
                    end: onwards.map_or(range.last, |way| way.end),
                    ranges: onwards.map_or(1, |way| way.ranges + 1),
                    choice,
                }
            })
            .filter(|way| way.end > 0)
            .max_by_key(|way| (way.end, std::cmp::Reverse(way.ranges)));
        if let Some(way) = way {
            best.insert(first, way);
        }
    }
    let mut chain = Vec::new();
    let mut next = Some(0);
    while let Some((first, way)) = next.and_then(|first| best.get_key_value(&first)) {
        let range = by_first[first][way.choice].clone();
        next = range.last.checked_add(1);
        chain.push(range);
    }
    chain
}

/// A way from one epoch onwards along ranges.
struct Way {
    end: u64,
    ranges: usize,
    choice: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "95221b351850b1cb1319e1f828f77d9a";

    fn single(epoch: u64, set: &str, count: u64) -> String {
        format!("xs{epoch}_{HASH}-{set}-c{count}")
    }

    fn range(first: u64, last: u64) -> String {
        format!("xr{first}_{last}_{HASH}-s7a39dece02419547-c1")
    }

    fn chain_of(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let names: Vec<_> = ranges.iter().map(|&(a, b)| range(a, b)).collect();
        let state = EpochState::from_listing(names).unwrap();
        let chain = state.range_chain.iter();
        chain.map(|range| (range.first, range.last)).collect()
    }

    #[test]
    fn an_empty_repository_reads_epochs_0_and_1() {
        let state = EpochState::from_listing::<[&str; 0]>([]).unwrap();
        assert_eq!(state.current, 0);
        assert_eq!(state.watermark_seconds, 0);
        assert_eq!(
            state.plan_active(),
            [
                ActiveSource::ListUncompacted(0),
                ActiveSource::ListUncompacted(1)
            ]
        );
    }

    #[test]
    fn settled_epochs_are_read_compacted_and_recent_ones_are_not() {
        let names = [
            "xe3".to_owned(),
            "xe4".to_owned(),
            single(0, "s1", 1),
            single(2, "s1", 1),
            single(3, "s1", 1),
        ];
        let state = EpochState::from_listing(&names).unwrap();
        assert_eq!(
            state.plan_active(),
            [
                ActiveSource::Blobs(vec![single(0, "s1", 1)]),
                ActiveSource::ListUncompacted(1),
                ActiveSource::Blobs(vec![single(2, "s1", 1)]),
                ActiveSource::ListUncompacted(3),
                ActiveSource::ListUncompacted(4),
                ActiveSource::ListUncompacted(5),
            ]
        );
    }

    #[test]
    fn ranges_replace_the_epochs_they_cover() {
        let names = [
            "xe6".to_owned(),
            range(0, 3),
            single(2, "s1", 1),
            single(4, "s1", 1),
        ];
        let state = EpochState::from_listing(&names).unwrap();
        assert_eq!(
            state.plan_active(),
            [
                ActiveSource::Blobs(vec![range(0, 3)]),
                ActiveSource::Blobs(vec![single(4, "s1", 1)]),
                ActiveSource::ListUncompacted(5),
                ActiveSource::ListUncompacted(6),
                ActiveSource::ListUncompacted(7),
            ]
        );
    }

    #[test]
    fn only_complete_sets_count_and_the_first_to_be_complete_wins() {
        let blob = |hash: char, set: &str, count| {
            format!("xs0_{}-{set}-c{count}", hash.to_string().repeat(32))
        };
        let sets = |names: &[String]| {
            let state = EpochState::from_listing(names).unwrap();
            state.single_epochs.get(&0).cloned()
        };
        let (a1, a2) = (blob('1', "sa", 2), blob('3', "sa", 2));
        let (b1, b2) = (blob('2', "sb", 2), blob('4', "sb", 2));
        assert_eq!(sets(&[a1.clone(), b1.clone()]), None);
        assert_eq!(
            sets(&[a1.clone(), b1.clone(), b2.clone(), a2.clone()]),
            Some(vec![b1, b2])
        );
        // Sizes of 0 are never reached.
        assert_eq!(sets(&[blob('5', "sc", 0)]), None);
        // Names without set and size stand for themselves.
        let plain = format!("xs0_{HASH}");
        assert_eq!(sets(std::slice::from_ref(&plain)), Some(vec![plain]));
    }

    #[test]
    fn the_chain_starts_at_0_reaches_furthest_and_is_short() {
        for (ranges, chain) in [
            (&[][..], &[][..]),
            (&[(1, 3)], &[]),
            (&[(0, 0)], &[]),
            (&[(0, 0), (1, 4)], &[(0, 0), (1, 4)]),
            (&[(0, 3), (4, 7), (9, 12)], &[(0, 3), (4, 7)]),
            (&[(0, 7), (0, 3), (4, 7)], &[(0, 7)]),
            (&[(0, 9), (0, 3), (4, 12)], &[(0, 3), (4, 12)]),
            (&[(0, 5), (3, 8), (6, 2)], &[(0, 5)]),
            (&[(0, u64::MAX)], &[(0, u64::MAX)]),
        ] {
            assert_eq!(chain_of(ranges), chain, "{ranges:?}");
        }
    }

    #[test]
    fn prefixes_of_epochs_do_not_meet() {
        let index = |epoch: u64| format!("xn{epoch}_{HASH}-s7fc52c3e5ccec065147-c1");
        let names = [index(1), index(12), index(0), "xe0".to_owned(), index(3)];
        assert_eq!(active_index_blobs(&names).unwrap(), [index(0), index(1)]);
        let names = [
            index(1),
            index(12),
            index(0),
            "xe1".to_owned(),
            "xe2x".to_owned(),
        ];
        assert_eq!(active_index_blobs(&names).unwrap(), [index(0), index(1)]);
    }

    #[test]
    fn the_latest_watermark_counts() {
        let state = EpochState::from_listing(["xw5", "xw17", "xw-99", "xw9"]).unwrap();
        assert_eq!(state.watermark_seconds, 17);
    }

    #[test]
    fn a_marker_far_away_is_an_error_instead_of_an_endless_plan() {
        assert!(EpochState::from_listing(["xe18446744073709551615"]).is_err());
        let reachable = EpochState::from_listing(["xe100000"]).unwrap();
        assert_eq!(reachable.plan_active().len(), 100_002);
        let chained = [range(0, u64::MAX - 1), format!("xe{}", u64::MAX)];
        assert_eq!(
            EpochState::from_listing(chained)
                .unwrap()
                .plan_active()
                .len(),
            2
        );
    }
}
