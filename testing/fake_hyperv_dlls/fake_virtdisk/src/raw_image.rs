//! The content of a virtual disk as a plain file.
//!
//! Images of disks attached for reading are emptied when their disk is detached. The image of a
//! disk attached for writing keeps its content until that is in the VHDX, whoever brings it there.
//! Files go once nobody has them open.
//!
//! Unsafe code is run by: `a_frozen_disk_says_and_holds_the_same`, `a_disk_is_written_as_a_drive_that_is_offline`.

use std::fs::{self, File};
use std::io;
use std::os::windows::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use fake_hyperv::virtdisk::FakeVirtualDiskFile;
use windows::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE, HANDLE};
use windows::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, CreateFileW, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ,
    FILE_SHARE_WRITE, GetFileInformationByHandle, OPEN_EXISTING,
};
use windows::core::HSTRING;
use windows_host::virtdisk::{VirtualDiskError, VirtualDiskFile};

use crate::drive::TABLE_BYTES;

const PIECE_BYTES: u64 = 1 << 20;

/// How the names of images end whose content may still have to go into a VHDX.
pub const WRITTEN: &str = "written";

/// Makes an empty image and returns the handle that the program gets.
///
/// Nobody can remove the file while that handle is open, so its presence tells.
#[expect(unsafe_code, reason = "the program gets a raw handle")]
pub fn make(image: &Path) -> Result<HANDLE, u32> {
    if let Some(folder) = image.parent() {
        fs::create_dir_all(folder).map_err(|error| code_of(&error))?;
    }
    File::create(image).map_err(|error| code_of(&error))?;
    // SAFETY: the name is a string of ours that ends with 0 and lives through the call; the other
    // pointers are null. The handle becomes the program's, which closes it.
    let handle = unsafe {
        CreateFileW(
            &HSTRING::from(image.as_os_str()),
            GENERIC_READ.0 | GENERIC_WRITE.0,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            None,
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED,
            None,
        )
    };
    handle.map_err(|error| error.code().0.cast_unsigned() & 0xFFFF)
}

/// What makes a file itself, whichever handle it is seen through: the volume, and a number on it.
pub type Identity = (u32, u64);

/// Returns by what the file of a handle is known; none if it is no file's.
#[expect(unsafe_code, reason = "the program's handle is raw")]
pub fn identity(handle: HANDLE) -> Option<Identity> {
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: whatever the program passed for a handle is asked as one, and the place is ours.
    unsafe { GetFileInformationByHandle(handle, &mut found) }.ok()?;
    let number = u64::from(found.nFileIndexHigh) << 32 | u64::from(found.nFileIndexLow);
    Some((found.dwVolumeSerialNumber, number))
}

/// Returns the beginning of an image, where its disk has the table of partitions.
pub fn table(image: &Path) -> Result<[u8; TABLE_BYTES], u32> {
    let mut table = [0; TABLE_BYTES];
    let file = File::open(image).map_err(|error| code_of(&error))?;
    read_exact(&file, 0, &mut table).map_err(|error| code_of(&error))?;
    Ok(table)
}

/// Fills an image with the content of a disk, as far as that can be read.
pub fn fill(image: &Path, disk: &FakeVirtualDiskFile) -> Result<(), VirtualDiskError> {
    let size = disk.size()?.virtual_bytes;
    let told = |error: io::Error| VirtualDiskError {
        doing: "attach",
        path: image.to_path_buf(),
        code: code_of(&error),
    };
    let file = File::options().write(true).open(image).map_err(told)?;
    file.set_len(size).map_err(told)?;
    let mut from = 0;
    while let Some(range) = disk.next_allocated(from)? {
        let mut offset = range.start();
        while offset < range.end() {
            let mut piece = vec![0; PIECE_BYTES.min(range.end() - offset) as usize];
            if disk.read_at(offset, &mut piece).is_err() {
                return file.set_len(offset).map_err(told);
            }
            write_all(&file, offset, &piece).map_err(told)?;
            offset += piece.len() as u64;
        }
        from = range.end();
    }
    Ok(())
}

/// Takes what an image holds into its disk.
pub fn fold(image: &Path, disk: &FakeVirtualDiskFile) -> Result<(), VirtualDiskError> {
    let told = |error: io::Error| VirtualDiskError {
        doing: "detach",
        path: image.to_path_buf(),
        code: code_of(&error),
    };
    let file = File::open(image).map_err(told)?;
    let size = disk.size()?.virtual_bytes;
    let (mut written, mut known) = (Vec::new(), Vec::new());
    let mut offset = 0;
    while offset < size {
        let bytes = PIECE_BYTES.min(size - offset) as usize;
        written.resize(bytes, 0);
        known.resize(bytes, 0);
        read_exact(&file, offset, &mut written).map_err(told)?;
        disk.read_at(offset, &mut known)?;
        if written != known {
            disk.write_at(offset, &written)?;
        }
        offset += bytes as u64;
    }
    disk.flush()
}

/// Empties an image whose disk is detached; the file goes when nobody has it open.
pub fn empty(image: &Path) {
    // What is left of it is removed by `sweep`, sooner or later.
    let _ = File::options()
        .write(true)
        .open(image)
        .and_then(|file| file.set_len(0));
}

/// Removes images that nobody has open.
pub fn sweep(folder: &Path) {
    let Ok(entries) = folder.read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == WRITTEN) && !is_empty(&path) {
            continue;
        }
        // Those still open cannot be removed, which is as it should be.
        let _ = fs::remove_file(path);
    }
}

/// Returns whether an image holds nothing.
pub fn is_empty(image: &Path) -> bool {
    image.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

/// Returns whether an image is there that no living program has open.
pub fn is_abandoned(image: &Path) -> bool {
    File::options().read(true).share_mode(0).open(image).is_ok()
}

fn write_all(file: &File, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let written = file.seek_write(data, offset)?;
        offset += written as u64;
        data = &data[written..];
    }
    Ok(())
}

fn read_exact(file: &File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let read = file.seek_read(buf, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += read as u64;
        buf = &mut buf[read..];
    }
    Ok(())
}

/// Returns the Win32 code of an error.
pub fn code_of(error: &io::Error) -> u32 {
    const GEN_FAILURE: u32 = 31;
    error
        .raw_os_error()
        .map_or(GEN_FAILURE, |code| code.cast_unsigned())
}
