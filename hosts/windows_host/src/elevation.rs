//! What this process may do: whether it is elevated, and whether it is the system itself.
//!
//! An administrator who is not elevated gets empty answers from Hyper-V, not errors (Hyper-V spec
//! 2.1), so it is asked first.
//!
//! Unsafe code is run by: `an_administrator_under_test_is_elevated`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "SIDs are compared by calls")]

use windows::Win32::Security::{
    IsWellKnownSid, SECURITY_MAX_SID_SIZE, TOKEN_ELEVATION, TOKEN_QUERY, TOKEN_USER,
    TokenElevation, TokenUser, WinLocalSystemSid,
};

use crate::calls;
use crate::token::Token;
use crate::win32_error::Win32Error;

/// Tells whether this process has the rights of an administrator, not only the name.
pub fn is_elevated() -> Result<bool, Win32Error> {
    calls::count("elevation.is_elevated");
    let mut elevation = TOKEN_ELEVATION::default();
    Token::of_this_process(TOKEN_QUERY)?.ask(TokenElevation, &mut elevation)?;
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
    Token::of_this_process(TOKEN_QUERY)?.ask(TokenUser, &mut user)?;
    // SAFETY: the call above put a SID there and points to it inside `user`, which has not moved.
    Ok(unsafe { IsWellKnownSid(user.user.User.Sid, WinLocalSystemSid) }.as_bool())
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
