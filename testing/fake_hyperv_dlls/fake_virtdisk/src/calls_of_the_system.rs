//! What the program calls of kernel32 with the handle of a drive: taken on the way, since the
//! system knows that handle for a file's.
//!
//! A program finds such functions through a table of addresses in itself. Two entries there are
//! replaced, of the program alone: what libraries call, this one among them, goes to the system. What has
//! nothing to do with drives is handed on as it came.
//!
//! Unsafe code is run by: `a_disk_is_written_as_a_drive_that_is_offline`, `a_drive_that_is_online_refuses_writes_into_its_volumes`, `a_drive_that_does_not_go_offline_is_not_written`.

#![expect(
    unsafe_code,
    reason = "functions with raw pointers, put into the program's table of imports"
)]

use std::ffi::{CStr, c_void};

use windows::Win32::Foundation::{HANDLE, SetLastError, WIN32_ERROR};
use windows::Win32::System::IO::OVERLAPPED;
use windows::Win32::System::Ioctl::{
    GET_DISK_ATTRIBUTES, IOCTL_DISK_GET_DISK_ATTRIBUTES, IOCTL_DISK_SET_DISK_ATTRIBUTES,
    SET_DISK_ATTRIBUTES,
};
use windows::Win32::System::LibraryLoader::GetModuleHandleW;
use windows::Win32::System::Memory::{PAGE_PROTECTION_FLAGS, PAGE_READWRITE, VirtualProtect};
use windows::core::{BOOL, PCWSTR};

use crate::disks::Disks;

/// The DLL whose functions are replaced.
const KERNEL32: &str = "kernel32.dll";

mod system {
    //! The functions themselves, as winbase.h and ioapiset.h declare them.

    use super::{BOOL, HANDLE, OVERLAPPED, c_void};

    windows::core::link!("kernel32.dll" "system" fn WriteFile(file: HANDLE, data: *const u8, bytes: u32, written: *mut u32, overlapped: *mut OVERLAPPED) -> BOOL);
    windows::core::link!("kernel32.dll" "system" fn DeviceIoControl(device: HANDLE, code: u32, given: *const c_void, given_bytes: u32, answer: *mut c_void, answer_bytes: u32, returned: *mut u32, overlapped: *mut OVERLAPPED) -> BOOL);
}

/// Takes the program's calls from now on.
pub fn take() {
    replace("WriteFile", write_file as *const c_void);
    replace("DeviceIoControl", device_io_control as *const c_void);
}

/// Returns a failure with its code where programs look for it.
fn refused(code: u32) -> BOOL {
    // SAFETY: the code is one of this thread alone.
    unsafe { SetLastError(WIN32_ERROR(code)) };
    BOOL(0)
}

/// # Safety
/// As for WriteFile.
unsafe extern "system" fn write_file(
    file: HANDLE,
    data: *const u8,
    bytes: u32,
    written: *mut u32,
    overlapped: *mut OVERLAPPED,
) -> BOOL {
    // SAFETY: the caller passes null, or a structure whose offset is filled.
    let place = unsafe { overlapped.as_ref() }.map(|overlapped| {
        // SAFETY: files are written at the offset, the union's first member.
        let place = unsafe { overlapped.Anonymous.Anonymous };
        u64::from(place.OffsetHigh) << 32 | u64::from(place.Offset)
    });
    match Disks::opened().and_then(|disks| disks.refusal(file, place, bytes)) {
        Some(code) => refused(code),
        // SAFETY: everything is the caller's, as it came.
        None => unsafe { system::WriteFile(file, data, bytes, written, overlapped) },
    }
}

/// # Safety
/// As for DeviceIoControl.
unsafe extern "system" fn device_io_control(
    device: HANDLE,
    code: u32,
    given: *const c_void,
    given_bytes: u32,
    answer: *mut c_void,
    answer_bytes: u32,
    returned: *mut u32,
    overlapped: *mut OVERLAPPED,
) -> BOOL {
    let answered = Disks::opened().and_then(|disks| match code {
        IOCTL_DISK_SET_DISK_ATTRIBUTES => {
            let whole = given_bytes as usize >= size_of::<SET_DISK_ATTRIBUTES>();
            // SAFETY: the caller passes what is as long as he says, or null.
            let wanted = unsafe { given.cast::<SET_DISK_ATTRIBUTES>().as_ref() };
            disks.set_attributes(device, wanted.filter(|_| whole))
        }
        IOCTL_DISK_GET_DISK_ATTRIBUTES => {
            let whole = answer_bytes as usize >= size_of::<GET_DISK_ATTRIBUTES>();
            // SAFETY: the caller passes a place that is as long as he says, or null.
            let place = unsafe { answer.cast::<GET_DISK_ATTRIBUTES>().as_mut() };
            disks.attributes(device, place.filter(|_| whole))
        }
        _ => None,
    });
    match answered {
        Some(Ok(bytes)) => {
            // SAFETY: the caller passes a place for the length, or null.
            if let Some(returned) = unsafe { returned.as_mut() } {
                *returned = bytes;
            }
            BOOL(1)
        }
        Some(Err(code)) => refused(code),
        // SAFETY: everything is the caller's, as it came.
        None => unsafe {
            system::DeviceIoControl(
                device,
                code,
                given,
                given_bytes,
                answer,
                answer_bytes,
                returned,
                overlapped,
            )
        },
    }
}

/// Where what is needed of a program's headers stands (PE32+).
mod offsets {
    /// Of the headers' own offset, in the file's first header.
    pub const HEADERS: usize = 0x3C;
    /// Of the address of the imports, in the headers.
    pub const IMPORTS: usize = 24 + 112 + 8;
    /// In an import: names, the DLL's name, addresses; then the next import.
    pub const NAMES: usize = 0;
    pub const DLL: usize = 12;
    pub const ADDRESSES: usize = 16;
    pub const NEXT: usize = 20;
    /// From where an import by name points to the name itself: a hint stands before it.
    pub const NAME: usize = 2;
}

/// Lets the program's calls of one function of kernel32 go to another.
fn replace(function: &str, by: *const c_void) {
    // SAFETY: without a name it is the program's own, which stays where it is.
    let Ok(program) = (unsafe { GetModuleHandleW(PCWSTR::null()) }) else {
        return;
    };
    let base = program.0.cast::<u8>();
    // SAFETY: the loader has read these very tables of this program, so they are whole: each ends
    // with zeros, and offsets count from where the program begins. Names end with zeros.
    unsafe {
        let word = |at: usize| base.add(at).cast::<u32>().read_unaligned() as usize;
        let text = |at: usize| CStr::from_ptr(base.add(at).cast()).to_string_lossy();
        let mut import = word(word(offsets::HEADERS) + offsets::IMPORTS);
        while word(import + offsets::DLL) != 0 {
            if text(word(import + offsets::DLL)).eq_ignore_ascii_case(KERNEL32) {
                let names = base.add(word(import + offsets::NAMES)).cast::<u64>();
                let addresses = base
                    .add(word(import + offsets::ADDRESSES))
                    .cast::<*const c_void>();
                for number in (0..).take_while(|&number| names.add(number).read() != 0) {
                    let name = names.add(number).read();
                    // The highest bit tells of one by number.
                    let is_named = name >> 63 == 0;
                    if is_named && text(name as usize + offsets::NAME) == function {
                        put(addresses.add(number), by);
                    }
                }
            }
            import += offsets::NEXT;
        }
    }
}

/// Writes one address where the program looks for it.
///
/// # Safety
/// `place` is an entry of the program's table of addresses.
unsafe fn put(place: *mut *const c_void, address: *const c_void) {
    let bytes = size_of::<*const c_void>();
    let mut was = PAGE_PROTECTION_FLAGS::default();
    // SAFETY: the entry is memory of the program, which other threads read in one piece.
    unsafe {
        if VirtualProtect(place.cast(), bytes, PAGE_READWRITE, &mut was).is_ok() {
            place.write_volatile(address);
            let _ = VirtualProtect(place.cast(), bytes, was, &mut was);
        }
    }
}
