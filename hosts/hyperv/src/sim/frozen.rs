//! Frozen disks: reading them, and asking what changed.

use disk::{
    BlockRead, ByteRange, ChangeId, Changes, DiskError, DiskErrorKind, DiskSource, Geometry,
    RangeSet, UnknownReason,
};
use uuid::Uuid;

use super::SimHost;
use super::container::ChainReader;
use super::fault::{SimFault, Step};
use super::io_error::io_error;
use super::session::Session;
use super::tracking::{History, Lost, history_of};
use crate::query_loop::{PartialAnswer, QueryError, query_loop};
use crate::{CheckpointId, FrozenDisk, HypervError, HypervErrorKind, VmId, codes};

/// How many ranges one answer holds at most, and how much of the disk it covers at most.
const ANSWER_RANGES_MAX: usize = 1024;
const ANSWER_BYTES_MAX: u64 = 64 << 30;

/// An open frozen disk. The chain's files stay locked until it is dropped.
#[derive(Debug)]
pub(super) struct FrozenDiskSource {
    host: SimHost,
    vm: VmId,
    checkpoint: CheckpointId,
    key: Uuid,
    number: u32,
    reader: ChainReader,
    geometry: Geometry,
    virtual_disk_id: Uuid,
    change_id: Option<ChangeId>,
    /// Whether faults were waiting for reads when it was opened.
    faulty: bool,
}

impl Session<'_> {
    /// Opens a frozen disk.
    pub(super) fn open_frozen_disk(
        &mut self,
        vm: VmId,
        checkpoint: CheckpointId,
        disk: &FrozenDisk,
    ) -> Result<FrozenDiskSource, HypervError> {
        let frozen = self
            .checkpoint(vm, checkpoint)?
            .disks
            .iter()
            .find(|frozen| self.path(frozen.frozen_file()) == disk.path)
            .ok_or_else(|| {
                HypervError::new(
                    HypervErrorKind::NotFound,
                    format!("find {} in checkpoint {checkpoint}", disk.path.display()),
                )
            })?
            .clone();
        let record = self.vm(vm)?;
        let number = record.disks.iter().position(|live| live.key == frozen.key);
        let faulty = record.faults.iter().any(|record| {
            matches!(
                record.fault,
                SimFault::Unreadable { .. } | SimFault::JobFailsAt { step: Step::Read }
            )
        });
        let live = number.map(|number| &record.disks[number]);
        // A sealed id whose history is gone names nothing: such a disk is not tracked.
        let known = live.is_some_and(|live| {
            live.tracking.is_some_and(|tracking| {
                History::load(&self.path(&live.tracking_file()), &tracking)
                    .is_ok_and(|history| frozen.change_id.iter().any(|id| history.knows(id)))
            })
        });
        let reader = ChainReader::open(&self.paths(&frozen.chain))?;
        let facts = reader.facts();
        Ok(FrozenDiskSource {
            host: self.host.clone(),
            vm,
            checkpoint,
            key: frozen.key,
            number: number.map_or(u32::MAX, |number| number as u32),
            geometry: facts.geometry(),
            virtual_disk_id: facts.virtual_disk_id,
            change_id: frozen.change_id.filter(|_| known).map(ChangeId::new),
            faulty,
            reader,
        })
    }
}

impl FrozenDiskSource {
    fn strike(&self, matches: impl Fn(&SimFault) -> bool) -> Result<Option<SimFault>, HypervError> {
        self.host.session()?.strike(self.vm, matches)
    }

    fn strike_read(&self, window: ByteRange) -> Result<(), DiskError> {
        let struck = self.strike(|fault| match *fault {
            SimFault::JobFailsAt { step } => step == Step::Read,
            SimFault::Unreadable { start, end, disk } => {
                disk.is_none_or(|disk| disk == self.number)
                    && start < window.end()
                    && window.start() < end
            }
            _ => false,
        });
        match struck {
            Ok(None) => Ok(()),
            Ok(Some(fault)) => Err(DiskError::new(
                DiskErrorKind::Unreadable,
                format!(
                    "read {} bytes at {}: {fault}",
                    window.bytes(),
                    window.start()
                ),
            )),
            Err(error) => {
                Err(DiskError::new(DiskErrorKind::Refused, "ask the host").caused_by(error))
            }
        }
    }

    fn query(&self, base: &ChangeId) -> Result<Changes, HypervError> {
        let mut session = self.host.session()?;
        let crumbs = match session.strike(self.vm, |fault| {
            matches!(
                fault,
                SimFault::JobFailsAt {
                    step: Step::Changes
                } | SimFault::LoseTracking { .. }
                    | SimFault::PartialAnswers
            )
        })? {
            Some(SimFault::LoseTracking { code }) => {
                self.forget_the_past(&mut session)?;
                return Ok(Changes::Unknown(Lost(code).reason()));
            }
            Some(SimFault::PartialAnswers) => true,
            Some(_) => {
                return Ok(Changes::Unknown(UnknownReason {
                    code: Some(codes::FAILED),
                    text: "the query for changes failed".to_owned(),
                }));
            }
            None => false,
        };
        let whole = match self.written_since(&session, base) {
            Ok(whole) => whole,
            Err(lost) => return Ok(Changes::Unknown(lost.reason())),
        };
        let answered = query_loop(self.geometry.virtual_bytes, |offset, length| {
            Ok::<_, std::convert::Infallible>(answer(&whole, offset, length, crumbs))
        });
        Ok(match answered {
            Ok(ranges) => Changes::Ranges(ranges),
            Err(error @ QueryError::NoProgress { .. }) => Changes::Unknown(UnknownReason {
                code: None,
                text: error.to_string(),
            }),
        })
    }

    fn written_since(&self, session: &Session<'_>, base: &ChangeId) -> Result<RangeSet, Lost> {
        let unusable = Lost(codes::TRACKING_INVALID_STATE);
        let checkpoint = session
            .checkpoint(self.vm, self.checkpoint)
            .map_err(|_| unusable)?;
        let frozen = checkpoint
            .disks
            .iter()
            .find(|disk| disk.key == self.key)
            .ok_or(unusable)?;
        let live = session.vm(self.vm).map_err(|_| unusable)?;
        let live = live
            .disks
            .iter()
            .find(|disk| disk.key == self.key)
            .ok_or(unusable)?;
        if !live.trackable {
            return Err(Lost(codes::VHD_INVALID_TYPE));
        }
        let lost = live
            .lost_tracking
            .iter()
            .rfind(|(history, _)| Some(*history) == history_of(base.as_str()));
        if let Some(&(_, code)) = lost {
            return Err(Lost(code));
        }
        let tracking = live.tracking.ok_or(Lost(codes::TRACKING_DISABLED))?;
        let change_id = frozen
            .change_id
            .as_ref()
            .ok_or(Lost(codes::TRACKING_DISABLED))?;
        if session.changed_offline(live, &frozen.chain) {
            return Err(Lost(codes::TRACKING_CHANGED_OFFLINE));
        }
        History::load(&session.path(&live.tracking_file()), &tracking)?
            .between(base.as_str(), change_id)
    }

    /// Makes every tracking id older than this frozen instant unknown.
    fn forget_the_past(&self, session: &mut Session<'_>) -> Result<(), HypervError> {
        let Some(change_id) = &self.change_id else {
            return Ok(());
        };
        let disks = &session.vm(self.vm)?.disks;
        let Some(index) = disks.iter().position(|disk| disk.key == self.key) else {
            return Ok(());
        };
        let path = session.path(&disks[index].tracking_file());
        let Some(tracking) = disks[index].tracking else {
            return Ok(());
        };
        if let Ok(mut history) = History::load(&path, &tracking) {
            history.forget_before(change_id.as_str());
            history
                .rewrite(&path)
                .map_err(|error| io_error("write", &path, error))?;
            session.vm_mut(self.vm)?.disks[index].tracking = Some(history.record());
            session.save()?;
        }
        Ok(())
    }
}

/// Answers as QueryChangesVirtualDisk does: in part, and in no order.
fn answer(whole: &RangeSet, offset: u64, length: u64, crumbs: bool) -> PartialAnswer {
    let (ranges_max, bytes_max) = match crumbs {
        true => (3, ANSWER_BYTES_MAX),
        false => (ANSWER_RANGES_MAX, ANSWER_BYTES_MAX),
    };
    let length = length.min(bytes_max);
    let mut ranges = Vec::new();
    let mut processed_bytes = length;
    if let Some(window) = ByteRange::at(offset, length) {
        for range in whole.within(window) {
            // Halves that touch: callers have to merge.
            let middle = range.start() + range.bytes() / 2;
            ranges.extend(ByteRange::new(range.start(), middle));
            ranges.extend(ByteRange::new(middle, range.end()));
            if ranges.len() + 2 > ranges_max {
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

impl BlockRead for FrozenDiskSource {
    fn size_bytes(&self) -> u64 {
        self.reader.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        if let Some(window) = ByteRange::at(offset, buf.len() as u64)
            && self.faulty
        {
            self.strike_read(window)?;
        }
        self.reader.read_at(offset, buf)
    }

    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        self.reader.next_allocated(from)
    }
}

impl DiskSource for FrozenDiskSource {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn virtual_disk_id(&self) -> Uuid {
        self.virtual_disk_id
    }

    fn change_id(&self) -> Result<Option<ChangeId>, DiskError> {
        Ok(self.change_id.clone())
    }

    fn changes_since(&self, base: &ChangeId) -> Changes {
        self.query(base).unwrap_or_else(|error| {
            Changes::Unknown(UnknownReason {
                code: error.code(),
                text: error.to_string(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_add_up_to_the_whole_answer() {
        let ranges = (0..50).filter_map(|n| ByteRange::at(n * 1000, 300));
        let whole = RangeSet::from_unsorted(ranges.collect());
        for crumbs in [false, true] {
            let mut asked = 0;
            let answered = query_loop(60_000, |offset, length| {
                asked += 1;
                Ok::<_, ()>(answer(&whole, offset, length, crumbs))
            });
            assert_eq!(answered.as_ref(), Ok(&whole));
            assert_eq!(asked > 1, crumbs);
        }
    }
}
