//! The functions that programs call, as virtdisk.h declares them.
//!
//! Unsafe code is run by: `a_frozen_disk_says_and_holds_the_same`, `a_disk_is_made_and_written_like_the_models`, `a_host_that_does_not_know_the_flag_shows_a_drive`.

#![expect(
    unsafe_code,
    reason = "C functions with raw pointers, exported by their names"
)]

use std::ffi::{OsString, c_void};
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use uuid::Uuid;
use windows::Win32::Foundation::{
    ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_PARAMETER, ERROR_NOT_SUPPORTED, HANDLE,
};
use windows::Win32::Storage::Vhd::{
    ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER, ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST,
    ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY, CREATE_VIRTUAL_DISK_PARAMETERS,
    CREATE_VIRTUAL_DISK_VERSION_2, OPEN_VIRTUAL_DISK_PARAMETERS, OPEN_VIRTUAL_DISK_VERSION_2,
    QUERY_CHANGES_VIRTUAL_DISK_RANGE, VIRTUAL_STORAGE_TYPE, VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
    VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
};
use windows::core::{GUID, PCWSTR};
use windows_host::virtdisk::{Access, NewVirtualDisk};

use crate::disks::{Attaching, Disks};

/// All flags that AttachVirtualDisk knows.
const ATTACH_FLAGS: i32 = 0x7FF;
/// All flags that OpenVirtualDisk knows.
const OPEN_FLAGS: i32 = 0xFFF;
const NO_PROVIDER: u32 = 0xC03A_0014;
const INVALID: u32 = ERROR_INVALID_PARAMETER.0;
const UNSUPPORTED: u32 = ERROR_NOT_SUPPORTED.0;

/// Exports a function under its own name; what it fails with is what it returns.
macro_rules! exported {
    (fn $name:ident($($argument:ident: $type:ty),*) $body:block) => {
        // SAFETY: nothing else in this DLL has the name, and the loader looks for it in one DLL.
        #[unsafe(no_mangle)]
        /// # Safety
        /// Pointers are null or point to what virtdisk.h says, alive through the call.
        unsafe extern "system" fn $name($($argument: $type),*) -> u32 {
            let done: Result<(), u32> = (|| $body)();
            done.err().unwrap_or_default()
        }
    };
}

/// Returns what a pointer of the caller points to.
///
/// # Safety
/// It is null or points to a value that lives and is not written to through the call.
unsafe fn given<'a, T>(pointer: *const T) -> Result<&'a T, u32> {
    // SAFETY: the caller promises it.
    unsafe { pointer.as_ref() }.ok_or(INVALID)
}

/// Returns the place that a pointer of the caller points to.
///
/// # Safety
/// It is null or points to a value that lives through the call and that nobody else uses.
unsafe fn place<'a, T>(pointer: *mut T) -> Result<&'a mut T, u32> {
    // SAFETY: the caller promises it.
    unsafe { pointer.as_mut() }.ok_or(INVALID)
}

/// Returns the text of the caller.
///
/// # Safety
/// It is null or points to UTF-16 that ends with a zero.
unsafe fn text(pointer: PCWSTR) -> Result<OsString, u32> {
    if pointer.is_null() {
        return Err(INVALID);
    }
    // SAFETY: the caller promises it.
    Ok(OsString::from_wide(unsafe { pointer.as_wide() }))
}

exported! {
    fn OpenVirtualDisk(
        storage_type: *const VIRTUAL_STORAGE_TYPE,
        path: PCWSTR,
        access_mask: i32,
        flags: i32,
        parameters: *const OPEN_VIRTUAL_DISK_PARAMETERS,
        handle: *mut HANDLE
    ) {
        // SAFETY: programs pass what virtdisk.h asks for: valid pointers, or null.
        let (storage_type, path, parameters, handle) = unsafe {
            (
                given(storage_type)?,
                PathBuf::from(text(path)?),
                given(parameters)?,
                place(handle)?,
            )
        };
        let detected = storage_type.DeviceId == 0 && storage_type.VendorId == GUID::zeroed();
        if !detected && !is_vhdx(storage_type) {
            return Err(NO_PROVIDER);
        }
        if flags & !OPEN_FLAGS != 0
            || access_mask != 0
            || parameters.Version != OPEN_VIRTUAL_DISK_VERSION_2
        {
            return Err(INVALID);
        }
        if flags != 0 {
            return Err(UNSUPPORTED);
        }
        // SAFETY: the version says which member is filled.
        let wanted = unsafe { parameters.Anonymous.Version2 };
        let access = match (wanted.GetInfoOnly.as_bool(), wanted.ReadOnly.as_bool()) {
            (true, _) => Access::Information,
            (false, true) => Access::Read,
            (false, false) => Access::Write,
        };
        *handle = Disks::get()?.open(&path, access)?;
        Ok(())
    }
}

exported! {
    fn CreateVirtualDisk(
        storage_type: *const VIRTUAL_STORAGE_TYPE,
        path: PCWSTR,
        access_mask: i32,
        security_descriptor: *const c_void,
        flags: i32,
        provider_flags: u32,
        parameters: *const CREATE_VIRTUAL_DISK_PARAMETERS,
        overlapped: *const c_void,
        handle: *mut HANDLE
    ) {
        // SAFETY: programs pass what virtdisk.h asks for: valid pointers, or null.
        let (storage_type, path, parameters, handle) = unsafe {
            (
                given(storage_type)?,
                PathBuf::from(text(path)?),
                given(parameters)?,
                place(handle)?,
            )
        };
        if !is_vhdx(storage_type) {
            return Err(NO_PROVIDER);
        }
        if access_mask != 0 || parameters.Version != CREATE_VIRTUAL_DISK_VERSION_2 {
            return Err(INVALID);
        }
        // SAFETY: the version says which member is filled.
        let new = unsafe { parameters.Anonymous.Version2 };
        let plain = security_descriptor.is_null() && overlapped.is_null();
        let has_source = !new.ParentPath.is_null() || !new.SourcePath.is_null();
        if !plain || has_source || flags != 0 || provider_flags != 0 {
            return Err(UNSUPPORTED);
        }
        *handle = Disks::get()?.create(
            &path,
            &NewVirtualDisk {
                virtual_bytes: checked_size(new.MaximumSize, new.SectorSizeInBytes)?,
                block_bytes: checked_block(new.BlockSizeInBytes)?,
                logical_sector_bytes: checked_sector(new.SectorSizeInBytes)?,
                physical_sector_bytes: match new.PhysicalSectorSizeInBytes {
                    0 => 4096,
                    bytes => checked_sector(bytes)?,
                },
                virtual_disk_id: Uuid::from_u128(new.UniqueId.to_u128()),
            },
        )?;
        Ok(())
    }
}

fn is_vhdx(storage_type: &VIRTUAL_STORAGE_TYPE) -> bool {
    storage_type.DeviceId == VIRTUAL_STORAGE_TYPE_DEVICE_VHDX
        && storage_type.VendorId == VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT
}

/// VHDX files hold at least 3 MiB, and whole sectors.
fn checked_size(bytes: u64, sector: u32) -> Result<u64, u32> {
    const BYTES_MIN: u64 = 3 << 20;
    let whole = bytes.is_multiple_of(u64::from(checked_sector(sector)?));
    if whole && bytes >= BYTES_MIN {
        Ok(bytes)
    } else {
        Err(INVALID)
    }
}

fn checked_block(bytes: u32) -> Result<Option<u32>, u32> {
    match bytes {
        0 => Ok(None),
        bytes if bytes.is_power_of_two() && (1 << 20..=256 << 20).contains(&bytes) => {
            Ok(Some(bytes))
        }
        _ => Err(INVALID),
    }
}

fn checked_sector(bytes: u32) -> Result<u32, u32> {
    match bytes {
        0 => Ok(512),
        512 | 4096 => Ok(bytes),
        _ => Err(INVALID),
    }
}

exported! {
    fn AttachVirtualDisk(
        handle: HANDLE,
        security_descriptor: *const c_void,
        flags: i32,
        provider_flags: u32,
        parameters: *const c_void,
        overlapped: *const c_void
    ) {
        if flags & !ATTACH_FLAGS != 0 || provider_flags != 0 {
            return Err(INVALID);
        }
        let known = ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY
            | ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER
            | ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST;
        let plain = security_descriptor.is_null() && parameters.is_null() && overlapped.is_null();
        if flags & !known.0 != 0 || !plain {
            return Err(UNSUPPORTED);
        }
        let how = Attaching {
            read_only: flags & ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY.0 != 0,
            as_drive: flags & ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST.0 == 0,
        };
        Disks::get()?.attach(handle, how)
    }
}

exported! {
    fn DetachVirtualDisk(
        handle: HANDLE,
        flags: i32,
        provider_flags: u32
    ) {
        if flags != 0 || provider_flags != 0 {
            return Err(INVALID);
        }
        Disks::get()?.detach(handle)
    }
}

exported! {
    fn GetVirtualDiskPhysicalPath(
        handle: HANDLE,
        path_bytes: *mut u32,
        path: *mut u16
    ) {
        // SAFETY: the program passes a place for the length, or null.
        let room = unsafe { place(path_bytes) }?;
        let drive = Disks::get()?.drive(handle)?;
        let name: Vec<u16> = drive.as_os_str().encode_wide().chain([0]).collect();
        let had = *room;
        *room = size_of_val(name.as_slice()) as u32;
        if path.is_null() || had < *room {
            return Err(ERROR_INSUFFICIENT_BUFFER.0);
        }
        // SAFETY: the program says that the buffer has `had` bytes, which is enough.
        unsafe { path.copy_from_nonoverlapping(name.as_ptr(), name.len()) };
        Ok(())
    }
}

exported! {
    fn GetVirtualDiskInformation(
        handle: HANDLE,
        info_bytes: *mut u32,
        info: *mut u8,
        used_bytes: *mut u32
    ) {
        // SAFETY: the program passes a place for the length, or null.
        let room = unsafe { place(info_bytes) }?;
        if info.is_null() || (*room as usize) < size_of::<i32>() {
            return Err(INVALID);
        }
        // SAFETY: the buffer begins with the version, and is long enough for it.
        let version = unsafe { info.cast::<i32>().read_unaligned() };
        let answer = Disks::get()?.information(handle, version)?.bytes(version);
        let had = *room;
        *room = answer.len() as u32;
        if had < *room {
            return Err(ERROR_INSUFFICIENT_BUFFER.0);
        }
        // SAFETY: the program says that the buffer has `had` bytes, which is enough; where the
        // length used goes is a valid place or null.
        unsafe {
            info.copy_from_nonoverlapping(answer.as_ptr(), answer.len());
            if let Some(used) = used_bytes.as_mut() {
                *used = answer.len() as u32;
            }
        }
        Ok(())
    }
}

exported! {
    fn QueryChangesVirtualDisk(
        handle: HANDLE,
        id: PCWSTR,
        offset: u64,
        bytes: u64,
        flags: i32,
        ranges: *mut QUERY_CHANGES_VIRTUAL_DISK_RANGE,
        range_count: *mut u32,
        processed_bytes: *mut u64
    ) {
        // SAFETY: programs pass what virtdisk.h asks for: valid pointers, or null.
        let (id, count, processed) =
            unsafe { (text(id)?, place(range_count)?, place(processed_bytes)?) };
        if flags != 0 || ranges.is_null() || *count == 0 {
            return Err(INVALID);
        }
        let id = id.to_string_lossy();
        let ranges_max = *count as usize;
        let answer = Disks::get()?.query_changes(handle, &id, offset, bytes, ranges_max)?;
        for (at, range) in answer.ranges.iter().enumerate() {
            let range = QUERY_CHANGES_VIRTUAL_DISK_RANGE {
                ByteOffset: range.start(),
                ByteLength: range.bytes(),
                Reserved: 0,
            };
            // SAFETY: the program says that there is room for `ranges_max` ranges, and the answer
            // holds no more.
            unsafe { ranges.add(at).write(range) };
        }
        *count = answer.ranges.len() as u32;
        *processed = answer.processed_bytes;
        Ok(())
    }
}
