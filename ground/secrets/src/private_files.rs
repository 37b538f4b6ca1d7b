//! Secrets in files that nobody but their owner may read: what Unix offers where nobody is logged
//! in.
//!
//! Whoever is root, or has the disk, reads them. Each lies as it is in a file of mode 0600, in a
//! folder of mode 0700; a file or folder that is anybody else's, or that others may look into, is
//! refused instead of used.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::port::{SecretError, SecretErrorKind, SecretStore};
use crate::secret::Secret;

/// No secret is longer.
const BYTES_MAX: u64 = 1 << 16;
/// What a mode must not have: any right of the group or of others. Access lists show in the group's.
const MODE_OF_OTHERS: u32 = 0o077;

/// A folder of secrets.
#[derive(Debug, Clone)]
pub struct PrivateFiles {
    folder: PathBuf,
}

impl PrivateFiles {
    /// Returns the secrets in a folder, which is made with the first one.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn check_folder(&self) -> Result<(), SecretError> {
        let path = &self.folder;
        let metadata = fs::symlink_metadata(path).map_err(unreadable(path))?;
        if !metadata.is_dir() {
            return Err(exposed(path, "it is no folder"));
        }
        check_owner(path, &metadata, "700")
    }
}

impl SecretStore for PrivateFiles {
    fn keep(&self, name: &str, secret: &Secret) -> Result<(), SecretError> {
        let path = self.path(name);
        local_file::create_private_folders(&self.folder).map_err(unwritable(&self.folder))?;
        self.check_folder()?;
        local_file::replace(&path, secret.reveal()).map_err(unwritable(&path))
    }

    fn read(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let path = self.path(name);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&path)(error)),
        };
        self.check_folder()?;
        let metadata = file.metadata().map_err(unreadable(&path))?;
        if !metadata.is_file() {
            return Err(exposed(&path, "it is no file"));
        }
        check_owner(&path, &metadata, "600")?;
        let mut secret = Vec::new();
        file.take(BYTES_MAX + 1)
            .read_to_end(&mut secret)
            .map_err(unreadable(&path))?;
        let secret = Secret::new(secret);
        match secret.reveal().len() as u64 <= BYTES_MAX {
            true => Ok(Some(secret)),
            false => Err(unreadable(&path)(io::ErrorKind::InvalidData.into())),
        }
    }

    fn forget(&self, name: &str) -> Result<bool, SecretError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(unwritable(&path)(error)),
        }
    }

    fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

fn check_owner(path: &Path, metadata: &Metadata, mode: &str) -> Result<(), SecretError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(exposed(path, "it belongs to another user"));
    }
    if metadata.mode() & MODE_OF_OTHERS != 0 {
        let why = format!(
            "other users may look into it; `chmod {mode} {}` keeps them out, if what it holds may still be trusted",
            path.display()
        );
        return Err(exposed(path, &why));
    }
    Ok(())
}

fn exposed(path: &Path, why: &str) -> SecretError {
    let what = format!("use the secret kept in {}: {why}", path.display());
    SecretError::new(SecretErrorKind::Exposed, what)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> SecretError + '_ {
    failed(SecretErrorKind::Unreadable, "read", path)
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> SecretError + '_ {
    failed(SecretErrorKind::Unwritable, "write", path)
}

fn failed<'a>(
    kind: SecretErrorKind,
    doing: &'a str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SecretError + 'a {
    move |error| SecretError::new(kind, format!("{doing} {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;

    fn store() -> (TempDir, PrivateFiles) {
        let folder = tempfile::tempdir().unwrap();
        let store = PrivateFiles::new(folder.path().join("state/credentials"));
        (folder, store)
    }

    fn secret() -> Secret {
        Secret::new(b"hush".to_vec())
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn it_keeps_the_contract() {
        let (_folder, store) = store();
        crate::contract::check(&|| Box::new(store.clone()));
    }

    #[test]
    fn files_and_folders_are_made_for_their_owner_alone() {
        let (_folder, store) = store();
        store.keep("a", &secret()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&store.path("a")), 0o600);
        assert_eq!(mode(&store.folder), 0o700);
    }

    #[test]
    fn what_others_may_look_into_is_refused() {
        let (_folder, store) = store();
        store.keep("a", &secret()).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            chmod(&store.path("a"), mode);
            let error = store.read("a").unwrap_err();
            assert_eq!(error.kind(), SecretErrorKind::Exposed, "{mode:o}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        chmod(&store.path("a"), 0o400);
        assert_eq!(store.read("a").unwrap(), Some(secret()));
        for mode in [0o750, 0o705, 0o701] {
            chmod(&store.folder, mode);
            let error = store.read("a").unwrap_err();
            assert_eq!(error.kind(), SecretErrorKind::Exposed, "{mode:o}");
            let error = store.keep("a", &secret()).unwrap_err();
            assert_eq!(error.kind(), SecretErrorKind::Exposed, "{mode:o}");
        }
    }

    #[test]
    fn links_folders_and_long_files_are_no_secrets() {
        let (folder, store) = store();
        store.keep("a", &secret()).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "not ours").unwrap();
        symlink(&elsewhere, store.path("link")).unwrap();
        fs::create_dir(store.path("folder")).unwrap();
        local_file::replace(&store.path("long"), &vec![b'x'; BYTES_MAX as usize + 1]).unwrap();
        for name in ["link", "folder", "long"] {
            assert!(store.read(name).is_err(), "{name}");
        }
        assert!(store.forget("link").unwrap());
        assert_eq!(fs::read(&elsewhere).unwrap(), b"not ours");
    }

    #[test]
    fn a_secret_that_is_exposed_can_be_forgotten_and_replaced() {
        let (_folder, store) = store();
        store.keep("a", &secret()).unwrap();
        chmod(&store.path("a"), 0o644);
        store.keep("a", &secret()).unwrap();
        assert_eq!(store.read("a").unwrap(), Some(secret()));
        chmod(&store.path("a"), 0o644);
        assert!(store.forget("a").unwrap());
    }
}
