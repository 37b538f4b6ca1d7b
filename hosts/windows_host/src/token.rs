//! This process's token.
//!
//! Unsafe code is run by: `an_administrator_under_test_is_elevated`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "tokens are opened and asked by calls")]

use windows::Win32::Foundation::{CloseHandle, HANDLE};
use windows::Win32::Security::{GetTokenInformation, TOKEN_ACCESS_MASK, TOKEN_INFORMATION_CLASS};
use windows::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use windows::core::Error;

use crate::win32_error::Win32Error;

/// A process's token, closed on drop.
pub(crate) struct Token(HANDLE);

impl Token {
    /// Opens it for what is to be done with it.
    pub(crate) fn of_this_process(access: TOKEN_ACCESS_MASK) -> Result<Self, Win32Error> {
        let mut token = HANDLE::default();
        // SAFETY: the process is this one, whose handle needs no closing; the place is ours.
        unsafe { OpenProcessToken(GetCurrentProcess(), access, &mut token) }.map_err(failed)?;
        Ok(Self(token))
    }

    /// Returns its handle, which is open as long as it lives.
    pub(crate) fn handle(&self) -> HANDLE {
        self.0
    }

    /// Fills `answer`, which must be what the class of information says.
    pub(crate) fn ask<T>(
        &self,
        class: TOKEN_INFORMATION_CLASS,
        answer: &mut T,
    ) -> Result<(), Win32Error> {
        let size = u32::try_from(size_of::<T>()).expect("answers are small");
        let mut written = 0;
        // SAFETY: the token is open; the place is ours and as long as is said, and the types that
        // are asked for here are made of numbers and pointers, for which any bits will do.
        unsafe {
            GetTokenInformation(
                self.0,
                class,
                Some((&raw mut *answer).cast()),
                size,
                &mut written,
            )
        }
        .map_err(failed)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // SAFETY: it is ours and open, and not used again. It could only fail if it were not.
        let _ = unsafe { CloseHandle(self.0) };
    }
}

fn failed(error: Error) -> Win32Error {
    Win32Error::new("ask what this process may do", &error)
}
