//! The region table, kept twice: where block allocation table and metadata lie.

use uuid::{Uuid, uuid};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{checksum, is_checksummed};
use crate::error::{Result, damaged, io_error, unsupported};
use crate::file::{ReadAt, WriteAt};
use crate::header::MIB;
use crate::replayed::Replayed;

const BAT: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");

const SIGNATURE: [u8; 4] = *b"regi";
const TABLE_BYTES: usize = 64 << 10;
const TABLE_OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
const ENTRIES_MAX: u32 = 2047;
const REQUIRED: u32 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawTable {
    signature: [u8; 4],
    checksum: U32,
    entry_count: U32,
    reserved: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    id: [u8; 16],
    offset: U64,
    length: U32,
    flags: U32,
}

/// A range of the file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub offset: u64,
    pub bytes: u64,
}

/// The regions of a file.
#[derive(Debug, Clone)]
pub(crate) struct Regions {
    pub bat: Region,
    pub metadata: Region,
    /// What others put there and a reader may ignore; its id, place and flags.
    others: Vec<(Uuid, Region, u32)>,
}

impl Regions {
    /// Returns the regions of a new file of ours.
    pub fn new(bat: Region, metadata: Region) -> Self {
        let others = Vec::new();
        Self {
            bat,
            metadata,
            others,
        }
    }

    /// Reads the first valid table.
    pub fn read<F: ReadAt>(file: &Replayed<F>) -> Result<Self> {
        let mut bytes = vec![0; TABLE_BYTES];
        for offset in TABLE_OFFSETS {
            file.read(offset, &mut bytes)?;
            if bytes.starts_with(&SIGNATURE) && is_checksummed(&bytes) {
                return Self::decode(&bytes);
            }
        }
        Err(damaged(
            "find a valid region table: neither has a right checksum",
        ))
    }

    /// Returns all regions, known or not.
    pub fn all(&self) -> impl Iterator<Item = Region> {
        let others = self.others.iter().map(|(_, region, _)| *region);
        [self.bat, self.metadata].into_iter().chain(others)
    }

    /// Writes both tables, one after the other, so that a valid one stands at every instant.
    pub fn write<F: WriteAt>(&self, file: &F) -> Result<()> {
        for (offset, bytes) in self.encode() {
            file.write_all_at(offset, &bytes)
                .and_then(|()| file.sync())
                .map_err(io_error("write a region table"))?;
        }
        Ok(())
    }

    /// Returns both tables, each with its place.
    pub fn encode(&self) -> [(u64, Vec<u8>); 2] {
        let known = [
            (BAT, self.bat, REQUIRED),
            (METADATA, self.metadata, REQUIRED),
        ];
        let entries: Vec<_> = known.iter().chain(&self.others).collect();
        let table = RawTable {
            signature: SIGNATURE,
            checksum: U32::ZERO,
            entry_count: (entries.len() as u32).into(),
            reserved: U32::ZERO,
        };
        let mut bytes = table.as_bytes().to_vec();
        for (id, region, flags) in entries {
            let length =
                u32::try_from(region.bytes).expect("regions are checked to be below 4 GiB");
            let entry = RawEntry {
                id: id.to_bytes_le(),
                offset: region.offset.into(),
                length: length.into(),
                flags: (*flags).into(),
            };
            bytes.extend(entry.as_bytes());
        }
        bytes.resize(TABLE_BYTES, 0);
        let sum = checksum(&bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        TABLE_OFFSETS.map(|offset| (offset, bytes.clone()))
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let impossible = || damaged("read the region table: it is impossible");
        let (table, rest) = RawTable::ref_from_prefix(bytes).map_err(|_| impossible())?;
        let count = table.entry_count.get();
        if count > ENTRIES_MAX {
            return Err(damaged(format!(
                "read the region table: {count} entries are too many"
            )));
        }
        let (entries, _) = <[RawEntry]>::ref_from_prefix_with_elems(rest, count as usize)
            .map_err(|_| impossible())?;
        let (mut bat, mut metadata) = (None, None);
        let mut others: Vec<(Uuid, Region, u32)> = Vec::new();
        for entry in entries {
            let id = Uuid::from_bytes_le(entry.id);
            let region = Region {
                offset: entry.offset.get(),
                bytes: entry.length.get().into(),
            };
            let sound = region.offset >= MIB
                && region.offset.is_multiple_of(MIB)
                && region.bytes.is_multiple_of(MIB)
                && region.bytes > 0;
            if !sound {
                return Err(damaged(format!(
                    "place region {id}: it is not made of whole MiB"
                )));
            }
            let before = match id {
                BAT => bat.replace(region).is_some(),
                METADATA => metadata.replace(region).is_some(),
                _ if entry.flags.get() & REQUIRED != 0 => {
                    let message = format!("understand region {id}, which the file requires");
                    return Err(unsupported(message));
                }
                _ => {
                    let before = others.iter().any(|(other, ..)| *other == id);
                    others.push((id, region, entry.flags.get()));
                    before
                }
            };
            if before {
                return Err(damaged(format!(
                    "place region {id}: the table names it twice"
                )));
            }
        }
        let missing = || damaged("find the regions: block table or metadata is missing");
        Ok(Self {
            bat: bat.ok_or_else(missing)?,
            metadata: metadata.ok_or_else(missing)?,
            others,
        })
    }
}
