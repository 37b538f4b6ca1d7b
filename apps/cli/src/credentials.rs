//! What this machine remembers to open a repository with: its password, and keys of S3.
//!
//! Filed by where the repository is, as it is named: nothing has to be opened or mounted to find
//! them. How they are protected is the [`SecretStore`]'s business
//! (`docs/decisions/remembered-passwords.md`).

use blob::Location;
use secrets::{Secret, SecretError, SecretErrorKind, SecretStore};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::failure::{Failure, FailureKind};
use crate::world::World;

/// The form of the document.
const VERSION: u32 = 1;

/// What is remembered of one repository.
pub struct Keeper {
    store: Box<dyn SecretStore>,
    name: String,
}

/// What opens a repository.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    version: u32,
    /// Where the repository is, for who looks into the file.
    location: String,
    /// The repository's password.
    pub password: String,
    /// Keys of the bucket.
    pub s3_keys: Option<S3Keys>,
}

/// A pair of keys that does not expire.
#[derive(Clone, Serialize, Deserialize)]
pub struct S3Keys {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret key.
    pub secret_access_key: String,
}

impl Credentials {
    /// Returns what opens the repository at `location`.
    pub fn new(location: &Location, password: &str, s3_keys: Option<S3Keys>) -> Self {
        Self {
            version: VERSION,
            location: location.to_string(),
            password: password.to_owned(),
            s3_keys,
        }
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl Drop for S3Keys {
    fn drop(&mut self) {
        self.secret_access_key.zeroize();
    }
}

impl Keeper {
    /// Returns what is remembered of the repository at `location`; `None` where this system has
    /// nothing that could protect it.
    pub fn of(world: &World, location: &Location) -> Result<Option<Self>, Failure> {
        let store = store(world)?;
        Ok(store.map(|store| Self {
            store,
            name: name(location),
        }))
    }

    /// Returns what is remembered, if anything is.
    pub fn read(&self) -> Result<Option<Credentials>, Failure> {
        let Some(secret) = self.store.read(&self.name).map_err(of_secret)? else {
            return Ok(None);
        };
        // What the parser has to say may quote the secret.
        let read = serde_json::from_slice::<Credentials>(secret.reveal()).ok();
        let known = read.filter(|it| it.version == VERSION && !it.password.is_empty());
        known.map(Some).ok_or_else(|| {
            let what = format!(
                "failed to understand what is remembered in {}: it is damaged, or of a newer version",
                self.place()
            );
            Failure::new(FailureKind::Remembered, what)
        })
    }

    /// Remembers this from now on.
    pub fn keep(&self, credentials: &Credentials) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(credentials).expect("texts and numbers have JSON");
        let secret = Secret::new(bytes);
        self.store.keep(&self.name, &secret).map_err(of_secret)
    }

    /// Forgets what is remembered; returns whether anything was.
    pub fn forget(&self) -> Result<bool, Failure> {
        self.store.forget(&self.name).map_err(of_secret)
    }

    /// Returns where it is remembered, for people.
    pub fn place(&self) -> String {
        self.store.place(&self.name)
    }
}

#[cfg(unix)]
fn store(world: &World) -> Result<Option<Box<dyn SecretStore>>, Failure> {
    let folder = world.state_folder()?.join("credentials");
    Ok(Some(Box::new(secrets::PrivateFiles::new(folder))))
}

#[cfg(windows)]
fn store(world: &World) -> Result<Option<Box<dyn SecretStore>>, Failure> {
    let folder = world.state_folder()?.join("credentials");
    Ok(Some(Box::new(windows_host::MachineSecrets::new(folder))))
}

#[cfg(not(any(unix, windows)))]
fn store(_: &World) -> Result<Option<Box<dyn SecretStore>>, Failure> {
    Ok(None)
}

fn of_secret(error: SecretError) -> Failure {
    let kind = match error.kind() {
        SecretErrorKind::Exposed | SecretErrorKind::Unreadable => FailureKind::Remembered,
        SecretErrorKind::Unwritable => FailureKind::State,
    };
    Failure::new(kind, format!("failed to {error}"))
}

/// Returns the name under which credentials are kept: made of what tells places apart, and not of how
/// they are reached.
fn name(location: &Location) -> String {
    let mut hasher = Sha256::new();
    match location {
        Location::Folder(path) => {
            hasher.update("folder\0");
            for part in path.components() {
                hasher.update(part.as_os_str().as_encoded_bytes());
                hasher.update("\0");
            }
        }
        Location::S3(place) => {
            let endpoint = place.endpoint.as_deref().unwrap_or_default();
            for part in ["s3", endpoint, &place.bucket, &place.prefix] {
                hasher.update(part);
                hasher.update("\0");
            }
        }
    }
    format!("repository-{}", hex::encode(&hasher.finalize()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(location: &str) -> String {
        name(&location.parse().unwrap())
    }

    #[test]
    fn places_are_told_apart_however_they_are_reached() {
        assert_eq!(name_of("/srv/backup"), name_of("/srv//backup/"));
        assert_ne!(name_of("/srv/backup"), name_of("/srv/backup2"));
        let bucket = name_of("s3://b/p?endpoint=https://h");
        assert_eq!(
            bucket,
            name_of("s3://b/p/?endpoint=h&region=eu&style=virtual&insecure=true")
        );
        for other in [
            "s3://b/p",
            "s3://b?endpoint=h",
            "s3://c/p?endpoint=h",
            "s3://b/p?endpoint=http://h",
        ] {
            assert_ne!(bucket, name_of(other), "{other}");
        }
    }
}
