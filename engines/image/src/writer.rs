//! Writes a frozen disk into a repository, in full or as an increment on a base.
//!
//! Every worker takes a slot, reads its parts, and stores them: reading, zero detection,
//! hashing, compression and sealing of different slots run side by side on all cores, and
//! packs go out behind them through the repository writer's bounded queue. A worker holds one
//! read buffer, so memory does not depend on the disk.

use std::ops::AddAssign;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use disk::{ByteRange, DiskSource, RangeSet, is_zero};
use kopia::compression::CompressionAlgorithm;
use kopia::content_id::{ContentId, prefix};
use kopia::indirect::IndirectEntry;
use kopia::object_id::ObjectId;
use local_file::AlignedBuffer;
use progress::{Progress, side_by_side};
use repo::{Encoder, Repository, Writer};
use time_and_chance::Chance;
use uuid::Uuid;
use vhdx::canonical::Layout;

use crate::chunk_log::ChunkLog;
use crate::error::{ImageError, ImageErrorKind, disk_error, repo_error, stopped};
use crate::plan::{ChunkMask, Facts, Planner, SlotPlan, runs};
use crate::proof;
use crate::segments::{Segments, chunk_entries, read_chunks, read_segments};
use crate::slot::{CHUNK_BYTES, SLOT_BYTES, slot_range};
use crate::stored_slots::{StoredSlots, ZeroSegment};

/// A worker reads at most this much at once, and seals it before it reads on.
pub const READ_BYTES_MAX: u64 = 4 << 20;
/// The place in the log of what belongs to no slot: front, zero segment, outer list.
const NO_SLOT: u64 = u64::MAX;

/// What an increment builds on.
#[derive(Debug, Clone)]
pub struct Base {
    /// The object that holds the disk as it was at the base's instant.
    pub object: ObjectId,
    /// Everything written since lies inside these ranges.
    pub changes: RangeSet,
}

/// A slot that was stored, for whoever looks on.
#[derive(Debug, Clone, Copy)]
pub struct SlotNews<'a> {
    /// The disk's number.
    pub disk: u32,
    /// How many bytes of the disk were dealt with; 0 for what needed no reading.
    pub bytes: u64,
    /// How many of these were not zeros.
    pub data_bytes: u64,
    /// How many of these the repository did not have.
    pub new_bytes: u64,
    /// What the new ones and their list take in packs.
    pub packed_bytes: u64,
    /// Everything of the disk that is stored so far, this slot included.
    pub stored: &'a Arc<StoredSlots>,
}

/// Looks on while a disk is stored; for what has to happen during a long transfer.
pub trait Onlooker: Sync {
    /// Hears from a worker that it stored a slot. The worker goes on when this returns; the
    /// others go on meanwhile. Whoever wants the transfer to end throws its stop signal.
    fn slot_stored(&self, news: SlotNews<'_>);
}

/// Writes disks into a repository.
pub struct ImageWriter<'a> {
    /// Where contents go.
    pub writer: &'a Writer,
    /// Whom to tell, and who may stop it.
    pub progress: &'a Progress,
    /// The disk's number, for the news.
    pub disk_number: u32,
    /// How chunks are compressed, if at all.
    pub compression: Option<CompressionAlgorithm>,
    /// How many slots are worked on at once.
    pub workers: usize,
    /// Who looks on, if anyone.
    pub onlooker: Option<&'a dyn Onlooker>,
}

/// A disk that was written; nothing of it counts before its point is published.
#[derive(Debug)]
pub struct WrittenImage {
    /// The object that holds the disk as a VHDX file.
    pub object: ObjectId,
    /// That file's length.
    pub file_bytes: u64,
    /// What was read from the source, sample included.
    pub read_bytes: u64,
    /// What was read only to prove that tracking missed nothing.
    pub sample_bytes: u64,
    /// What the base's tracking reported, rounded to chunks; the disk's length for a full.
    pub changed_bytes: u64,
    /// What new chunks and lists take in packs.
    pub packed_bytes: u64,
    layout: Layout,
    virtual_disk_id: Uuid,
    stored: Arc<StoredSlots>,
}

/// What all slots cost.
#[derive(Default)]
struct SlotsWritten {
    read_bytes: u64,
    packed_bytes: u64,
}

/// What became of one slot.
struct SlotWritten {
    segment: ObjectId,
    read_bytes: u64,
    chunks: ChunksStored,
    packed_bytes: u64,
}

/// What became of some chunks.
#[derive(Default)]
struct ChunksStored {
    data_bytes: u64,
    new_bytes: u64,
    packed_bytes: u64,
}

/// What a worker keeps between slots.
struct Scratch {
    data: Encoder,
    lists: Encoder,
    buffer: AlignedBuffer,
}

impl AddAssign for ChunksStored {
    fn add_assign(&mut self, more: Self) {
        self.data_bytes += more.data_bytes;
        self.new_bytes += more.new_bytes;
        self.packed_bytes += more.packed_bytes;
    }
}

impl ImageWriter<'_> {
    /// Writes `source`: all that is allocated, or with a base only what changed since.
    ///
    /// With a base, a sample of unchanged chunks drawn by `chance` is read and compared first
    /// (DESIGN, promise 6).
    ///
    /// # Errors
    /// `TrackingWrong` if the sample differs from the base: write again without one.
    pub fn write(
        &self,
        source: &dyn DiskSource,
        base: Option<&Base>,
        chance: &Chance,
    ) -> Result<WrittenImage, ImageError> {
        let geometry = source.geometry();
        let layout = Layout::new(
            geometry.virtual_bytes,
            geometry.logical_sector_bytes,
            geometry.physical_sector_bytes,
        )
        .map_err(|error| {
            ImageError::new(ImageErrorKind::Unsupported, "lay out the disk's image")
                .caused_by(error)
        })?;
        let repo = self.writer.repository();
        let stored = Arc::new(StoredSlots::new(
            layout.slot_count(),
            self.write_zero_segment()?,
        )?);
        let (log, zero) = (stored.log(), stored.zero());
        note_zero_segment(log, zero)?;
        let base = match base {
            Some(base) => {
                let segments = read_segments(repo, &base.object, &layout)?;
                let changes = base
                    .changes
                    .rounded_out(CHUNK_BYTES, layout.slot_count() * SLOT_BYTES);
                Some((segments, changes))
            }
            None => None,
        };
        let mut sample_bytes = 0;
        if let Some((segments, changes)) = &base {
            sample_bytes = proof::compare_sample(
                repo,
                source,
                segments,
                changes,
                zero.segment,
                chance,
                &self.progress.stop,
            )?;
        }
        let facts = Facts {
            slots: layout.slot_count(),
            chunk_bytes: CHUNK_BYTES,
            base: base.as_ref().map(|(segments, changes)| (segments, changes)),
        };
        self.progress
            .disk_begins(self.disk_number, planned_bytes(source, facts)?);
        let slots = self.write_slots(source, facts, &stored)?;
        let (object, outer_bytes) = self.write_outer(
            &layout,
            source.virtual_disk_id(),
            &stored.lock().segments,
            zero,
            log,
        )?;
        self.progress.disk_ends(self.disk_number);
        let changed_bytes = match &base {
            Some((_, changes)) => changes
                .within(ByteRange::new(0, geometry.virtual_bytes).expect("a disk is not empty"))
                .map(|range| range.bytes())
                .sum(),
            None => geometry.virtual_bytes,
        };
        Ok(WrittenImage {
            object,
            file_bytes: layout.file_bytes(),
            read_bytes: sample_bytes + slots.read_bytes,
            sample_bytes,
            changed_bytes,
            packed_bytes: zero.packed_bytes + outer_bytes + slots.packed_bytes,
            layout,
            virtual_disk_id: source.virtual_disk_id(),
            stored,
        })
    }

    /// Makes sure that everything the image consists of is in the repository now, and stores
    /// again from the frozen disk what is not; returns whether anything was missing.
    ///
    /// `base_is_live` tells whether the manifest of the base still stands: then what was
    /// inherited cannot have been collected, and only what this run wrote or deduplicated is
    /// looked up (DESIGN section 3, reuse rule). Repaired slots get the ids they had, since the
    /// frozen disk has not changed.
    pub fn settle(
        &self,
        image: &WrittenImage,
        source: &dyn DiskSource,
        base_is_live: bool,
    ) -> Result<bool, ImageError> {
        let repo = self.writer.repository();
        let is_live = |id: &ContentId| repo.is_live(id).map_err(repo_error("look up a chunk"));
        let mut missing = std::collections::BTreeSet::new();
        image.stored.log().for_each(&mut |note| {
            for id in note.contents {
                if !is_live(id)? {
                    missing.insert(note.slot);
                    break;
                }
            }
            Ok(())
        })?;
        // Every slot is stored: nobody else wants these any more.
        let all = image.stored.lock();
        if !base_is_live {
            for (segment, number) in all.segments.iter().zip(0u64..) {
                self.progress.stop.check().map_err(stopped)?;
                if all.is_inherited(number as usize) && !self.segment_is_live(&segment)? {
                    missing.insert(number);
                }
            }
        }
        if missing.is_empty() {
            return Ok(false);
        }
        let log = ChunkLog::new()?;
        let zero = self.write_zero_segment()?;
        let slots: Vec<u64> = missing
            .into_iter()
            .filter(|slot| *slot != NO_SLOT)
            .collect();
        let mut scratch = self.scratch();
        for number in slots {
            self.progress.stop.check().map_err(stopped)?;
            let plan = SlotPlan::Read(ChunkMask::MAX);
            let written = self.write_slot(source, number, &plan, &zero, &log, &mut scratch)?;
            if written.segment != all.segments.get(number as usize) {
                return Err(ImageError::new(
                    ImageErrorKind::TrackingWrong,
                    format!(
                        "store slot {number} again: the frozen disk differs from what was inherited from the base"
                    ),
                ));
            }
        }
        self.write_outer(
            &image.layout,
            image.virtual_disk_id,
            &all.segments,
            &zero,
            &log,
        )?;
        Ok(true)
    }

    fn segment_is_live(&self, segment: &ObjectId) -> Result<bool, ImageError> {
        let repo = self.writer.repository();
        let is_live = |id: &ContentId| repo.is_live(id).map_err(repo_error("look up a chunk"));
        if !is_live(&segment.content)? {
            return Ok(false);
        }
        let chunks = match read_chunks(repo, segment, CHUNK_BYTES) {
            Err(error) if matches!(error.kind(), ImageErrorKind::Repo(kind) if kind.is_gone()) => {
                return Ok(false);
            }
            other => other?,
        };
        for id in chunks {
            if !is_live(&id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn scratch(&self) -> Scratch {
        Scratch {
            data: Encoder::new(self.compression),
            lists: Encoder::metadata(),
            buffer: AlignedBuffer::new(READ_BYTES_MAX as usize),
        }
    }

    fn write_slots(
        &self,
        source: &dyn DiskSource,
        facts: Facts<'_>,
        stored: &Arc<StoredSlots>,
    ) -> Result<SlotsWritten, ImageError> {
        let (zero, log) = (stored.zero(), stored.log());
        let planner = Mutex::new(Planner::new(facts));
        let done = Mutex::new(SlotsWritten::default());
        let step = |scratch: &mut Scratch| {
            self.progress.stop.check().map_err(stopped)?;
            let next = planner
                .lock()
                .expect("no worker panics while it plans")
                .next(&mut |from| source.next_allocated(from))
                .map_err(disk_error("find out which parts of the disk hold data"))?;
            let Some((number, plan)) = next else {
                return Ok(ControlFlow::Break(()));
            };
            let written = self.write_slot(source, number, &plan, zero, log, scratch)?;
            stored.note(number, &plan, written.segment);
            let mut cost = done.lock().expect("no worker panics while it counts");
            cost.read_bytes += written.read_bytes;
            cost.packed_bytes += written.packed_bytes;
            drop(cost);
            self.tell(planned_slot_bytes(&plan), &written, stored);
            Ok(ControlFlow::Continue(()))
        };
        side_by_side(self.workers, || self.scratch(), step)?;
        Ok(done.into_inner().expect("all workers ended"))
    }

    fn tell(&self, bytes: u64, written: &SlotWritten, stored: &Arc<StoredSlots>) {
        if bytes > 0 {
            self.progress
                .disk_advances(self.disk_number, bytes, written.packed_bytes);
        }
        if let Some(onlooker) = self.onlooker {
            onlooker.slot_stored(SlotNews {
                disk: self.disk_number,
                bytes,
                data_bytes: written.chunks.data_bytes,
                new_bytes: written.chunks.new_bytes,
                packed_bytes: written.packed_bytes,
                stored,
            });
        }
    }

    fn write_slot(
        &self,
        source: &dyn DiskSource,
        number: u64,
        plan: &SlotPlan,
        zero: &ZeroSegment,
        log: &ChunkLog,
        scratch: &mut Scratch,
    ) -> Result<SlotWritten, ImageError> {
        let taken_over = |segment| SlotWritten {
            segment,
            read_bytes: 0,
            chunks: ChunksStored::default(),
            packed_bytes: 0,
        };
        let (mut chunks, wanted) = match plan {
            SlotPlan::Reuse(segment) => return Ok(taken_over(*segment)),
            SlotPlan::Zero => return Ok(taken_over(zero.segment)),
            SlotPlan::Read(read) => (vec![zero.chunk; CHUNKS_PER_SLOT], *read),
            SlotPlan::Patch {
                segment,
                changed,
                read,
            } => {
                let mut chunks = read_chunks(self.writer.repository(), segment, CHUNK_BYTES)?;
                for (first, end) in runs(*changed) {
                    chunks[first as usize..end as usize].fill(zero.chunk);
                }
                (chunks, *read)
            }
        };
        let mut read_bytes = 0;
        let mut stored = ChunksStored::default();
        let mut contents = Vec::new();
        let chunks_per_read = (READ_BYTES_MAX / CHUNK_BYTES) as u32;
        for (first, end) in runs(wanted) {
            for first in (first..end).step_by(chunks_per_read as usize) {
                let count = u64::from(chunks_per_read.min(end - first));
                let offset = slot_range(number).start() + u64::from(first) * CHUNK_BYTES;
                let data = &mut scratch.buffer[..(count * CHUNK_BYTES) as usize];
                read_bytes += read_padded(source, offset, data)?;
                let place = &mut chunks[first as usize..];
                stored +=
                    self.store_chunks(data, place, zero.chunk, &mut contents, &mut scratch.data)?;
            }
        }
        if chunks.iter().all(|chunk| *chunk == zero.chunk) {
            return Ok(SlotWritten {
                segment: zero.segment,
                read_bytes,
                packed_bytes: stored.packed_bytes,
                chunks: stored,
            });
        }
        let list = self
            .writer
            .write_list(&mut scratch.lists, chunk_entries(&chunks, CHUNK_BYTES))
            .map_err(repo_error("store a segment"))?;
        contents.push(list.object.content);
        log.append(number, &contents)?;
        Ok(SlotWritten {
            segment: list.object,
            read_bytes,
            packed_bytes: stored.packed_bytes + u64::from(list.packed_bytes),
            chunks: stored,
        })
    }

    /// Stores the chunks of `data` that are not all zeros and puts their ids into `chunks`.
    fn store_chunks(
        &self,
        data: &[u8],
        chunks: &mut [ContentId],
        zero: ContentId,
        contents: &mut Vec<ContentId>,
        encoder: &mut Encoder,
    ) -> Result<ChunksStored, ImageError> {
        let mut places = Vec::with_capacity(data.len() / CHUNK_BYTES as usize);
        let mut slices = Vec::with_capacity(places.capacity());
        for (place, chunk) in data.chunks_exact(CHUNK_BYTES as usize).enumerate() {
            if is_zero(chunk) {
                chunks[place] = zero;
            } else {
                places.push(place);
                slices.push(chunk);
            }
        }
        let written = self
            .writer
            .write_contents(encoder, None, &slices)
            .map_err(repo_error("store chunks"))?;
        let mut stored = ChunksStored {
            data_bytes: slices.len() as u64 * CHUNK_BYTES,
            ..ChunksStored::default()
        };
        for (place, written) in places.into_iter().zip(&written) {
            chunks[place] = written.id;
            contents.push(written.id);
            stored.new_bytes += u64::from(written.packed_bytes > 0) * CHUNK_BYTES;
            stored.packed_bytes += u64::from(written.packed_bytes);
        }
        Ok(stored)
    }

    fn write_zero_segment(&self) -> Result<ZeroSegment, ImageError> {
        let doing = "store the segment that stands for zeros";
        // Zeros are compressed whatever the policy says: one chunk of them serves every hole.
        let mut encoder = Encoder::metadata();
        let chunk = self
            .writer
            .write_content(&mut encoder, None, &vec![0; CHUNK_BYTES as usize])
            .map_err(repo_error(doing))?;
        let list = self
            .writer
            .write_list(
                &mut encoder,
                chunk_entries(&vec![chunk.id; CHUNKS_PER_SLOT], CHUNK_BYTES),
            )
            .map_err(repo_error(doing))?;
        Ok(ZeroSegment {
            chunk: chunk.id,
            segment: list.object,
            packed_bytes: u64::from(chunk.packed_bytes) + u64::from(list.packed_bytes),
        })
    }

    /// Writes the file's front and the list of all segments; returns the object and what it took.
    fn write_outer(
        &self,
        layout: &Layout,
        virtual_disk_id: Uuid,
        segments: &Segments,
        zero: &ZeroSegment,
        log: &ChunkLog,
    ) -> Result<(ObjectId, u64), ImageError> {
        let [file_write, data_write] = write_guids(self.writer.repository(), segments);
        let front = layout.front(virtual_disk_id, file_write, data_write, |slot| {
            segments.get(slot as usize) != zero.segment
        });
        let mut scratch = self.scratch();
        let mut contents = Vec::new();
        let mut packed_bytes = 0;
        let mut entries = Vec::new();
        for (segment, number) in front.chunks(SLOT_BYTES as usize).zip(0u64..) {
            let mut chunks = vec![zero.chunk; segment.len() / CHUNK_BYTES as usize];
            let stored = self.store_chunks(
                segment,
                &mut chunks,
                zero.chunk,
                &mut contents,
                &mut scratch.data,
            )?;
            packed_bytes += stored.packed_bytes;
            let list = self
                .writer
                .write_list(&mut scratch.lists, chunk_entries(&chunks, CHUNK_BYTES))
                .map_err(repo_error("store the image's front"))?;
            packed_bytes += u64::from(list.packed_bytes);
            contents.push(list.object.content);
            entries.push(IndirectEntry {
                start: number * SLOT_BYTES,
                bytes: segment.len() as u64,
                object: list.object,
            });
        }
        let slots = segments
            .iter()
            .zip(0u64..)
            .map(|(object, number)| IndirectEntry {
                start: layout.front_bytes() + number * SLOT_BYTES,
                bytes: SLOT_BYTES,
                object,
            });
        let list = self
            .writer
            .write_list(&mut scratch.lists, entries.into_iter().chain(slots))
            .map_err(repo_error("store the image's list of segments"))?;
        packed_bytes += u64::from(list.packed_bytes);
        contents.push(list.object.content);
        contents.extend(list.pieces);
        log.append(NO_SLOT, &contents)?;
        Ok((list.object, packed_bytes))
    }
}

fn note_zero_segment(log: &ChunkLog, zero: &ZeroSegment) -> Result<(), ImageError> {
    log.append(NO_SLOT, &[zero.chunk, zero.segment.content])
}

const CHUNKS_PER_SLOT: usize = (SLOT_BYTES / CHUNK_BYTES) as usize;

/// Returns how many bytes of the disk will be read for a slot.
fn planned_slot_bytes(plan: &SlotPlan) -> u64 {
    match plan {
        SlotPlan::Reuse(_) | SlotPlan::Zero => 0,
        SlotPlan::Read(read) | SlotPlan::Patch { read, .. } => {
            u64::from(read.count_ones()) * CHUNK_BYTES
        }
    }
}

/// Returns about how many bytes of `source` a full reads, or an increment on `changes`: of what
/// changed, holes count here too.
pub fn bytes_to_read(
    source: &dyn DiskSource,
    changes: Option<&RangeSet>,
) -> Result<u64, ImageError> {
    let slots = source.size_bytes().div_ceil(SLOT_BYTES);
    match changes {
        Some(changes) => Ok(changes
            .rounded_out(CHUNK_BYTES, slots * SLOT_BYTES)
            .total_bytes()),
        None => planned_bytes(
            source,
            Facts {
                slots,
                chunk_bytes: CHUNK_BYTES,
                base: None,
            },
        ),
    }
}

/// Returns how many bytes of the disk will be read in all.
fn planned_bytes(source: &dyn DiskSource, facts: Facts<'_>) -> Result<u64, ImageError> {
    let mut planner = Planner::new(facts);
    let mut bytes = 0;
    while let Some((_, plan)) = planner
        .next(&mut |from| source.next_allocated(from))
        .map_err(disk_error("find out which parts of the disk hold data"))?
    {
        bytes += planned_slot_bytes(&plan);
    }
    Ok(bytes)
}

/// Fills `buffer` from `offset` of the disk; what lies past the disk's end is padding, not
/// content. Returns how much was read.
fn read_padded(source: &dyn DiskSource, offset: u64, buffer: &mut [u8]) -> Result<u64, ImageError> {
    let inside = source
        .size_bytes()
        .saturating_sub(offset)
        .min(buffer.len() as u64);
    let (content, padding) = buffer.split_at_mut(inside as usize);
    padding.fill(0);
    if !content.is_empty() {
        source
            .read_at(offset, content)
            .map_err(disk_error("read the disk"))?;
    }
    Ok(inside)
}

/// Derives the file's write GUIDs from all segments: equal disks give equal objects, different
/// ones never share them (DESIGN section 3).
fn write_guids(repo: &Repository, segments: &Segments) -> [Uuid; 2] {
    let mut hashes = Vec::new();
    let mut segments = segments.iter().peekable();
    while segments.peek().is_some() {
        let group = segments.by_ref().take(4096);
        let text: String = group.map(|segment| format!("{segment}\n")).collect();
        hashes.extend_from_slice(
            repo.content_id(Some(prefix::INDIRECT), text.as_bytes())
                .hash()
                .as_bytes(),
        );
    }
    ["file write", "data write"].map(|purpose| {
        let mut text = purpose.as_bytes().to_vec();
        text.extend_from_slice(&hashes);
        let hash = repo.content_id(None, &text);
        uuid::Builder::from_custom_bytes(hash.hash().iv()).into_uuid()
    })
}
