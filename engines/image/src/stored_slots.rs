//! What of a disk is stored so far, slot by slot.
//!
//! Shared by the workers that store slots, by the image they make, and by whoever protects what
//! is stored while the transfer goes on (a checkpoint manifest, Kopia spec 8.4). What protects it,
//! and when, this module does not know.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use kopia::content_id::ContentId;
use kopia::indirect::IndirectEntry;
use kopia::object_id::ObjectId;
use repo::{Encoder, Writer};

use crate::chunk_log::{ChunkLog, EVERYWHERE};
use crate::error::{ImageError, repo_error};
use crate::plan::SlotPlan;
use crate::segments::Segments;
use crate::slot::SLOT_BYTES;

/// The shared segment of a slot without data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZeroSegment {
    pub(crate) chunk: ContentId,
    pub(crate) segment: ObjectId,
    pub(crate) packed_bytes: u64,
}

/// Which slots of a disk are stored, and what each of them needs.
#[derive(Debug)]
pub struct StoredSlots {
    zero: ZeroSegment,
    slots: Mutex<Slots>,
    log: ChunkLog,
    /// The places of the log that [`write_partial`](Self::write_partial) has to look at: what was
    /// not in the index yet, and what was noted since.
    to_look_at: Mutex<Vec<Range<u64>>>,
}

#[derive(Debug)]
pub(crate) struct Slots {
    /// One segment per slot; the zero segment where nothing is stored yet.
    pub(crate) segments: Segments,
    origins: Vec<Origin>,
    /// Slots whose own contents were all found in the index.
    found: Vec<bool>,
}

/// Where a slot's content comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It is a hole, or was not dealt with yet.
    Nothing,
    /// All of it was read.
    Read,
    /// A part was read, the rest is the base's.
    Patched,
    /// All of it is the base's.
    Reused,
}

/// An object that names what is stored of a disk so far. It is no disk: the segments stand one
/// behind another without their gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialImage {
    /// The object.
    pub object: ObjectId,
    /// Its length.
    pub bytes: u64,
}

impl StoredSlots {
    pub(crate) fn new(slots: u64, zero: ZeroSegment) -> Result<Self, ImageError> {
        let slots = slots as usize;
        Ok(Self {
            zero,
            slots: Mutex::new(Slots {
                segments: Segments::filled(&zero.segment, slots),
                origins: vec![Origin::Nothing; slots],
                found: vec![false; slots],
            }),
            log: ChunkLog::new()?,
            to_look_at: Mutex::new(vec![EVERYWHERE]),
        })
    }

    pub(crate) fn zero(&self) -> &ZeroSegment {
        &self.zero
    }

    /// Returns what each slot needs. A slot's note stands here before the slot counts as stored.
    pub(crate) fn log(&self) -> &ChunkLog {
        &self.log
    }

    pub(crate) fn note(&self, number: u64, plan: &SlotPlan, segment: ObjectId) {
        let mut slots = self.lock();
        slots.segments.set(number as usize, &segment);
        slots.origins[number as usize] = match plan {
            SlotPlan::Zero => Origin::Nothing,
            SlotPlan::Read(_) => Origin::Read,
            SlotPlan::Patch { .. } => Origin::Patched,
            SlotPlan::Reuse(_) => Origin::Reused,
        };
    }

    /// Writes an object that names every slot stored so far whose contents are all in the index
    /// as it was last read; `None` if there is none.
    ///
    /// What came from the base is named only if `base_is_live`: a manifest that names what is
    /// gone would stop Kopia's maintenance. What was found once is not looked up again: what
    /// was named before is protected since.
    pub fn write_partial(
        &self,
        writer: &Writer,
        base_is_live: bool,
    ) -> Result<Option<PartialImage>, ImageError> {
        let repo = writer.repository();
        let is_live = |id: &ContentId| repo.is_live(id).map_err(repo_error("look up a chunk"));
        if !(is_live(&self.zero.chunk)? && is_live(&self.zero.segment.content)?) {
            return Ok(None);
        }
        let mut to_look_at = self
            .to_look_at
            .lock()
            .expect("no thread panics while it looks through the log");
        let mut unfound = Vec::new();
        let end = self.log.for_each_in(&to_look_at, &mut |note| {
            for id in note.contents {
                if !is_live(id)? {
                    unfound.push(note.place.clone());
                    return Ok(());
                }
            }
            if let Some(found) = self.lock().found.get_mut(note.slot as usize) {
                *found = true;
            }
            Ok(())
        })?;
        // What was stored since the index was last written is found next time.
        unfound.push(end..u64::MAX);
        *to_look_at = unfound;
        let mut count = 0;
        let entries = (0..self.slot_count()).filter_map(|number| {
            let segment = self.named(number, base_is_live)?;
            let start = count * SLOT_BYTES;
            count += 1;
            Some(IndirectEntry {
                start,
                bytes: SLOT_BYTES,
                object: segment,
            })
        });
        let mut entries = entries.peekable();
        if entries.peek().is_none() {
            return Ok(None);
        }
        let list = writer
            .write_list(&mut Encoder::metadata(), entries)
            .map_err(repo_error("store the list of what is stored so far"))?;
        Ok(Some(PartialImage {
            object: list.object,
            bytes: count * SLOT_BYTES,
        }))
    }

    /// Returns a slot's segment if a partial image may name it.
    fn named(&self, number: usize, base_is_live: bool) -> Option<ObjectId> {
        let slots = self.lock();
        let named = match slots.origins[number] {
            Origin::Nothing => false,
            Origin::Read => slots.found[number],
            Origin::Patched => slots.found[number] && base_is_live,
            Origin::Reused => base_is_live,
        };
        let segment = slots.segments.get(number);
        (named && segment != self.zero.segment).then_some(segment)
    }

    fn slot_count(&self) -> usize {
        self.lock().segments.len()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots
            .lock()
            .expect("no thread panics while it notes a slot")
    }
}

impl Slots {
    /// Returns whether a slot's content comes from the base, at least in part.
    pub(crate) fn is_inherited(&self, number: usize) -> bool {
        matches!(self.origins[number], Origin::Patched | Origin::Reused)
    }
}
