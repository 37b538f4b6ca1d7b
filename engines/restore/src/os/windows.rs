//! Files and folders on Windows.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{OpenOptionsExt, symlink_dir, symlink_file};
use std::path::{Path, PathBuf};
use std::sync::Once;

use kopia::directory::DirectoryEntry;
use windows_host::privileges::Privilege;

use super::{Attributes, Owner, system_time};

/// `FILE_FLAG_BACKUP_SEMANTICS`: folders can be opened, and whoever may restore may write.
const FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
/// `FILE_FLAG_OPEN_REPARSE_POINT`: links are opened themselves, never followed.
const FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
/// `FILE_WRITE_ATTRIBUTES`.
const ACCESS_WRITE_ATTRIBUTES: u32 = 0x0100;
/// The mode's bits that let anyone write.
const WRITE_BITS: u32 = 0o222;

/// Opens a new file.
pub(crate) fn create_new_file(path: &Path) -> io::Result<File> {
    ask_for_rights();
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(FLAG_BACKUP_SEMANTICS)
        .open(path)
}

/// Asks for the right to write where access lists let nobody write; who has it not, goes on without.
fn ask_for_rights() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _has_it = windows_host::privileges::enable(Privilege::Restore);
    });
}

/// Opens a new file; those of Windows have no modes.
pub(crate) fn create_plain_file(path: &Path) -> io::Result<File> {
    create_new_file(path)
}

/// Makes a folder.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    ask_for_rights();
    std::fs::create_dir(path)
}

/// Gives an open file the time of its entry, and makes it read-only if nobody might write it.
pub(crate) fn set_file_metadata(
    file: &File,
    entry: &DirectoryEntry,
    attributes: Attributes,
) -> io::Result<Owner> {
    if attributes.times {
        file.set_modified(system_time(entry.mtime)?)?;
    }
    if attributes.permissions && entry.mode & WRITE_BITS == 0 {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
    }
    Ok(Owner::AsAsked)
}

/// Gives a folder the time of its entry.
pub(crate) fn set_folder_metadata(
    path: &Path,
    entry: &DirectoryEntry,
    attributes: Attributes,
) -> io::Result<Owner> {
    if attributes.times {
        open_itself(path)?.set_modified(system_time(entry.mtime)?)?;
    }
    Ok(Owner::AsAsked)
}

fn open_itself(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(ACCESS_WRITE_ATTRIBUTES)
        .custom_flags(FLAG_BACKUP_SEMANTICS | FLAG_OPEN_REPARSE_POINT)
        .open(path)
}

/// Makes a symbolic link to `target`; one to a folder is of another kind here, so what is there
/// now decides.
pub(crate) fn create_link(target: &[u8], path: &Path) -> io::Result<()> {
    let target =
        std::str::from_utf8(target).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
    let target = PathBuf::from(target.replace('/', "\\"));
    let whole = path
        .parent()
        .map_or_else(|| target.clone(), |folder| folder.join(&target));
    if whole.is_dir() {
        symlink_dir(target, path)
    } else {
        symlink_file(target, path)
    }
}

/// Says whether no link can be made there at all: only some people may make them.
pub(crate) fn cannot_have_links(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported];
    kinds.contains(&error.kind())
}

/// Gives a symbolic link the time of its entry.
pub(crate) fn set_link_metadata(
    path: &Path,
    entry: &DirectoryEntry,
    attributes: Attributes,
) -> io::Result<Owner> {
    set_folder_metadata(path, entry, attributes)
}

/// Gives a file another name unless that is taken.
pub(crate) fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Does nothing: NTFS journals names, and folders cannot be flushed.
pub(crate) fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether [`sync_file_system`] does anything: where not, files are made durable one by one.
pub(crate) const SYNCS_FILE_SYSTEMS: bool = false;

/// Does nothing: files were made durable one by one.
pub(crate) fn sync_file_system(_folder: &Path) -> io::Result<()> {
    Ok(())
}
