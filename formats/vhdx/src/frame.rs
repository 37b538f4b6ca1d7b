//! What stands before the payload of every file this crate makes:
//!
//! ```text
//! 0      identifier, headers, region tables
//! 1 MiB  log, empty
//! 2 MiB  metadata
//! 3 MiB  block allocation table, whole MiB
//!        payload
//! ```

use crate::error::{Result, io_error, out_of_range};
use crate::file::WriteAt;
use crate::header::{self, MIB};
use crate::metadata::Metadata;
use crate::region::{Region, Regions};

const METADATA_OFFSET: u64 = 2 * MIB;

/// Where the block table of a new file begins.
pub(crate) const BAT_OFFSET: u64 = 3 * MIB;

/// The parts of a new file but for its block table's entries.
#[derive(Debug)]
pub(crate) struct Frame {
    metadata: Metadata,
    encoded_metadata: Vec<u8>,
    regions: Regions,
}

impl Frame {
    /// Checks what the file shall be.
    pub fn new(metadata: Metadata) -> Result<Self> {
        metadata.geometry().check().map_err(out_of_range)?;
        if !matches!(metadata.physical_sector_bytes, 512 | 4096) {
            return Err(out_of_range(
                "accept the physical sector size: it is neither 512 nor 4096",
            ));
        }
        let bat = Region {
            offset: BAT_OFFSET,
            bytes: metadata.geometry().table_bytes(metadata.has_parent()),
        };
        let place = Region {
            offset: METADATA_OFFSET,
            bytes: MIB,
        };
        Ok(Self {
            encoded_metadata: metadata.encode()?,
            regions: Regions::new(bat, place),
            metadata,
        })
    }

    /// Returns where payload may begin.
    pub fn payload_offset(&self) -> u64 {
        BAT_OFFSET + self.regions.bat.bytes
    }

    /// Returns all parts, each with its place; the last three make the file valid.
    pub fn parts(&self) -> Vec<(u64, Vec<u8>)> {
        let mut parts = Vec::from(self.regions.encode());
        parts.push((METADATA_OFFSET, self.encoded_metadata.clone()));
        let guids = (self.metadata.file_write_guid, self.metadata.data_write_guid);
        parts.extend(header::new_file(guids.0, guids.1));
        parts
    }

    /// Writes everything but the table, which must be written already: first what makes no file
    /// valid, then, when that is durable, the headers.
    pub fn write<F: WriteAt>(&self, file: &F) -> Result<()> {
        let failed = "write the front of a new file";
        let parts = self.parts();
        let (plain, validating) = parts.split_at(parts.len() - 3);
        for parts in [plain, validating] {
            for (offset, bytes) in parts {
                file.write_all_at(*offset, bytes)
                    .map_err(io_error(failed))?;
            }
            file.sync().map_err(io_error(failed))?;
        }
        Ok(())
    }
}

/// Gives a file a length and nothing but zeros.
pub(crate) fn set_new_len<F: WriteAt>(file: &F, len_bytes: u64) -> Result<()> {
    file.set_len(0)
        .and_then(|()| file.set_len(len_bytes))
        .map_err(io_error("give a new file its length"))
}
