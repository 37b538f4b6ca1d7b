//! Passwords that are changed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blob::{FilesystemStore, SharedBlobStore};
use repo::{PasswordChange, RepoErrorKind, Repository, Writer, change_password};
use second_reader::SecondReader;
use time_and_chance::{Chance, SharedClock, SystemClock};

use crate::world::{PASSWORD, World, bytes, plain, surroundings};

fn change(world: &World, old: &str, new: &str) -> Result<PasswordChange, repo::RepoError> {
    let clock: SharedClock = world.clock.clone();
    change_password(&world.store, old, new, &clock, &Chance::from_seed(9))
}

#[test]
fn the_new_password_opens_everything_and_the_old_one_nothing_more() {
    let world = World::new();
    let reader = world.open(1);
    let writer = Writer::new(&reader, 1).unwrap();
    let content = bytes(1, 5000);
    let id = writer
        .write_content(&mut plain(), None, &content)
        .unwrap()
        .id;
    writer.flush().unwrap();

    assert_eq!(
        change(&world, PASSWORD, "other").unwrap(),
        PasswordChange::Done
    );
    let repo = Repository::open(world.store.clone(), "other", world.surroundings(2)).unwrap();
    assert_eq!(repo.read_content(&id).unwrap(), content);
    let error = Repository::open(world.store.clone(), PASSWORD, world.surroundings(3)).unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::WrongPassword);

    // Who is inside goes on until it has to look at the format again.
    reader.refresh().unwrap();
    world.clock.advance(Duration::from_mins(16));
    let error = reader.refresh().unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::WrongPassword);
    assert!(error.to_string().contains("was changed"), "{error}");

    let again = change(&world, PASSWORD, "other").unwrap();
    assert_eq!(again, PasswordChange::Finished);
}

#[test]
fn a_wrong_password_an_empty_one_and_the_same_one_change_nothing() {
    let world = World::new();
    for (old, new, kind) in [
        ("wrong", "other", RepoErrorKind::WrongPassword),
        (PASSWORD, "", RepoErrorKind::Invalid),
        (PASSWORD, PASSWORD, RepoErrorKind::Invalid),
    ] {
        assert_eq!(change(&world, old, new).unwrap_err().kind(), kind);
    }
    world.open(1);
}

/// A copy of a repository that Kopia wrote.
fn fixture(name: &str, folder: &Path) -> SharedBlobStore {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/kopia");
    copy(&source.join(name).join("repo"), folder);
    Arc::new(FilesystemStore::open(folder, Chance::from_seed(1)).unwrap())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn what_kopia_wrote_is_whole_under_another_password_by_the_same_derivation() {
    let clock: SharedClock = SystemClock::new();
    for name in ["password-changed", "kdf-pbkdf2", "ecc-5"] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("repo");
        let store = fixture(name, &place);
        let chance = Chance::from_seed(2);
        change_password(&store, "fixture-password", "the third", &clock, &chance).unwrap();
        let second = SecondReader::open(&place, "the third").unwrap();
        assert_eq!(second.audit(), Vec::<String>::new(), "{name}");
        assert!(SecondReader::open(&place, "fixture-password").is_err());
        let surroundings = surroundings(&folder.path().join("cache"), clock.clone(), 3);
        let repo = Repository::open(store, "the third", surroundings).unwrap();
        assert!(repo.warnings().is_empty());
    }
}

#[test]
fn where_data_is_sealed_with_the_password_it_cannot_be_changed() {
    let clock: SharedClock = SystemClock::new();
    for name in ["format-v1", "format-v1-upgraded"] {
        let folder = tempfile::tempdir().unwrap();
        let store = fixture(name, folder.path());
        let before = store.get("kopia.repository").unwrap();
        let chance = Chance::from_seed(2);
        let error = change_password(&store, "fixture-password", "other", &clock, &chance);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), RepoErrorKind::Unsupported);
        assert!(error.to_string().contains("format version 1"), "{error}");
        assert_eq!(store.get("kopia.repository").unwrap(), before);
    }
}
