//! Folders and files on Unix: everything below the path that the user named is reached from the
//! open folder it is in, so that nobody can put a link in its way.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{Facts, Found, Kind, Listing, Oddity, OpenFile, timestamp};

const MODE_BITS: u32 = 0o7777;
/// Why what was listed as a link cannot be read as one.
const NO_LINK: &str = "it was replaced by something that is no link while the backup ran";
/// The unit that allocation is counted in.
const BLOCK_BYTES: u64 = 512;

/// A folder that is open.
#[derive(Debug)]
pub(in crate::files) struct FolderHandle(OwnedFd);

impl FolderHandle {
    /// Opens the folder that the user named.
    pub fn named(path: &Path) -> io::Result<Self> {
        open_folder(CWD, path.as_os_str(), OFlags::empty())
    }

    /// Opens a folder in this one.
    pub fn enter(&self, name: &OsStr) -> io::Result<Self> {
        open_folder(&self.0, name, OFlags::NOFOLLOW)
    }

    /// Returns what the folder itself is.
    pub fn facts(&self) -> io::Result<Facts> {
        Ok(facts_of(&rustix::fs::fstat(&self.0)?))
    }

    /// Returns what is in the folder; what vanishes meanwhile is not.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kept = || OsString::from_vec(name.to_bytes().to_vec());
            match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => listing.found.push(Found {
                    name: kept(),
                    facts: facts_of(&stat),
                }),
                Err(Errno::NOENT) => {}
                Err(error) => listing.failed.push((kept(), error.into())),
            }
        }
        Ok(listing)
    }

    /// Returns what the entry of this name is.
    pub fn look(&self, name: &OsStr) -> io::Result<Facts> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(facts_of(&stat))
    }

    /// Opens a file to read it, without leaving a trace in its time of access where that is
    /// allowed.
    pub fn open_file(&self, name: &OsStr) -> io::Result<OpenFile> {
        // A pipe that took the file's place must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open_quietly(&self.0, name, flags) {
            Err(Errno::AGAIN) => self.open_leased(name)?,
            opened => opened?,
        };
        let facts = facts_of(&rustix::fs::fstat(&file)?);
        Ok(OpenFile {
            file: file.into(),
            facts,
        })
    }

    /// Opens a file that somebody holds a lease on, as Samba does for its clients, and waits until
    /// it is given back: the system sees to that.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn open_leased(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        let mode = rustix::fs::fstat(&found)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Err(Errno::AGAIN.into());
        }
        // This very file, which is no pipe, whatever has the name now.
        let same = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(open_quietly(CWD, OsStr::new(&same), flags)?)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn open_leased(&self, _name: &OsStr) -> io::Result<OwnedFd> {
        Err(Errno::AGAIN.into())
    }

    /// Reads the beginning of the file that a name stands for, be it through links; of what is
    /// no file, nothing.
    pub fn read_start(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        let file = File::from(opened);
        let mut start = Vec::new();
        if file.metadata()?.is_file() {
            file.take(bytes_max).read_to_end(&mut start)?;
        }
        Ok(start)
    }

    /// Returns where a symbolic link leads.
    pub fn read_link(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        match rustix::fs::readlinkat(&self.0, name, Vec::new()) {
            Err(Errno::INVAL) => Err(io::Error::other(NO_LINK)),
            target => Ok(target?.into_bytes()),
        }
    }
}

/// Opens a file without leaving a trace in its time of access where that is allowed.
fn open_quietly(folder: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    match rustix::fs::openat(&folder, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may ask for that.
        Err(Errno::PERM) => {}
        opened => return opened,
    }
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

fn open_folder(folder: impl AsFd, name: &OsStr, more: OFlags) -> io::Result<FolderHandle> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
    let opened = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    Ok(FolderHandle(opened))
}

#[expect(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between systems"
)]
fn facts_of(stat: &Stat) -> Facts {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Other(Oddity::Special("named pipe")),
        FileType::Socket => Kind::Other(Oddity::Special("socket")),
        FileType::CharacterDevice => Kind::Other(Oddity::Special("character device")),
        FileType::BlockDevice => Kind::Other(Oddity::Special("block device")),
        FileType::Unknown => Kind::Other(Oddity::Special("thing of unknown kind")),
    };
    let bytes = match kind {
        Kind::File | Kind::Symlink => u64::try_from(stat.st_size).unwrap_or(0),
        Kind::Folder | Kind::Other(_) => 0,
    };
    Facts {
        kind,
        mode: stat.st_mode as u32 & MODE_BITS,
        bytes,
        mtime: timestamp(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: timestamp(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        uid: stat.st_uid,
        gid: stat.st_gid,
        device: stat.st_dev as u64,
        inode: stat.st_ino as u128,
        links: stat.st_nlink as u64,
        has_holes: (stat.st_blocks as u64).saturating_mul(BLOCK_BYTES) < bytes,
    }
}

impl OpenFile {
    /// Returns what the file is now.
    pub fn facts_now(&self) -> io::Result<Facts> {
        Ok(facts_of(&rustix::fs::fstat(&self.file)?))
    }
}

/// Lets this process open as many files as the system allows it: of every folder on the way to
/// the deepest one, one is open.
pub(in crate::files) fn allow_many_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, few trees are so deep that it matters.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Reads into `buf` from `offset` on; fewer bytes than fit only at the end.
pub(in crate::files) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Returns where the next data at or behind `offset` stands, or `None` if a hole reaches to the
/// end. Where the file system does not tell, everything is data.
pub(in crate::files) fn next_data(file: &File, offset: u64) -> Option<Range<u64>> {
    let everything = Some(offset..u64::MAX);
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => {
            let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(u64::MAX);
            return Some(start..end);
        }
        Err(Errno::NXIO) => return None,
        Err(_) => {}
    }
    everything
}

/// Returns the bytes of a name.
pub(in crate::files) fn path_bytes(name: &OsStr) -> &[u8] {
    name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_a_links_place_is_named_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let handle = FolderHandle::named(folder.path()).unwrap();
        std::os::unix::fs::symlink("somewhere", folder.path().join("link")).unwrap();
        std::fs::write(folder.path().join("file"), "text").unwrap();
        assert_eq!(handle.read_link(OsStr::new("link")).unwrap(), b"somewhere");
        let error = handle.read_link(OsStr::new("file")).unwrap_err();
        assert_eq!(error.to_string(), NO_LINK);
        let error = handle.read_link(OsStr::new("nothing")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
