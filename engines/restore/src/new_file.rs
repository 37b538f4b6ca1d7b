//! A file under a temporary name beside its own, which it gets when it is whole.
//!
//! The temporary file is locked while somebody writes it: one that nobody holds was left by a
//! restore that died, and the next one to the same place removes it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use local_file::UncachedFile;
use time_and_chance::Chance;

use crate::error::{RestoreError, RestoreErrorKind, file_error};
use crate::os;

/// Stands behind the name of the file that is to be.
const MARK: &str = ".e3-restore-";
/// Names may have 255 bytes; the mark and the digits need room.
const NAME_BYTES_MAX: usize = 200;
/// Somebody who takes our file for a dead one in the instant before it is locked gets no second
/// chance; more than a few such meetings are no accident.
const ATTEMPTS: usize = 8;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    uncached: OnceLock<UncachedFile>,
    temporary: PathBuf,
    target: PathBuf,
    overwrite: bool,
    published: AtomicBool,
}

impl NewFile {
    /// Begins a file that shall be at `target`.
    ///
    /// # Errors
    /// `Exists` if there is a file and it is not to be overwritten, or something that is no
    /// file; `TargetUnsuited` if its folder is not there.
    pub fn begin(target: &Path, overwrite: bool, chance: &Chance) -> Result<Self, RestoreError> {
        Self::begin_as(target, overwrite, chance, os::create_new_file)
    }

    /// Begins a file that `create` makes.
    pub fn begin_as(
        target: &Path,
        overwrite: bool,
        chance: &Chance,
        create: fn(&Path) -> io::Result<File>,
    ) -> Result<Self, RestoreError> {
        check_free(target, overwrite)?;
        for _ in 0..ATTEMPTS {
            let temporary = temporary_path(target, chance)?;
            let file = create(&temporary).map_err(file_error("make", &temporary))?;
            let new = Self {
                file,
                uncached: OnceLock::new(),
                temporary,
                target: target.to_owned(),
                overwrite,
                published: AtomicBool::new(false),
            };
            match new.file().try_lock() {
                Err(std::fs::TryLockError::WouldBlock) => continue,
                // Where files cannot be locked, nobody can find out that one is dead either.
                Ok(()) | Err(std::fs::TryLockError::Error(_)) => {}
            }
            if new.temporary.symlink_metadata().is_ok() {
                return Ok(new);
            }
        }
        Err(RestoreError::new(
            RestoreErrorKind::Local,
            format!(
                "make a temporary file beside {}: it is taken away at once",
                target.display()
            ),
        ))
    }

    /// Returns the file, to be written in any order.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the file, to be written in large pieces that nobody reads soon.
    pub fn uncached(&self) -> Result<&UncachedFile, RestoreError> {
        if let Some(uncached) = self.uncached.get() {
            return Ok(uncached);
        }
        let file = self
            .file
            .try_clone()
            .map_err(file_error("open", &self.temporary))?;
        let opened = UncachedFile::for_writing(file, &self.temporary);
        Ok(self.uncached.get_or_init(|| opened))
    }

    /// Returns where the file shall be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> Result<(), RestoreError> {
        self.file()
            .sync_all()
            .map_err(file_error("write", &self.target))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// `Exists` if something came there meanwhile.
    pub fn publish(&self) -> Result<(), RestoreError> {
        let renamed = match self.overwrite {
            true => {
                check_free(&self.target, true)?;
                std::fs::rename(&self.temporary, &self.target)
            }
            false => os::rename_to_free_name(&self.temporary, &self.target),
        };
        renamed.map_err(file_error("restore", &self.target))?;
        self.published.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published.load(Ordering::Relaxed) {
            // Nothing more can be done about one that stays; the next restore tries again.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Refuses a place where something is that must not or cannot be replaced.
pub(crate) fn check_free(target: &Path, overwrite: bool) -> Result<(), RestoreError> {
    let exists = |why: &str| {
        Err(RestoreError::new(
            RestoreErrorKind::Exists,
            format!("restore to {}: {why}", target.display()),
        ))
    };
    match target.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error("look at", target)(error)),
        Ok(is) if !is.is_file() => {
            exists("something that is not a file is there, which is never overwritten")
        }
        Ok(_) if !overwrite => exists("the file exists; --overwrite replaces it"),
        Ok(_) => Ok(()),
    }
}

/// Returns a path beside `target` that nobody else uses.
pub(crate) fn temporary_path(target: &Path, chance: &Chance) -> Result<PathBuf, RestoreError> {
    let name = target
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| {
            RestoreError::new(
                RestoreErrorKind::TargetUnsuited,
                format!("restore to {}: that is no name of a file", target.display()),
            )
        })?;
    let digits = hex::encode(chance.bytes::<8>());
    Ok(target.with_file_name(format!(".{}{MARK}{digits}", shortened(name))))
}

fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

/// Removes what dead restores left in `folder`: of the file called `name`, or of all.
pub(crate) fn remove_dead(folder: &Path, name: Option<&str>) {
    let Ok(entries) = folder.read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|found| is_temporary(found, name));
        if is_ours
            && entry
                .file_type()
                .is_ok_and(|kind| kind.is_file() || kind.is_symlink())
        {
            remove_if_dead(&entry.path());
        }
    }
}

fn is_temporary(found: &str, name: Option<&str>) -> bool {
    let Some((before, digits)) = found.rsplit_once(MARK) else {
        return false;
    };
    let Some(of) = before.strip_prefix('.') else {
        return false;
    };
    let is_random = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_random && name.is_none_or(|name| shortened(name) == of)
}

fn remove_if_dead(path: &Path) {
    let Ok(file) = File::options().read(true).write(true).open(path) else {
        return;
    };
    if file.try_lock().is_ok() {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = folder
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.vhdx");
        let new = NewFile::begin(&target, false, &Chance::from_seed(1)).unwrap();
        new.file().write_all(b"whole").unwrap();
        assert!(!target.exists());
        assert_eq!(
            names(folder.path()).len(),
            1,
            "the temporary file lies beside it"
        );
        new.sync().unwrap();
        new.publish().unwrap();
        drop(new);
        assert_eq!(names(folder.path()), ["disk.vhdx"]);
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
    }

    #[test]
    fn a_file_given_up_leaves_nothing_and_what_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.vhdx");
        std::fs::write(&target, b"old").unwrap();
        let chance = Chance::from_seed(1);
        assert_eq!(
            NewFile::begin(&target, false, &chance).unwrap_err().kind(),
            RestoreErrorKind::Exists
        );
        let new = NewFile::begin(&target, true, &chance).unwrap();
        new.file().write_all(b"half").unwrap();
        drop(new);
        assert_eq!(names(folder.path()), ["disk.vhdx"]);
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.vhdx");
        let new = NewFile::begin(&target, false, &Chance::from_seed(1)).unwrap();
        std::fs::write(&target, b"theirs").unwrap();
        assert_eq!(new.publish().unwrap_err().kind(), RestoreErrorKind::Exists);
        drop(new);
        assert_eq!(std::fs::read(&target).unwrap(), b"theirs");
        assert_eq!(names(folder.path()), ["disk.vhdx"]);
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.vhdx");
        std::fs::create_dir(&target).unwrap();
        for overwrite in [false, true] {
            let error = NewFile::begin(&target, overwrite, &Chance::from_seed(1)).unwrap_err();
            assert_eq!(error.kind(), RestoreErrorKind::Exists);
        }
    }

    #[test]
    fn dead_files_of_the_same_name_are_removed_and_live_or_foreign_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.vhdx");
        let live = NewFile::begin(&target, false, &Chance::from_seed(1)).unwrap();
        let live_name = live
            .temporary
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let others = [
            ".disk.vhdx.e3-restore-00112233",
            ".other.vhdx.e3-restore-0011223344556677",
            "disk.vhdx.e3-restore-0011223344556677",
        ];
        for name in others
            .iter()
            .chain(&[".disk.vhdx.e3-restore-0011223344556677"])
        {
            std::fs::write(folder.path().join(name), b"half").unwrap();
        }
        remove_dead(folder.path(), Some("disk.vhdx"));
        let mut expected: Vec<String> = others
            .iter()
            .map(|name| (*name).to_owned())
            .chain([live_name])
            .collect();
        expected.sort();
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn long_names_get_temporary_names_that_are_not_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("ä".repeat(127));
        let new = NewFile::begin(&target, false, &Chance::from_seed(1)).unwrap();
        new.publish().unwrap();
        assert!(target.exists());
    }
}
