//! Bodies for fuzzers, and log entries for tests: no writer here leaves a log behind, but others do.

use uuid::Uuid;

use crate::checksum::checksum;
use crate::file::{ReadAt, WriteAt};
use crate::memory::MemoryFile;
use crate::{Chain, ChildOptions, CreateOptions, LiveDisk, Vhdx, VhdxError, WriteGuids};
use crate::{create_differencing, create_dynamic, create_fixed};

const MIB: u64 = 1 << 20;
const SECTOR: usize = 4096;
const DISK_BYTES: u64 = 6 * MIB + 4096;

/// A log entry as a writer would leave it.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The header's log GUID, or the entry doesn't count.
    pub log_guid: Uuid,
    /// Its number, one more than its predecessor's.
    pub number: u64,
    /// Where in the log the oldest entry to replay with it stands.
    pub tail: u32,
    /// How long the file was for certain.
    pub flushed_bytes: u64,
    /// How long the file must be after replay.
    pub last_bytes: u64,
    /// What it lays over the file.
    pub changes: Vec<LogChange>,
}

/// One descriptor of a log entry, with its place in the file.
#[derive(Debug, Clone)]
pub enum LogChange {
    /// One sector of 4 KiB.
    Sector(u64, Vec<u8>),
    /// Zeros of this length.
    Zeros(u64, u64),
}

impl LogEntry {
    /// Returns the entry's bytes, whole sectors of 4 KiB.
    pub fn encode(&self) -> Vec<u8> {
        let number = self.number.to_le_bytes();
        let mut bytes = b"loge\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend(self.tail.to_le_bytes());
        bytes.extend(number);
        bytes.extend((self.changes.len() as u64).to_le_bytes());
        bytes.extend(self.log_guid.to_bytes_le());
        bytes.extend(self.flushed_bytes.to_le_bytes());
        bytes.extend(self.last_bytes.to_le_bytes());
        let mut sectors: Vec<u8> = Vec::new();
        for change in &self.changes {
            let offset = match change {
                LogChange::Sector(offset, content) => {
                    bytes.extend(b"desc");
                    bytes.extend(&content[SECTOR - 4..]);
                    bytes.extend(&content[..8]);
                    sectors.extend(b"data");
                    sectors.extend(&number[4..]);
                    sectors.extend(&content[8..SECTOR - 4]);
                    sectors.extend(&number[..4]);
                    offset
                }
                LogChange::Zeros(offset, length) => {
                    bytes.extend(b"zero\0\0\0\0");
                    bytes.extend(length.to_le_bytes());
                    offset
                }
            };
            bytes.extend(offset.to_le_bytes());
            bytes.extend(number);
        }
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        bytes.extend(sectors);
        let length = bytes.len() as u32;
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// Makes the checksum of a structure in a file right again.
pub fn renew_checksum(file: &MemoryFile, offset: u64, bytes: usize) {
    let mut structure = vec![0; bytes];
    if file.read_exact_at(offset, &mut structure).is_ok() {
        let sum = checksum(&structure).to_le_bytes();
        file.write_all_at(offset + 4, &sum)
            .expect("it was read from there");
    }
}

/// Damages a small file as `data` says and does everything with it that can be done. Errors are
/// fine; the promise is that it returns, soon.
///
/// The first byte chooses the file and whether checksums are made right again; then come patches
/// of an area (1 byte), a place in it (3), a length (1) and that many bytes.
pub fn fuzz_one(data: &[u8]) {
    let Some((how, mut rest)) = data.split_first() else {
        return;
    };
    let Ok((file, parents)) = undamaged(how % 4) else {
        return;
    };
    while let Some(([area, place @ .., len], tail)) = rest.split_first_chunk::<5>() {
        let place = u64::from(u32::from_le_bytes([place[0], place[1], place[2], 0]));
        let (start, room) = match area % 8 {
            0 => (64 << 10, 80),
            1 => (128 << 10, 80),
            2 => (192 << 10, 96),
            3 => (MIB, 3 * SECTOR as u64),
            4 => (2 * MIB, 256),
            5 => (2 * MIB + (64 << 10), 512),
            6 => (3 * MIB, 256),
            _ => (0, 20 * MIB),
        };
        let len = usize::from(*len).min(tail.len());
        let (patch, tail) = tail.split_at(len);
        file.write_all_at(start + place % room, patch)
            .expect("memory takes every place");
        rest = tail;
    }
    if how & 0x80 == 0 {
        renew_checksums(&file);
    }
    // What fails is no matter here.
    let _ = use_everything(file, parents);
}

fn use_everything(file: MemoryFile, parents: Vec<MemoryFile>) -> Result<(), VhdxError> {
    let mut buf = vec![0; SECTOR];
    let disk = Vhdx::open(file.duplicate())?;
    for piece in disk.resolve(0, disk.size_bytes())?.take(1000) {
        piece?;
    }
    let mut files = vec![file.duplicate()];
    files.extend(parents.clone());
    let chain = Chain::open(files)?;
    for range in chain.allocated_ranges().take(1000) {
        let (offset, length) = range?;
        let len = length.min(buf.len() as u64) as usize;
        chain.read_at(offset, &mut buf[..len])?;
    }
    let guids = WriteGuids {
        file_write_guid: Uuid::from_u128(8),
        data_write_guid: Uuid::from_u128(9),
    };
    let live = LiveDisk::open(file, parents.clone(), guids)?;
    let size = live.size_bytes();
    for offset in [0, size / 2, size.saturating_sub(buf.len() as u64)] {
        let len = (size - offset).min(buf.len() as u64) as usize;
        live.write_at(offset, &buf[..len])?;
        live.read_at(offset, &mut buf[..len])?;
    }
    live.zero(0, size.min(4 * MIB))?;
    live.resize(size.saturating_add(4096))?;
    let child = Vhdx::open(live.close()?)?;
    if let Some(parent) = parents.into_iter().next() {
        LiveDisk::open(parent.duplicate(), Vec::new(), guids)?.merge_child(&child)?;
    }
    Ok(())
}

/// Returns a sound file, dynamic, fixed, differencing or with a log, and its parents.
fn undamaged(kind: u8) -> Result<(MemoryFile, Vec<MemoryFile>), VhdxError> {
    let options = CreateOptions {
        virtual_size_bytes: DISK_BYTES,
        block_size_bytes: MIB as u32,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        virtual_disk_id: Uuid::from_u128(1),
        file_write_guid: Uuid::from_u128(2),
        data_write_guid: Uuid::from_u128(3),
    };
    if kind == 0 {
        return Ok((create_fixed(MemoryFile::new(), &options)?, Vec::new()));
    }
    let guids = |number| WriteGuids {
        file_write_guid: Uuid::from_u128(number),
        data_write_guid: Uuid::from_u128(number),
    };
    let live = LiveDisk::open(
        create_dynamic(MemoryFile::new(), &options)?,
        Vec::new(),
        guids(4),
    )?;
    live.write_at(MIB + 5, b"in the second block")?;
    live.write_at(5 * MIB, &[1; 5000])?;
    let file = live.close()?;
    if kind == 1 {
        return Ok((file, Vec::new()));
    }
    if kind == 2 {
        let options = ChildOptions {
            file_write_guid: Uuid::from_u128(5),
            data_write_guid: Uuid::from_u128(5),
            relative_path: Some(".\\parent.vhdx".to_owned()),
            absolute_win32_path: None,
        };
        let child = create_differencing(MemoryFile::new(), &Vhdx::open(file.clone())?, &options)?;
        let live = LiveDisk::open(child, vec![file.clone()], guids(6))?;
        live.write_at(700, b"over the parent")?;
        live.zero(2 * MIB, MIB)?;
        live.write_at(4 * MIB, &vec![7; MIB as usize])?;
        return Ok((live.close()?, vec![file]));
    }
    leave_log(&file);
    Ok((file, Vec::new()))
}

/// Puts a log of two entries into a file whose log is empty.
fn leave_log(file: &MemoryFile) {
    let log_guid = Uuid::from_u128(7);
    let entry = |number, changes| LogEntry {
        log_guid,
        number,
        tail: 0,
        flushed_bytes: MIB,
        last_bytes: 8 * MIB,
        changes,
    };
    let first = entry(1, vec![LogChange::Zeros(5 * MIB, SECTOR as u64)]);
    let second = entry(2, vec![LogChange::Sector(5 * MIB, vec![3; SECTOR])]);
    let first = first.encode();
    let places = [
        (MIB, first.clone()),
        (MIB + first.len() as u64, second.encode()),
        ((64 << 10) + 48, log_guid.to_bytes_le().to_vec()),
        ((128 << 10) + 48, log_guid.to_bytes_le().to_vec()),
    ];
    for (offset, bytes) in places {
        file.write_all_at(offset, &bytes)
            .expect("memory takes every place");
    }
    renew_checksums(file);
}

fn renew_checksums(file: &MemoryFile) {
    for (offset, bytes) in [
        (64, SECTOR),
        (128, SECTOR),
        (192, 64 << 10),
        (256, 64 << 10),
    ] {
        renew_checksum(file, offset << 10, bytes);
    }
    for sector in 0..4 {
        let offset = MIB + sector * SECTOR as u64;
        let mut head = [0; 12];
        if file.read_exact_at(offset, &mut head).is_ok() && head.starts_with(b"loge") {
            let bytes = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
            if (12..=MIB as u32).contains(&bytes) {
                renew_checksum(file, offset, bytes as usize);
            }
        }
    }
}
