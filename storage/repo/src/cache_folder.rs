//! The cache folder, marked so that backup programs leave it out.

use std::fs;
use std::path::Path;

use crate::error::{RepoError, local_error};

/// The mark's name (the Cache Directory Tagging Specification).
const TAG: &str = "CACHEDIR.TAG";
/// What makes it a mark, and who left it.
const TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55
# Indexes of repositories, kept by e3-backup-agent; this folder may be deleted at any time.
# For what this file means see https://bford.info/cachedir/
";

/// Makes the folder if it is not there, with its mark: a folder that somebody else made may hold
/// more than a cache.
pub(crate) fn make(folder: &Path) -> Result<(), RepoError> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(folder.join(TAG), TEXT))
        .map_err(local_error(format!(
            "create the cache folder {}",
            folder.display()
        )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_is_made_is_marked() {
        let parent = tempfile::tempdir().unwrap();
        make(parent.path()).unwrap();
        assert!(!parent.path().join(TAG).exists());
        let folder = parent.path().join("a/b");
        make(&folder).unwrap();
        let mark = fs::read_to_string(folder.join(TAG)).unwrap();
        assert!(mark.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
        make(&folder).unwrap();
    }
}
