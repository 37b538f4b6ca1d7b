//! What is written: read back by ourselves and by a second reader that knows only the format's
//! specification, and safe beside other clients.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blob::{BlobStore, FilesystemStore, MemoryStore, NewLayout, SharedBlobStore};
use kopia::cipher::EncryptionAlgorithm;
use kopia::compression::CompressionAlgorithm;
use kopia::format_blob::{BlobConfig, FormatBlob};
use kopia::hash::HashAlgorithm;
use kopia::indirect::IndirectEntry;
use kopia::object_id::ObjectId;
use repo::{CreateOptions, Encoder, RepoErrorKind, Repository, Surroundings, Writer, create};
use time_and_chance::{Chance, Clock, ManualClock, SystemClock, Timestamp};

use crate::world::{PASSWORD, World, bytes, plain, surroundings};

#[test]
fn what_is_flushed_is_read_by_another_client() {
    let world = World::new();
    let writer = Writer::new(&world.open(1), 2).unwrap();
    let content = bytes(1, 300_000);
    let mut encoder = Encoder::new(Some(CompressionAlgorithm::ZstdFastest));
    let id = writer
        .write_content(&mut encoder, None, &content)
        .unwrap()
        .id;
    let text = writer
        .write_content(&mut encoder, None, &[b'a'; 100_000])
        .unwrap();
    assert!(text.packed_bytes < 1000, "text compresses");
    writer.flush().unwrap();
    let other = world.open(2);
    assert_eq!(other.read_content(&id).unwrap(), content);
    assert_eq!(other.read_content(&text.id).unwrap(), [b'a'; 100_000]);
    assert!(world.names("s").is_empty(), "the session marker is gone");
}

#[test]
fn nothing_is_visible_before_a_flush_and_its_session_is_marked() {
    let world = World::new();
    let writer = Writer::new(&world.open(1), 2).unwrap();
    let id = writer
        .write_content(&mut plain(), None, &bytes(1, 1000))
        .unwrap()
        .id;
    assert_eq!(world.names("s").len(), 1);
    assert_eq!(
        world.open(2).read_content(&id).unwrap_err().kind(),
        RepoErrorKind::NotFound
    );
}

#[test]
fn a_content_is_stored_once_whoever_brings_it() {
    let world = World::new();
    let content = bytes(1, 50_000);
    let first = Writer::new(&world.open(1), 2).unwrap();
    assert!(
        first
            .write_content(&mut plain(), None, &content)
            .unwrap()
            .packed_bytes
            > 0
    );
    assert_eq!(
        first
            .write_content(&mut plain(), None, &content)
            .unwrap()
            .packed_bytes,
        0
    );
    first.flush().unwrap();
    let second = Writer::new(&world.open(2), 2).unwrap();
    assert_eq!(
        second
            .write_content(&mut plain(), None, &content)
            .unwrap()
            .packed_bytes,
        0
    );
}

#[test]
fn a_client_sees_what_others_wrote_after_a_refresh() {
    let world = World::new();
    let reader = world.open(2);
    let writer = Writer::new(&world.open(1), 2).unwrap();
    let mut ids = Vec::new();
    // More flushes than tables are kept apart, so that merging is part of it.
    for seed in 0..30 {
        ids.push(
            writer
                .write_content(&mut plain(), None, &bytes(seed, 2000))
                .unwrap()
                .id,
        );
        writer.flush().unwrap();
    }
    reader.refresh().unwrap();
    for (seed, id) in (0..).zip(&ids) {
        assert_eq!(reader.read_content(id).unwrap(), bytes(seed, 2000));
    }
    let again = world.open(2);
    assert!(
        ids.iter().all(|id| again.is_live(id).unwrap()),
        "the cache folder serves the next start"
    );
}

#[test]
fn a_cache_that_was_deleted_or_spoilt_is_made_anew() {
    let world = World::new();
    let writer = Writer::new(&world.open(1), 2).unwrap();
    let id = writer
        .write_content(&mut plain(), None, b"content")
        .unwrap()
        .id;
    writer.flush().unwrap();
    drop(writer);
    let repository = world.caches.path().join("1");
    for entry in std::fs::read_dir(repository).unwrap() {
        let entry = entry.unwrap().path();
        if !entry.is_dir() {
            continue;
        }
        for table in std::fs::read_dir(entry).unwrap() {
            let table = table.unwrap().path();
            if table.is_file() {
                std::fs::write(table, b"spoilt").unwrap();
            }
        }
    }
    assert_eq!(world.open(1).read_content(&id).unwrap(), b"content");
    std::fs::remove_dir_all(world.caches.path()).unwrap();
    assert_eq!(world.open(1).read_content(&id).unwrap(), b"content");
}

#[test]
fn the_second_reader_finds_no_fault_with_any_hash_and_cipher() {
    for hash in HashAlgorithm::ALL {
        for encryption in EncryptionAlgorithm::ALL {
            let folder = tempfile::tempdir().unwrap();
            let options = CreateOptions {
                hash: *hash,
                encryption: *encryption,
                ..CreateOptions::default()
            };
            check_with_second_reader(folder.path(), &options, 1);
        }
    }
}

#[test]
fn the_second_reader_finds_no_fault_with_format_2() {
    let folder = tempfile::tempdir().unwrap();
    check_with_second_reader(
        folder.path(),
        &CreateOptions {
            format_version: 2,
            ..CreateOptions::default()
        },
        60,
    );
}

/// Writes a little of everything and lets the second reader judge it.
fn check_with_second_reader(folder: &Path, options: &CreateOptions, contents: u64) {
    let chance = Chance::from_seed(3);
    let store =
        Arc::new(FilesystemStore::create(folder.join("repo"), NewLayout::Sharded, chance).unwrap());
    let surroundings = surroundings(&folder.join("cache"), SystemClock::new(), 4);
    let repo = create(store, PASSWORD, options, surroundings).unwrap();
    let writer = Writer::new(&repo, 2).unwrap();
    let mut encoder = Encoder::new(options.compression);
    let entries: Vec<IndirectEntry> = (0..contents)
        .map(|number| {
            let content = bytes(number, 400_000);
            let id = writer
                .write_content(&mut encoder, None, &content)
                .unwrap()
                .id;
            IndirectEntry {
                start: number * 400_000,
                bytes: 400_000,
                object: ObjectId::direct(id),
            }
        })
        .collect();
    let object = writer
        .write_list(&mut Encoder::metadata(), entries.into_iter())
        .unwrap()
        .object;
    writer.flush().unwrap();
    writer
        .write_content(&mut encoder, None, b"a second session")
        .unwrap();
    writer.flush().unwrap();
    let second = second_reader::SecondReader::open(&folder.join("repo"), PASSWORD).unwrap();
    assert_eq!(second.audit(), Vec::<String>::new(), "{options:?}");
    let read = second.read_object(&object.to_string()).unwrap();
    assert_eq!(&read[..400_000], bytes(0, 400_000));
    assert_eq!(read.len() as u64, contents * 400_000);
}

#[test]
fn long_lists_nest_and_read_back() {
    let world = World::new();
    let repo = world.open(1);
    let writer = Writer::new(&repo, 2).unwrap();
    let id = writer
        .write_content(&mut plain(), None, &bytes(1, 1000))
        .unwrap()
        .id;
    let count = 9_000;
    let entries = (0..count).map(|number| IndirectEntry {
        start: number * 1000,
        bytes: 1000,
        object: ObjectId::direct(id),
    });
    let list = writer
        .write_list(&mut Encoder::metadata(), entries)
        .unwrap();
    assert_eq!(list.object.indirection, 2);
    writer.flush().unwrap();
    let reader = repo.open_object(&list.object).unwrap();
    assert_eq!(reader.len(), count * 1000);
    let mut part = [0; 2500];
    reader.read_at(count * 1000 - 2500, &mut part).unwrap();
    assert_eq!(part[500..1500], bytes(1, 1000));
    assert!(reader.read_at(count * 1000 - 1, &mut [0; 2]).is_err());
}

fn flip_last_bit(store: &SharedBlobStore, name: &str) {
    let mut bytes = store.get(name).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    store
        .put(name, &[&bytes], &blob::PutOptions::default())
        .unwrap();
}

#[test]
fn damaged_manifests_hide_no_others_and_are_not_compacted_away() {
    let world = World::new();
    let writer = Writer::new(&world.open(1), 1).unwrap();
    let data = || serde_json::value::RawValue::from_string("{}".into()).unwrap();
    let labels = || BTreeMap::from([("type".to_owned(), "test".to_owned())]);
    let packs = || -> std::collections::BTreeSet<String> {
        let listed = world.store.list_all("q").unwrap();
        listed.into_iter().map(|blob| blob.name).collect()
    };
    let before = packs();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let entry = writer.new_manifest(labels(), data());
        ids.push(entry.id.clone());
        writer.write_manifests(vec![entry]).unwrap();
        writer.flush().unwrap();
        if ids.len() == 1 {
            let first = packs().difference(&before).next().unwrap().clone();
            let whole = world.store.get(&first).unwrap();
            // Only what stands in front is a content; the rest is the pack's own index.
            let mut cut = whole.clone();
            cut[40] ^= 1;
            world
                .store
                .put(&first, &[&cut], &blob::PutOptions::default())
                .unwrap();
        }
    }
    writer.compact_manifests().unwrap();
    let repo = world.open(2);
    let found = repo.manifests().unwrap();
    assert_eq!(found.unreadable().len(), 1, "{found:?}");
    assert!(found.get(&ids[0]).is_none());
    assert_eq!(found.find("test", &[]).count(), 19);
    let lost = found.unreadable()[0].0;
    assert!(repo.is_live(&lost).unwrap(), "it may be mended one day");
}

#[test]
fn a_right_password_is_not_called_wrong_because_of_damage() {
    let open = |damaged: &[&str], password: &str| {
        let world = World::new();
        for name in damaged {
            match *name {
                "kopia.repository" => {
                    let text = String::from_utf8(world.store.get(name).unwrap()).unwrap();
                    let sealed = text.split('"').max_by_key(|part| part.len()).unwrap();
                    let other = if sealed.starts_with('A') { "B" } else { "A" };
                    let text = text.replace(sealed, &format!("{other}{}", &sealed[1..]));
                    world
                        .store
                        .put(name, &[text.as_bytes()], &blob::PutOptions::default())
                        .unwrap();
                }
                name => flip_last_bit(&world.store, name),
            }
        }
        Repository::open(world.store.clone(), password, world.surroundings(5))
            .map(drop)
            .map_err(|error| error.kind())
    };
    let both = ["kopia.repository", "kopia.blobcfg"];
    assert_eq!(open(&[], PASSWORD), Ok(()));
    assert_eq!(open(&[], "wrong"), Err(RepoErrorKind::WrongPassword));
    for one in both {
        let half = Err(RepoErrorKind::PasswordHalfChanged);
        assert_eq!(open(&[one], PASSWORD), half, "{one}");
        assert_eq!(
            open(&[one], "wrong"),
            Err(RepoErrorKind::WrongPassword),
            "{one}"
        );
    }
    assert_eq!(open(&both, PASSWORD), Err(RepoErrorKind::WrongPassword));
}

#[test]
fn manifests_are_found_replaced_deleted_and_compacted() {
    let world = World::new();
    let repo = world.open(1);
    let writer = Writer::new(&repo, 2).unwrap();
    let labels = |number: u32| {
        BTreeMap::from([
            ("type".to_owned(), "test".to_owned()),
            ("number".to_owned(), number.to_string()),
        ])
    };
    let data = || serde_json::value::RawValue::from_string("{\"kept\":[1,2]}".into()).unwrap();
    for number in 0..20 {
        writer
            .write_manifests(vec![writer.new_manifest(labels(number), data())])
            .unwrap();
        writer.flush().unwrap();
    }
    let found = repo.manifests().unwrap();
    let third = found
        .find("test", &[("number", "3")])
        .next()
        .unwrap()
        .clone();
    writer.delete_manifest(&third).unwrap();
    writer.flush().unwrap();
    world.clock.advance(Duration::from_secs(5));
    writer.compact_manifests().unwrap();
    let other = world.open(2);
    let manifests = other.manifests().unwrap();
    assert_eq!(manifests.find("test", &[]).count(), 19);
    assert!(manifests.get(&third.id).is_none());
    assert_eq!(manifests.find("maintenance", &[]).count(), 1);
    let mut live = 0;
    other
        .for_each_content(Some(b'm'), &mut |record| {
            live += u32::from(!record.deleted);
            Ok(())
        })
        .unwrap();
    assert_eq!(live, 1, "one content holds all manifests");
}

#[test]
fn a_pack_that_vanished_is_noticed_and_its_contents_are_stored_again() {
    let world = World::new();
    let repo = world.open(1);
    let writer = Writer::new(&repo, 2).unwrap();
    let content = bytes(1, 10_000);
    let id = writer
        .write_content(&mut plain(), None, &content)
        .unwrap()
        .id;
    writer.flush().unwrap();
    for pack in world.names("p") {
        world.store.delete(&pack).unwrap();
    }
    assert_eq!(writer.find_lost_packs().unwrap(), 1);
    assert!(!repo.is_live(&id).unwrap());
    assert!(
        writer
            .write_content(&mut plain(), None, &content)
            .unwrap()
            .packed_bytes
            > 0
    );
    writer.flush().unwrap();
    assert!(repo.is_live(&id).unwrap());
    assert_eq!(world.open(2).read_content(&id).unwrap(), content);
}

#[test]
fn a_clock_far_from_the_stores_is_refused() {
    let world = World::new();
    let ahead = ManualClock::at(world.clock.now() + Duration::from_secs(400));
    let surroundings = Surroundings {
        clock: ahead,
        ..world.surroundings(9)
    };
    let repo = Repository::open(world.store.clone(), PASSWORD, surroundings).unwrap();
    let writer = Writer::new(&repo, 1).unwrap();
    let error = writer
        .write_content(&mut plain(), None, b"late")
        .unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::ClockSkew);
    assert!(world.names("s").is_empty());
}

#[test]
fn a_wrong_password_and_an_empty_place_are_told_apart() {
    let world = World::new();
    let wrong = Repository::open(world.store.clone(), "wrong", world.surroundings(1)).unwrap_err();
    assert_eq!(wrong.kind(), RepoErrorKind::WrongPassword);
    let empty: SharedBlobStore = Arc::new(MemoryStore::new(world.clock.clone()));
    let none = Repository::open(empty, PASSWORD, world.surroundings(1)).unwrap_err();
    assert_eq!(none.kind(), RepoErrorKind::NoRepository);
}

#[test]
fn nothing_is_created_over_something_else() {
    let world = World::new();
    let error = create(
        world.store.clone(),
        PASSWORD,
        &CreateOptions::default(),
        world.surroundings(1),
    )
    .unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::NotEmpty);
    let odd = CreateOptions {
        format_version: 2,
        hash: HashAlgorithm::Blake3_256,
        ..CreateOptions::default()
    };
    let empty: SharedBlobStore = Arc::new(MemoryStore::new(world.clock.clone()));
    let error = create(empty, PASSWORD, &odd, world.surroundings(1)).unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::Unsupported);
}

#[test]
fn writers_that_finish_together_share_one_index() {
    let caches = tempfile::tempdir().unwrap();
    let clock = SystemClock::new();
    let store: SharedBlobStore = Arc::new(MemoryStore::new(clock.clone()));
    let repo = create(
        store.clone(),
        PASSWORD,
        &CreateOptions::default(),
        surroundings(caches.path(), clock, 1),
    )
    .unwrap();
    let writer = Writer::new(&repo, 2).unwrap();
    let before = store.list_all("xn").unwrap().len();
    std::thread::scope(|scope| {
        let uses: Vec<_> = (0..4).map(|_| writer.begin_use()).collect();
        for (seed, _in_use) in (0..).zip(uses) {
            let writer = &writer;
            scope.spawn(move || {
                let _in_use = _in_use;
                writer
                    .write_content(&mut plain(), None, &bytes(seed, 1000))
                    .unwrap();
                writer.flush_together(Duration::from_secs(20)).unwrap();
            });
        }
    });
    assert_eq!(store.list_all("xn").unwrap().len(), before + 1);
}

#[test]
fn a_writer_waits_for_others_by_the_clock_it_was_given() {
    let world = World::new();
    let writer = Writer::new(&world.open(1), 2).unwrap();
    let _other = writer.begin_use();
    let _own = writer.begin_use();
    writer
        .write_content(&mut plain(), None, b"content")
        .unwrap();
    let before = world.clock.monotonic();
    writer.flush_together(Duration::from_hours(2)).unwrap();
    assert_eq!(world.clock.monotonic() - before, Duration::from_hours(2));
    writer.flush_together(Duration::from_hours(2)).unwrap();
    assert_eq!(
        world.clock.monotonic() - before,
        Duration::from_hours(4),
        "who shared a flush is waited for again"
    );
}

#[test]
fn an_index_is_written_into_the_epoch_that_is_current() {
    let world = World::new();
    let writer = Writer::new(&world.open(1), 2).unwrap();
    world
        .store
        .put("xe1", &[b"epoch-marker"], &blob::PutOptions::default())
        .unwrap();
    writer
        .write_content(&mut plain(), None, b"content")
        .unwrap();
    writer.flush().unwrap();
    assert_eq!(world.names("xn1_").len(), 1);
}

/// Stores bytes as an object whose list names contents of `piece_bytes`.
fn listed(writer: &Writer, content: &[u8], piece_bytes: usize) -> ObjectId {
    writer
        .write_object(&mut plain(), None, content, piece_bytes)
        .unwrap()
}

#[test]
fn a_list_of_contents_and_lists_reads_the_same_from_any_place_and_thread() {
    let world = World::new();
    let writer = Writer::new(&world.open(1), 2).unwrap();
    let content = bytes(3, 10_000);
    let parts = [0..1000, 1000..4000, 4000..4100, 4100..10_000];
    let entries: Vec<IndirectEntry> = parts
        .into_iter()
        .zip([1000, 700, 100, 60])
        .map(|(part, piece_bytes)| IndirectEntry {
            start: part.start as u64,
            bytes: part.len() as u64,
            object: listed(&writer, &content[part], piece_bytes),
        })
        .collect();
    let list = writer
        .write_list(&mut plain(), entries.into_iter())
        .unwrap();
    writer.flush().unwrap();
    let reader = world.open(2).open_object(&list.object).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (reader, content) = (&reader, &content);
            scope.spawn(move || {
                for offset in (thread * 100..9000).step_by(333) {
                    for len in [1, 50, 500, 1000] {
                        let mut buffer = vec![0xAA; len];
                        reader.read_at(offset as u64, &mut buffer).unwrap();
                        assert!(buffer == content[offset..offset + len], "{len} at {offset}");
                    }
                }
            });
        }
    });
}

#[test]
fn zeros_are_known_by_their_id_and_not_fetched() {
    let world = World::new();
    let repo = world.open(1);
    let writer = Writer::new(&repo, 2).unwrap();
    let chunk = 256usize << 10;
    let content = bytes(4, chunk);
    let object = listed(&writer, &content, chunk);
    // Nobody ever stored this one.
    let zeros = ObjectId::direct(repo.content_id(None, &vec![0; chunk]));
    let entries = [zeros, object, zeros].into_iter().zip(0u64..);
    let entries = entries.map(|(object, number)| IndirectEntry {
        start: number * chunk as u64,
        bytes: chunk as u64,
        object,
    });
    let list = writer.write_list(&mut plain(), entries).unwrap();
    writer.flush().unwrap();
    let mut expected = vec![0; 3 * chunk];
    expected[chunk..2 * chunk].copy_from_slice(&content);
    let reader = repo.open_object(&list.object).unwrap();
    assert!(reader.read_all(1 << 20).unwrap() == expected);
    let mut buffer = vec![7; chunk];
    reader.read_at(100, &mut buffer).unwrap();
    assert!(buffer == expected[100..100 + chunk]);
}

#[test]
fn packs_of_a_session_that_died_are_taken_over() {
    let world = World::new();
    let contents: Vec<Vec<u8>> = (0..60).map(|seed| bytes(seed, 1 << 20)).collect();
    let repo = world.open(1);
    let writer = Writer::new(&repo, 2).unwrap();
    for content in &contents {
        writer.write_content(&mut plain(), None, content).unwrap();
    }
    let alive = Writer::new(&world.open(1), 1).unwrap();
    assert!(
        alive
            .write_content(&mut plain(), None, &contents[0])
            .unwrap()
            .packed_bytes
            > 0,
        "a session that is alive is left alone"
    );
    drop(writer);
    let next = Writer::new(&world.open(1), 2).unwrap();
    let again: u32 = contents
        .iter()
        .map(|content| {
            next.write_content(&mut plain(), None, content)
                .unwrap()
                .packed_bytes
        })
        .sum();
    assert!(
        again < 25 << 20,
        "only the last, open pack is lost: {again}"
    );
    next.flush().unwrap();
    let other = world.open(2);
    for content in &contents {
        assert_eq!(
            &other
                .read_content(&other.content_id(None, content))
                .unwrap(),
            content
        );
    }
}

#[test]
fn blobs_are_locked_where_the_repository_wants_it() {
    let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let folder = tempfile::tempdir().unwrap();
    let surroundings = |seed| surroundings(folder.path(), clock.clone(), seed);
    create(
        store.clone(),
        PASSWORD,
        &CreateOptions::default(),
        surroundings(1),
    )
    .unwrap();
    let blob = FormatBlob::parse(&store.get("kopia.repository").unwrap()).unwrap();
    let key = blob.format_key(PASSWORD).unwrap();
    let config = BlobConfig {
        retention_mode: "COMPLIANCE".into(),
        retention_period_ns: 48 * 3600 * 1_000_000_000,
    };
    let sealed = config.seal(&key, &blob.unique_id, [7; 12]);
    store
        .put("kopia.blobcfg", &[&sealed], &blob::PutOptions::default())
        .unwrap();
    let repo = Repository::open(store.clone(), PASSWORD, surroundings(2)).unwrap();
    let writer = Writer::new(&repo, 1).unwrap();
    writer.write_content(&mut plain(), None, b"locked").unwrap();
    let marker = store.list_all("s").unwrap().remove(0).name;
    assert_eq!(
        store.retention(&marker),
        None,
        "session markers have to go away"
    );
    writer.flush().unwrap();
    let until = Timestamp::from_second(1_790_000_000 + 48 * 3600).unwrap();
    let locked = |prefix: &str| {
        let names = store.list_all(prefix).unwrap();
        names
            .iter()
            .filter(|blob| store.retention(&blob.name) == Some(("COMPLIANCE".into(), until)))
            .count()
    };
    assert_eq!((locked("p"), locked("xn")), (1, 1));
}
