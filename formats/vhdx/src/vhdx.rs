//! One VHDX file, opened and checked: its metadata, and what its block table says of each block.

use crate::bat::{self, BITMAP_BYTES, ENTRY_BYTES, Geometry, PayloadState, Slot};
use crate::error::{Result, damaged};
use crate::file::ReadAt;
use crate::header::{CurrentHeader, MIB};
use crate::log;
use crate::metadata::Metadata;
use crate::occupancy::Occupancy;
use crate::pages::{PAGE_BYTES, Page, Pages};
use crate::region::Regions;
use crate::replayed::Replayed;

/// One parsed VHDX file; its log, if not empty, is replayed in memory.
#[derive(Debug)]
pub struct Vhdx<F> {
    pub(crate) file: Replayed<F>,
    pub(crate) pages: Pages,
    pub(crate) header: CurrentHeader,
    pub(crate) regions: Regions,
    pub(crate) metadata: Metadata,
    /// The end of everything the file holds or means to hold, in whole MiB.
    pub(crate) end_bytes: u64,
}

impl<F: ReadAt> Vhdx<F> {
    /// Parses and checks a file: headers, log, regions, metadata, and every entry of the block table.
    ///
    /// # Errors
    /// `NotVhdx`, `Damaged`, `Unsupported` or `Io`.
    pub fn open(file: F) -> Result<Self> {
        let mut file = Replayed::new(file)?;
        let header = CurrentHeader::read(file.file(), file.len_bytes())?;
        log::replay(&mut file, &header.header)?;
        let regions = Regions::read(&file)?;
        let metadata = Metadata::read(&file, regions.metadata, &header.header)?;
        let mut vhdx = Self {
            file,
            pages: Pages::default(),
            header,
            regions,
            metadata,
            end_bytes: 0,
        };
        vhdx.end_bytes = vhdx.check_places()?;
        Ok(vhdx)
    }

    /// Returns what the file says of its disk and of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the length of the virtual disk.
    pub fn size_bytes(&self) -> u64 {
        self.metadata.virtual_size_bytes
    }

    /// Says whether the file's log held something that had to be replayed.
    pub fn has_log(&self) -> bool {
        !self.header.header.log_guid.is_nil()
    }

    /// Fills `buf` with what stands at an offset of the *file* after its log is replayed: what
    /// [`Extent::File`](crate::Extent::File) points to.
    pub fn read_file_at(&self, file_offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read(file_offset, buf)
    }

    /// Returns the file.
    pub fn into_file(self) -> F {
        self.file.into_file()
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.metadata.geometry()
    }

    /// Returns the state of a block.
    pub(crate) fn payload_state(&self, window: &mut BatWindow, block: u64) -> Result<PayloadState> {
        let entry = self.entry(window, self.geometry().payload_index(block))?;
        PayloadState::decode(entry, self.metadata.has_parent())
    }

    /// Returns where the bitmap block of a payload block lies, if there is one.
    pub(crate) fn bitmap_offset(&self, window: &mut BatWindow, block: u64) -> Result<Option<u64>> {
        bat::decode_bitmap(self.entry(window, self.geometry().bitmap_index(block))?)
    }

    /// Returns the bits of a partly present block, one for each sector, lowest bit first. They
    /// never reach over a page.
    pub(crate) fn bits(&self, window: &mut BatWindow, block: u64) -> Result<Bits> {
        let offset = self
            .bitmap_offset(window, block)?
            .ok_or_else(|| damaged("read a partly present block: it has no sector bitmap"))?;
        let (within, bytes) = self.geometry().bitmap_place(block);
        let page = self.pages.get(&self.file, offset + within)?;
        let start = ((offset + within) % PAGE_BYTES) as usize;
        Ok(Bits {
            page,
            start,
            bytes: bytes as usize,
        })
    }

    pub(crate) fn entry_offset(&self, index: u64) -> u64 {
        self.regions.bat.offset + index * ENTRY_BYTES
    }

    fn entry(&self, window: &mut BatWindow, index: u64) -> Result<u64> {
        let offset = self.entry_offset(index);
        let start = offset - offset % PAGE_BYTES;
        let page = match &window.page {
            Some((held, page)) if *held == start => page,
            _ => {
                &window
                    .page
                    .insert((start, self.pages.get(&self.file, offset)?))
                    .1
            }
        };
        let within = (offset % PAGE_BYTES) as usize;
        let bytes = page[within..within + 8].try_into();
        Ok(u64::from_le_bytes(bytes.expect("eight bytes were cut")))
    }

    /// Checks that nothing lies outside the file or on something else; returns the end of all.
    fn check_places(&self) -> Result<u64> {
        let mut taken = Occupancy::default();
        taken.take(0, MIB)?;
        let header = &self.header.header;
        let regions = self
            .regions
            .all()
            .map(|region| (region.offset, region.bytes));
        let log = (header.log_offset, u64::from(header.log_bytes));
        for (offset, bytes) in regions.chain([log]) {
            self.check_inside(offset, bytes)?;
            taken.take(offset, bytes)?;
        }
        let geometry = self.geometry();
        let count = geometry.entry_count(self.metadata.has_parent());
        if count * ENTRY_BYTES > self.regions.bat.bytes {
            return Err(damaged(
                "read the block table: it is too short for the disk",
            ));
        }
        let mut window = vec![0; MIB as usize];
        let mut index = 0;
        while index < count {
            let entries = (MIB / ENTRY_BYTES).min(count - index);
            let bytes = &mut window[..(entries * ENTRY_BYTES) as usize];
            self.file.read(self.entry_offset(index), bytes)?;
            for (number, bytes) in bytes.chunks_exact(8).enumerate() {
                let entry = u64::from_le_bytes(bytes.try_into().expect("eight bytes were cut"));
                if entry != 0 {
                    self.check_entry(&mut taken, &geometry, index + number as u64, entry)?;
                }
            }
            index += entries;
        }
        Ok(taken.end().max(self.file.len_bytes()).next_multiple_of(MIB))
    }

    fn check_entry(
        &self,
        taken: &mut Occupancy,
        geometry: &Geometry,
        index: u64,
        entry: u64,
    ) -> Result<()> {
        match geometry.slot(index) {
            None => Ok(()),
            Some(Slot::Bitmap) => match bat::decode_bitmap(entry)? {
                None => Ok(()),
                Some(offset) => {
                    self.check_inside(offset, BITMAP_BYTES)?;
                    taken.take(offset, BITMAP_BYTES)
                }
            },
            Some(Slot::Payload(block)) => {
                let state = PayloadState::decode(entry, self.metadata.has_parent())?;
                let (PayloadState::FullyPresent { offset }
                | PayloadState::PartiallyPresent { offset }) = state
                else {
                    return Ok(());
                };
                if let PayloadState::PartiallyPresent { .. } = state {
                    self.bitmap_offset(&mut BatWindow::default(), block)?
                        .ok_or_else(|| {
                            damaged("read the block table: a sector bitmap is missing")
                        })?;
                }
                // The last block of files that qemu made is as long as the disk needs it.
                self.check_inside(offset, geometry.used_bytes(block))?;
                taken.take(offset, geometry.block_bytes())
            }
        }
    }

    fn check_inside(&self, offset: u64, bytes: u64) -> Result<()> {
        let end = offset.checked_add(bytes);
        match end.is_some_and(|end| end <= self.file.len_bytes()) {
            true => Ok(()),
            false => Err(damaged(format!(
                "find {bytes} bytes at {offset}: the file ends before"
            ))),
        }
    }
}

/// The page of the block table that was used last.
#[derive(Debug, Default)]
pub(crate) struct BatWindow {
    page: Option<(u64, Page)>,
}

/// The sector bits of one block.
pub(crate) struct Bits {
    page: Page,
    start: usize,
    bytes: usize,
}

impl Bits {
    pub fn is_set(&self, sector: u64) -> bool {
        let byte = self.bytes()[(sector / 8) as usize];
        byte >> (sector % 8) & 1 == 1
    }

    /// Returns the first sector after `sector`, below `end`, whose bit differs, or `end`.
    pub fn run_end(&self, sector: u64, end: u64) -> u64 {
        let is_set = self.is_set(sector);
        let whole = if is_set { 0xff } else { 0 };
        let mut next = sector + 1;
        while next < end {
            let in_whole_byte =
                next.is_multiple_of(8) && self.bytes()[(next / 8) as usize] == whole;
            if in_whole_byte {
                next += 8;
            } else if self.is_set(next) == is_set {
                next += 1;
            } else {
                break;
            }
        }
        next.min(end)
    }

    fn bytes(&self) -> &[u8] {
        &self.page[self.start..self.start + self.bytes]
    }
}
