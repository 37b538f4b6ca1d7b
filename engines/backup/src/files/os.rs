//! What differs between operating systems about reading folders and files.
//!
//! Nothing here follows a symbolic link, except the path that the user named.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;

use time_and_chance::Timestamp;

#[cfg(unix)]
pub(super) use unix::{FolderHandle, allow_many_open_files, next_data, path_bytes, read_at};
#[cfg(windows)]
pub(super) use windows::{FolderHandle, allow_many_open_files, next_data, path_bytes, read_at};

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink,
    /// Something that no snapshot can hold.
    Other(Oddity),
}

/// What an entry is that no snapshot can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// Named by these words: a pipe, a device.
    #[cfg(unix)]
    Special(&'static str),
    /// A placeholder: its content is in a cloud, and reading it would fetch that.
    #[cfg(windows)]
    Elsewhere,
    /// What only some other part of Windows understands.
    #[cfg(windows)]
    Foreign(windows_host::files::ReparseTag),
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(unix)]
            Self::Special(what) => write!(f, "it is a {what}, which a snapshot cannot hold"),
            #[cfg(windows)]
            Self::Elsewhere => f.write_str(
                "its content is not on this machine (a placeholder of a cloud service), and a backup does not fetch it",
            ),
            #[cfg(windows)]
            Self::Foreign(tag) => write!(f, "it is {tag}, which a snapshot cannot hold"),
        }
    }
}

/// What the system says of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub kind: Kind,
    /// Permissions, setuid, setgid and sticky bits.
    pub mode: u32,
    /// Of a file its length, of a link that of its target, of others 0.
    pub bytes: u64,
    pub mtime: Timestamp,
    /// When anything about it changed last, its names included; nobody can set that. As `mtime`
    /// where the system does not tell.
    pub ctime: Timestamp,
    pub uid: u32,
    pub gid: u32,
    /// The file system it is on.
    pub device: u64,
    /// Its number there: 128 bits on ReFS.
    pub inode: u128,
    /// How many names it has.
    pub links: u64,
    /// Whether less is allocated than its length: it may have holes.
    pub has_holes: bool,
}

/// An entry of a folder.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub name: OsString,
    pub facts: Facts,
}

/// What is in a folder, in no order, and what could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub found: Vec<Found>,
    pub failed: Vec<(OsString, io::Error)>,
}

/// A file that was opened, and what it is: it may be another one than was listed.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub file: File,
    pub facts: Facts,
}

/// Returns the time as Kopia can hold it: so many nanoseconds since 1970 in 64 bits.
fn timestamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    let all = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let held = all.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Timestamp::from_nanosecond(held).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Returns an error's text without the number that the system has for it.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Returns a name as a snapshot holds it: as Kopia, with a replacement for each byte that is no
/// part of a letter.
pub(super) fn name_text(name: &OsStr) -> String {
    if let Some(text) = name.to_str() {
        return text.to_owned();
    }
    let mut text = String::new();
    for chunk in path_bytes(name).utf8_chunks() {
        text.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|_| text.push(char::REPLACEMENT_CHARACTER));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_why_and_no_number() {
        let error = io::Error::from_raw_os_error(2);
        assert!(!reason(&error).contains("os error"));
        assert!(!reason(&error).is_empty());
        assert_eq!(reason(&io::Error::other("cable")), "cable");
    }

    #[test]
    fn times_out_of_reach_become_the_nearest_that_can_be_held() {
        assert_eq!(timestamp(1, 5).as_nanosecond(), 1_000_000_005);
        assert_eq!(timestamp(-1, 5).as_nanosecond(), -999_999_995);
        assert_eq!(timestamp(i64::MAX, 0).as_nanosecond(), i128::from(i64::MAX));
    }

    #[cfg(unix)]
    #[test]
    fn each_bad_byte_of_a_name_is_replaced_as_kopia_does() {
        use std::os::unix::ffi::OsStrExt;
        let name = |bytes: &[u8]| name_text(OsStr::from_bytes(bytes));
        assert_eq!(name("grün".as_bytes()), "grün");
        assert_eq!(name(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(name(b"\xe2\x82"), "\u{fffd}\u{fffd}");
    }
}
