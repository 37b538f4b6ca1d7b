//! What maintenance does to epochs, and when: functions from listings to decisions (Kopia spec 5.5).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{BlobListing, EpochState};
use crate::blob_name::BlobName;
use crate::format_blob::EpochParameters;

/// Everything the epoch manager keeps, as it was listed.
#[derive(Clone, Debug)]
pub struct EpochListing {
    /// What the names of markers and compacted indexes say.
    pub state: EpochState,
    /// The uncompacted index blobs of each epoch.
    pub uncompacted: BTreeMap<u64, Vec<BlobListing>>,
    others: Vec<BlobListing>,
}

impl EpochListing {
    /// Sorts a listing of everything that begins with `x`, in the order of the listing.
    pub fn new(blobs: Vec<BlobListing>) -> Result<Self, crate::decode_error::DecodeError> {
        let state = EpochState::from_listing(&blobs)?;
        let mut uncompacted: BTreeMap<u64, Vec<BlobListing>> = BTreeMap::new();
        let mut others = Vec::new();
        for blob in blobs {
            match BlobName::parse(&blob.name) {
                BlobName::IndexUncompacted { epoch, .. } => {
                    uncompacted.entry(epoch).or_default().push(blob);
                }
                _ => others.push(blob),
            }
        }
        Ok(Self {
            state,
            uncompacted,
            others,
        })
    }

    /// Returns the epoch that should begin now, if one should.
    pub fn epoch_to_begin(&self, parameters: &EpochParameters) -> Option<u64> {
        let blobs = self.uncompacted.get(&self.state.current)?;
        let next = self.state.current.checked_add(1)?;
        is_epoch_over(blobs, parameters).then_some(next)
    }

    /// Returns the settled epochs whose indexes are not compacted yet, lowest first, each with
    /// its blobs.
    pub fn epochs_to_compact(&self) -> Vec<(u64, &[BlobListing])> {
        let settled = self
            .uncompacted
            .range(self.state.first_unchained()..)
            .filter(|(epoch, _)| self.state.is_settled(**epoch))
            .filter(|(epoch, _)| !self.state.single_epochs.contains_key(*epoch));
        settled.map(|(epoch, blobs)| (*epoch, &blobs[..])).collect()
    }

    /// Returns the epochs to be compacted to a range, first and last, if there are enough of them.
    pub fn range_to_compact(&self, parameters: &EpochParameters) -> Option<(u64, u64)> {
        let first = self.state.first_unchained();
        let last = self.state.current.checked_sub(2)?;
        let enough = u64::from(parameters.full_checkpoint_frequency.max(1));
        (last.checked_sub(first)? >= enough).then_some((first, last))
    }

    /// Returns the blobs that are active for the epochs from `first` to `last`, which are settled.
    pub fn active_blobs(&self, first: u64, last: u64) -> Vec<BlobListing> {
        let mut active = Vec::new();
        for epoch in first..=last {
            match self.state.single_epochs.get(&epoch) {
                Some(names) if self.state.is_settled(epoch) => active.extend(
                    self.others
                        .iter()
                        .filter(|blob| names.contains(&blob.name))
                        .cloned(),
                ),
                _ => active.extend(self.uncompacted.get(&epoch).into_iter().flatten().cloned()),
            }
        }
        active
    }

    /// Returns markers that say nothing any more: of epochs before the one before the current, and
    /// watermarks below the highest that are old enough.
    pub fn useless_markers(&self, parameters: &EpochParameters) -> Vec<&BlobListing> {
        let bound = self.cleanup_bound(parameters);
        let watermark = self.state.watermark_seconds;
        let is_useless = |blob: &BlobListing| match BlobName::parse(&blob.name) {
            BlobName::EpochMarker { epoch } => epoch
                .checked_add(1)
                .is_some_and(|next| next < self.state.current),
            BlobName::DeletionWatermark { seconds } => {
                seconds < watermark && bound.is_some_and(|bound| blob.modified < bound)
            }
            _ => false,
        };
        self.others.iter().filter(|blob| is_useless(blob)).collect()
    }

    /// Returns uncompacted index blobs that a compacted set has replaced for long enough.
    ///
    /// A blob that was written after the set that replaces it was begun is not among them: what
    /// it says need not be in there.
    pub fn superseded(&self, parameters: &EpochParameters) -> Vec<&BlobListing> {
        let Some(bound) = self.cleanup_bound(parameters) else {
            return Vec::new();
        };
        let mut superseded = Vec::new();
        for (epoch, names) in &self.state.single_epochs {
            let set = self.others.iter().filter(|blob| names.contains(&blob.name));
            let times: Vec<Timestamp> = set.map(|blob| blob.modified).collect();
            let (Some(oldest), Some(newest)) = (times.iter().min(), times.iter().max()) else {
                continue;
            };
            if !self.state.is_settled(*epoch) || *newest >= bound {
                continue;
            }
            let blobs = self.uncompacted.get(epoch).into_iter().flatten();
            superseded.extend(blobs.filter(|blob| blob.modified < *oldest));
        }
        superseded
    }

    /// Returns the time before which a replacement must have been stored: a safety margin before
    /// the latest moment that the storage's own times of recent blobs prove to have come.
    fn cleanup_bound(&self, parameters: &EpochParameters) -> Option<Timestamp> {
        let current = self.state.current;
        let recent = current.saturating_sub(1)..=current.saturating_add(1);
        let blobs = self.uncompacted.range(recent).flat_map(|(_, blobs)| blobs);
        let now = blobs.map(|blob| blob.modified).max()?;
        let margin = SignedDuration::from_nanos(parameters.cleanup_safety_margin_ns);
        now.checked_sub(margin).ok()
    }
}

/// Says whether the next epoch should begin, by the uncompacted index blobs of the current one.
pub fn is_epoch_over(blobs: &[BlobListing], parameters: &EpochParameters) -> bool {
    let times = || blobs.iter().map(|blob| blob.modified);
    let (Some(oldest), Some(newest)) = (times().min(), times().max()) else {
        return false;
    };
    let bytes: u64 = blobs.iter().map(|blob| blob.length).sum();
    let spans = newest.duration_since(oldest).as_nanos();
    let is_full = blobs.len() as u64 >= u64::from(parameters.epoch_advance_on_count_threshold)
        || bytes >= parameters.epoch_advance_on_total_size_bytes_threshold;
    is_full && spans >= i128::from(parameters.min_epoch_duration_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "95221b351850b1cb1319e1f828f77d9a";

    fn blob(name: String, hour: i64) -> BlobListing {
        BlobListing {
            name,
            length: 1000,
            modified: Timestamp::from_second(hour * 3600).unwrap(),
        }
    }

    fn uncompacted(epoch: u64, number: u64, hour: i64) -> BlobListing {
        let hash = format!("{number:032x}");
        blob(format!("xn{epoch}_{hash}-s953d137f970f7379147-c1"), hour)
    }

    fn single(epoch: u64, hour: i64) -> BlobListing {
        blob(format!("xs{epoch}_{HASH}-s953d137f970f7379147-c1"), hour)
    }

    fn listing(blobs: Vec<BlobListing>) -> EpochListing {
        EpochListing::new(blobs).unwrap()
    }

    fn names(blobs: &[&BlobListing]) -> Vec<String> {
        blobs.iter().map(|blob| blob.name.clone()).collect()
    }

    #[test]
    fn an_epoch_begins_when_the_current_one_is_old_and_full() {
        let parameters = EpochParameters::default();
        let blobs = |count: i64, hours: i64| {
            let blob = |n: i64| uncompacted(0, n as u64, n * hours / (count - 1));
            listing((0..count).map(blob).collect())
        };
        assert_eq!(blobs(20, 24).epoch_to_begin(&parameters), Some(1));
        assert_eq!(blobs(19, 24).epoch_to_begin(&parameters), None, "too few");
        assert_eq!(blobs(20, 23).epoch_to_begin(&parameters), None, "too young");
        let mut large = vec![uncompacted(0, 1, 0), uncompacted(0, 2, 24)];
        large[0].length = 10 << 20;
        assert_eq!(listing(large).epoch_to_begin(&parameters), Some(1));
        assert_eq!(listing(Vec::new()).epoch_to_begin(&parameters), None);
    }

    #[test]
    fn only_settled_epochs_without_a_complete_set_are_compacted() {
        let mut blobs: Vec<_> = (0..5).map(|epoch| uncompacted(epoch, epoch, 0)).collect();
        blobs.push(blob("xe4".into(), 0));
        blobs.push(single(1, 0));
        blobs.push(blob(format!("xs2_{HASH}-s953d137f970f7379147-c2"), 0));
        let listing = listing(blobs);
        let epochs: Vec<u64> = listing.epochs_to_compact().iter().map(|it| it.0).collect();
        assert_eq!(epochs, [0, 2]);
    }

    #[test]
    fn the_first_range_is_from_0_to_7() {
        let parameters = EpochParameters::default();
        let at = |epoch: u64| listing(vec![blob(format!("xe{epoch}"), 0)]);
        assert_eq!(at(8).range_to_compact(&parameters), None);
        assert_eq!(at(9).range_to_compact(&parameters), Some((0, 7)));
        let hash = HASH;
        let range = blob(format!("xr0_7_{hash}-s953d137f970f7379147-c1"), 0);
        let next = |epoch: u64| listing(vec![blob(format!("xe{epoch}"), 0), range.clone()]);
        assert_eq!(next(16).range_to_compact(&parameters), None);
        assert_eq!(next(17).range_to_compact(&parameters), Some((8, 15)));
        assert_eq!(at(0).range_to_compact(&parameters), None);
    }

    #[test]
    fn superseded_blobs_go_a_margin_after_their_replacement_by_the_stores_time() {
        let parameters = EpochParameters::default();
        let at = |newest_hour: i64, late_hour: i64| {
            listing(vec![
                blob("xe3".into(), 9),
                uncompacted(0, 1, 0),
                uncompacted(0, 2, late_hour),
                single(0, 10),
                uncompacted(3, 3, newest_hour),
                uncompacted(2, 4, 10),
                single(2, 0),
            ])
        };
        assert!(at(14, 1).superseded(&parameters).is_empty());
        let late_enough = at(15, 1);
        let gone = names(&late_enough.superseded(&parameters));
        assert_eq!(gone.len(), 2, "epoch 2 is not settled: {gone:?}");
        assert!(gone.iter().all(|name| name.starts_with("xn0_")));
        let one_came_late = at(15, 11);
        assert_eq!(one_came_late.superseded(&parameters).len(), 1);
    }

    #[test]
    fn markers_go_when_they_say_nothing_any_more() {
        let parameters = EpochParameters::default();
        let listing = listing(vec![
            blob("xe1".into(), 0),
            blob("xe2".into(), 0),
            blob("xe3".into(), 0),
            blob("xw100".into(), 0),
            blob("xw200".into(), 19),
            blob("xw300".into(), 0),
            uncompacted(3, 1, 20),
        ]);
        assert_eq!(
            names(&listing.useless_markers(&parameters)),
            ["xe1", "xw100"]
        );
    }
}
