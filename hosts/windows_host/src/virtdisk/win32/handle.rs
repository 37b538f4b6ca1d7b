//! Handles that close themselves.
//!
//! Unsafe code is run by: `a_frozen_disk_says_and_holds_the_same`, `calls_gain_neither_handles_nor_memory_on_disks`.

#![expect(unsafe_code, reason = "handles are raw")]

use windows::Win32::Foundation::{CloseHandle, HANDLE};

use crate::calls;

/// A handle that is ours to close.
#[derive(Debug)]
pub(super) struct OwnedHandle(HANDLE);

impl OwnedHandle {
    /// Takes a handle that a call has just made.
    pub(super) fn new(handle: HANDLE) -> Self {
        Self(handle)
    }

    /// Returns it for a call; it must not be closed.
    pub(super) fn raw(&self) -> HANDLE {
        self.0
    }
}

impl Drop for OwnedHandle {
    fn drop(&mut self) {
        calls::count("virtdisk.close_handle");
        // SAFETY: the handle came from a call that made it for us, and nothing else closes it.
        // That it cannot be closed would be no one's to mend.
        let _ = unsafe { CloseHandle(self.0) };
    }
}

// SAFETY: a handle is a number that the kernel gives meaning to, for all threads of the process
// alike; every call we make with it may be made from any thread.
unsafe impl Send for OwnedHandle {}
// SAFETY: as above; the kernel orders what threads do with it at once.
unsafe impl Sync for OwnedHandle {}
