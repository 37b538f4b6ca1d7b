//! The metadata region: what the virtual disk is, as a table of items.

use uuid::{Uuid, uuid};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bat::Geometry;
use crate::error::{Result, damaged, unsupported};
use crate::file::ReadAt;
use crate::header::{Header, MIB};
use crate::locator::ParentLocator;
use crate::region::Region;
use crate::replayed::Replayed;

const SIGNATURE: [u8; 8] = *b"metadata";
const TABLE_BYTES: usize = 64 << 10;
const ENTRIES_MAX: u16 = 2047;
const ITEM_BYTES_MAX: u32 = MIB as u32;

const IS_USER: u32 = 1;
const IS_VIRTUAL_DISK: u32 = 2;
const IS_REQUIRED: u32 = 4;

const LEAVE_BLOCKS_ALLOCATED: u32 = 1;
const HAS_PARENT: u32 = 2;

const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const VIRTUAL_DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const VIRTUAL_DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");
const LOGICAL_SECTOR: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
const PHYSICAL_SECTOR: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");
const PARENT_LOCATOR: Uuid = uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");

/// What a VHDX file says of its virtual disk and of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The disk's length as its guest sees it.
    pub virtual_size_bytes: u64,
    /// How much one entry of the block table stands for.
    pub block_size_bytes: u32,
    /// 512 or 4096.
    pub logical_sector_bytes: u32,
    /// 512 or 4096.
    pub physical_sector_bytes: u32,
    /// The disk's own identity (SCSI page 83), stable along its chain.
    pub virtual_disk_id: Uuid,
    /// Set in fixed disks: blocks keep their place in the file for good.
    pub leave_blocks_allocated: bool,
    /// How the parent is named, in differencing disks.
    pub parent: Option<ParentLocator>,
    /// Changes whenever the file is first written to after it was opened.
    pub file_write_guid: Uuid,
    /// Changes whenever what the guest sees is first changed after the file was opened.
    pub data_write_guid: Uuid,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawTable {
    signature: [u8; 8],
    reserved: U16,
    entry_count: U16,
    reserved2: [u8; 20],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    id: [u8; 16],
    offset: U32,
    length: U32,
    flags: U32,
    reserved: U32,
}

impl Metadata {
    /// Says whether the disk is a differencing one.
    pub fn has_parent(&self) -> bool {
        self.parent.is_some()
    }

    pub(crate) fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size_bytes: self.virtual_size_bytes,
            block_size_bytes: self.block_size_bytes,
            logical_sector_bytes: self.logical_sector_bytes,
        }
    }

    pub(crate) fn read<F: ReadAt>(
        file: &Replayed<F>,
        region: Region,
        header: &Header,
    ) -> Result<Self> {
        let table = ItemTable::read(file, region)?;
        let [block_size_bytes, flags] = table.numbers(FILE_PARAMETERS)?;
        let [size_low, size_high] = table.numbers(VIRTUAL_DISK_SIZE)?;
        let [logical_sector_bytes] = table.numbers(LOGICAL_SECTOR)?;
        let [physical_sector_bytes] = table.numbers(PHYSICAL_SECTOR)?;
        let id = table.item(VIRTUAL_DISK_ID)?.try_into();
        let id = id.map_err(|_| damaged("read the virtual disk's id: its length is wrong"))?;
        let parent = match flags & HAS_PARENT != 0 {
            true => Some(ParentLocator::decode(&table.item(PARENT_LOCATOR)?)?),
            false => None,
        };
        let metadata = Self {
            virtual_size_bytes: u64::from(size_high) << 32 | u64::from(size_low),
            block_size_bytes,
            logical_sector_bytes,
            physical_sector_bytes,
            virtual_disk_id: Uuid::from_bytes_le(id),
            leave_blocks_allocated: flags & LEAVE_BLOCKS_ALLOCATED != 0,
            parent,
            file_write_guid: header.file_write_guid,
            data_write_guid: header.data_write_guid,
        };
        metadata.geometry().check().map_err(damaged)?;
        match physical_sector_bytes {
            512 | 4096 => Ok(metadata),
            _ => Err(damaged(
                "accept the physical sector size: it is neither 512 nor 4096",
            )),
        }
    }

    /// Returns the whole metadata region, 1 MiB.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let flags = if self.leave_blocks_allocated {
            LEAVE_BLOCKS_ALLOCATED
        } else {
            0
        } | if self.has_parent() { HAS_PARENT } else { 0 };
        let parameters = [self.block_size_bytes.to_le_bytes(), flags.to_le_bytes()].concat();
        let mut items = vec![
            (FILE_PARAMETERS, IS_REQUIRED, parameters),
            (
                VIRTUAL_DISK_SIZE,
                IS_REQUIRED | IS_VIRTUAL_DISK,
                self.virtual_size_bytes.to_le_bytes().to_vec(),
            ),
            (
                VIRTUAL_DISK_ID,
                IS_REQUIRED | IS_VIRTUAL_DISK,
                self.virtual_disk_id.to_bytes_le().to_vec(),
            ),
            (
                LOGICAL_SECTOR,
                IS_REQUIRED | IS_VIRTUAL_DISK,
                self.logical_sector_bytes.to_le_bytes().to_vec(),
            ),
            (
                PHYSICAL_SECTOR,
                IS_REQUIRED | IS_VIRTUAL_DISK,
                self.physical_sector_bytes.to_le_bytes().to_vec(),
            ),
        ];
        if let Some(parent) = &self.parent {
            items.push((PARENT_LOCATOR, IS_REQUIRED, parent.encode()?));
        }
        let table = RawTable {
            signature: SIGNATURE,
            reserved: U16::ZERO,
            entry_count: (items.len() as u16).into(),
            reserved2: [0; 20],
        };
        let mut bytes = table.as_bytes().to_vec();
        let mut offset = TABLE_BYTES;
        for (id, flags, item) in &items {
            let entry = RawEntry {
                id: id.to_bytes_le(),
                offset: (offset as u32).into(),
                length: (item.len() as u32).into(),
                flags: (*flags).into(),
                reserved: U32::ZERO,
            };
            bytes.extend(entry.as_bytes());
            offset += item.len();
        }
        bytes.resize(TABLE_BYTES, 0);
        bytes.extend(items.into_iter().flat_map(|(_, _, item)| item));
        bytes.resize(MIB as usize, 0);
        Ok(bytes)
    }
}

/// Returns where in the file the virtual disk's size stands.
pub(crate) fn size_offset<F: ReadAt>(file: &Replayed<F>, region: Region) -> Result<u64> {
    let table = ItemTable::read(file, region)?;
    let entry = table.entry(VIRTUAL_DISK_SIZE)?;
    Ok(region.offset + u64::from(entry.offset.get()))
}

/// The table of items, checked, with the file to read them from.
struct ItemTable<'a, F> {
    file: &'a Replayed<F>,
    region: Region,
    entries: Vec<RawEntry>,
}

impl<'a, F: ReadAt> ItemTable<'a, F> {
    fn read(file: &'a Replayed<F>, region: Region) -> Result<Self> {
        let impossible = || damaged("read the metadata table: it is impossible");
        let mut bytes = vec![0; TABLE_BYTES];
        file.read(region.offset, &mut bytes)?;
        let (table, rest) = RawTable::ref_from_prefix(&bytes).map_err(|_| impossible())?;
        let count = table.entry_count.get();
        if table.signature != SIGNATURE || count > ENTRIES_MAX {
            return Err(impossible());
        }
        let (entries, _) = <[RawEntry]>::ref_from_prefix_with_elems(rest, usize::from(count))
            .map_err(|_| impossible())?;
        let entries = entries.to_vec();
        check_places(&entries, region)?;
        for entry in &entries {
            let flags = entry.flags.get();
            let known = [
                FILE_PARAMETERS,
                VIRTUAL_DISK_SIZE,
                VIRTUAL_DISK_ID,
                LOGICAL_SECTOR,
                PHYSICAL_SECTOR,
                PARENT_LOCATOR,
            ];
            let id = Uuid::from_bytes_le(entry.id);
            let is_known = known.contains(&id) && flags & IS_USER == 0;
            if !is_known && flags & IS_REQUIRED != 0 {
                let message = format!("understand metadata item {id}, which the file requires");
                return Err(unsupported(message));
            }
        }
        Ok(Self {
            file,
            region,
            entries,
        })
    }

    fn entry(&self, id: Uuid) -> Result<&RawEntry> {
        let wanted =
            |entry: &&RawEntry| entry.id == id.to_bytes_le() && entry.flags.get() & IS_USER == 0;
        self.entries
            .iter()
            .find(wanted)
            .ok_or_else(|| damaged(format!("find metadata item {id}")))
    }

    fn item(&self, id: Uuid) -> Result<Vec<u8>> {
        let entry = self.entry(id)?;
        let mut bytes = vec![0; entry.length.get() as usize];
        let offset = self.region.offset + u64::from(entry.offset.get());
        self.file.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads an item made of `N` numbers of 32 bits.
    fn numbers<const N: usize>(&self, id: Uuid) -> Result<[u32; N]> {
        let bytes = self.item(id)?;
        if bytes.len() != N * 4 {
            return Err(damaged(format!(
                "read metadata item {id}: its length is wrong"
            )));
        }
        let mut numbers = [0; N];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
            *number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(numbers)
    }
}

/// Items lie in the region behind the table, below 1 MiB each, none on another, none named twice.
fn check_places(entries: &[RawEntry], region: Region) -> Result<()> {
    let mut places = Vec::new();
    let mut names = Vec::new();
    for entry in entries {
        let (offset, length) = (entry.offset.get(), entry.length.get());
        let end = u64::from(offset) + u64::from(length);
        let is_empty = length == 0 && offset == 0;
        let sound = offset >= TABLE_BYTES as u32 && length <= ITEM_BYTES_MAX && end <= region.bytes;
        if !sound && !is_empty {
            return Err(damaged(
                "place a metadata item: it lies outside the metadata",
            ));
        }
        if length > 0 {
            places.push((u64::from(offset), end));
        }
        names.push((entry.id, entry.flags.get() & IS_USER));
    }
    places.sort_unstable();
    names.sort_unstable();
    if places.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return Err(damaged("place the metadata items: they overlap"));
    }
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(damaged("read the metadata table: it names an item twice"));
    }
    Ok(())
}
