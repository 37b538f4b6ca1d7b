//! Folders and files on Windows, as far as safe Rust reaches: entries are named by whole paths,
//! and links and junctions are never followed.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::windows::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Facts, Found, Kind, Listing, OpenFile, timestamp};

/// `FILE_FLAG_BACKUP_SEMANTICS`: whoever may back up may read.
const FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
/// `FILE_FLAG_OPEN_REPARSE_POINT`: links are opened themselves, never followed.
const FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
/// Everyone else may go on reading, writing and deleting.
const SHARE_ALL: u32 = 7;
const ATTRIBUTE_READ_ONLY: u32 = 1;
const ATTRIBUTE_SPARSE: u32 = 0x200;
/// From 1601 to 1970, in units of 100 ns.
const EPOCH_TICKS: i64 = 116_444_736_000_000_000;
const TICKS_PER_SECOND: i64 = 10_000_000;

/// A folder.
#[derive(Debug)]
pub(in crate::files) struct FolderHandle(PathBuf);

impl FolderHandle {
    /// Opens the folder that the user named.
    pub fn named(path: &Path) -> io::Result<Self> {
        // The long form, so that paths below may be of any length.
        let whole = path.canonicalize()?;
        whole.read_dir().map(|_| Self(whole))
    }

    /// Opens a folder in this one.
    pub fn enter(&self, name: &OsStr) -> io::Result<Self> {
        let path = self.0.join(name);
        match path.symlink_metadata()?.is_dir() {
            true => Ok(Self(path)),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Returns what the folder itself is.
    pub fn facts(&self) -> io::Result<Facts> {
        Ok(facts_of(&self.0.symlink_metadata()?))
    }

    /// Returns what is in the folder; what vanishes meanwhile is not.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in self.0.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            match self.look(&name) {
                Ok(facts) => listing.found.push(Found { name, facts }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => listing.failed.push((name, error)),
            }
        }
        Ok(listing)
    }

    /// Returns what the entry of this name is.
    pub fn look(&self, name: &OsStr) -> io::Result<Facts> {
        let path = self.0.join(name);
        let mut facts = facts_of(&path.symlink_metadata()?);
        if facts.kind == Kind::Symlink {
            facts.bytes = self.read_link(name)?.len() as u64;
        }
        Ok(facts)
    }

    /// Opens a file to read it.
    pub fn open_file(&self, name: &OsStr) -> io::Result<OpenFile> {
        let file = OpenOptions::new()
            .read(true)
            .share_mode(SHARE_ALL)
            .custom_flags(FLAG_BACKUP_SEMANTICS | FLAG_OPEN_REPARSE_POINT)
            .open(self.0.join(name))?;
        let facts = facts_of(&file.metadata()?);
        Ok(OpenFile { file, facts })
    }

    /// Reads the beginning of the file that a name stands for, be it through links; of what is
    /// no file, nothing.
    pub fn read_start(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.0.join(name))?;
        let mut start = Vec::new();
        if file.metadata()?.is_file() {
            file.take(bytes_max).read_to_end(&mut start)?;
        }
        Ok(start)
    }

    /// Returns where a symbolic link or junction leads.
    pub fn read_link(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        let target = self.0.join(name).read_link()?;
        Ok(target.as_os_str().as_encoded_bytes().to_vec())
    }
}

fn facts_of(metadata: &Metadata) -> Facts {
    let kind = if metadata.is_symlink() {
        Kind::Symlink
    } else if metadata.is_dir() {
        Kind::Folder
    } else {
        Kind::File
    };
    let ticks = i64::try_from(metadata.last_write_time()).unwrap_or(i64::MAX) - EPOCH_TICKS;
    let is_read_only = metadata.file_attributes() & ATTRIBUTE_READ_ONLY != 0;
    let mtime = timestamp(
        ticks.div_euclid(TICKS_PER_SECOND),
        ticks.rem_euclid(TICKS_PER_SECOND) * 100,
    );
    Facts {
        kind,
        // What Go says of files on Windows.
        mode: match kind {
            Kind::Folder | Kind::Symlink => 0o777,
            _ if is_read_only => 0o444,
            _ => 0o666,
        },
        bytes: match kind {
            Kind::File => metadata.file_size(),
            _ => 0,
        },
        mtime,
        ctime: mtime,
        uid: 0,
        gid: 0,
        device: 0,
        inode: 0,
        links: 1,
        has_holes: metadata.file_attributes() & ATTRIBUTE_SPARSE != 0,
    }
}

impl OpenFile {
    /// Returns what the file is now.
    pub fn facts_now(&self) -> io::Result<Facts> {
        Ok(facts_of(&self.file.metadata()?))
    }
}

/// Does nothing: Windows has no such limit.
pub(in crate::files) fn allow_many_open_files() {}

/// Reads into `buf` from `offset` on; fewer bytes than fit only at the end.
pub(in crate::files) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.seek_read(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Returns that everything is data: safe Rust has no call that tells of holes.
pub(in crate::files) fn next_data(_file: &File, offset: u64) -> Option<Range<u64>> {
    Some(offset..u64::MAX)
}

/// Returns the bytes of a name.
pub(in crate::files) fn path_bytes(name: &OsStr) -> &[u8] {
    name.as_encoded_bytes()
}
