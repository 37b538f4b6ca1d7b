//! A change of the password that dies at any of its operations.

use std::sync::Arc;

use blob::{BlobErrorKind, BlobStore as _, Faulty, MemoryStore, Operation, Rule, Strike};
use time_and_chance::{ManualClock, StopSignal, Timestamp};

use super::*;
use crate::{CreateOptions, Identity, Surroundings, create};

struct Place {
    store: Arc<MemoryStore>,
    clock: SharedClock,
    chance: Chance,
    keys: [FormatKey; 2],
}

impl Place {
    fn new(config: &BlobConfig) -> Self {
        let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let cache = tempfile::tempdir().unwrap();
        let chance = Chance::from_seed(5);
        let surroundings = Surroundings {
            cache_folder: cache.path().to_owned(),
            identity: Identity {
                username: "agent".into(),
                hostname: "host".into(),
            },
            clock: clock.clone(),
            chance: chance.clone(),
            stop: StopSignal::new(),
        };
        create(
            store.clone(),
            "old",
            &CreateOptions::default(),
            surroundings,
        )
        .unwrap();
        let blob = read_format_blob(&shared(&store)).unwrap();
        let keys = ["old", "new"].map(|password| blob.format_key(password).unwrap());
        let sealed = config.seal(&keys[0], &blob.unique_id, chance.bytes());
        store
            .put(CONFIG_BLOB, &[&sealed], &PutOptions::default())
            .unwrap();
        Self {
            store,
            clock,
            chance,
            keys,
        }
    }

    fn change(&self, store: &SharedBlobStore) -> Result<PasswordChange, RepoError> {
        let [old, new] = self.keys.clone();
        let chance = &self.chance;
        change(store, &Keys { old, new, chance }, &self.clock)
    }

    /// Returns what opens both blobs: nothing, or the settings with either key.
    fn opens(&self, store: &SharedBlobStore) -> [Result<Settings, RepoError>; 2] {
        let blob = read_format_blob(store).unwrap();
        [0, 1].map(|place| unseal(store, &blob, &self.keys[place]))
    }

    /// Dies at every operation of a change, before and after it was done, and hands the store that
    /// is left to `judge`.
    fn die_everywhere(&self, mut judge: impl FnMut(&str, &SharedBlobStore)) {
        let mut deaths = 0;
        for operation in [Operation::Get, Operation::Put, Operation::Delete] {
            for number in 0.. {
                let strikes = [Strike::Fail, Strike::FailAfter].map(|strike| {
                    let store = shared(&Arc::new(self.store.copy_with(self.clock.clone())));
                    let dying = Arc::new(Faulty::new(
                        store.clone(),
                        self.clock.clone(),
                        StopSignal::new(),
                    ));
                    dying.add(Rule::on(operation, strike(BlobErrorKind::Denied)).after(number));
                    let done = self.change(&(dying.clone() as SharedBlobStore));
                    if dying.struck() == 0 {
                        done.unwrap();
                        return false;
                    }
                    done.unwrap_err();
                    judge(&format!("{operation:?} {number}"), &store);
                    true
                });
                if strikes == [false; 2] {
                    break;
                }
                deaths += 2;
            }
        }
        assert!(deaths >= 12, "{deaths} deaths");
    }

    fn assert_finishes(&self, context: &str, store: &SharedBlobStore, config: &BlobConfig) {
        self.change(store)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let [old, new] = self.opens(store);
        let old = old.unwrap_err();
        assert_eq!(old.kind(), RepoErrorKind::WrongPassword, "{context}");
        assert_eq!(&new.expect(context).blob_config, config);
    }
}

fn shared(store: &Arc<MemoryStore>) -> SharedBlobStore {
    store.clone()
}

#[test]
fn without_locks_one_of_the_passwords_opens_the_repository_at_any_moment() {
    let config = BlobConfig::default();
    let place = Place::new(&config);
    place.die_everywhere(|context, store| {
        let opened = place.opens(store).into_iter().filter_map(Result::ok);
        let opened: Vec<_> = opened.collect();
        assert_eq!(opened.len(), 1, "{context}");
        assert_eq!(opened[0].blob_config, config, "{context}");
        place.assert_finishes(context, store, &config);
    });
}

#[test]
fn with_locks_a_change_that_was_interrupted_is_explained_and_finished() {
    let config = BlobConfig {
        retention_mode: "GOVERNANCE".into(),
        retention_period_ns: 30 * 86_400_000_000_000,
    };
    let place = Place::new(&config);
    let mut halves = 0;
    place.die_everywhere(|context, store| {
        let opened = place.opens(store);
        if opened.iter().all(Result::is_err) {
            halves += 1;
            for error in opened.map(Result::unwrap_err) {
                assert_eq!(error.kind(), RepoErrorKind::PasswordHalfChanged);
                assert!(error.to_string().contains("interrupted"), "{error}");
            }
        }
        place.assert_finishes(context, store, &config);
        for name in [CONFIG_BLOB, FORMAT_BLOB] {
            let metadata = store.metadata(name).unwrap();
            assert_eq!(metadata.modified, place.clock.now(), "{context}");
        }
    });
    assert!(halves > 0);
    let store = shared(&place.store);
    place.change(&store).unwrap();
    for name in [CONFIG_BLOB, FORMAT_BLOB] {
        let (mode, until) = place.store.retention(name).unwrap();
        assert_eq!(mode, "GOVERNANCE");
        assert_eq!(until.duration_since(place.clock.now()).as_hours(), 30 * 24);
    }
}
