//! What a guest does to its disks: write through tracking, and be looked at from outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use disk::{BlockRead, ByteRange, DiskError, RangeSet};
use local_file::{AlignedBuffer, UncachedFile};
use time_and_chance::Chance;

use super::SimHost;
use super::container::ChainReader;
use super::io_error::io_error;
use super::session::Session;
use super::sparse_file::{self, RawFile};
use crate::{HypervError, HypervErrorKind, VmId, codes};

/// How much is compared or written at once.
const PIECE_BYTES: u64 = 1 << 20;
/// The longest random write.
const RANDOM_WRITE_BYTES_MAX: u64 = 256 << 10;
/// How finely disks are compared.
const COMPARED_BYTES: usize = 4096;

impl SimHost {
    /// The guest writes `bytes` at `offset`.
    pub fn write(&self, vm: VmId, disk: u32, offset: u64, bytes: &[u8]) -> Result<(), HypervError> {
        let Some(range) = ByteRange::at(offset, bytes.len() as u64) else {
            return Ok(());
        };
        self.session()?
            .guest_writes(vm, disk, &[range], |range, buf| {
                let start = (range.start() - offset) as usize;
                buf.copy_from_slice(&bytes[start..start + buf.len()]);
                Ok(())
            })
    }

    /// The guest makes its disk equal to the file `raw`; returns what it wrote for that: every
    /// place where they differed.
    ///
    /// # Errors
    /// `Invalid` unless the file is as long as the disk.
    pub fn write_from_raw(
        &self,
        vm: VmId,
        disk: u32,
        raw: &Path,
    ) -> Result<Vec<ByteRange>, HypervError> {
        let raw = RawFile::open(raw)?;
        let mut session = self.session()?;
        session.finish_begun_merges(vm)?;
        let record = session.disk(vm, disk)?;
        if raw.size_bytes() != record.virtual_bytes {
            return Err(HypervError::new(
                HypervErrorKind::Invalid,
                format!(
                    "write {} bytes onto a disk of {} bytes",
                    raw.size_bytes(),
                    record.virtual_bytes
                ),
            ));
        }
        let reader = ChainReader::open(&session.paths(&record.chain))?;
        let ranges = differences(&raw, &reader).map_err(read_error)?;
        drop(reader);
        session.guest_writes(vm, disk, &ranges, |range, buf| {
            raw.read_at(range.start(), buf).map_err(read_error)
        })?;
        Ok(ranges)
    }

    /// The guest writes `bytes` random bytes in pieces here and there; the same seed writes the
    /// same. Returns where.
    pub fn write_random(
        &self,
        vm: VmId,
        disk: u32,
        bytes: u64,
        seed: u64,
    ) -> Result<Vec<ByteRange>, HypervError> {
        let mut session = self.session()?;
        let record = session.disk(vm, disk)?;
        let places = Chance::from_seed(seed);
        let ranges = random_ranges(
            &places,
            bytes.min(record.virtual_bytes),
            record.virtual_bytes,
            u64::from(record.logical_sector_bytes),
        );
        let ranges: Vec<_> = RangeSet::from_unsorted(ranges).iter().collect();
        session.guest_writes(vm, disk, &ranges, |_, buf| {
            places.fill(buf);
            Ok(())
        })?;
        Ok(ranges)
    }

    /// Writes the disk as its guest sees it now to the file `raw`, leaving holes where it is zero.
    pub fn dump(&self, vm: VmId, disk: u32, raw: &Path) -> Result<(), HypervError> {
        let reader = self.open_live_disk(vm, disk)?;
        let file = File::create(raw).map_err(|error| io_error("make", raw, error))?;
        file.set_len(reader.size_bytes())
            .map_err(|error| io_error("size", raw, error))?;
        let file = UncachedFile::for_writing(file, raw);
        let mut buf = AlignedBuffer::new(PIECE_BYTES as usize);
        for_each_piece(&reader, |piece| {
            let buf = &mut buf[..piece.bytes() as usize];
            reader.read_at(piece.start(), buf).map_err(read_error)?;
            sparse_file::write_non_zero(&file, piece.start(), buf)
                .map_err(|error| io_error("write", raw, error))
        })
    }

    /// Opens the disk as its guest sees it now, for reading; the guest cannot write meanwhile.
    pub fn open_live_disk(
        &self,
        vm: VmId,
        disk: u32,
    ) -> Result<impl BlockRead + use<>, HypervError> {
        let mut session = self.session()?;
        session.finish_begun_merges(vm)?;
        let record = session.disk(vm, disk)?;
        ChainReader::open(&session.paths(&record.chain))
    }
}

impl Session<'_> {
    /// Logs `ranges`, then writes what `fill` puts into each piece of them.
    fn guest_writes(
        &mut self,
        vm: VmId,
        disk: u32,
        ranges: &[ByteRange],
        mut fill: impl FnMut(ByteRange, &mut [u8]) -> Result<(), HypervError>,
    ) -> Result<(), HypervError> {
        self.finish_begun_merges(vm)?;
        let record = self.disk(vm, disk)?;
        let number = disk as usize;
        if let Some(beyond) = ranges
            .iter()
            .find(|range| range.end() > record.virtual_bytes)
        {
            return Err(HypervError::new(
                HypervErrorKind::Invalid,
                format!(
                    "write up to {} on a disk of {} bytes",
                    beyond.end(),
                    record.virtual_bytes
                ),
            ));
        }
        if ranges.is_empty() {
            return Ok(());
        }
        let chain = record.chain.clone();
        let leaf = record.leaf().to_path_buf();
        // Opened first: nobody is to believe in writes to a disk that cannot be written.
        let writer = self.host.open_for_guest(&self.paths(&chain))?;
        if let Some(mut history) = self.trusted_tracking(vm, number)? {
            let path = self.path(&self.vm(vm)?.disks[number].tracking_file());
            self.host.fuse.burn()?;
            history
                .log_writes(&path, ranges)
                .map_err(|error| io_error("write", &path, error))?;
            self.vm_mut(vm)?.disks[number].tracking = Some(history.record());
        }
        let mut buf = vec![0; PIECE_BYTES as usize];
        for piece in ranges.iter().flat_map(|&range| pieces(range)) {
            self.host.fuse.burn()?;
            let buf = &mut buf[..piece.bytes() as usize];
            fill(piece, buf)?;
            writer.write_at(piece.start(), buf)?;
        }
        writer.finish()?;
        self.note_marks(vm, number, &[leaf])?;
        self.save()
    }

    /// Returns a disk of a VM by its number.
    pub(super) fn disk(
        &self,
        vm: VmId,
        number: u32,
    ) -> Result<&super::state::DiskRecord, HypervError> {
        let record = self.vm(vm)?;
        record.disks.get(number as usize).ok_or_else(|| {
            HypervError::new(
                HypervErrorKind::NotFound,
                format!(
                    "find disk {number} of VM {}: it has {}",
                    record.name,
                    record.disks.len()
                ),
            )
            .with_code(codes::FILE_NOT_FOUND)
        })
    }
}

/// Returns where two disks of the same length differ.
fn differences(a: &dyn BlockRead, b: &dyn BlockRead) -> Result<Vec<ByteRange>, DiskError> {
    let mut present = Vec::new();
    for disk in [a, b] {
        let mut from = 0;
        while let Some(range) = disk.next_allocated(from)? {
            from = range.end();
            present.push(range);
        }
    }
    let (mut left, mut right) = (vec![0; PIECE_BYTES as usize], vec![0; PIECE_BYTES as usize]);
    let mut found = Vec::new();
    for piece in RangeSet::from_unsorted(present).iter().flat_map(pieces) {
        let (left, right) = (
            &mut left[..piece.bytes() as usize],
            &mut right[..piece.bytes() as usize],
        );
        a.read_at(piece.start(), left)?;
        b.read_at(piece.start(), right)?;
        let pairs = left
            .chunks(COMPARED_BYTES)
            .zip(right.chunks(COMPARED_BYTES));
        found.extend(pairs.enumerate().filter_map(|(index, (left, right))| {
            let start = piece.start() + (index * COMPARED_BYTES) as u64;
            (left != right)
                .then(|| ByteRange::at(start, left.len() as u64))
                .flatten()
        }));
    }
    Ok(RangeSet::from_unsorted(found).iter().collect())
}

/// Returns pieces of about `bytes` bytes in all that do not overlap, if the disk has room.
fn random_ranges(chance: &Chance, bytes: u64, disk_bytes: u64, sector: u64) -> Vec<ByteRange> {
    const TRIES_MAX: u32 = 1_000_000;
    let sectors = disk_bytes / sector;
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    let mut total = 0;
    for _ in 0..TRIES_MAX {
        if total >= bytes || sectors == 0 {
            break;
        }
        let longest = RANDOM_WRITE_BYTES_MAX.min(bytes - total).div_ceil(sector);
        let length = 1 + chance.below(longest);
        let first = chance.below(sectors);
        let end = (first + length).min(sectors);
        let before = taken.range(..end).next_back();
        if before.is_none_or(|(_, &before)| before <= first) {
            taken.insert(first, end);
            total += (end - first) * sector;
        }
    }
    let ranges = taken.into_iter();
    ranges
        .filter_map(|(first, end)| ByteRange::new(first * sector, end * sector))
        .collect()
}

/// Cuts a range into pieces of at most [`PIECE_BYTES`], at their multiples.
fn pieces(range: ByteRange) -> impl Iterator<Item = ByteRange> {
    let mut at = range.start();
    std::iter::from_fn(move || {
        let end = (at / PIECE_BYTES + 1)
            .saturating_mul(PIECE_BYTES)
            .min(range.end());
        let piece = ByteRange::new(at, end)?;
        at = end;
        Some(piece)
    })
}

/// Calls `work` for every piece of `disk` that may hold something.
pub(super) fn for_each_piece(
    disk: &dyn BlockRead,
    mut work: impl FnMut(ByteRange) -> Result<(), HypervError>,
) -> Result<(), HypervError> {
    let mut from = 0;
    while let Some(range) = disk.next_allocated(from).map_err(read_error)? {
        pieces(range).try_for_each(&mut work)?;
        from = range.end();
    }
    Ok(())
}

/// Returns a disk's error as the host's.
pub(super) fn read_error(error: DiskError) -> HypervError {
    HypervError::new(HypervErrorKind::Failed, "read a disk")
        .with_code(codes::VHD_CORRUPT)
        .caused_by(error)
}
