//! What this machine remembers to open a repository with: its password, and keys of S3.
//!
//! Filed by where the repository is, as it is named: nothing has to be opened or mounted to find
//! them. How they are protected is the [`SecretStore`]'s business
//! (`docs/decisions/remembered-passwords.md`).

use std::fmt;
use std::sync::Arc;

use blob::Location;
use secrets::{Secret, SecretError, SecretErrorKind, SecretStore};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// The form of the document.
const VERSION: u32 = 1;

/// What is remembered of one repository.
pub struct Keeper {
    store: Arc<dyn SecretStore>,
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

/// The key's id is no secret.
impl fmt::Debug for S3Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Keys")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
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
    /// Returns what `store` remembers of the repository at `location`.
    pub fn new(store: Arc<dyn SecretStore>, location: &Location) -> Self {
        Self {
            store,
            name: name(location),
        }
    }

    /// Returns what is remembered, if anything is.
    pub fn read(&self) -> Result<Option<Credentials>, SecretError> {
        let Some(secret) = self.store.read(&self.name)? else {
            return Ok(None);
        };
        // What the parser has to say may quote the secret.
        let read = serde_json::from_slice::<Credentials>(secret.reveal()).ok();
        let known = read.filter(|it| it.version == VERSION && !it.password.is_empty());
        known.map(Some).ok_or_else(|| {
            let what = format!(
                "understand what is remembered in {}: it is damaged, or of a newer version",
                self.place()
            );
            SecretError::new(SecretErrorKind::Unreadable, what)
        })
    }

    /// Remembers this from now on.
    pub fn keep(&self, credentials: &Credentials) -> Result<(), SecretError> {
        let bytes = serde_json::to_vec(credentials).expect("texts and numbers have JSON");
        let secret = Secret::new(bytes);
        self.store.keep(&self.name, &secret)
    }

    /// Forgets what is remembered; returns whether anything was.
    pub fn forget(&self) -> Result<bool, SecretError> {
        self.store.forget(&self.name)
    }

    /// Returns where it is remembered, for people.
    pub fn place(&self) -> String {
        self.store.place(&self.name)
    }
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
