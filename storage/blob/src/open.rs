//! From a place as people write it to a store: a folder, or a bucket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use time_and_chance::{Chance, SharedClock, StopSignal};

use crate::s3::SCHEME;
use crate::{
    BlobError, BlobErrorKind, BlobStore as _, Environment, FilesystemStore, NewLayout, S3Identity,
    S3Limits, S3Location, S3Store, SharedBlobStore, name,
};

/// Where a repository rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder, by its absolute path.
    Folder(PathBuf),
    /// A place in a bucket.
    S3(S3Location),
}

impl FromStr for Location {
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Self, BlobError> {
        let invalid = |message: String| BlobError::new(BlobErrorKind::Invalid, message);
        if text.is_empty() {
            return Err(invalid(
                "open a repository: its location is empty".to_owned(),
            ));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return match format!("{scheme}://") == SCHEME {
                true => text.parse().map(Self::S3),
                // The rest stays unsaid: such addresses may hold passwords.
                false => Err(invalid(format!(
                    "open a repository at {scheme}://…: a folder or s3://bucket is needed"
                ))),
            };
        }
        // A service changes its current folder; the store must not move with it.
        let path = std::path::absolute(text)
            .map_err(|error| invalid(format!("open folder {text}")).caused_by(error))?;
        Ok(Self::Folder(path))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3(location) => write!(f, "{location}"),
        }
    }
}

/// What opening a store takes from the program around it.
pub struct Opening<'a> {
    /// Answers for environment variables, where credentials are found.
    pub environment: Environment<'a>,
    /// Names files that are being written.
    pub chance: Chance,
    /// Limits of requests to a bucket.
    pub s3_limits: S3Limits,
    /// Ends waiting for a bucket's server.
    pub stop: StopSignal,
    /// Dates what is written into a folder, in place of the system; for simulations.
    pub dated_by: Option<SharedClock>,
}

impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment holds secrets.
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

/// Opens the store of a repository that exists; changes nothing in it.
///
/// # Errors
/// `NotFound` if there is no such folder or bucket; see [`FilesystemStore::open`] and
/// [`S3Store::open`].
pub fn open(location: &Location, opening: &Opening<'_>) -> Result<SharedBlobStore, BlobError> {
    Ok(match location {
        Location::Folder(path) => {
            let store = FilesystemStore::open(path, opening.chance.clone())?;
            Arc::new(store.dated_by(opening.dated_by.clone()))
        }
        Location::S3(location) => Arc::new(open_bucket(location, opening)?),
    })
}

/// Makes ready a store for a new repository: a folder is created, a bucket must exist.
///
/// # Errors
/// `AlreadyThere` if the place holds a blob, save what a creation leaves that was cut short.
pub fn create(
    location: &Location,
    layout: NewLayout,
    opening: &Opening<'_>,
) -> Result<SharedBlobStore, BlobError> {
    match location {
        Location::Folder(path) => {
            let store = FilesystemStore::create(path, layout, opening.chance.clone())?;
            Ok(Arc::new(store.dated_by(opening.dated_by.clone())))
        }
        Location::S3(location) => {
            let store = open_bucket(location, opening)?;
            store.list("", &mut |blob| name::refuse_taken(location, &blob.name))?;
            Ok(Arc::new(store))
        }
    }
}

fn open_bucket(location: &S3Location, opening: &Opening<'_>) -> Result<S3Store, BlobError> {
    let identity = S3Identity::find(opening.environment)?;
    S3Store::open(
        location.clone(),
        &identity,
        opening.s3_limits,
        opening.stop.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PutOptions;

    fn opening() -> Opening<'static> {
        Opening {
            environment: &|_| None,
            chance: Chance::from_seed(1),
            s3_limits: S3Limits::default(),
            stop: StopSignal::new(),
            dated_by: None,
        }
    }

    #[test]
    fn a_location_is_a_folder_unless_it_says_s3() {
        assert!(matches!("s3://bucket/p".parse().unwrap(), Location::S3(_)));
        for text in ["/a/folder", "a", "./s3:", "C:\\repo", "\\\\server\\share"] {
            let location: Location = text.parse().unwrap();
            let Location::Folder(path) = &location else {
                panic!("{text} is {location}");
            };
            assert!(path.is_absolute(), "{text}");
        }
        for text in ["", "sftp://user:SECRET@host/x", "s3://", "S3://bucket"] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.kind(), BlobErrorKind::Invalid, "{text}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn a_folder_is_created_once_and_opened_often() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("new/repo").display().to_string();
        let location: Location = text.parse().unwrap();
        let error = open(&location, &opening()).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::NotFound, "{error}");
        let store = create(&location, NewLayout::Sharded, &opening()).unwrap();
        store
            .put("kopia.repository", &[b"{}"], &PutOptions::default())
            .unwrap();
        assert_eq!(store.location(), location.to_string());
        let again = open(&location, &opening()).unwrap();
        assert_eq!(again.get("kopia.repository").unwrap(), b"{}");
        let error = create(&location, NewLayout::Sharded, &opening()).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::AlreadyThere, "{error}");
    }
}
