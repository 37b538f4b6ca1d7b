//! Privileges that this process's account has and that are off until they are asked for: to read
//! and to write every file, whatever its access list says, for backups and restores.
//!
//! Unsafe code is run by: `an_administrator_may_back_up_and_restore`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(
    unsafe_code,
    reason = "privileges are looked up and switched on by calls"
)]

use windows::Win32::Foundation::{ERROR_NOT_ALL_ASSIGNED, GetLastError, LUID};
use windows::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_BACKUP_NAME,
    SE_PRIVILEGE_ENABLED, SE_RESTORE_NAME, TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
};
use windows::core::Error;

use crate::calls;
use crate::token::Token;
use crate::win32_error::Win32Error;

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// `SeBackupPrivilege`: files and folders that are opened for a backup may be read.
    Backup,
    /// `SeRestorePrivilege`: those that are opened for a restore may be made and written.
    Restore,
}

/// Switches a privilege on for this process, for as long as it runs; returns whether its account
/// has it. Only files that are opened with `FILE_FLAG_BACKUP_SEMANTICS` are the easier to reach.
///
/// # Errors
/// If Windows does not let itself be asked.
pub fn enable(privilege: Privilege) -> Result<bool, Win32Error> {
    calls::count("privileges.enable");
    let failed = |error: Error| Win32Error::new("ask for the privilege to back up files", &error);
    let name = match privilege {
        Privilege::Backup => SE_BACKUP_NAME,
        Privilege::Restore => SE_RESTORE_NAME,
    };
    let token = Token::of_this_process(TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY)?;
    let mut luid = LUID::default();
    // SAFETY: the name is a constant that ends with 0; the place is ours.
    unsafe { LookupPrivilegeValueW(None, name, &mut luid) }.map_err(failed)?;
    let wanted = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES {
            Luid: luid,
            Attributes: SE_PRIVILEGE_ENABLED,
        }],
    };
    // SAFETY: the token is open for that; the structure lives through the call and holds the one
    // privilege that it says; nothing is to be written back.
    unsafe { AdjustTokenPrivileges(token.handle(), false, Some(&wanted), 0, None, None) }
        .map_err(failed)?;
    // SAFETY: it only reads what the call before, which succeeded, left for this thread.
    Ok(unsafe { GetLastError() } != ERROR_NOT_ALL_ASSIGNED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_may_back_up_and_restore() {
        // Wine's user is an administrator.
        for privilege in [Privilege::Backup, Privilege::Restore] {
            assert_eq!(enable(privilege), Ok(true), "{privilege:?}");
        }
    }
}
