//! How files are to be restored.

use std::str::FromStr;

use crate::options::RestoreOptions;
use crate::os::Attributes;

/// What becomes of files and links that are there already. Folders are filled up in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// They end the restore.
    #[default]
    Refuse,
    /// They stay as they are.
    Keep,
    /// They are replaced unless length and time are those in the snapshot.
    ReplaceDifferent,
    /// They are replaced if they are older than in the snapshot.
    ReplaceOlder,
    /// They are replaced.
    Replace,
}

impl Existing {
    /// The words for it, in the order in which they are explained.
    pub const WORDS: [&str; 5] = [
        "refuse",
        "keep",
        "replace-different",
        "replace-older",
        "replace",
    ];

    /// Says whether folders that are there get the attributes that the snapshot has.
    pub(super) fn changes_folders(self) -> bool {
        !matches!(self, Self::Refuse | Self::Keep)
    }
}

impl FromStr for Existing {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "refuse" => Self::Refuse,
            "keep" => Self::Keep,
            "replace-different" => Self::ReplaceDifferent,
            "replace-older" => Self::ReplaceOlder,
            "replace" => Self::Replace,
            _ => return Err(format!("there is {}", Self::WORDS.join(", "))),
        })
    }
}

/// How a tree is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesOptions {
    /// What becomes of what is there already.
    pub existing: Existing,
    /// Which attributes entries get back.
    pub attributes: Attributes,
    /// Whether long runs of zeros become holes, where the file system has such.
    pub sparse: bool,
    /// Whether nothing is written and only said what would be.
    pub dry_run: bool,
    /// Whether entries that cannot be restored are counted and the others restored.
    pub skip_failing: bool,
    /// How many files are fetched and written at once.
    pub workers: usize,
}

impl Default for FilesOptions {
    fn default() -> Self {
        Self {
            existing: Existing::default(),
            attributes: Attributes::default(),
            sparse: true,
            dry_run: false,
            skip_failing: false,
            workers: RestoreOptions::default().workers,
        }
    }
}
