//! The files of an update: the program in place, the new one and the old one beside it.
//!
//! On Linux the old program is kept by a second name, and the new one takes the first in one step:
//! there is a program in place at every moment. Windows replaces no program that runs, but lets it be
//! renamed: there the place is empty for the time between two renames.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::UpdateError;
use super::plan::{Found, InPlace};
use super::record::Update;

/// The program's place.
#[derive(Debug, Clone)]
pub struct Place {
    program: PathBuf,
}

/// Returns where the old program of this place is kept.
pub fn kept_beside(program: &Path) -> PathBuf {
    beside(program, "old")
}

/// Returns `program.WORD`, before the extension if there is one.
fn beside(program: &Path, word: &str) -> PathBuf {
    let mut name = program.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{word}"));
    if let Some(extension) = program.extension() {
        name.push(".");
        name.push(extension);
    }
    program.with_file_name(name)
}

impl Place {
    /// Returns the place of a program.
    pub fn of(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// Returns where the new program is put before it takes the place.
    pub fn staged(&self) -> PathBuf {
        beside(&self.program, "new")
    }

    fn kept(&self) -> PathBuf {
        kept_beside(&self.program)
    }

    /// Where Windows keeps a new program that was given up while it ran.
    fn given_up(&self) -> PathBuf {
        beside(&self.program, "failed")
    }

    /// Looks what is there.
    pub fn look(&self, update: &Update) -> Result<Found, UpdateError> {
        let in_place = match sha256_of(&self.program) {
            Ok(sum) if sum == update.new_sha256 => InPlace::New,
            Ok(sum) if sum == update.old_sha256 => InPlace::Old,
            Ok(_) => InPlace::Other,
            Err(error) if error.kind() == io::ErrorKind::NotFound => InPlace::Nothing,
            Err(error) => return Err(failed("read", &self.program, error)),
        };
        Ok(Found {
            in_place,
            is_old_kept: sha256_of(&self.kept()).is_ok_and(|sum| sum == update.old_sha256),
        })
    }

    /// Lets the new program be run as the old one is: by the same people.
    pub fn make_runnable(&self) -> Result<(), UpdateError> {
        let staged = self.staged();
        let made = fs::metadata(&self.program).and_then(|found| {
            #[cfg(unix)]
            {
                use std::os::unix::fs::{MetadataExt as _, chown};
                let is_another = fs::metadata(&staged)
                    .is_ok_and(|it| (it.uid(), it.gid()) != (found.uid(), found.gid()));
                if is_another {
                    chown(&staged, Some(found.uid()), Some(found.gid()))?;
                }
            }
            fs::set_permissions(&staged, found.permissions())
        });
        made.map_err(|error| failed("make a program of", &staged, error))
    }

    /// Keeps the program in place beside it.
    pub fn keep_old(&self) -> Result<(), UpdateError> {
        let kept = self.kept();
        remove_if_there(&kept)
            .and_then(|()| match cfg!(windows) {
                true => fs::rename(&self.program, &kept),
                false => fs::hard_link(&self.program, &kept)
                    .or_else(|_| fs::copy(&self.program, &kept).and_then(|_| sync(&kept))),
            })
            .and_then(|()| self.sync_folder())
            .map_err(|error| failed("keep the old program as", &kept, error))
    }

    /// Puts the new program in place.
    pub fn put_in_place(&self) -> Result<(), UpdateError> {
        local_file::take_the_name_of(&self.staged(), &self.program)
            .and_then(|()| self.sync_folder())
            .map_err(|error| failed("put the new program in place at", &self.program, error))
    }

    /// Puts the old program back in place.
    pub fn put_back(&self) -> Result<(), UpdateError> {
        let aside = match cfg!(windows) && self.program.exists() {
            true => remove_if_there(&self.given_up())
                .and_then(|()| fs::rename(&self.program, self.given_up())),
            false => Ok(()),
        };
        aside
            .and_then(|()| local_file::take_the_name_of(&self.kept(), &self.program))
            .and_then(|()| self.sync_folder())
            .map_err(|error| failed("put the old program back at", &self.program, error))
    }

    /// Removes what is left of the new program beside its place.
    pub fn forget_staged(&self) {
        // What stays is in nobody's way, and the next update replaces it.
        let _ = remove_if_there(&self.staged());
        let _ = remove_if_there(&self.given_up());
    }

    /// Removes the old program.
    pub fn forget_kept(&self) {
        let _ = remove_if_there(&self.kept());
    }

    fn sync_folder(&self) -> io::Result<()> {
        local_file::sync_folder(self.program.parent().unwrap_or(Path::new("/")))
    }
}

fn failed(doing: &str, path: &Path, error: io::Error) -> UpdateError {
    UpdateError::new((), format!("{doing} {}", path.display())).caused_by(error)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns the SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    const PIECE_BYTES: usize = 1 << 20;
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(hex::encode(hash.finalize())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Stage;
    use super::*;

    #[test]
    fn a_program_is_replaced_and_put_back_with_its_rights() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("agent.exe");
        let place = Place::of(&program);
        fs::write(&program, "old").unwrap();
        fs::write(place.staged(), "new").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o750)).unwrap();
        }
        let update = Update {
            identity: String::new(),
            command_id: 1,
            update_job_id: 1,
            from: "1".to_owned(),
            to: "2".to_owned(),
            program: program.clone(),
            old_sha256: sha256_of(&program).unwrap(),
            new_sha256: sha256_of(&place.staged()).unwrap(),
            stage: Stage::Replacing,
        };
        let look = || {
            let found = place.look(&update).unwrap();
            (found.in_place, found.is_old_kept)
        };
        place.make_runnable().unwrap();
        assert_eq!(look(), (InPlace::Old, false));
        place.keep_old().unwrap();
        assert!(look().1);
        place.put_in_place().unwrap();
        assert_eq!(look(), (InPlace::New, true));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&program).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o750);
        }
        place.put_back().unwrap();
        assert_eq!(look(), (InPlace::Old, false));
        place.forget_staged();
        place.forget_kept();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(&program, "another").unwrap();
        assert_eq!(look(), (InPlace::Other, false));
        fs::remove_file(&program).unwrap();
        assert_eq!(look(), (InPlace::Nothing, false));
    }

    #[test]
    fn what_lies_beside_a_program_can_be_run_on_windows() {
        let old = |path: &str| kept_beside(Path::new(path)).display().to_string();
        assert_eq!(old("agent.exe"), "agent.old.exe");
        assert_eq!(old("/usr/local/bin/agent"), "/usr/local/bin/agent.old");
    }
}
