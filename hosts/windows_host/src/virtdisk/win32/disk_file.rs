//! An open virtual disk file: the trait over an attachment's handles.
//!
//! Unsafe code is run by: `a_frozen_disk_says_and_holds_the_same`, `a_disk_is_made_and_written_like_the_models`, `calls_gain_neither_handles_nor_memory_on_disks`.

use std::path::{Path, PathBuf};

use disk::ByteRange;
use hyperv::query_loop::PartialAnswer;
use uuid::Uuid;
use windows::Win32::Foundation::ERROR_INVALID_DATA;
use windows::Win32::Storage::FileSystem::FlushFileBuffers;
use windows::Win32::Storage::Vhd::{
    GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE, GET_VIRTUAL_DISK_INFO_PARENT_LOCATION,
    GET_VIRTUAL_DISK_INFO_PROVIDER_SUBTYPE, GET_VIRTUAL_DISK_INFO_SIZE,
    GET_VIRTUAL_DISK_INFO_VERSION, GET_VIRTUAL_DISK_INFO_VHD_PHYSICAL_SECTOR_SIZE,
    GET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID, GET_VIRTUAL_DISK_INFO_VIRTUAL_STORAGE_TYPE,
    QUERY_CHANGES_VIRTUAL_DISK_FLAG_NONE, QUERY_CHANGES_VIRTUAL_DISK_RANGE,
    QueryChangesVirtualDisk,
};
use windows::core::HSTRING;

use super::attachment::Attachment;
use super::failure::{code_of, error, failed};
use super::information::{BODY, Information};
use super::transfer::Transfers;
use crate::calls;
use crate::virtdisk::{
    ChangeTracking, Container, Subtype, VirtualDiskError, VirtualDiskFile, VirtualDiskSize,
};

/// How many ranges one answer has room for.
const RANGES_MAX: usize = 4096;

const QUERYING: &str = "get changed ranges of";

/// A virtual disk file of this machine, open.
#[derive(Debug)]
pub(super) struct Win32DiskFile {
    path: PathBuf,
    attachment: Attachment,
    transfers: Transfers,
}

impl Win32DiskFile {
    pub(super) fn new(path: &Path, attachment: Attachment) -> Self {
        Self {
            path: path.to_path_buf(),
            attachment,
            transfers: Transfers::default(),
        }
    }

    fn ask(&self, version: GET_VIRTUAL_DISK_INFO_VERSION) -> Result<Information, VirtualDiskError> {
        Information::ask(self.attachment.disk(), &self.path, version)
    }
}

impl VirtualDiskFile for Win32DiskFile {
    fn size(&self) -> Result<VirtualDiskSize, VirtualDiskError> {
        let information = self.ask(GET_VIRTUAL_DISK_INFO_SIZE)?;
        Ok(VirtualDiskSize {
            virtual_bytes: information.u64_at(BODY),
            block_bytes: information.u32_at(BODY + 16),
            sector_bytes: information.u32_at(BODY + 20),
        })
    }

    fn physical_sector_bytes(&self) -> Result<u32, VirtualDiskError> {
        let information = self.ask(GET_VIRTUAL_DISK_INFO_VHD_PHYSICAL_SECTOR_SIZE)?;
        Ok(information.u32_at(BODY))
    }

    fn container(&self) -> Result<Container, VirtualDiskError> {
        let information = self.ask(GET_VIRTUAL_DISK_INFO_VIRTUAL_STORAGE_TYPE)?;
        Ok(match information.u32_at(BODY) {
            2 => Container::Vhd,
            3 => Container::Vhdx,
            4 => Container::VhdSet,
            other => Container::Other(other),
        })
    }

    fn subtype(&self) -> Result<Subtype, VirtualDiskError> {
        let information = self.ask(GET_VIRTUAL_DISK_INFO_PROVIDER_SUBTYPE)?;
        Ok(match information.u32_at(BODY) {
            2 => Subtype::Fixed,
            3 => Subtype::Dynamic,
            4 => Subtype::Differencing,
            other => Subtype::Other(other),
        })
    }

    fn parent(&self) -> Result<Option<PathBuf>, VirtualDiskError> {
        // Files without a parent answer this question with an error.
        if self.subtype()? != Subtype::Differencing {
            return Ok(None);
        }
        let information = self.ask(GET_VIRTUAL_DISK_INFO_PARENT_LOCATION)?;
        let resolved = information.u32_at(BODY) != 0;
        Ok(resolved.then(|| information.text_at(BODY + 4).into()))
    }

    fn virtual_disk_id(&self) -> Result<Uuid, VirtualDiskError> {
        let information = self.ask(GET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID)?;
        Ok(information.guid_at(BODY))
    }

    fn change_tracking(&self) -> Result<ChangeTracking, VirtualDiskError> {
        let information = self.ask(GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE)?;
        Ok(ChangeTracking {
            enabled: information.u32_at(BODY) != 0,
            newer_changes: information.u32_at(BODY + 4) != 0,
            most_recent_id: information.text_at(BODY + 8),
        })
    }

    fn is_unseen(&self) -> bool {
        self.attachment.is_unseen()
    }

    #[expect(unsafe_code, reason = "virtdisk fills an array")]
    fn query_changes(
        &self,
        id: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<PartialAnswer, VirtualDiskError> {
        let mut ranges = vec![QUERY_CHANGES_VIRTUAL_DISK_RANGE::default(); RANGES_MAX];
        let mut count = ranges.len() as u32;
        let mut processed_bytes = 0;
        calls::count("virtdisk.query_changes");
        // SAFETY: the id is a string of ours that ends with 0, the array is ours and has room for
        // `count` ranges, and the handle is open while `self` lives.
        let code = unsafe {
            QueryChangesVirtualDisk(
                self.attachment.disk(),
                &HSTRING::from(id),
                offset,
                bytes,
                QUERY_CHANGES_VIRTUAL_DISK_FLAG_NONE,
                ranges.as_mut_ptr(),
                &mut count,
                &mut processed_bytes,
            )
        };
        failed(QUERYING, &self.path, code)?;
        ranges.truncate(count as usize);
        let ranges = ranges.iter().filter(|range| range.ByteLength > 0);
        let ranges: Option<Vec<_>> = ranges
            .map(|range| ByteRange::at(range.ByteOffset, range.ByteLength))
            .collect();
        // A range that ends past all numbers says nothing about what changed.
        let ranges = ranges.ok_or_else(|| error(QUERYING, &self.path, ERROR_INVALID_DATA.0))?;
        Ok(PartialAnswer {
            ranges,
            processed_bytes,
        })
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), VirtualDiskError> {
        let content = self.attachment.content();
        self.transfers.read(content, &self.path, offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), VirtualDiskError> {
        let content = self.attachment.content();
        self.transfers.write(content, &self.path, offset, data)
    }

    #[expect(unsafe_code, reason = "handles are raw")]
    fn flush(&self) -> Result<(), VirtualDiskError> {
        calls::count("virtdisk.flush_file_buffers");
        // SAFETY: the handle is open while `self` lives.
        let flushed = unsafe { FlushFileBuffers(self.attachment.content()) };
        flushed.map_err(|cause| error("flush", &self.path, code_of(&cause)))
    }
}
