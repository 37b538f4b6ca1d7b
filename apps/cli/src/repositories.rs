//! From `--repo` to an open repository: the store, retries, the password, what is remembered.

use std::sync::Arc;

use agent::credentials::S3Keys;
use blob::{
    BlobErrorKind, Environment, Location, Opening, RetryLimits, Retrying, S3Limits, SharedBlobStore,
};
use clap::Args;
use repo::{RepoError, Repository, Surroundings};
use zeroize::Zeroizing;

use crate::credentials;
use crate::failure::{Failure, FailureKind};
use crate::identity;
use crate::password::FoundPassword;
use crate::stderr;
use crate::verified;
use crate::world::World;

/// Environment variables that name keys; where one is set, no remembered keys are looked for.
const ENVIRONMENT_OF_KEYS: [&str; 3] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"];

/// One of the ways to open a repository.
type OpenRepository = fn(SharedBlobStore, &str, Surroundings) -> Result<Arc<Repository>, RepoError>;

/// Which repository.
#[derive(Debug, Args)]
pub struct RepoArguments {
    /// The repository: a folder, or s3://bucket/prefix?endpoint=URL&region=R.
    #[arg(long, value_name = "REPO")]
    pub repo: String,
}

impl RepoArguments {
    /// Returns the place that was named.
    pub fn location(&self) -> Result<Location, Failure> {
        self.repo
            .parse()
            .map_err(|error: blob::BlobError| Failure::wrong_usage(format!("failed to {error}")))
    }

    /// Opens the repository.
    pub fn open(&self, world: &World) -> Result<Arc<Repository>, Failure> {
        self.open_with(world, Repository::open)
    }

    /// Opens the repository although index blobs may be damaged, to look at it and to mend it.
    pub fn open_despite_damage(&self, world: &World) -> Result<Arc<Repository>, Failure> {
        self.open_with(world, Repository::open_despite_damage)
    }

    fn open_with(&self, world: &World, open: OpenRepository) -> Result<Arc<Repository>, Failure> {
        // What is wrong with the command line is told before anybody is asked for a password.
        let location = self.location()?;
        let password = self.password(world)?;
        let opened = self.open_by(world, &password.text, open);
        opened.map_err(|failure| tell_of_remembered(failure, world, &location, &password))
    }

    /// Opens the repository with a password that was just given, to see whether it is right.
    pub fn check_password(&self, world: &World, password: &str) -> Result<(), Failure> {
        self.open_by(world, password, Repository::open_despite_damage)
            .map(drop)
    }

    /// Opens the repository with a password that was just given.
    pub fn open_by_password(
        &self,
        world: &World,
        password: &str,
    ) -> Result<Arc<Repository>, Failure> {
        self.open_by(world, password, Repository::open)
    }

    fn open_by(
        &self,
        world: &World,
        password: &str,
        open: OpenRepository,
    ) -> Result<Arc<Repository>, Failure> {
        let store = self.open_store(world)?;
        let repository = open(store, password, surroundings(world)?)?;
        world.opened(&repository);
        verified::take_over(world, &repository);
        for warning in repository.warnings() {
            stderr::warn(warning);
        }
        Ok(repository)
    }

    /// Returns the password of the repository.
    pub fn password(&self, world: &World) -> Result<FoundPassword, Failure> {
        let location = self.location()?;
        world.password(&|| {
            let Some(keeper) = credentials::keeper(world, &location)? else {
                return Ok(None);
            };
            let credentials = keeper.read()?;
            Ok(credentials.map(|it| Zeroizing::new(it.password.clone())))
        })
    }

    /// Opens the repository's store. A server that does not answer at all fails here, at once; one
    /// that falls silent later is waited for.
    pub fn open_store(&self, world: &World) -> Result<SharedBlobStore, Failure> {
        let location = self.location()?;
        reach(world, &location)?;
        let keys = remembered_keys(world, &location)?;
        let store = blob::open(&location, &opening(world, &environment(keys.as_ref())));
        Ok(retrying(store?, world))
    }

    /// Makes an empty store for a new repository.
    pub fn create_store(&self, world: &World) -> Result<SharedBlobStore, Failure> {
        let location = self.location()?;
        reach(world, &location)?;
        let environment = environment(None);
        let opening = opening(world, &environment);
        let created = blob::create(&location, blob::NewLayout::Sharded, &opening);
        let store = created.map_err(|error| match error.kind() {
            BlobErrorKind::AlreadyThere => {
                Failure::new(FailureKind::NotEmpty, format!("failed to {error}"))
            }
            _ => error.into(),
        })?;
        Ok(retrying(store, world))
    }
}

/// Makes sure that a repository can be reached that may lie on a share.
fn reach(world: &World, location: &Location) -> Result<(), Failure> {
    match location {
        Location::Folder(folder) => world.reach(folder),
        Location::S3(_) => Ok(()),
    }
}

/// Returns what a repository needs from the world.
pub fn surroundings(world: &World) -> Result<Surroundings, Failure> {
    Ok(Surroundings {
        cache_folder: world.cache_folder()?,
        identity: identity::identity(),
        clock: world.clock().clone(),
        chance: world.chance().clone(),
        stop: world.stop().clone(),
    })
}

/// Returns the keys that are remembered for a bucket, where the environment names none.
fn remembered_keys(world: &World, location: &Location) -> Result<Option<S3Keys>, Failure> {
    let names_keys = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
    if matches!(location, Location::Folder(_)) || ENVIRONMENT_OF_KEYS.iter().any(names_keys) {
        return Ok(None);
    }
    let Some(keeper) = credentials::keeper(world, location)? else {
        return Ok(None);
    };
    let credentials = keeper.read()?;
    Ok(credentials.and_then(|it| it.s3_keys.clone()))
}

/// Returns the environment, in which remembered keys stand if there are any.
fn environment(keys: Option<&S3Keys>) -> impl Fn(&str) -> Option<String> {
    move |name| match (keys, name) {
        (Some(keys), "AWS_ACCESS_KEY_ID") => Some(keys.access_key_id.clone()),
        (Some(keys), "AWS_SECRET_ACCESS_KEY") => Some(keys.secret_access_key.clone()),
        (Some(_), "AWS_SESSION_TOKEN") => None,
        _ => std::env::var(name).ok(),
    }
}

/// Says of a failure that what is remembered is at fault, if it is.
fn tell_of_remembered(
    failure: Failure,
    world: &World,
    location: &Location,
    password: &FoundPassword,
) -> Failure {
    let Ok(Some(keeper)) = credentials::keeper(world, location) else {
        return failure;
    };
    let place = keeper.place();
    match failure.kind() {
        FailureKind::WrongPassword if password.is_remembered => failure.saying(&format!(
            "the password that was tried is remembered in {place}: `repo remember` replaces it, `repo forget` takes it away"
        )),
        FailureKind::Denied if matches!(remembered_keys(world, location), Ok(Some(_))) => failure
            .saying(&format!(
                "the keys are remembered in {place}: `repo remember --with-s3-keys` replaces them, `repo forget` takes them away"
            )),
        _ => failure,
    }
}

fn opening<'e>(world: &World, environment: Environment<'e>) -> Opening<'e> {
    Opening {
        environment,
        chance: world.chance().clone(),
        s3_limits: S3Limits::default(),
        stop: world.stop().clone(),
        dated_by: None,
    }
}

fn retrying(store: SharedBlobStore, world: &World) -> SharedBlobStore {
    let (clock, chance, stop) = (
        world.clock().clone(),
        world.chance().clone(),
        world.stop().clone(),
    );
    let retrying = Retrying::new(store, RetryLimits::default(), clock, chance, stop);
    Arc::new(retrying.telling(world.outage_listener()))
}
