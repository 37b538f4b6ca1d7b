//! Small files that are replaced as a whole, in folders for their owner alone: so that they survive a crash,
//! where they must.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::system;

/// Writes a file in place of what was there, readable by its owner alone: written beside, synced,
/// renamed, and the folder synced. A reader sees the old one or the new one, never half.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_protected(path, bytes, |_| Ok(()))
}

/// Writes a file in place of what was there, as [`replace`] does, and lets `protect` say who may read
/// it before there is anything in it: where no file is its owner's alone by itself, as on Windows.
pub fn replace_protected(
    path: &Path,
    bytes: &[u8],
    protect: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut temporary = tempfile::NamedTempFile::new_in(folder_of(path))?;
    protect(temporary.path())?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    rename(temporary, path)?;
    system::sync_folder(folder_of(path))
}

/// Writes a file in place of what was there, readable by its owner alone, for readers that see the old one or
/// the new one. Nothing is synced: after a crash of the machine there may be either, an empty file or none.
pub fn replace_fleeting(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = tempfile::NamedTempFile::new_in(folder_of(path))?;
    temporary.write_all(bytes)?;
    rename(temporary, path)
}

fn folder_of(path: &Path) -> &Path {
    let parent = path.parent();
    let named = parent.filter(|folder| !folder.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

fn rename(temporary: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    // It is closed first: Windows renames no open file. Its guard removes it if the rename fails.
    let temporary = temporary.into_temp_path();
    system::rename_over(&temporary, path)?;
    // What has taken the place of another is nobody's to remove.
    let _renamed = temporary.keep();
    Ok(())
}

/// Makes a folder and those above it, as far as they are missing, for their owner alone.
pub fn create_private_folders(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_is_whole_and_nothing_else_remains() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        create_private_folders(path.parent().unwrap()).unwrap();
        fs::write(&path, "old").unwrap();
        for (write, new) in [
            (replace as fn(&Path, &[u8]) -> io::Result<()>, "new"),
            (replace_fleeting, "newer"),
        ] {
            write(&path, new.as_bytes()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), new.as_bytes());
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_is_protected_is_so_before_anything_is_in_it_and_nothing_remains_that_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut seen = None;
        let protect = |it: &Path| {
            seen = Some(fs::read(it)?);
            Ok(())
        };
        replace_protected(&path, b"secret", protect).unwrap();
        assert_eq!(seen.unwrap(), b"");
        let refused =
            replace_protected(&path, b"other", |_| Err(io::ErrorKind::Unsupported.into()));
        refused.unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_made_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        create_private_folders(path.parent().unwrap()).unwrap();
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"new").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("a")), 0o700);
        assert_eq!(mode(&folder.path().join("a/b")), 0o700);
    }
}
