//! What this process may do: whether it is elevated, and whether it is the system itself.
//!
//! An administrator who is not elevated gets empty answers from Hyper-V, not errors (Hyper-V spec
//! 2.1), so it is asked first.
//!
//! Unsafe code is run by: `an_administrator_under_test_is_elevated`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "tokens are asked by calls")]

use windows::Win32::Foundation::{CloseHandle, HANDLE};
use windows::Win32::Security::{
    GetTokenInformation, IsWellKnownSid, SECURITY_MAX_SID_SIZE, TOKEN_ELEVATION,
    TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TOKEN_USER, TokenElevation, TokenUser, WinLocalSystemSid,
};
use windows::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use windows::core::Error;

use crate::calls;
use crate::win32_error::Win32Error;

/// Tells whether this process has the rights of an administrator, not only the name.
pub fn is_elevated() -> Result<bool, Win32Error> {
    calls::count("elevation.is_elevated");
    let mut elevation = TOKEN_ELEVATION::default();
    Token::of_this_process()?.ask(TokenElevation, &mut elevation)?;
    Ok(elevation.TokenIsElevated != 0)
}

/// Tells whether this process runs as the system's own account, as services do.
pub fn is_system() -> Result<bool, Win32Error> {
    /// The user's SID follows right behind what points to it.
    #[repr(C)]
    #[derive(Default)]
    struct User {
        user: TOKEN_USER,
        sid: [u64; (SECURITY_MAX_SID_SIZE as usize).div_ceil(8)],
    }
    calls::count("elevation.is_system");
    let mut user = User::default();
    Token::of_this_process()?.ask(TokenUser, &mut user)?;
    // SAFETY: the call above put a SID there and points to it inside `user`, which has not moved.
    Ok(unsafe { IsWellKnownSid(user.user.User.Sid, WinLocalSystemSid) }.as_bool())
}

/// A process's token, closed on drop.
struct Token(HANDLE);

impl Token {
    fn of_this_process() -> Result<Self, Win32Error> {
        let mut token = HANDLE::default();
        // SAFETY: the process is this one, whose handle needs no closing; the place is ours.
        unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) }
            .map_err(failed)?;
        Ok(Self(token))
    }

    /// Fills `answer`, which must be what the class of information says.
    fn ask<T>(&self, class: TOKEN_INFORMATION_CLASS, answer: &mut T) -> Result<(), Win32Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_under_test_is_elevated() {
        // Wine's user is an administrator and not the system.
        assert_eq!(is_elevated(), Ok(true));
        assert_eq!(is_system(), Ok(false));
    }
}
