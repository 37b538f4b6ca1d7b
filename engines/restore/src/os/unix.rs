//! Files and folders on Unix.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink,
};
use std::path::Path;

use kopia::directory::DirectoryEntry;
use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_OMIT};

use super::{Attributes, Owner, system_time};

/// Permission, setuid, setgid and sticky bits.
const MODE_BITS: u32 = 0o7777;
/// Setuid and setgid: they say "as the owner", so they go when the owner is another.
const OWNER_BITS: u32 = 0o6000;
/// An owner that system calls take for "leave it as it is".
const NO_OWNER: u32 = u32::MAX;

/// Opens a new file that only whoever restores may read.
pub(crate) fn create_new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Opens a new file with the mode that new files have.
pub(crate) fn create_plain_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

/// Makes a folder that only whoever restores may enter, until it gets the mode it had.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Gives an open file the owner, mode and time of its entry.
pub(crate) fn set_file_metadata(
    file: &File,
    entry: &DirectoryEntry,
    attributes: Attributes,
) -> io::Result<Owner> {
    let owned = set_owner(file, entry, attributes)?;
    if attributes.permissions {
        let mode = match owned {
            true => entry.mode & MODE_BITS,
            false => entry.mode & MODE_BITS & !OWNER_BITS,
        };
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    if attributes.times {
        file.set_modified(system_time(entry.mtime)?)?;
    }
    Ok(verdict(owned, attributes))
}

/// Gives a folder the owner, mode and time of its entry.
pub(crate) fn set_folder_metadata(
    path: &Path,
    entry: &DirectoryEntry,
    attributes: Attributes,
) -> io::Result<Owner> {
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    set_file_metadata(&folder, entry, attributes)
}

fn verdict(owned: bool, attributes: Attributes) -> Owner {
    match owned || !attributes.owners {
        true => Owner::AsAsked,
        false => Owner::Other,
    }
}

/// Returns whether the file belongs to its entry's owner now.
fn set_owner(file: &File, entry: &DirectoryEntry, attributes: Attributes) -> io::Result<bool> {
    let is = file.metadata()?;
    if (is.uid(), is.gid()) == (entry.uid, entry.gid) {
        return Ok(true);
    }
    Ok(may_give_away(entry, attributes) && fchown(file, Some(entry.uid), Some(entry.gid)).is_ok())
}

fn may_give_away(entry: &DirectoryEntry, attributes: Attributes) -> bool {
    attributes.owners
        && entry.uid != NO_OWNER
        && entry.gid != NO_OWNER
        && rustix::process::geteuid().is_root()
}

/// Makes a symbolic link to `target`.
pub(crate) fn create_link(target: &[u8], path: &Path) -> io::Result<()> {
    symlink(OsStr::from_bytes(target), path)
}

/// Says whether no link can be made there at all. Whoever may not write to the folder (`EACCES`) is
/// told so, as with a file; it is a file system without links that says `EPERM`.
pub(crate) fn cannot_have_links(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno == Some(rustix::io::Errno::PERM) || error.kind() == io::ErrorKind::Unsupported
}

/// Gives a symbolic link the owner and time of its entry.
pub(crate) fn set_link_metadata(
    path: &Path,
    entry: &DirectoryEntry,
    attributes: Attributes,
) -> io::Result<Owner> {
    let is = path.symlink_metadata()?;
    let mut owned = (is.uid(), is.gid()) == (entry.uid, entry.gid);
    if !owned && may_give_away(entry, attributes) {
        owned = lchown(path, Some(entry.uid), Some(entry.gid)).is_ok();
    }
    if attributes.times {
        set_link_time(path, entry)?;
    }
    Ok(verdict(owned, attributes))
}

fn set_link_time(path: &Path, entry: &DirectoryEntry) -> io::Result<()> {
    let nanoseconds = entry.mtime.as_nanosecond();
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: nanoseconds.div_euclid(1_000_000_000) as i64,
            tv_nsec: nanoseconds.rem_euclid(1_000_000_000) as _,
        },
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Gives a file another name unless that is taken.
pub(crate) fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    match rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE) {
        // Some file systems cannot do that in one step.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
        }
        other => return Ok(other?),
    }
    match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether [`sync_file_system`] does anything: where not, files are made durable one by one.
pub(crate) const SYNCS_FILE_SYSTEMS: bool = cfg!(target_os = "linux");

/// Makes everything on the file system of `folder` durable at once: one such call for a whole
/// tree takes the place of one for each file.
pub(crate) fn sync_file_system(folder: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(folder)?)?;
    #[cfg(not(target_os = "linux"))]
    sync_folder(folder)?;
    Ok(())
}
