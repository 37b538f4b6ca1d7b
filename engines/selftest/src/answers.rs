//! Answers kept in the state folder, by the Windows they are of.
//!
//! `selftest/windows-<build>.json`. An update or another machine's folder brings another build,
//! whose answers are asked anew: what Hyper-V does may differ.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;
use windows_host::hyperv::WindowsVersion;

use crate::error::{SelfTestError, state_error};
use crate::journal::FOLDER;
use crate::learned::Learned;

/// What a Windows answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Windows' name, as it shows itself.
    pub windows: String,
    /// Its build.
    pub build: String,
    /// The agent that asked.
    pub agent_version: String,
    /// When it asked.
    pub asked_at: Timestamp,
    /// What is believed because of it.
    pub learned: Learned,
}

/// Whether there are answers of this Windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Nobody ever asked.
    None,
    /// This Windows answered.
    Ours(Answers),
    /// Only others did: these builds, which say nothing of this one.
    Others(Vec<String>),
}

impl Answers {
    /// Returns what is kept for a Windows; `current` is asked only if anything is kept at all.
    ///
    /// # Errors
    /// `State` if the folder cannot be read, or whatever `current` fails with.
    pub fn kept<E>(
        state_folder: &Path,
        current: impl FnOnce() -> Result<WindowsVersion, E>,
    ) -> Result<Kept, E>
    where
        E: From<SelfTestError>,
    {
        let all = all(state_folder)?;
        if all.is_empty() {
            return Ok(Kept::None);
        }
        let current = current()?;
        let others: Vec<String> = all.iter().map(Self::what).collect();
        let ours = all.into_iter().find(|answers| answers.is_of(&current));
        Ok(ours.map_or(Kept::Others(others), Kept::Ours))
    }

    /// Keeps these, together with what an earlier self-test of the same Windows found and this
    /// one did not try. One that `saw_less` than a self-test should replaces nothing but what it
    /// refutes, and where it teaches nothing new the earlier one's answers stay as they are.
    ///
    /// # Errors
    /// `State` if they cannot be written.
    pub fn keep(mut self, state_folder: &Path, saw_less: bool) -> Result<(), SelfTestError> {
        let older = all(state_folder)?.into_iter();
        let mut same =
            older.filter(|known| known.windows == self.windows && known.build == self.build);
        if let Some(older) = same.next() {
            self.learned = match saw_less {
                true => self.learned.seeing_less(&older.learned),
                false => self.learned.or(&older.learned),
            };
            if saw_less && self.learned == older.learned {
                return Ok(());
            }
        }
        let folder = state_folder.join(FOLDER);
        local_file::create_private_folders(&folder).map_err(state_error("create", &folder))?;
        let path = path_of(&folder, &self.build);
        let bytes = serde_json::to_vec_pretty(&self).expect("answers have no odd keys");
        local_file::replace(&path, &bytes).map_err(state_error("write", &path))
    }

    fn is_of(&self, windows: &WindowsVersion) -> bool {
        self.windows == windows.name && self.build == windows.build
    }

    fn what(&self) -> String {
        format!("{}, build {}", self.windows, self.build)
    }
}

const NAME: &str = "windows-";

fn path_of(folder: &Path, build: &str) -> PathBuf {
    let clean = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter,
        false => '_',
    };
    let build: String = build.chars().take(32).map(clean).collect();
    folder.join(format!("{NAME}{build}.json"))
}

/// Returns all answers that can be read.
fn all(state_folder: &Path) -> Result<Vec<Answers>, SelfTestError> {
    let folder = state_folder.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(state_error("read", &folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(state_error("read", &folder))?.path();
        let named = path.file_name().map(|name| name.to_string_lossy());
        if named.is_some_and(|name| name.starts_with(NAME)) {
            let bytes = fs::read(&path).map_err(state_error("read", &path))?;
            // Answers that cannot be read are none: what they said is asked again.
            found.extend(serde_json::from_slice::<Answers>(&bytes).ok());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(build: &str, keep_ids: Option<bool>) -> Answers {
        Answers {
            windows: "Windows Server".to_owned(),
            build: build.to_owned(),
            agent_version: "1".to_owned(),
            asked_at: Timestamp::UNIX_EPOCH,
            learned: Learned {
                checkpoints_keep_ids: keep_ids,
                ..Learned::default()
            },
        }
    }

    fn kept(folder: &Path, name: &str, build: &str) -> Kept {
        let current = || {
            Ok::<_, SelfTestError>(WindowsVersion {
                name: name.to_owned(),
                build: build.to_owned(),
            })
        };
        Answers::kept(folder, current).expect("the folder can be read")
    }

    #[test]
    fn answers_of_another_windows_are_not_used() {
        let folder = tempfile::tempdir().expect("there is room");
        let folder = folder.path();
        assert_eq!(kept(folder, "Windows Server", "1"), Kept::None);
        let first = answers("1", Some(false));
        first.keep(folder, false).expect("it is ours");
        let ours = answers("1", Some(false));
        assert_eq!(kept(folder, "Windows Server", "1"), Kept::Ours(ours));
        for (name, build) in [("Windows Server", "2"), ("Windows 11", "1")] {
            let others = vec!["Windows Server, build 1".to_owned()];
            assert_eq!(kept(folder, name, build), Kept::Others(others));
        }
    }

    #[test]
    fn a_later_self_test_keeps_what_it_did_not_try() {
        let folder = tempfile::tempdir().expect("there is room");
        for (keep_ids, saw_less) in [(Some(false), false), (None, false), (None, true)] {
            answers("1", keep_ids)
                .keep(folder.path(), saw_less)
                .expect("it is ours");
            let ours = answers("1", Some(false));
            assert_eq!(kept(folder.path(), "Windows Server", "1"), Kept::Ours(ours));
        }
    }

    #[test]
    fn a_self_test_that_saw_less_and_teaches_nothing_leaves_the_answers_as_they_are() {
        let folder = tempfile::tempdir().expect("there is room");
        let folder = folder.path();
        let ours = answers("1", Some(false));
        ours.clone().keep(folder, false).expect("it is ours");
        for (keep_ids, saw_less) in [(Some(true), true), (None, true), (Some(false), true)] {
            let mut later = answers("1", keep_ids);
            later.agent_version = "2".to_owned();
            later.keep(folder, saw_less).expect("it is ours");
            let kept = kept(folder, "Windows Server", "1");
            assert_eq!(kept, Kept::Ours(ours.clone()), "{keep_ids:?}");
        }
        let whole = answers("1", Some(true));
        whole.clone().keep(folder, false).expect("it is ours");
        assert_eq!(kept(folder, "Windows Server", "1"), Kept::Ours(whole));
    }
}
