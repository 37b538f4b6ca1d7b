//! Secrets in files that only this machine can read again, in a folder for the system and
//! administrators.
//!
//! DPAPI keeps them from whoever has a copy or backup of the folder, the folder's access list from
//! the other users of this machine: each alone would not do, since DPAPI answers every process
//! here. Whoever has the whole system disk has the machine's key, too.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use secrets::{Secret, SecretError, SecretErrorKind, SecretStore};

use crate::win32_error::Win32Error;
use crate::{acl, dpapi};

/// No secret is longer when it is protected.
const BYTES_MAX: u64 = 1 << 17;

/// Who may have access, in the words of SDDL: the system and administrators.
const MAY: [&str; 2] = ["SY", "BA"];

/// A folder of secrets.
#[derive(Debug, Clone)]
pub struct MachineSecrets {
    folder: PathBuf,
    access: fn(&Path) -> Result<String, Win32Error>,
}

impl MachineSecrets {
    /// Returns the secrets in a folder, which is made with the first one.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            access: acl::access,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Refuses what others may look into.
    fn check(&self, path: &Path) -> Result<(), SecretError> {
        let access = (self.access)(path).map_err(|error| unreadable(path).caused_by(error))?;
        let Some(other) = other_than_us(&access) else {
            return Ok(());
        };
        let path = path.display();
        let what = format!(
            "use the secrets kept in {path}: others than SYSTEM and Administrators may look into it \
             ({other}); on NTFS and ReFS `icacls \"{path}\" /setowner *S-1-5-32-544` and `icacls \"{path}\" \
             /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F` keep them out, \
             if what it holds may still be trusted"
        );
        Err(SecretError::new(SecretErrorKind::Exposed, what))
    }
}

impl SecretStore for MachineSecrets {
    fn keep(&self, name: &str, secret: &Secret) -> Result<(), SecretError> {
        let path = self.path(name);
        let failed = |error: Win32Error| unwritable(&path).caused_by(error);
        local_file::create_private_folders(&self.folder)
            .map_err(|error| unwritable(&path).caused_by(error))?;
        // What is made in it takes this over.
        acl::restrict(&self.folder).map_err(failed)?;
        self.check(&self.folder)?;
        let protected = dpapi::protect(secret.reveal(), &purpose(name)).map_err(failed)?;
        local_file::replace(&path, &protected)
            .map_err(|error| unwritable(&path).caused_by(error))?;
        // What was there before may have had access of its own.
        acl::restrict(&path).map_err(failed)
    }

    fn read(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let path = self.path(name);
        let failed = |error: io::Error| unreadable(&path).caused_by(error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        self.check(&self.folder)?;
        self.check(&path)?;
        let mut protected = Vec::new();
        file.take(BYTES_MAX + 1)
            .read_to_end(&mut protected)
            .map_err(failed)?;
        if protected.len() as u64 > BYTES_MAX {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        }
        let secret = dpapi::unprotect(&protected, &purpose(name))
            .map_err(|error| unreadable(&path).caused_by(error))?;
        Ok(Some(Secret::new(secret.to_vec())))
    }

    fn forget(&self, name: &str) -> Result<bool, SecretError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(unwritable(&path).caused_by(error)),
        }
    }

    fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// What a secret is protected for: a file that is renamed is not taken for another secret.
fn purpose(name: &str) -> String {
    format!("e3-backup-agent secret {name}")
}

/// Returns somebody whom an owner and a list of access in SDDL let in and who must not be; the
/// whole text if it is none that we understand. An owner can always change the list.
fn other_than_us(access: &str) -> Option<&str> {
    // "O:", the owner, "D:" and flags, then each entry in brackets:
    // kind;flags;rights;object;inherited;who.
    let parts = access
        .strip_prefix("O:")
        .and_then(|rest| rest.split_once("D:"))
        .filter(|(_, list)| !list.contains("NO_ACCESS_CONTROL"))
        .and_then(|(owner, list)| Some((owner, list.split_once('(')?.1)));
    let Some((owner, entries)) = parts else {
        return Some(access);
    };
    if !MAY.contains(&owner) {
        return Some(owner);
    }
    for entry in entries.split('(') {
        let fields: Vec<&str> = entry.trim_end_matches(')').split(';').collect();
        match fields.as_slice() {
            ["D", ..] => {}
            ["A", _, _, _, _, who] if MAY.contains(who) => {}
            [_, _, _, _, _, who, ..] => return Some(who),
            _ => return Some(access),
        }
    }
    None
}

fn unreadable(path: &Path) -> SecretError {
    SecretError::new(
        SecretErrorKind::Unreadable,
        format!("read {}", path.display()),
    )
}

fn unwritable(path: &Path) -> SecretError {
    SecretError::new(
        SecretErrorKind::Unwritable,
        format!("write {}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Access as a real Windows keeps it. Wine keeps no lists, so it is only said here.
    fn restricted(_: &Path) -> Result<String, Win32Error> {
        Ok("O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)".to_owned())
    }

    fn open(_: &Path) -> Result<String, Win32Error> {
        Ok("O:SYD:AI(A;OICI;FA;;;SY)(A;OICIID;0x1200a9;;;BU)".to_owned())
    }

    fn store(folder: &Path, access: fn(&Path) -> Result<String, Win32Error>) -> MachineSecrets {
        MachineSecrets {
            access,
            ..MachineSecrets::new(folder.join("state").join("credentials"))
        }
    }

    #[test]
    fn it_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), restricted);
        secrets::contract::check(&|| Box::new(store.clone()));
    }

    #[test]
    fn what_others_may_look_into_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::new(b"hush".to_vec());
        store(folder.path(), restricted).keep("a", &secret).unwrap();
        let exposed = store(folder.path(), open);
        for error in [
            exposed.read("a").unwrap_err(),
            exposed.keep("a", &secret).unwrap_err(),
        ] {
            assert_eq!(error.kind(), SecretErrorKind::Exposed);
            assert!(error.to_string().contains("(BU)"), "{error}");
        }
        assert!(exposed.forget("a").unwrap());
    }

    #[test]
    fn a_secret_is_not_in_its_file_and_not_read_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), restricted);
        store
            .keep("a", &Secret::new(b"hush-hush".to_vec()))
            .unwrap();
        let kept = fs::read(store.path("a")).unwrap();
        assert!(!kept.windows(9).any(|part| part == b"hush-hush"));
        fs::rename(store.path("a"), store.path("b")).unwrap();
        let error = store.read("b").unwrap_err();
        assert_eq!(error.kind(), SecretErrorKind::Unreadable);
        fs::write(store.path("c"), vec![1; (BYTES_MAX + 1) as usize]).unwrap();
        assert!(store.read("c").is_err());
    }

    #[test]
    fn only_lists_of_the_system_and_administrators_are_closed() {
        let table = [
            ("O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)", None),
            ("O:SYD:P(A;;FA;;;BA)", None),
            ("O:BAD:P(D;;FA;;;WD)(A;;FA;;;BA)", None),
            ("O:BAD:(A;OICI;FA;;;SY)(A;OICI;0x1200a9;;;WD)", Some("WD")),
            (
                "O:BAD:P(A;;FA;;;S-1-5-21-1-2-3-1001)",
                Some("S-1-5-21-1-2-3-1001"),
            ),
            ("O:BAD:P(XA;;FA;;;BU;(@User.x == 1))", Some("BU")),
            (
                "O:S-1-5-21-1-2-3-1001D:P(A;;FA;;;BA)",
                Some("S-1-5-21-1-2-3-1001"),
            ),
            ("O:BAD:NO_ACCESS_CONTROL", Some("O:BAD:NO_ACCESS_CONTROL")),
            ("D:P(A;;FA;;;BA)", Some("D:P(A;;FA;;;BA)")),
            ("", Some("")),
        ];
        for (access, other) in table {
            assert_eq!(other_than_us(access), other, "{access}");
        }
    }
}
