//! What takes minutes to make and serves every checkout: kept in the user's cache folder by a key
//! that says what it was made of and how.
//!
//! It is made aside and gets its name when it is whole, so that what was cut short never counts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const NAME: &str = "e3-backup-agent-build";

/// Returns the folder named `key`, which `make` fills unless it is there.
pub fn get_or_make(
    root: &Path,
    key: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    get_or_make_in(&folder(root), key, make)
}

/// The user's cache folder; below the target folder where there is none that can be written to.
fn folder(root: &Path) -> PathBuf {
    let of_user = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .filter(|path| path.is_absolute())
        .map(|path| path.join(NAME));
    match of_user {
        Some(path) if fs::create_dir_all(&path).is_ok() => path,
        _ => root.join("target").join(NAME),
    }
}

fn get_or_make_in(
    folder: &Path,
    key: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let whole = folder.join(key);
    if whole.is_dir() {
        return Ok(whole);
    }
    let aside = folder.join(format!("{key}.making-{}", std::process::id()));
    let failed = || format!("failed to make {}", aside.display());
    // Left by a run that was killed and had our number.
    if aside.exists() {
        fs::remove_dir_all(&aside).with_context(failed)?;
    }
    fs::create_dir_all(&aside).with_context(failed)?;
    let made = make(&aside).and_then(|()| match fs::rename(&aside, &whole) {
        // Another run may have been faster: its folder is as good.
        Err(_) if whole.is_dir() => fs::remove_dir_all(&aside).with_context(failed),
        renamed => renamed.with_context(failed),
    });
    if let Err(error) = made {
        // What is left aside never counts; the error says what matters.
        let _ = fs::remove_dir_all(&aside);
        return Err(error);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a test can make a folder");
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).expect("the folder is there");
            entries
                .map(|it| it.expect("readable").file_name().to_string_lossy().into())
                .collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn fill(folder: &Path) -> Result<()> {
        Ok(fs::write(folder.join("part"), "x")?)
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let scratch = Scratch::new("made-once");
        let made = get_or_make_in(&scratch.0, "key", fill).expect("it can be made");
        assert!(made.join("part").exists());
        let again = get_or_make_in(&scratch.0, "key", |_| bail!("made twice"));
        assert_eq!(again.expect("it is there"), made);
        assert_eq!(scratch.names(), ["key"]);
    }

    #[test]
    fn what_failed_halfway_does_not_count() {
        let scratch = Scratch::new("cut-short");
        let failed = get_or_make_in(&scratch.0, "key", |folder| {
            fill(folder)?;
            bail!("power cut")
        });
        assert!(failed.is_err());
        assert_eq!(scratch.names(), [""; 0]);
    }

    #[test]
    fn whoever_comes_second_takes_what_the_first_has_made() {
        let scratch = Scratch::new("two-at-once");
        let made = get_or_make_in(&scratch.0, "key", |folder| {
            fill(folder)?;
            fs::create_dir(scratch.0.join("key"))?;
            fill(&scratch.0.join("key"))
        });
        assert!(made.expect("either serves").join("part").exists());
        assert_eq!(scratch.names(), ["key"]);
    }
}
