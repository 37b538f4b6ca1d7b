//! A store in a folder, laid out as Kopia's filesystem provider does (Kopia spec 1.3).
//!
//! ```text
//! root/.shards                  how names are cut into folders; written before anything else
//! root/kopia.repository.f       short names lie in the root
//! root/p/149/70cb…-s95….f       long ones in folders named by their first characters
//! root/p/149/70cb….f.tmp.<hex>  being written; renamed when it is whole and on disk
//! ```
//!
//! A folder can vanish under a running program: a disk unplugged, a share unmounted. Then what is
//! left looks like an empty repository. So before it says "not found", and before it writes, the
//! store checks that `.shards` is still there.

mod listing;
mod shards;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use local_file::{ALIGNMENT_BYTES, AlignedBuffer, UncachedFile};
use shards::{SHARDS_FILE, SUFFIX, Shards};
use time_and_chance::{Chance, SharedClock, Timestamp};

use crate::{BlobError, BlobErrorKind, BlobMetadata, BlobStore, PutOptions, Space, name};

/// No `.shards` that Kopia writes comes near this.
const SHARDS_BYTES_MAX: u64 = 64 * 1024;

/// Smaller parts of a blob are read through the page cache.
const UNCACHED_READ_BYTES_MIN: usize = 256 << 10;

/// How a new repository cuts names into folders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NewLayout {
    /// `[1,3]`, what Kopia gives a new repository.
    #[default]
    Sharded,
    /// `[3,3]`, what Kopia gives a new repository of format version 1.
    ShardedVersion1,
    /// All files in the root, as `--flat` does.
    Flat,
}

/// A store in a folder.
#[derive(Debug)]
pub struct FilesystemStore {
    root: PathBuf,
    shards: Shards,
    has_shards_file: bool,
    chance: Chance,
    /// Dates what is written, in place of the system.
    dated_by: Option<SharedClock>,
}

impl FilesystemStore {
    /// Opens the store in a folder that exists; changes nothing in it.
    ///
    /// `chance` names files that are being written.
    ///
    /// # Errors
    /// `NotFound` if there is no such folder, `Invalid` if its `.shards` makes no sense or is
    /// missing where it must have been.
    pub fn open(path: impl Into<PathBuf>, chance: Chance) -> Result<Self, BlobError> {
        let root = path.into();
        check_is_folder(&root)?;
        let text = read_shards(&root.join(SHARDS_FILE))?;
        let has_shards_file = text.is_some();
        let shards = match text {
            Some(text) => Shards::parse(&text, &root)?,
            // What Kopia assumes, and why a creator must write the file.
            None => {
                refuse_lost_shards(&root)?;
                Shards::new(&[3, 3])
            }
        };
        Ok(Self {
            root,
            shards,
            has_shards_file,
            chance,
            dated_by: None,
        })
    }

    /// Makes an empty store: the folder, if need be with those above it, and `.shards`.
    ///
    /// # Errors
    /// `Invalid` if the path is a file, `AlreadyThere` if the folder holds a blob.
    pub fn create(
        path: impl Into<PathBuf>,
        layout: NewLayout,
        chance: Chance,
    ) -> Result<Self, BlobError> {
        let root = path.into();
        create_folders(&root)?;
        if !root.is_dir() {
            let message = format!(
                "create a repository in {}: it is not a folder",
                root.display()
            );
            return Err(BlobError::new(BlobErrorKind::Invalid, message));
        }
        listing::list(&root, "", &mut |blob| {
            name::refuse_taken(&root.display(), &blob.name)
        })?;
        let shards = Shards::new(match layout {
            NewLayout::Sharded => &[1, 3],
            NewLayout::ShardedVersion1 => &[3, 3],
            NewLayout::Flat => &[],
        });
        let text = shards.to_text();
        write_file(&root.join(SHARDS_FILE), &[text.as_bytes()], &chance, None)?;
        Ok(Self {
            root,
            shards,
            has_shards_file: true,
            chance,
            dated_by: None,
        })
    }

    /// Returns the store whose blobs are dated by a clock, if there is one, and not by the system: whoever
    /// plays a month in minutes needs blobs as old as they are in the play.
    #[must_use]
    pub fn dated_by(self, dated_by: Option<SharedClock>) -> Self {
        Self { dated_by, ..self }
    }

    /// Returns the date of what is written now, unless it is the system's.
    fn date(&self) -> Option<SystemTime> {
        let now = self.dated_by.as_ref()?.now();
        let since = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH));
        SystemTime::UNIX_EPOCH.checked_add(since.unwrap_or_default())
    }

    /// Returns the store's folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    fn blob_path(&self, name: &str) -> Result<PathBuf, BlobError> {
        name::check(name)?;
        Ok(self.root.join(self.shards.path(name)?))
    }

    fn open_blob(&self, name: &str) -> Result<(PathBuf, File), BlobError> {
        let path = self.blob_path(name)?;
        match File::open(&path) {
            Ok(file) => Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.missing(name)),
            Err(error) => Err(failed("open", &path, error)),
        }
    }

    fn missing(&self, name: &str) -> BlobError {
        match self.check_still_there() {
            Ok(()) => BlobError::new(BlobErrorKind::NotFound, format!("find blob {name}")),
            Err(error) => error,
        }
    }

    /// Tells an absent blob from an absent disk.
    fn check_still_there(&self) -> Result<(), BlobError> {
        let witness = if self.has_shards_file {
            self.root.join(SHARDS_FILE)
        } else {
            self.root.clone()
        };
        match fs::metadata(&witness) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::new(
                BlobErrorKind::Unavailable,
                format!(
                    "find the repository in {}: it was there before; is the disk still connected?",
                    self.root.display()
                ),
            )),
            Err(error) => Err(failed("look at", &witness, error)),
        }
    }
}

impl BlobStore for FilesystemStore {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        let path = self.blob_path(name)?;
        if options.retention.is_some() {
            return Err(BlobError::new(
                BlobErrorKind::Unsupported,
                format!("lock blob {name} against deletion: a folder has no object locks"),
            ));
        }
        self.check_still_there()?;
        if let Some(folder) = path.parent() {
            create_folders(folder)?;
        }
        if options.if_absent {
            return write_new_file(name, &path, parts, &self.chance, self.date());
        }
        write_file(&path, parts, &self.chance, self.date())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        let (path, mut file) = self.open_blob(name)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)
            .map_err(|error| failed("read", &path, error))?;
        Ok(content)
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        let (path, file) = self.open_blob(name)?;
        let length_bytes = file
            .metadata()
            .map_err(|error| failed("look at", &path, error))?
            .len();
        let is_within = offset
            .checked_add(bytes)
            .is_some_and(|end| end <= length_bytes);
        let (true, Ok(size)) = (is_within, usize::try_from(bytes)) else {
            return Err(BlobError::new(
                BlobErrorKind::Invalid,
                format!(
                    "read {bytes} bytes at {offset} of {}: it has {length_bytes}",
                    path.display()
                ),
            ));
        };
        read_range(file, &path, offset, size).map_err(|error| failed("read", &path, error))
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        let found = listing::metadata(name, &self.blob_path(name)?)?;
        found.ok_or_else(|| self.missing(name))
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        self.check_still_there()?;
        listing::list(&self.root, prefix, each)?;
        // Folders that vanish meanwhile are passed over: fine for a few, not for all.
        self.check_still_there()
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let path = self.blob_path(name)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.check_still_there(),
            Err(error) => Err(failed("delete", &path, error)),
        }
    }

    fn time(&self) -> Result<Option<Timestamp>, BlobError> {
        if let Some(clock) = &self.dated_by {
            return Ok(Some(clock.now()));
        }
        // The folder may be another machine's: a file of no content gets its time. Where none can
        // be made, nothing is known.
        let Ok((path, file)) = create_temporary(&self.root.join(".time"), &self.chance) else {
            return Ok(None);
        };
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        drop(file);
        // Should this fail, the leftover has a name that no listing shows.
        let _ = fs::remove_file(&path);
        Ok(modified.ok().and_then(|it| Timestamp::try_from(it).ok()))
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        let room = local_file::room(&self.root)
            .map_err(|error| failed("ask for the room in", &self.root, error))?;
        Ok(Some(Space {
            free_bytes: room.free_bytes,
            total_bytes: room.total_bytes,
        }))
    }
}

fn check_is_folder(root: &Path) -> Result<(), BlobError> {
    let found = fs::metadata(root).map_err(|error| match error.kind() {
        // A file stands where a folder above it should.
        io::ErrorKind::NotADirectory => BlobError::new(
            BlobErrorKind::NotFound,
            format!("open folder {}", root.display()),
        )
        .caused_by(error),
        _ => failed("open folder", root, error),
    })?;
    if found.is_dir() {
        return Ok(());
    }
    let message = format!(
        "open {} as a repository: it is not a folder",
        root.display()
    );
    Err(BlobError::new(BlobErrorKind::NotFound, message))
}

/// Refuses a folder that is cut as new repositories are, but does not say so any more: taken for
/// one of the older layout, nothing in it would be found, and what is written would be lost.
fn refuse_lost_shards(root: &Path) -> Result<(), BlobError> {
    if !root.join(format!("kopia.repository{SUFFIX}")).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(root).map_err(|error| failed("read folder", root, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed("read folder", root, error))?;
        if entry.file_name().len() == 1 && entry.path().is_dir() {
            let message = format!(
                "open {} as a repository: its {SHARDS_FILE} is missing, without which no blob is found; bring it back from a copy, or, if the layout was never changed, write it with the content {}",
                root.display(),
                Shards::new(&[1, 3]).to_text().trim_end()
            );
            return Err(BlobError::new(BlobErrorKind::Invalid, message));
        }
    }
    Ok(())
}

fn read_shards(path: &Path) -> Result<Option<Vec<u8>>, BlobError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| failed("open", path, error))?,
    };
    let mut text = Vec::new();
    let read = file.take(SHARDS_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| failed("read", path, error))?;
    Ok(Some(text))
}

/// Creates a folder and those above it that are missing, each durable before the next.
fn create_folders(path: &Path) -> Result<(), BlobError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let above = path.parent().unwrap_or(Path::new(""));
    create_folders(above)?;
    match system::create_folder(path) {
        Ok(()) => sync_folder(above),
        // Another writer was faster, or a file is in the way, which the next step will tell.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Windows says that there is no such path.
        Err(_) if above.is_file() => {
            let error = io::ErrorKind::NotADirectory.into();
            Err(failed("create folder", path, error))
        }
        Err(error) => Err(failed("create folder", path, error)),
    }
}

/// Writes a file under another name, and gives it its own when all of it is on disk.
fn write_file(
    path: &Path,
    parts: &[&[u8]],
    chance: &Chance,
    date: Option<SystemTime>,
) -> Result<(), BlobError> {
    let (temporary, file) = create_temporary(path, chance)?;
    let written = write_and_rename(file, &temporary, path, parts, date);
    if let Err(error) = written {
        // Should this fail too, the leftover has a name that no listing shows.
        let _ = fs::remove_file(&temporary);
        return Err(failed("write", path, error));
    }
    sync_folder(path.parent().unwrap_or(Path::new("")))
}

/// Writes a file under another name, and gives it its own only if nothing has that name.
fn write_new_file(
    name: &str,
    path: &Path,
    parts: &[&[u8]],
    chance: &Chance,
    date: Option<SystemTime>,
) -> Result<(), BlobError> {
    let (temporary, file) = create_temporary(path, chance)?;
    let written = write_whole(file, &temporary, parts, date);
    let linked = written.map(|()| fs::hard_link(&temporary, path));
    // Should this fail, the leftover has a name that no listing shows.
    let _ = fs::remove_file(&temporary);
    match linked.map_err(|error| failed("write", path, error))? {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new(""))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(crate::error::already_there(name))
        }
        // Not every file system has second names.
        Err(error) => Err(BlobError::new(
            BlobErrorKind::Unsupported,
            format!("write {} only if it is new", path.display()),
        )
        .caused_by(error)),
    }
}

fn create_temporary(path: &Path, chance: &Chance) -> Result<(PathBuf, File), BlobError> {
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".tmp.{:016x}", chance.next_u64()));
        let temporary = PathBuf::from(name);
        match system::create_new_file(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            // A dead writer's, who drew from the same seed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create", &temporary, error)),
        }
    }
}

fn write_and_rename(
    file: File,
    temporary: &Path,
    path: &Path,
    parts: &[&[u8]],
    date: Option<SystemTime>,
) -> io::Result<()> {
    write_whole(file, temporary, parts, date)?;
    // Windows renames no open file.
    local_file::take_the_name_of(temporary, path)
}

/// Writes a file to its end, dates it, if that is not the system's part, and closes it when all of it is on
/// disk.
fn write_whole(
    file: File,
    path: &Path,
    parts: &[&[u8]],
    date: Option<SystemTime>,
) -> io::Result<()> {
    let file = UncachedFile::for_writing(file, path);
    file.write_whole(parts)?;
    if let Some(date) = date {
        file.file().set_modified(date)?;
    }
    file.file().sync_all()
}

/// Reads a part of a file; a large one past the page cache, since hardly anything is read twice.
fn read_range(file: File, path: &Path, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    if bytes < UNCACHED_READ_BYTES_MIN {
        let mut content = vec![0; bytes];
        local_file::read_exact_at(&file, offset, &mut content)?;
        return Ok(content);
    }
    let before = (offset % ALIGNMENT_BYTES as u64) as usize;
    let mut aligned = AlignedBuffer::new(before + bytes);
    UncachedFile::for_reading(file, path).read_exact_at(offset - before as u64, &mut aligned)?;
    Ok(aligned[before..].to_vec())
}

fn sync_folder(path: &Path) -> Result<(), BlobError> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    system::sync_folder(path).map_err(|error| failed("sync folder", path, error))
}

/// Returns the error for a path that the system refused something for.
fn failed(what: &str, path: &Path, error: io::Error) -> BlobError {
    use io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::NotFound => BlobErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => BlobErrorKind::Denied,
        Io::StorageFull | Io::QuotaExceeded => BlobErrorKind::Full,
        Io::NotADirectory
        | Io::IsADirectory
        | Io::InvalidInput
        | Io::InvalidFilename
        | Io::FileTooLarge => BlobErrorKind::Invalid,
        // Stale handles, unreachable servers, broken cables: all may heal.
        _ => BlobErrorKind::Unavailable,
    };
    BlobError::new(kind, format!("{what} {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests;
