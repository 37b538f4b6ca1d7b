//! Creating a repository: alone, beside others who do the same, and after one that died on the way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blob::{
    BlobError, BlobErrorKind, BlobMetadata, BlobStore, Dying, MemoryStore, PutOptions,
    SharedBlobStore, Space,
};
use kopia::format_blob::BlobConfig;
use kopia::maintenance::MaintenanceParameters;
use kopia::policy::PolicyTarget;
use repo::{
    CreateOptions, RepoError, RepoErrorKind, Repository, Writer, create, finish_creation,
    lock_config,
};

use crate::world::{PASSWORD, World};

/// What a store does when it is to put a blob only if that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Obeys,
    Refuses,
    Overwrites,
}

/// A store beside which something happens once, before a blob is put.
struct Beside {
    inner: SharedBlobStore,
    manner: Manner,
    /// What the blob's name begins with.
    before: &'static str,
    happens: Box<dyn Fn() + Send + Sync>,
    happened: AtomicBool,
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").finish_non_exhaustive()
    }
}

impl BlobStore for Beside {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        if name.starts_with(self.before) && !self.happened.swap(true, Ordering::SeqCst) {
            (self.happens)();
        }
        let mut options = options.clone();
        if options.if_absent && self.manner == Manner::Refuses {
            return Err(BlobError::new(BlobErrorKind::Unsupported, "put if new"));
        }
        options.if_absent &= self.manner == Manner::Obeys;
        self.inner.put(name, parts, &options)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.inner.get(name)
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.inner.get_range(name, offset, bytes)
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        self.inner.metadata(name)
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        self.inner.list(prefix, each)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.inner.delete(name)
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        self.inner.space()
    }
}

/// Creates a repository beside somebody who does something at a decisive moment.
fn create_beside(
    world: &World,
    inner: &SharedBlobStore,
    manner: Manner,
    before: &'static str,
    happens: impl Fn() + Send + Sync + 'static,
) -> Result<Arc<Repository>, RepoError> {
    let store = Beside {
        inner: Arc::clone(inner),
        manner,
        before,
        happens: Box::new(happens),
        happened: AtomicBool::new(false),
    };
    let options = CreateOptions::default();
    create(Arc::new(store), PASSWORD, &options, world.surroundings(1))
}

fn empty(world: &World) -> SharedBlobStore {
    Arc::new(MemoryStore::new(world.clock.clone()))
}

#[test]
fn of_two_who_create_at_once_one_succeeds_and_the_other_one_says_so() {
    let world = World::new();
    for manner in [Manner::Obeys, Manner::Refuses] {
        let inner = empty(&world);
        let (place, surroundings) = (Arc::clone(&inner), world.surroundings(2));
        let made = create_beside(&world, &inner, manner, "kopia.repository", move || {
            let (place, surroundings) = (Arc::clone(&place), surroundings.clone());
            create(place, "other", &CreateOptions::default(), surroundings).unwrap();
        });
        assert_eq!(made.unwrap_err().kind(), RepoErrorKind::NotEmpty);
        Repository::open(inner, "other", world.surroundings(3)).unwrap();
    }
}

#[test]
fn who_is_overwritten_says_so_and_leaves_nothing_in_the_others_way() {
    let world = World::new();
    let manners = [Manner::Refuses, Manner::Overwrites];
    let moments = ["q", "xn0"];
    for (manner, before) in manners
        .into_iter()
        .flat_map(|it| moments.map(|at| (it, at)))
    {
        let (inner, donor) = (empty(&world), empty(&world));
        let (place, options) = (Arc::clone(&donor), CreateOptions::default());
        create(place, "other", &options, world.surroundings(2)).unwrap();
        let others = donor.get("kopia.repository").unwrap();
        let place = Arc::clone(&inner);
        let made = create_beside(&world, &inner, manner, before, move || {
            let put = place.put("kopia.repository", &[&others], &PutOptions::default());
            put.unwrap();
        });
        assert_eq!(made.unwrap_err().kind(), RepoErrorKind::NotEmpty);
        Repository::open(inner, "other", world.surroundings(3)).unwrap();
    }
}

#[test]
fn a_creation_that_died_anywhere_is_taken_up() {
    let options = CreateOptions {
        format_version: 2,
        ..CreateOptions::default()
    };
    take_up_wherever_it_died(&options, u64::MAX);
    let options = CreateOptions {
        locks: locks(),
        ..options
    };
    // What comes later is the same with locks and without.
    take_up_wherever_it_died(&options, 8);
}

fn locks() -> BlobConfig {
    let (period, interval) = (Duration::from_hours(30 * 24), Duration::from_hours(24));
    lock_config("GOVERNANCE", period, interval).unwrap()
}

fn take_up_wherever_it_died(options: &CreateOptions, requests_max: u64) {
    let world = World::new();
    let count = {
        let store = Dying::new(empty(&world));
        store.die_at(u64::MAX);
        let store = Arc::new(store);
        let place: SharedBlobStore = store.clone();
        create(place, PASSWORD, options, world.surroundings(1)).unwrap();
        store.asked()
    };
    assert!(count > 5, "{count}");
    for request in (1..count).take_while(|&it| it <= requests_max) {
        let inner = empty(&world);
        let dying = Dying::new(Arc::clone(&inner));
        dying.die_at(request);
        let died = create(Arc::new(dying), PASSWORD, options, world.surroundings(1));
        died.unwrap_err();
        let surroundings = world.surroundings(2);
        let repository = match create(Arc::clone(&inner), PASSWORD, options, surroundings) {
            Ok(repository) => repository,
            Err(error) => {
                assert_eq!(error.kind(), RepoErrorKind::NotEmpty, "{request}: {error}");
                let repository = Repository::open(inner, PASSWORD, world.surroundings(3)).unwrap();
                finish_creation(&repository, options).unwrap();
                repository
            }
        };
        assert_eq!(repository.blob_config(), options.locks, "{request}");
        let manifests = repository.manifests().unwrap();
        for labels in [
            PolicyTarget::global().labels(),
            MaintenanceParameters::labels(),
        ] {
            let kind = labels["type"].clone();
            assert_eq!(manifests.find(&kind, &[]).count(), 1, "{request}: {kind}");
        }
    }
}

#[test]
fn what_a_creation_left_that_was_cut_short_is_replaced_and_nothing_else() {
    let world = World::new();
    let inner = empty(&world);
    let left: &[u8] = b"sealed with a key that nobody has";
    let put = |name: &str| inner.put(name, &[left], &PutOptions::default()).unwrap();
    put("kopia.blobcfg");
    put("xn0_foreign");
    let options = CreateOptions::default();
    let make = || {
        create(
            Arc::clone(&inner),
            PASSWORD,
            &options,
            world.surroundings(1),
        )
    };
    assert_eq!(make().unwrap_err().kind(), RepoErrorKind::NotEmpty);
    assert_eq!(inner.get("kopia.blobcfg").unwrap(), left);
    inner.delete("xn0_foreign").unwrap();
    let repository = make().unwrap();
    finish_creation(&repository, &options).unwrap();
    Writer::new(&repository, 1).unwrap();
    assert_ne!(inner.get("kopia.blobcfg").unwrap(), left);
}

#[test]
fn locks_are_kept_although_another_one_took_the_config_for_a_dead_creations() {
    let world = World::new();
    let inner = empty(&world);
    let options = CreateOptions {
        locks: locks(),
        ..CreateOptions::default()
    };
    let place = Arc::clone(&inner);
    let store = Beside {
        inner: Arc::clone(&inner),
        manner: Manner::Obeys,
        before: "q",
        happens: Box::new(move || place.delete("kopia.blobcfg").unwrap()),
        happened: AtomicBool::new(false),
    };
    create(Arc::new(store), PASSWORD, &options, world.surroundings(1)).unwrap();
    let repository = Repository::open(inner, PASSWORD, world.surroundings(2)).unwrap();
    assert_eq!(repository.blob_config(), options.locks);
}
