//! The file's first 192 KiB: the identifier and the two headers, of which the newer valid one counts.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{checksum, is_checksummed};
use crate::error::{Result, VhdxError, VhdxErrorKind, damaged, io_error, unsupported};
use crate::file::{ReadAt, WriteAt};

pub(crate) const MIB: u64 = 1 << 20;

const IDENTIFIER: &[u8; 8] = b"vhdxfile";
const IDENTIFIER_BYTES: usize = 520;
const CREATOR: &str = "e3-backup-agent";

const SIGNATURE: [u8; 4] = *b"head";
const HEADER_BYTES: usize = 4096;
const SLOT_OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
const VERSION: u16 = 1;

/// A header as it stands in the file; 4,016 reserved bytes follow it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    signature: [u8; 4],
    checksum: U32,
    sequence_number: U64,
    file_write_guid: [u8; 16],
    data_write_guid: [u8; 16],
    log_guid: [u8; 16],
    log_version: U16,
    version: U16,
    log_length: U32,
    log_offset: U64,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub sequence_number: u64,
    pub file_write_guid: Uuid,
    pub data_write_guid: Uuid,
    /// Nil if there is nothing to replay.
    pub log_guid: Uuid,
    pub log_offset: u64,
    pub log_bytes: u32,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let raw = RawHeader {
            signature: SIGNATURE,
            checksum: U32::ZERO,
            sequence_number: self.sequence_number.into(),
            file_write_guid: self.file_write_guid.to_bytes_le(),
            data_write_guid: self.data_write_guid.to_bytes_le(),
            log_guid: self.log_guid.to_bytes_le(),
            log_version: U16::ZERO,
            version: VERSION.into(),
            log_length: self.log_bytes.into(),
            log_offset: self.log_offset.into(),
        };
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..size_of::<RawHeader>()].copy_from_slice(raw.as_bytes());
        let sum = checksum(&bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Returns what the header says, or nothing if it isn't valid.
    fn decode(bytes: &[u8]) -> Option<Result<Self>> {
        let (raw, _) = RawHeader::ref_from_prefix(bytes).ok()?;
        if raw.signature != SIGNATURE || !is_checksummed(bytes) {
            return None;
        }
        if raw.version.get() != VERSION {
            let message = format!("understand version {} of the format", raw.version);
            return Some(Err(unsupported(message)));
        }
        let header = Self {
            sequence_number: raw.sequence_number.get(),
            file_write_guid: Uuid::from_bytes_le(raw.file_write_guid),
            data_write_guid: Uuid::from_bytes_le(raw.data_write_guid),
            log_guid: Uuid::from_bytes_le(raw.log_guid),
            log_offset: raw.log_offset.get(),
            log_bytes: raw.log_length.get(),
        };
        if !header.log_guid.is_nil() && raw.log_version.get() != 0 {
            let message = format!("understand version {} of the log", raw.log_version);
            return Some(Err(unsupported(message)));
        }
        Some(header.checked())
    }

    fn checked(self) -> Result<Self> {
        let log_bytes = u64::from(self.log_bytes);
        let sound = self.log_offset.is_multiple_of(MIB)
            && log_bytes.is_multiple_of(MIB)
            && (log_bytes == 0 || self.log_offset >= MIB)
            && (log_bytes != 0 || self.log_guid.is_nil());
        match sound {
            true => Ok(self),
            false => Err(damaged("find the log: its place or length is impossible")),
        }
    }
}

/// The header that counts, and which of the two places holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CurrentHeader {
    pub header: Header,
    slot: usize,
}

impl CurrentHeader {
    /// Reads identifier and headers.
    pub fn read<F: ReadAt>(file: &F, len_bytes: u64) -> Result<Self> {
        let mut identifier = [0; IDENTIFIER.len()];
        if len_bytes >= identifier.len() as u64 {
            file.read_exact_at(0, &mut identifier)
                .map_err(io_error("read the file's identifier"))?;
        }
        if identifier != *IDENTIFIER {
            let message = "recognise a VHDX file: it does not begin with `vhdxfile`";
            return Err(VhdxError::new(VhdxErrorKind::NotVhdx, message));
        }
        if len_bytes < MIB {
            return Err(damaged("read the headers: the file ends before them"));
        }
        let mut best: Option<Self> = None;
        for (slot, offset) in SLOT_OFFSETS.into_iter().enumerate() {
            let mut bytes = vec![0; HEADER_BYTES];
            file.read_exact_at(offset, &mut bytes)
                .map_err(io_error("read a header"))?;
            let Some(header) = Header::decode(&bytes) else {
                continue;
            };
            let header = header?;
            match best {
                Some(best) if best.header.sequence_number > header.sequence_number => {}
                Some(best) if best.header.sequence_number == header.sequence_number => {
                    if best.header != header {
                        let message = "choose a header: two different ones have one number";
                        return Err(damaged(message));
                    }
                }
                _ => best = Some(Self { header, slot }),
            }
        }
        best.ok_or_else(|| damaged("find a valid header: neither has a right checksum"))
    }

    /// Writes `change`d headers to both places, each durable before the next is touched, so that
    /// one valid header stands at every instant.
    pub fn update<F: WriteAt>(&mut self, file: &F, change: impl Fn(&mut Header)) -> Result<()> {
        for _ in 0..2 {
            let mut header = self.header;
            change(&mut header);
            header.sequence_number = header
                .sequence_number
                .checked_add(1)
                .ok_or_else(|| damaged("number a new header: the numbers are used up"))?;
            let slot = 1 - self.slot;
            file.write_all_at(SLOT_OFFSETS[slot], &header.encode())
                .and_then(|()| file.sync())
                .map_err(io_error("write a header"))?;
            *self = Self { header, slot };
        }
        Ok(())
    }
}

/// Returns the identifier: signature and creator.
pub(crate) fn identifier() -> Vec<u8> {
    let mut bytes = IDENTIFIER.to_vec();
    bytes.extend(CREATOR.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.resize(IDENTIFIER_BYTES, 0);
    bytes
}

/// Returns the identifier and both headers of a new file with an empty log, each with its place.
pub(crate) fn new_file(file_write_guid: Uuid, data_write_guid: Uuid) -> [(u64, Vec<u8>); 3] {
    let header = |sequence_number| Header {
        sequence_number,
        file_write_guid,
        data_write_guid,
        log_guid: Uuid::nil(),
        log_offset: MIB,
        log_bytes: MIB as u32,
    };
    [
        (SLOT_OFFSETS[0], header(1).encode()),
        (SLOT_OFFSETS[1], header(2).encode()),
        (0, identifier()),
    ]
}
