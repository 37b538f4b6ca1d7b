//! What changed on a disk since an id, answered in part as QueryChangesVirtualDisk answers.

use disk::{ByteRange, RangeSet, UnknownReason};

use super::fault::{SimFault, Step};
use super::file_owner::{Owner, Place};
use super::io_error::io_error;
use super::session::Session;
use super::state::DiskRecord;
use super::tracking::{History, Lost, history_of};
use crate::query_loop::PartialAnswer;
use crate::{HypervError, HypervErrorKind, codes};

/// How many ranges one answer holds at most, and how much of the disk it covers at most.
const ANSWER_RANGES_MAX: usize = 1024;
const ANSWER_BYTES_MAX: u64 = 64 << 30;
/// The same while answers are to be crumbs.
const CRUMB_RANGES_MAX: usize = 3;

/// What a disk's tracking says of itself (information version 15; Hyper-V spec 7.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SimTracking {
    /// Whether it is tracked.
    pub enabled: bool,
    /// Whether there were writes after the newest id.
    pub newer_changes: bool,
    /// The newest id; empty if there is none.
    pub most_recent_id: String,
}

/// Everything written since an id, to be told in parts.
#[derive(Debug)]
pub(super) struct Enquiry {
    base: String,
    written: RangeSet,
    ranges_max: usize,
}

impl Enquiry {
    /// Returns whether this is what goes on when it is asked about `base` at `offset`: whoever
    /// asks at the beginning of the disk begins anew.
    pub(super) fn goes_on(&self, base: &str, offset: u64) -> bool {
        offset > 0 && self.base == base
    }

    /// Answers for a stretch: in part, and in no order.
    pub(super) fn answer(&self, offset: u64, length: u64) -> PartialAnswer {
        let length = length.min(ANSWER_BYTES_MAX);
        let mut ranges = Vec::new();
        let mut processed_bytes = length;
        if let Some(window) = ByteRange::at(offset, length) {
            for range in self.written.within(window) {
                // Halves that touch: callers have to merge.
                let middle = range.start() + range.bytes() / 2;
                ranges.extend(ByteRange::new(range.start(), middle));
                ranges.extend(ByteRange::new(middle, range.end()));
                if ranges.len() + 2 > self.ranges_max {
                    processed_bytes = range.end() - offset;
                    break;
                }
            }
        }
        ranges.reverse();
        PartialAnswer {
            ranges,
            processed_bytes,
        }
    }
}

impl Session<'_> {
    /// Returns what the tracking of a file says of itself.
    pub(super) fn tracking_of(&self, owner: &Owner) -> Result<SimTracking, HypervError> {
        let disk = self.owned_disk(owner)?;
        let Some(history) = disk
            .tracking
            .and_then(|tracking| History::load(&self.path(&disk.tracking_file()), &tracking).ok())
        else {
            return Ok(SimTracking::default());
        };
        Ok(match &owner.place {
            // A sealed id whose history is gone names nothing: such a disk is not tracked.
            Place::Frozen(_) => match self.sealed_id(owner)? {
                Some(id) if history.knows(&id) => SimTracking {
                    enabled: true,
                    newer_changes: false,
                    most_recent_id: id,
                },
                _ => SimTracking::default(),
            },
            Place::Leaf | Place::Beneath => SimTracking {
                enabled: true,
                newer_changes: history.was_written_since_newest(),
                most_recent_id: history.newest().unwrap_or_default().to_owned(),
            },
        })
    }

    /// Begins to answer what was written between `base` and the instant that a file holds.
    pub(super) fn begin_enquiry(
        &mut self,
        owner: Option<&Owner>,
        base: &str,
    ) -> Result<Enquiry, UnknownReason> {
        let Some(owner) = owner else {
            return Err(Lost(codes::TRACKING_DISABLED).reason());
        };
        let ranges_max = match self.strike_query(owner).map_err(told)? {
            Some(SimFault::LoseTracking { code }) => {
                self.forget_the_past(owner).map_err(told)?;
                return Err(Lost(code).reason());
            }
            Some(SimFault::PartialAnswers) => CRUMB_RANGES_MAX,
            Some(_) => {
                return Err(UnknownReason {
                    code: Some(codes::FAILED),
                    text: "the query for changes failed".to_owned(),
                });
            }
            None => ANSWER_RANGES_MAX,
        };
        Ok(Enquiry {
            base: base.to_owned(),
            written: self.written_since(owner, base).map_err(Lost::reason)?,
            ranges_max,
        })
    }

    fn strike_query(&mut self, owner: &Owner) -> Result<Option<SimFault>, HypervError> {
        self.strike(owner.vm, |fault| {
            matches!(
                fault,
                SimFault::JobFailsAt {
                    step: Step::Changes
                } | SimFault::LoseTracking { .. }
                    | SimFault::PartialAnswers
            )
        })
    }

    fn written_since(&self, owner: &Owner, base: &str) -> Result<RangeSet, Lost> {
        let unusable = Lost(codes::TRACKING_INVALID_STATE);
        let disk = self.owned_disk(owner).map_err(|_| unusable)?;
        if !disk.trackable {
            return Err(Lost(codes::VHD_INVALID_TYPE));
        }
        let lost = disk
            .lost_tracking
            .iter()
            .rfind(|(history, _)| Some(*history) == history_of(base));
        if let Some(&(_, code)) = lost {
            return Err(Lost(code));
        }
        let chain = match owner.place {
            Place::Frozen(checkpoint) => self
                .checkpoint(owner.vm, checkpoint)
                .ok()
                .and_then(|checkpoint| checkpoint.disks.iter().find(|d| d.key == owner.key))
                .map(|frozen| &frozen.chain)
                .ok_or(unusable)?,
            Place::Leaf | Place::Beneath => &disk.chain,
        };
        let tracking = disk.tracking.ok_or(Lost(codes::TRACKING_DISABLED))?;
        if self.changed_offline(disk, chain) {
            return Err(Lost(codes::TRACKING_CHANGED_OFFLINE));
        }
        let history = History::load(&self.path(&disk.tracking_file()), &tracking)?;
        match owner.place {
            Place::Frozen(_) => {
                let sealed = self.sealed_id(owner).map_err(|_| unusable)?;
                history.between(base, &sealed.ok_or(Lost(codes::TRACKING_DISABLED))?)
            }
            Place::Leaf | Place::Beneath => history.since(base),
        }
    }

    /// Makes every tracking id older than the instant that a file holds unknown.
    fn forget_the_past(&mut self, owner: &Owner) -> Result<(), HypervError> {
        let Some(sealed) = self.sealed_id(owner)? else {
            return Ok(());
        };
        let disk = self.owned_disk(owner)?;
        let path = self.path(&disk.tracking_file());
        let Some(tracking) = disk.tracking else {
            return Ok(());
        };
        if let Ok(mut history) = History::load(&path, &tracking) {
            history.forget_before(&sealed);
            history
                .rewrite(&path)
                .map_err(|error| io_error("write", &path, error))?;
            let disks = &mut self.vm_mut(owner.vm)?.disks;
            if let Some(disk) = disks.iter_mut().find(|disk| disk.key == owner.key) {
                disk.tracking = Some(history.record());
            }
            self.save()?;
        }
        Ok(())
    }

    fn owned_disk(&self, owner: &Owner) -> Result<&DiskRecord, HypervError> {
        let mut disks = self.vm(owner.vm)?.disks.iter();
        disks.find(|disk| disk.key == owner.key).ok_or_else(|| {
            HypervError::new(
                HypervErrorKind::NotFound,
                format!("find disk {} of VM {}", owner.number, owner.vm),
            )
        })
    }

    /// Returns the id that was sealed when a checkpoint froze the file.
    fn sealed_id(&self, owner: &Owner) -> Result<Option<String>, HypervError> {
        let Place::Frozen(checkpoint) = owner.place else {
            return Ok(None);
        };
        let mut disks = self.checkpoint(owner.vm, checkpoint)?.disks.iter();
        let frozen = disks.find(|disk| disk.key == owner.key);
        Ok(frozen.and_then(|frozen| frozen.change_id.clone()))
    }
}

fn told(error: HypervError) -> UnknownReason {
    UnknownReason {
        code: error.code(),
        text: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_loop::query_loop;

    #[test]
    fn crumbs_add_up_to_the_whole_answer() {
        let ranges = (0..50).filter_map(|n| ByteRange::at(n * 1000, 300));
        let written = RangeSet::from_unsorted(ranges.collect());
        for ranges_max in [ANSWER_RANGES_MAX, CRUMB_RANGES_MAX] {
            let enquiry = Enquiry {
                base: String::new(),
                written: written.clone(),
                ranges_max,
            };
            let mut asked = 0;
            let answered = query_loop(60_000, |offset, length| {
                asked += 1;
                Ok::<_, ()>(enquiry.answer(offset, length))
            });
            assert_eq!(answered.as_ref(), Ok(&written));
            assert_eq!(asked > 1, ranges_max == CRUMB_RANGES_MAX);
        }
    }
}
