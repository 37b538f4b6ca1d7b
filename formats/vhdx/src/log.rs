//! The log: which of its entries form the active sequence, and what they lay over the file.
//!
//! Entries stand on 4 KiB borders in a ring. Every entry names its tail: the oldest entry that
//! must be replayed with it. The active sequence is the one whose last entry has the highest
//! number among those that reach back to their tail without a gap (MS-VHDX 2.3).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::checksum::is_checksummed;
use crate::error::{Result, damaged, unsupported};
use crate::file::ReadAt;
use crate::header::{Header, MIB};
use crate::region::Region;
use crate::replayed::{Replayed, SECTOR_BYTES};

const ENTRY_SIGNATURE: [u8; 4] = *b"loge";
const ZERO_SIGNATURE: [u8; 4] = *b"zero";
const DATA_SIGNATURE: [u8; 4] = *b"desc";
const SECTOR_SIGNATURE: [u8; 4] = *b"data";

const SECTOR: usize = SECTOR_BYTES as usize;
const DESCRIPTOR_BYTES: usize = 32;

/// Windows and qemu make logs of 1 MiB.
const LOG_BYTES_MAX: u32 = 64 << 20;

/// How often the log's length may be read while entries are checked: in a log that was written
/// rather than made up, they hardly overlap.
const CHECKED_LENGTHS_MAX: usize = 16;

#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    signature: [u8; 4],
    checksum: U32,
    entry_length: U32,
    tail: U32,
    sequence_number: U64,
    descriptor_count: U32,
    reserved: U32,
    log_guid: [u8; 16],
    flushed_file_offset: U64,
    last_file_offset: U64,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawDescriptor {
    signature: [u8; 4],
    /// In data descriptors the sector's last four bytes.
    trailing: [u8; 4],
    /// In data descriptors the sector's first eight bytes, in others the length of the zeros.
    leading: [u8; 8],
    file_offset: U64,
    sequence_number: U64,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSector {
    signature: [u8; 4],
    sequence_high: U32,
    content: [u8; 4084],
    sequence_low: U32,
}

/// A valid entry: where it stands and what its head says.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: usize,
    bytes: usize,
    tail: usize,
    number: u64,
    flushed_bytes: u64,
    last_bytes: u64,
}

/// What one descriptor lays over the file.
enum Change {
    Sector { offset: u64, content: Box<[u8]> },
    Zeros { offset: u64, bytes: u64 },
}

/// Lays what the log holds over the file; nothing if the header says that it is empty.
pub(crate) fn replay<F: ReadAt>(file: &mut Replayed<F>, header: &Header) -> Result<()> {
    if header.log_guid.is_nil() {
        return Ok(());
    }
    if header.log_bytes > LOG_BYTES_MAX {
        return Err(unsupported(format!(
            "replay a log of {} bytes",
            header.log_bytes
        )));
    }
    let log_region = Region {
        offset: header.log_offset,
        bytes: header.log_bytes.into(),
    };
    let real_bytes = file.len_bytes();
    let log_end = log_region.offset.checked_add(log_region.bytes);
    if log_end.is_none_or(|end| end > real_bytes) {
        return Err(damaged("read the log: the file ends before it does"));
    }
    let mut bytes = vec![0; header.log_bytes as usize];
    file.read(log_region.offset, &mut bytes)?;
    let log = Log {
        bytes,
        guid: header.log_guid.to_bytes_le(),
    };
    let sequence = log.active_sequence()?;
    let last = sequence.last().ok_or_else(|| {
        damaged("replay the log: the header says it is in use, but no sequence in it is whole")
    })?;
    if real_bytes < last.flushed_bytes {
        return Err(damaged(format!(
            "replay the log: the file was {} bytes long and has {real_bytes} left",
            last.flushed_bytes
        )));
    }
    for entry in &sequence {
        let bytes = log.ring(entry.offset, entry.bytes);
        let changes = changes(&bytes, entry.number)
            .ok_or_else(|| damaged("replay the log: an entry's descriptors are impossible"))?;
        for change in changes {
            apply(file, log_region, change)?;
        }
    }
    file.extend(last.last_bytes)
}

fn apply<F: ReadAt>(file: &mut Replayed<F>, log: Region, change: Change) -> Result<()> {
    let (offset, bytes) = match &change {
        Change::Sector { offset, content } => (*offset, content.len() as u64),
        Change::Zeros { offset, bytes } => (*offset, *bytes),
    };
    let end = offset
        .checked_add(bytes)
        .ok_or_else(|| damaged("replay the log: it writes past every end"))?;
    let in_log = offset < log.offset + log.bytes && log.offset < end;
    if offset < MIB || in_log {
        return Err(damaged(
            "replay the log: it writes over the headers or itself",
        ));
    }
    file.extend(end)?;
    match change {
        Change::Sector { offset, content } => file.lay_sector(offset, content),
        Change::Zeros { bytes: 0, .. } => {}
        Change::Zeros { offset, bytes } => file.lay_zeros(offset, bytes),
    }
    Ok(())
}

struct Log {
    bytes: Vec<u8>,
    guid: [u8; 16],
}

impl Log {
    /// Returns the entries to replay, oldest first.
    fn active_sequence(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Option<Entry>> = Vec::new();
        let mut checked = 0;
        for offset in (0..self.bytes.len()).step_by(SECTOR) {
            entries.push(self.entry(offset, &mut checked));
            if checked > CHECKED_LENGTHS_MAX * self.bytes.len() {
                return Err(damaged("read the log: its entries lie upon each other"));
            }
        }
        let mut heads: Vec<Entry> = entries.iter().flatten().copied().collect();
        heads.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.number));
        let found = heads.iter().find_map(|head| self.path(&entries, head));
        Ok(found.unwrap_or_default())
    }

    /// Returns the entries from a head's tail up to the head, if none is missing.
    fn path(&self, entries: &[Option<Entry>], head: &Entry) -> Option<Vec<Entry>> {
        let mut path: Vec<Entry> = Vec::new();
        let mut offset = head.tail;
        let mut total = 0;
        loop {
            let entry = entries[offset / SECTOR]?;
            if path
                .last()
                .is_some_and(|last| last.number.checked_add(1) != Some(entry.number))
            {
                return None;
            }
            total += entry.bytes;
            if total > self.bytes.len() || entry.number > head.number {
                return None;
            }
            path.push(entry);
            if entry.offset == head.offset {
                return Some(path);
            }
            offset = (offset + entry.bytes) % self.bytes.len();
        }
    }

    /// Returns the entry at `offset` if there is a valid one of this log.
    fn entry(&self, offset: usize, checked: &mut usize) -> Option<Entry> {
        let (raw, _) = RawEntry::ref_from_prefix(&self.bytes[offset..]).ok()?;
        let length = usize::try_from(raw.entry_length.get()).ok()?;
        let tail = usize::try_from(raw.tail.get()).ok()?;
        let sound = raw.signature == ENTRY_SIGNATURE
            && raw.log_guid == self.guid
            && length > 0
            && length <= self.bytes.len()
            && length.is_multiple_of(SECTOR)
            && tail < self.bytes.len()
            && tail.is_multiple_of(SECTOR)
            && raw.sequence_number.get() > 0;
        if !sound {
            return None;
        }
        *checked += length;
        let bytes = self.ring(offset, length);
        if !is_checksummed(&bytes) {
            return None;
        }
        changes(&bytes, raw.sequence_number.get())?;
        Some(Entry {
            offset,
            bytes: length,
            tail,
            number: raw.sequence_number.get(),
            flushed_bytes: raw.flushed_file_offset.get(),
            last_bytes: raw.last_file_offset.get(),
        })
    }

    /// Copies a range that may go on at the log's start.
    fn ring(&self, offset: usize, len: usize) -> Vec<u8> {
        let first = len.min(self.bytes.len() - offset);
        let mut bytes = self.bytes[offset..offset + first].to_vec();
        bytes.extend(&self.bytes[..len - first]);
        bytes
    }
}

/// Returns what an entry lays over the file, or nothing if a part of it is not valid.
fn changes(bytes: &[u8], number: u64) -> Option<Vec<Change>> {
    let (raw, rest) = RawEntry::ref_from_prefix(bytes).ok()?;
    let count = usize::try_from(raw.descriptor_count.get()).ok()?;
    let (descriptors, _) = <[RawDescriptor]>::ref_from_prefix_with_elems(rest, count).ok()?;
    let head_bytes = size_of::<RawEntry>() + count * DESCRIPTOR_BYTES;
    let mut sectors = bytes
        .get(head_bytes.next_multiple_of(SECTOR)..)?
        .chunks_exact(SECTOR);
    let mut changes = Vec::with_capacity(count);
    for descriptor in descriptors {
        let offset = descriptor.file_offset.get();
        if descriptor.sequence_number.get() != number || !offset.is_multiple_of(SECTOR_BYTES) {
            return None;
        }
        let change = match descriptor.signature {
            ZERO_SIGNATURE => {
                let bytes = u64::from_le_bytes(descriptor.leading);
                if !bytes.is_multiple_of(SECTOR_BYTES) {
                    return None;
                }
                Change::Zeros { offset, bytes }
            }
            DATA_SIGNATURE => {
                let sector = RawSector::ref_from_bytes(sectors.next()?).ok()?;
                let sector_number = u64::from(sector.sequence_high.get()) << 32
                    | u64::from(sector.sequence_low.get());
                if sector.signature != SECTOR_SIGNATURE || sector_number != number {
                    return None;
                }
                let mut content = Vec::with_capacity(SECTOR);
                content.extend(descriptor.leading);
                content.extend(sector.content);
                content.extend(descriptor.trailing);
                Change::Sector {
                    offset,
                    content: content.into_boxed_slice(),
                }
            }
            _ => return None,
        };
        changes.push(change);
    }
    Some(changes)
}
