//! Overlapped reads and writes: any number at once, each with an event and a buffer of its own.
//!
//! The handle is unbuffered, so memory is aligned to 4096 (Hyper-V spec 8) and data passes through
//! buffers of ours. A transfer that is not over in time is cancelled: storage that hangs must not
//! hang a backup for ever.
//!
//! Unsafe code is run by: `several_threads_read_at_once`, `a_transfer_that_does_not_end_is_cancelled`, `a_disk_is_made_and_written_like_the_models`, `calls_gain_neither_handles_nor_memory_on_disks`.

#![expect(unsafe_code, reason = "overlapped transfers take raw pointers")]

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use windows::Win32::Foundation::{
    ERROR_HANDLE_EOF, ERROR_IO_PENDING, ERROR_TIMEOUT, HANDLE, WAIT_OBJECT_0,
};
use windows::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows::Win32::System::IO::{
    CancelIoEx, GetOverlappedResult, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0,
};
use windows::Win32::System::Threading::{CreateEventW, WaitForSingleObject};
use windows::core::Result as WinResult;

use super::failure::{code_of, error};
use super::handle::OwnedHandle;
use crate::calls;
use crate::virtdisk::VirtualDiskError;

/// How much goes through one call.
const PIECE_BYTES: usize = 2 << 20;
const ALIGNMENT: usize = 4096;
const LIMIT_MS: u32 = 5 * 60 * 1000;

/// The transfers of one open disk.
#[derive(Debug)]
pub(super) struct Transfers {
    idle: Mutex<Vec<Transfer>>,
    limit_ms: u32,
}

impl Default for Transfers {
    fn default() -> Self {
        Self::within(LIMIT_MS)
    }
}

impl Transfers {
    /// Returns transfers that may take so long each.
    fn within(limit_ms: u32) -> Self {
        Self {
            idle: Mutex::default(),
            limit_ms,
        }
    }

    /// Fills `buf` from `offset` on.
    pub(super) fn read(
        &self,
        handle: HANDLE,
        path: &Path,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), VirtualDiskError> {
        self.with_transfer(|transfer| {
            let mut offset = offset;
            for piece in buf.chunks_mut(PIECE_BYTES) {
                piece.copy_from_slice(transfer.read(handle, offset, piece.len())?);
                offset += piece.len() as u64;
            }
            Ok(())
        })
        .map_err(|code| error("read", path, code))
    }

    /// Writes `data` from `offset` on.
    pub(super) fn write(
        &self,
        handle: HANDLE,
        path: &Path,
        offset: u64,
        data: &[u8],
    ) -> Result<(), VirtualDiskError> {
        self.with_transfer(|transfer| {
            let mut offset = offset;
            for piece in data.chunks(PIECE_BYTES) {
                transfer.write(handle, offset, piece)?;
                offset += piece.len() as u64;
            }
            Ok(())
        })
        .map_err(|code| error("write", path, code))
    }

    fn with_transfer(
        &self,
        work: impl FnOnce(&mut Transfer) -> Result<(), u32>,
    ) -> Result<(), u32> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut transfer = match taken {
            Some(transfer) => transfer,
            None => Transfer::within(self.limit_ms)?,
        };
        let done = work(&mut transfer);
        idle().push(transfer);
        done
    }
}

/// What one transfer needs; errors are Win32 codes.
#[derive(Debug)]
struct Transfer {
    event: OwnedHandle,
    memory: Vec<u8>,
    limit_ms: u32,
}

impl Transfer {
    fn within(limit_ms: u32) -> Result<Self, u32> {
        calls::count("virtdisk.create_event");
        // SAFETY: no pointer is passed; the event is ours alone, and resets by hand.
        let event = unsafe { CreateEventW(None, true, false, None) };
        Ok(Self {
            event: OwnedHandle::new(event.map_err(|cause| code_of(&cause))?),
            memory: vec![0; PIECE_BYTES + ALIGNMENT],
            limit_ms,
        })
    }

    /// Returns the first `bytes` of the aligned buffer, and the event.
    fn parts(&mut self, bytes: usize) -> (&mut [u8], HANDLE) {
        let start = self.memory.as_ptr().align_offset(ALIGNMENT);
        (&mut self.memory[start..start + bytes], self.event.raw())
    }

    fn read(&mut self, handle: HANDLE, offset: u64, bytes: usize) -> Result<&[u8], u32> {
        let (buffer, event) = self.parts(bytes);
        let mut overlapped = at(offset, event);
        calls::count("virtdisk.read_file");
        // SAFETY: buffer, event and OVERLAPPED are borrowed until `finish` returns, and it does
        // not return before the system has let go of them.
        let begun = unsafe { ReadFile(handle, Some(buffer), None, Some(&mut overlapped)) };
        finish(handle, &overlapped, begun, bytes, self.limit_ms)?;
        Ok(self.parts(bytes).0)
    }

    fn write(&mut self, handle: HANDLE, offset: u64, data: &[u8]) -> Result<(), u32> {
        let (buffer, event) = self.parts(data.len());
        buffer.copy_from_slice(data);
        let mut overlapped = at(offset, event);
        calls::count("virtdisk.write_file");
        // SAFETY: as for reading.
        let begun = unsafe { WriteFile(handle, Some(buffer), None, Some(&mut overlapped)) };
        finish(handle, &overlapped, begun, data.len(), self.limit_ms)
    }
}

fn at(offset: u64, event: HANDLE) -> OVERLAPPED {
    OVERLAPPED {
        Anonymous: OVERLAPPED_0 {
            Anonymous: OVERLAPPED_0_0 {
                Offset: offset as u32,
                OffsetHigh: (offset >> 32) as u32,
            },
        },
        hEvent: event,
        ..Default::default()
    }
}

/// Waits until a transfer is over and checks that it is whole.
fn finish(
    handle: HANDLE,
    overlapped: &OVERLAPPED,
    begun: WinResult<()>,
    bytes_wanted: usize,
    limit_ms: u32,
) -> Result<(), u32> {
    if let Err(cause) = begun {
        let code = code_of(&cause);
        if code != ERROR_IO_PENDING.0 {
            return Err(code);
        }
    }
    // SAFETY: the event lives as long as the transfer.
    let in_time = unsafe { WaitForSingleObject(overlapped.hEvent, limit_ms) } == WAIT_OBJECT_0;
    if !in_time {
        calls::count("virtdisk.cancel_io");
        // SAFETY: handle and OVERLAPPED are those of the transfer. If it cannot be cancelled it
        // is over already or will be: the next call waits in either case.
        let _ = unsafe { CancelIoEx(handle, Some(overlapped)) };
    }
    let mut bytes = 0;
    calls::count("virtdisk.overlapped_result");
    // SAFETY: handle and OVERLAPPED are those of the transfer; it is waited for, so the system
    // has let go of the buffer afterwards.
    let ended = unsafe { GetOverlappedResult(handle, overlapped, &mut bytes, true) };
    match ended {
        _ if !in_time => Err(ERROR_TIMEOUT.0),
        Err(cause) => Err(code_of(&cause)),
        Ok(()) if bytes as usize == bytes_wanted => Ok(()),
        Ok(()) => Err(ERROR_HANDLE_EOF.0),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use windows::Win32::Storage::FileSystem::{FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX};
    use windows::Win32::System::Pipes::{CreateNamedPipeW, PIPE_TYPE_BYTE};
    use windows::core::HSTRING;

    use super::*;

    #[test]
    fn a_transfer_that_does_not_end_is_cancelled() {
        // Storage that hangs: a pipe into which nobody writes.
        let name = format!(r"\\.\pipe\e3-transfer-{}", std::process::id());
        let how = PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED;
        // SAFETY: the name ends with 0 and lives through the call; the pipe becomes ours.
        let pipe = unsafe {
            let name = HSTRING::from(name.as_str());
            CreateNamedPipeW(&name, how, PIPE_TYPE_BYTE, 1, 4096, 4096, 0, None)
        };
        let pipe = OwnedHandle::new(pipe);
        let mut writer = File::options().write(true).open(&name).unwrap();
        let transfers = Transfers::within(20);
        let mut seen = [0; 512];
        let mut read = || transfers.read(pipe.raw(), Path::new("pipe"), 0, &mut seen);
        assert_eq!(read().unwrap_err().code, ERROR_TIMEOUT.0);
        writer.write_all(&[7; 512]).unwrap();
        read().unwrap();
        assert_eq!(seen, [7; 512]);
    }
}
