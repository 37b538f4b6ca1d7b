//! GetVirtualDiskInformation: one version at a time, as bytes with fields at known offsets
//! (Hyper-V spec 7.1; the offsets are checked against independent headers by a test).
//!
//! Unsafe code is run by: `a_frozen_disk_says_and_holds_the_same`, `calls_gain_neither_handles_nor_memory_on_disks`.

use std::path::Path;

use uuid::Uuid;
use windows::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, HANDLE};
use windows::Win32::Storage::Vhd::{
    GET_VIRTUAL_DISK_INFO, GET_VIRTUAL_DISK_INFO_VERSION, GetVirtualDiskInformation,
};

use super::failure::failed;
use crate::calls;
use crate::virtdisk::VirtualDiskError;

/// Where the fields of every version begin.
pub(super) const BODY: usize = 8;

const FIRST_WORDS: usize = 64;
/// Paths and ids are no longer than this by far.
const WORDS_MAX: usize = 1 << 15;

/// One answer.
pub(super) struct Information {
    bytes: Vec<u8>,
}

impl Information {
    /// Asks for one version.
    #[expect(unsafe_code, reason = "virtdisk fills a buffer of unknown length")]
    pub(super) fn ask(
        disk: HANDLE,
        path: &Path,
        version: GET_VIRTUAL_DISK_INFO_VERSION,
    ) -> Result<Self, VirtualDiskError> {
        let mut words = vec![0u64; FIRST_WORDS];
        loop {
            words[0] = u64::from(version.0.cast_unsigned());
            let mut buffer_bytes = size_of_val(words.as_slice()) as u32;
            calls::count("virtdisk.information");
            // SAFETY: the buffer is ours, aligned for 8 bytes as the structure is, at least as
            // long as the structure, and its length is what `buffer_bytes` says; its first field
            // holds the version asked for.
            let code = unsafe {
                GetVirtualDiskInformation(
                    disk,
                    &mut buffer_bytes,
                    words.as_mut_ptr().cast::<GET_VIRTUAL_DISK_INFO>(),
                    None,
                )
            };
            if code == ERROR_INSUFFICIENT_BUFFER && words.len() < WORDS_MAX {
                words = vec![0; words.len() * 2];
                continue;
            }
            failed("ask for information on", path, code)?;
            let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            return Ok(Self { bytes });
        }
    }

    pub(super) fn u32_at(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array_at(offset))
    }

    pub(super) fn u64_at(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array_at(offset))
    }

    pub(super) fn guid_at(&self, offset: usize) -> Uuid {
        Uuid::from_bytes_le(self.array_at(offset))
    }

    /// Returns the text that begins at `offset` and ends with a zero.
    pub(super) fn text_at(&self, offset: usize) -> String {
        let units = self.bytes[offset..].chunks_exact(2);
        let units: Vec<u16> = units
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .take_while(|&unit| unit != 0)
            .collect();
        String::from_utf16_lossy(&units)
    }

    fn array_at<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[offset..offset + N]);
        array
    }
}

const _: () = assert!(FIRST_WORDS * 8 >= size_of::<GET_VIRTUAL_DISK_INFO>());
