//! Connections to shares of other machines (SMB) with an account of their own.
//!
//! A process that runs as SYSTEM comes to a share as the machine, which often has no rights there.
//! Passwords go to Windows and nowhere else: no error and no `Debug` shows one.
//!
//! Unsafe code is run by: `a_share_that_is_not_there_is_an_error_without_the_password`,
//! `what_is_not_connected_cannot_be_disconnected`, `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "shares are connected by calls")]

use std::path::{Component, Path, Prefix};

use windows::Win32::Foundation::{ERROR_ALREADY_ASSIGNED, NO_ERROR, WIN32_ERROR};
use windows::Win32::NetworkManagement::WNet::{
    CONNECT_TEMPORARY, NET_CONNECT_FLAGS, NETRESOURCEW, RESOURCETYPE_DISK, WNetAddConnection2W,
    WNetCancelConnection2W,
};
use windows::core::{HSTRING, PCWSTR, PWSTR};
use zeroize::Zeroizing;

use crate::calls;
use crate::win32_error::Win32Error;

/// Returns the share that a path lies on, `\\server\share`; none for a path elsewhere.
pub fn of(path: &Path) -> Option<String> {
    let Some(Component::Prefix(prefix)) = path.components().next() else {
        return None;
    };
    match prefix.kind() {
        Prefix::UNC(server, share) | Prefix::VerbatimUNC(server, share) => Some(format!(
            r"\\{}\{}",
            server.to_string_lossy(),
            share.to_string_lossy()
        )),
        _ => None,
    }
}

/// A connection to a share, which ends with it.
#[derive(Debug)]
pub struct Share {
    name: String,
}

impl Share {
    /// Connects to a share such as `\\server\share` as `user`: `DOMAIN\name` or `name@domain`.
    ///
    /// # Errors
    /// 1219 if this machine is connected to that server with another account already.
    pub fn connect(name: &str, user: &str, password: &str) -> Result<Self, Win32Error> {
        calls::count("shares.connect");
        let wide_name = HSTRING::from(name);
        let mut remote: Vec<u16> = wide_name.iter().copied().chain([0]).collect();
        let secret: Zeroizing<Vec<u16>> =
            Zeroizing::new(password.encode_utf16().chain([0]).collect());
        let resource = NETRESOURCEW {
            dwType: RESOURCETYPE_DISK,
            lpRemoteName: PWSTR(remote.as_mut_ptr()),
            ..NETRESOURCEW::default()
        };
        // SAFETY: all texts end with 0 and live through the call, which reads them alone; no drive
        // letter and no provider are named.
        let code = unsafe {
            WNetAddConnection2W(
                &resource,
                PCWSTR(secret.as_ptr()),
                &HSTRING::from(user),
                CONNECT_TEMPORARY,
            )
        };
        match code {
            NO_ERROR | ERROR_ALREADY_ASSIGNED => Ok(Self {
                name: name.to_owned(),
            }),
            code => Err(failed(&format!("connect to {name} as {user}"), code)),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It ends with the logon session at the latest; files that are open keep it till then.
        let _ = disconnect(&self.name);
    }
}

fn disconnect(name: &str) -> Result<(), Win32Error> {
    calls::count("shares.disconnect");
    // SAFETY: the text ends with 0 and lives through the call.
    let code = unsafe { WNetCancelConnection2W(&HSTRING::from(name), NET_CONNECT_FLAGS(0), false) };
    match code {
        NO_ERROR => Ok(()),
        code => Err(failed(&format!("end the connection to {name}"), code)),
    }
}

fn failed(doing: &str, code: WIN32_ERROR) -> Win32Error {
    Win32Error::new(doing, &code.to_hresult().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_path_is_found() {
        for (path, share) in [
            (r"\\srv\backups\repo\x", Some(r"\\srv\backups")),
            (r"\\?\UNC\srv\b c\repo", Some(r"\\srv\b c")),
            (r"\\srv\backups", Some(r"\\srv\backups")),
            (r"C:\repo", None),
            (r"\\?\C:\repo", None),
            (r"\\.\PhysicalDrive0", None),
            ("repo", None),
        ] {
            assert_eq!(of(Path::new(path)).as_deref(), share, "{path}");
        }
    }

    #[test]
    fn a_share_that_is_not_there_is_an_error_without_the_password() {
        let error = Share::connect(r"\\127.0.0.1\no such share", "someone", "s3cret-word")
            .expect_err("nobody shares that");
        let text = format!("{error} {error:?}");
        assert!(text.contains("no such share"), "{text}");
        assert!(!text.contains("s3cret-word"), "{text}");
        assert_ne!(error.code(), 0);
    }

    #[test]
    fn what_is_not_connected_cannot_be_disconnected() {
        assert!(disconnect(r"\\127.0.0.1\no such share").is_err());
    }
}
