//! From `--repo` to an open repository: the store, retries, the password.

use std::sync::Arc;

use blob::{BlobErrorKind, Location, Opening, RetryLimits, Retrying, S3Limits, SharedBlobStore};
use clap::Args;
use repo::{RepoError, Repository, Surroundings};

use crate::failure::{Failure, FailureKind};
use crate::identity;
use crate::world::World;

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

    fn open_with(
        &self,
        world: &World,
        open: impl FnOnce(SharedBlobStore, &str, Surroundings) -> Result<Arc<Repository>, RepoError>,
    ) -> Result<Arc<Repository>, Failure> {
        // What is wrong with the command line is told before anybody is asked for a password.
        self.location()?;
        let password = world.password(false)?;
        let store = self.open_store(world)?;
        let repository = open(store, &password, surroundings(world)?)?;
        world.opened(&repository);
        for warning in repository.warnings() {
            eprintln!("warning: {warning}");
        }
        Ok(repository)
    }

    /// Opens the repository's store. A server that does not answer at all fails here, at once; one
    /// that falls silent later is waited for.
    pub fn open_store(&self, world: &World) -> Result<SharedBlobStore, Failure> {
        let store = blob::open(&self.location()?, &opening(world))?;
        Ok(retrying(store, world))
    }

    /// Makes an empty store for a new repository.
    pub fn create_store(&self, world: &World) -> Result<SharedBlobStore, Failure> {
        let location = self.location()?;
        let created = blob::create(&location, blob::NewLayout::Sharded, &opening(world));
        let store = created.map_err(|error| match error.kind() {
            BlobErrorKind::Invalid => {
                Failure::new(FailureKind::NotEmpty, format!("failed to {error}"))
            }
            _ => error.into(),
        })?;
        Ok(retrying(store, world))
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

fn opening(world: &World) -> Opening<'static> {
    Opening {
        environment: &|name| std::env::var(name).ok(),
        chance: world.chance().clone(),
        s3_limits: S3Limits::default(),
        stop: world.stop().clone(),
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
