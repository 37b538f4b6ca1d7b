//! Which parts of a disk are read, and what is taken over from the base: a pure function.

use disk::{ByteRange, RangeSet};
use kopia::object_id::ObjectId;

use crate::segments::Segments;
use crate::slot::{SLOT_BYTES, slot_range};

/// How many chunks a slot has at most: as many as a [`ChunkMask`] has bits.
pub const CHUNKS_PER_SLOT_MAX: u64 = 128;

/// Which chunks of a slot are meant, the first in the lowest bit.
pub type ChunkMask = u128;

/// What happens to one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotPlan {
    /// Nothing changed in it: the base's segment is taken over unread.
    Reuse(ObjectId),
    /// It lies in a hole of the disk: the zero segment stands for it.
    Zero,
    /// These chunks are read; the others are holes.
    Read(ChunkMask),
    /// The chunks of `changed` are replaced, those of `read` by what is read and the others by
    /// zeros; the rest comes from the base's segment.
    Patch {
        /// The base's segment.
        segment: ObjectId,
        /// What tracking calls changed.
        changed: ChunkMask,
        /// What of it is no hole.
        read: ChunkMask,
    },
}

/// What is known before a disk is read.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// How many slots the disk has.
    pub slots: u64,
    /// The length chunks are cut to.
    pub chunk_bytes: u64,
    /// The base's segments and what changed since, for an increment.
    pub base: Option<(&'a Segments, &'a RangeSet)>,
}

/// Plans slot after slot, so that no plan of a whole disk lies in memory.
#[derive(Debug)]
pub struct Planner<'a> {
    facts: Facts<'a>,
    next_slot: u64,
    /// The allocated range that was found last and may reach further; `None` at first.
    allocated: Option<Allocated>,
}

/// What is known about allocation from some offset on.
#[derive(Debug, Clone, Copy)]
enum Allocated {
    Range(ByteRange),
    NothingMore,
}

impl<'a> Planner<'a> {
    /// Returns a planner that stands before the first slot.
    pub fn new(facts: Facts<'a>) -> Self {
        assert!(
            SLOT_BYTES.is_multiple_of(facts.chunk_bytes)
                && SLOT_BYTES / facts.chunk_bytes <= CHUNKS_PER_SLOT_MAX
        );
        Self {
            facts,
            next_slot: 0,
            allocated: None,
        }
    }

    /// Returns the next slot's number and plan, or `None` behind the last.
    ///
    /// `next_allocated` returns the first range at or after an offset that may hold data; it is
    /// asked only where something is to be read, with ever higher offsets.
    ///
    /// # Errors
    /// Whatever `next_allocated` says.
    pub fn next<E>(
        &mut self,
        next_allocated: &mut dyn FnMut(u64) -> Result<Option<ByteRange>, E>,
    ) -> Result<Option<(u64, SlotPlan)>, E> {
        let number = self.next_slot;
        if number >= self.facts.slots {
            return Ok(None);
        }
        self.next_slot += 1;
        let slot = slot_range(number);
        let plan = match self.facts.base {
            Some((segments, changes)) => {
                let segment = segments.get(number as usize);
                let changed = mask_of(slot, changes.within(slot), self.facts.chunk_bytes);
                if changed == 0 {
                    SlotPlan::Reuse(segment)
                } else {
                    let allocated = self.allocated_chunks(slot, next_allocated)?;
                    SlotPlan::Patch {
                        segment,
                        changed,
                        read: changed & allocated,
                    }
                }
            }
            None => match self.allocated_chunks(slot, next_allocated)? {
                0 => SlotPlan::Zero,
                read => SlotPlan::Read(read),
            },
        };
        Ok(Some((number, plan)))
    }

    fn allocated_chunks<E>(
        &mut self,
        slot: ByteRange,
        next_allocated: &mut dyn FnMut(u64) -> Result<Option<ByteRange>, E>,
    ) -> Result<ChunkMask, E> {
        let mut mask = 0;
        let mut from = slot.start();
        loop {
            let known = match self.allocated {
                Some(Allocated::NothingMore) => return Ok(mask),
                Some(Allocated::Range(range)) if range.end() > from => range,
                _ => match next_allocated(from)? {
                    Some(range) => range,
                    None => {
                        self.allocated = Some(Allocated::NothingMore);
                        return Ok(mask);
                    }
                },
            };
            self.allocated = Some(Allocated::Range(known));
            let Some(inside) = known.intersection(&slot) else {
                return Ok(mask);
            };
            mask |= mask_of(slot, std::iter::once(inside), self.facts.chunk_bytes);
            from = inside.end();
            if from >= slot.end() {
                return Ok(mask);
            }
        }
    }
}

/// Returns the chunks of `slot` that `ranges`, which lie within it, touch.
fn mask_of(
    slot: ByteRange,
    ranges: impl Iterator<Item = ByteRange>,
    chunk_bytes: u64,
) -> ChunkMask {
    ranges.fold(0, |mask, range| {
        let first = (range.start() - slot.start()) / chunk_bytes;
        let end = (range.end() - slot.start()).div_ceil(chunk_bytes);
        mask | (ChunkMask::MAX >> (ChunkMask::BITS as u64 - (end - first))) << first
    })
}

/// Returns the runs of chunks in a mask: first and end.
pub fn runs(mask: ChunkMask) -> impl Iterator<Item = (u32, u32)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = mask.checked_shr(at)?;
        if rest == 0 {
            return None;
        }
        let first = at + rest.trailing_zeros();
        let end = first + (mask >> first).trailing_ones();
        at = end;
        Some((first, end))
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn object(text: &str) -> ObjectId {
        text.parse().unwrap()
    }

    fn ranges(ranges: &[(u64, u64)]) -> RangeSet {
        RangeSet::from_unsorted(
            ranges
                .iter()
                .filter_map(|&(start, bytes)| ByteRange::at(start, bytes))
                .collect(),
        )
    }

    const CHUNK: u64 = 256 << 10;
    const A: &str = "Ix00112233445566778899aabbccddeeff";
    const ZERO: &str = "Ixffffffffffffffffffffffffffffffff";

    fn segments(objects: &[&str]) -> Segments {
        let mut segments = Segments::filled(&object(ZERO), objects.len());
        for (slot, text) in objects.iter().enumerate() {
            segments.set(slot, &object(text));
        }
        segments
    }

    fn plans(facts: Facts<'_>, data: &RangeSet) -> Vec<SlotPlan> {
        let mut planner = Planner::new(facts);
        let mut asked = 0;
        let mut next_allocated = |from: u64| {
            assert!(from >= asked, "offsets only grow");
            asked = from;
            let found = data.iter().find(|range| range.end() > from);
            Ok::<_, Infallible>(
                found.and_then(|range| ByteRange::new(range.start().max(from), range.end())),
            )
        };
        std::iter::from_fn(|| planner.next(&mut next_allocated).unwrap())
            .map(|(_, plan)| plan)
            .collect()
    }

    #[test]
    fn a_full_reads_what_is_allocated_and_nothing_else() {
        let facts = Facts {
            slots: 5,
            chunk_bytes: CHUNK,
            base: None,
        };
        let data = ranges(&[
            (SLOT_BYTES + 5, 10),
            (3 * SLOT_BYTES - CHUNK, CHUNK + 1),
            (5 * SLOT_BYTES - 1, 1),
        ]);
        let expected = [
            SlotPlan::Zero,
            SlotPlan::Read(1),
            SlotPlan::Read(1 << 127),
            SlotPlan::Read(1),
            SlotPlan::Read(1 << 127),
        ];
        assert_eq!(plans(facts, &data), expected);
    }

    #[test]
    fn an_increment_touches_only_changed_chunks() {
        let base = segments(&[A, A, ZERO, A]);
        let changes = ranges(&[(SLOT_BYTES - 1, 2), (2 * SLOT_BYTES + 9, 1)]);
        let facts = Facts {
            slots: 4,
            chunk_bytes: CHUNK,
            base: Some((&base, &changes)),
        };
        let patch = |segment, mask| SlotPlan::Patch {
            segment: object(segment),
            changed: mask,
            read: mask,
        };
        let expected = [
            patch(A, 1 << 127),
            patch(A, 1),
            patch(ZERO, 1),
            SlotPlan::Reuse(object(A)),
        ];
        assert_eq!(plans(facts, &ranges(&[(0, 4 * SLOT_BYTES)])), expected);
    }

    #[test]
    fn a_changed_chunk_that_became_a_hole_is_not_read() {
        let base = segments(&[A]);
        let changes = ranges(&[(0, 2 * CHUNK)]);
        let facts = Facts {
            slots: 1,
            chunk_bytes: CHUNK,
            base: Some((&base, &changes)),
        };
        let expected = [SlotPlan::Patch {
            segment: object(A),
            changed: 0b11,
            read: 0b10,
        }];
        assert_eq!(plans(facts, &ranges(&[(CHUNK, CHUNK)])), expected);
    }

    #[test]
    fn runs_of_a_mask() {
        assert_eq!(runs(0).count(), 0);
        assert_eq!(runs(0b1101).collect::<Vec<_>>(), [(0, 1), (2, 4)]);
        assert_eq!(runs(ChunkMask::MAX).collect::<Vec<_>>(), [(0, 128)]);
        assert_eq!(runs(1 << 127).collect::<Vec<_>>(), [(127, 128)]);
    }
}
