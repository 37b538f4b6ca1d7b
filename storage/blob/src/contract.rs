//! What every store promises, as checks that every store and every wrapper must pass.
//!
//! Ordinary code, so that other crates can hold their own stores to it. Each check panics at the
//! first broken promise. Each uses names of its own, so that all may run on one store, which must
//! be empty.

use std::collections::BTreeMap;
use std::thread;

use crate::{BlobError, BlobErrorKind, BlobMetadata, BlobStore, PutOptions};

/// More than two pages of a listing of S3.
const MANY: usize = 2_300;

/// Threads that use the store at once.
const THREADS: usize = 16;

/// A check by its promise.
pub type Check = (&'static str, fn(&dyn BlobStore));

/// All checks.
pub const ALL: [Check; 15] = [
    ("what was put is read", what_was_put_is_read),
    ("parts follow one another", parts_follow_one_another),
    ("a put overwrites", a_put_overwrites),
    (
        "what was to be new overwrites nothing",
        what_was_to_be_new_overwrites_nothing,
    ),
    (
        "of several that put what is to be new one succeeds",
        of_several_that_put_what_is_to_be_new_one_succeeds,
    ),
    ("an empty blob is a blob", an_empty_blob_is_a_blob),
    (
        "a large blob comes back whole",
        a_large_blob_comes_back_whole,
    ),
    ("ranges are exact", ranges_are_exact),
    (
        "a range beyond the end is invalid",
        a_range_beyond_the_end_is_invalid,
    ),
    ("missing blobs are not found", missing_blobs_are_not_found),
    (
        "deleting is final and repeatable",
        deleting_is_final_and_repeatable,
    ),
    ("prefixes are exact", prefixes_are_exact),
    (
        "many blobs are listed once each",
        many_blobs_are_listed_once_each,
    ),
    (
        "concurrent puts leave one whole blob",
        concurrent_puts_leave_one_whole_blob,
    ),
    (
        "names that are none are refused",
        names_that_are_none_are_refused,
    ),
];

/// Runs all checks and removes what they wrote.
///
/// # Panics
/// If a promise is broken.
pub fn check_all(store: &dyn BlobStore) {
    for (_, check) in ALL {
        check(store);
    }
    remove(store, "check-");
}

/// # Panics
/// If the promise is broken, as all below.
pub fn what_was_put_is_read(store: &dyn BlobStore) {
    for name in [
        "check-kopia.repository",
        "check-_log_20261123200500_1a2b_1700000000_1700000001_1_00ff00ff00ff00ff",
        "check-p14970cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147",
    ] {
        put(store, name, name.as_bytes());
        assert_eq!(read(store, name), name.as_bytes(), "{name}");
        let found = store.metadata(name).expect("it was put");
        assert_eq!(
            (found.name.as_str(), found.bytes),
            (name, name.len() as u64)
        );
        assert_eq!(names(store, name), [name], "what was put is listed at once");
    }
}

/// Content in parts is one blob.
pub fn parts_follow_one_another(store: &dyn BlobStore) {
    let parts: [&[u8]; 4] = [b"one", b"", b"two", b"three"];
    let name = "check-parts";
    store
        .put(name, &parts, &PutOptions::default())
        .expect("the store takes it");
    assert_eq!(read(store, name), b"onetwothree");
}

/// The newest content counts, and time does not run backwards.
pub fn a_put_overwrites(store: &dyn BlobStore) {
    let name = "check-overwritten";
    put(store, name, b"a longer first content");
    let before = store.metadata(name).expect("it was put");
    put(store, name, b"second");
    assert_eq!(read(store, name), b"second");
    let after = store.metadata(name).expect("it was put");
    assert_eq!(after.bytes, 6);
    assert!(
        after.modified >= before.modified,
        "{} after {}",
        after.modified,
        before.modified
    );
    assert_eq!(
        store.list_all(name).expect("it lists"),
        [after],
        "listing and metadata agree"
    );
}

/// Nothing is something.
pub fn an_empty_blob_is_a_blob(store: &dyn BlobStore) {
    let name = "check-empty";
    put(store, name, b"");
    assert_eq!(read(store, name), b"");
    assert_eq!(store.metadata(name).expect("it was put").bytes, 0);
    assert_eq!(names(store, name), [name]);
    assert_eq!(store.get_range(name, 0, 0).expect("nothing is there"), b"");
}

/// 25 MiB, more than any pack.
pub fn a_large_blob_comes_back_whole(store: &dyn BlobStore) {
    let name = "check-large";
    let content = pattern(25 << 20);
    let (first, second) = content.split_at(7_777_777);
    store
        .put(name, &[first, second], &PutOptions::default())
        .expect("the store takes it");
    assert!(read(store, name) == content, "the content differs");
    let part = store
        .get_range(name, 20 << 20, 5 << 20)
        .expect("it is within");
    assert!(part == content[20 << 20..], "the range's content differs");
    remove(store, name);
}

/// Every range within the blob is exactly that.
pub fn ranges_are_exact(store: &dyn BlobStore) {
    let name = "check-ranges";
    let content = pattern(1000);
    put(store, name, &content);
    for (offset, bytes) in [
        (0, 0),
        (0, 1),
        (0, 1000),
        (1, 998),
        (500, 0),
        (999, 1),
        (1000, 0),
    ] {
        let found = store.get_range(name, offset as u64, bytes as u64);
        let found = found.unwrap_or_else(|error| panic!("{bytes} at {offset}: {error}"));
        assert!(
            found == content[offset..offset + bytes],
            "{bytes} at {offset}"
        );
    }
}

/// A short answer is never given for a long question.
pub fn a_range_beyond_the_end_is_invalid(store: &dyn BlobStore) {
    let name = "check-short";
    put(store, name, &pattern(1000));
    for (offset, bytes) in [
        (0, 1001),
        (999, 2),
        (1000, 1),
        (1001, 0),
        (5000, 10),
        (1, u64::MAX),
        (u64::MAX, 1),
    ] {
        let error = store
            .get_range(name, offset, bytes)
            .expect_err("it ends before");
        assert_eq!(
            error.kind(),
            BlobErrorKind::Invalid,
            "{bytes} at {offset}: {error}"
        );
    }
}

/// "Not there" has a kind of its own.
pub fn missing_blobs_are_not_found(store: &dyn BlobStore) {
    let name = "check-never-written";
    let errors: [BlobError; 4] = [
        store.get(name).expect_err("nobody wrote it"),
        store.get_range(name, 0, 1).expect_err("nobody wrote it"),
        store.get_range(name, 0, 0).expect_err("nobody wrote it"),
        store.metadata(name).expect_err("nobody wrote it"),
    ];
    for error in errors {
        assert_eq!(error.kind(), BlobErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(names(store, name).is_empty());
}

/// Deleting twice is fine.
pub fn deleting_is_final_and_repeatable(store: &dyn BlobStore) {
    let (name, sibling) = ("check-deleted", "check-deleted-sibling");
    put(store, name, b"x");
    put(store, sibling, b"y");
    for _ in 0..2 {
        store
            .delete(name)
            .expect("deleting a missing blob succeeds");
        assert_eq!(
            store.get(name).expect_err("deleted").kind(),
            BlobErrorKind::NotFound
        );
        assert_eq!(names(store, name), [sibling]);
    }
}

/// `xn1_` is not `xn12_`, and folders of some layouts do not show.
pub fn prefixes_are_exact(store: &dyn BlobStore) {
    let hash = "00112233445566778899aabbccddeeff-s0123-c1";
    let all: Vec<String> = ["xn1_", "xn12_", "xn2_", "xr1_", "x", "p"]
        .iter()
        .map(|kind| format!("{kind}{hash}"))
        .chain(["xn1_", "xe1", "xe12"].map(str::to_owned))
        .collect();
    for name in &all {
        put(store, name, b"x");
    }
    for prefix in [
        "xn1_",
        "xn12_",
        "xn1",
        "xn",
        "x",
        "xe1",
        "xe12",
        "p",
        "pq",
        "x0011",
        "xn1_0",
        "xn1_00112233445566778899aabbccddeeff-s0123-c1",
        "xn1_00112233445566778899aabbccddeeff-s0123-c1x",
    ] {
        let mut wanted: Vec<_> = all
            .iter()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect();
        wanted.sort_unstable();
        assert_eq!(names(store, prefix), wanted, "{prefix}");
    }
    let everything = names(store, "");
    assert!(
        all.iter().all(|name| everything.contains(name)),
        "the empty prefix lists all"
    );
    for name in &all {
        store.delete(name).expect("it deletes");
    }
}

/// Pages neither lose nor repeat, and an error of the caller's ends the listing.
pub fn many_blobs_are_listed_once_each(store: &dyn BlobStore) {
    let all: Vec<String> = (0..MANY)
        .map(|number| format!("check-many-{number:04}-abcdef"))
        .collect();
    thread::scope(|scope| {
        for chunk in all.chunks(MANY.div_ceil(THREADS)) {
            scope.spawn(|| {
                chunk
                    .iter()
                    .for_each(|name| put(store, name, name.as_bytes()))
            });
        }
    });
    let listed = store.list_all("check-many-").expect("it lists");
    assert!(
        listed
            .iter()
            .all(|blob| blob.bytes == blob.name.len() as u64)
    );
    let listed = sorted(listed);
    assert_eq!(listed.len(), MANY);
    assert_eq!(listed, all);
    assert_eq!(names(store, "check-many-10").len(), 100);

    let mut seen = 0;
    let ended = store.list("check-many-", &mut |_| {
        seen += 1;
        if seen == 1500 {
            return Err(BlobError::new(BlobErrorKind::Stopped, "look further"));
        }
        Ok(())
    });
    assert_eq!(
        ended.expect_err("it was told to").kind(),
        BlobErrorKind::Stopped
    );
    assert_eq!(seen, 1500);

    thread::scope(|scope| {
        for chunk in all.chunks(MANY.div_ceil(THREADS)) {
            scope.spawn(|| {
                chunk
                    .iter()
                    .for_each(|name| store.delete(name).expect("it deletes"))
            });
        }
    });
    assert!(names(store, "check-many-").is_empty());
}

/// Readers and writers at once see whole blobs only.
pub fn concurrent_puts_leave_one_whole_blob(store: &dyn BlobStore) {
    let name = "check-contended-0123456789";
    let contents: BTreeMap<u8, Vec<u8>> = (0..8)
        .map(|fill| (fill, vec![fill; 50_000 + usize::from(fill)]))
        .collect();
    let check_whole = |content: Vec<u8>| {
        let fill = *content.first().expect("no writer writes nothing");
        assert!(
            contents.get(&fill) == Some(&content),
            "a mixture of two writers' content"
        );
    };
    put(store, name, &contents[&0]);
    thread::scope(|scope| {
        for content in contents.values() {
            scope.spawn(|| (0..5).for_each(|_| put(store, name, content)));
            scope.spawn(|| (0..5).for_each(|_| check_whole(read(store, name))));
        }
    });
    check_whole(read(store, name));
    assert_eq!(names(store, name), [name]);
}

/// Separators and the like never reach a file system or a key.
pub fn names_that_are_none_are_refused(store: &dyn BlobStore) {
    for name in [
        "",
        ".",
        "..",
        "../contract",
        "contract/a",
        "contract\\a",
        "/contract",
        "contract\0",
        "contract a",
    ] {
        let errors = [
            store
                .put(name, &[b"x"], &PutOptions::default())
                .expect_err(name),
            store.get(name).expect_err(name),
            store.get_range(name, 0, 1).expect_err(name),
            store.metadata(name).expect_err(name),
            store.delete(name).expect_err(name),
        ];
        for error in errors {
            assert_eq!(error.kind(), BlobErrorKind::Invalid, "{name:?}: {error}");
        }
    }
}

/// A store that cannot do it says so.
pub fn what_was_to_be_new_overwrites_nothing(store: &dyn BlobStore) {
    put(store, "check-old", b"old");
    let refused = put_new(store, "check-old", b"new").expect_err("it is there");
    assert!(
        matches!(
            refused,
            BlobErrorKind::AlreadyThere | BlobErrorKind::Unsupported | BlobErrorKind::Invalid
        ),
        "{refused:?}"
    );
    assert_eq!(read(store, "check-old"), b"old");
}

/// Not even one may be told so: a blob of one's own whose answer was lost counts as there.
pub fn of_several_that_put_what_is_to_be_new_one_succeeds(store: &dyn BlobStore) {
    put(store, "check-old", b"old");
    if put_new(store, "check-old", b"new") != Err(BlobErrorKind::AlreadyThere) {
        // It cannot, and says so.
        return;
    }
    let succeeded: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u8)
            .map(|writer| {
                scope.spawn(move || match put_new(store, "check-new", &[writer]) {
                    Ok(()) => 1,
                    Err(BlobErrorKind::AlreadyThere) => 0,
                    Err(other) => panic!("put check-new: {other:?}"),
                })
            })
            .collect();
        let ended = writers.into_iter().map(|writer| writer.join());
        ended.map(|ended| ended.expect("no writer panics")).sum()
    });
    assert!(succeeded <= 1, "{succeeded} writers of one blob succeeded");
    assert_eq!(read(store, "check-new").len(), 1);
}

fn put_new(store: &dyn BlobStore, name: &str, content: &[u8]) -> Result<(), BlobErrorKind> {
    let new = PutOptions {
        if_absent: true,
        ..PutOptions::default()
    };
    let put = store.put(name, &[content], &new);
    put.map_err(|error| error.kind())
}

fn put(store: &dyn BlobStore, name: &str, content: &[u8]) {
    store
        .put(name, &[content], &PutOptions::default())
        .unwrap_or_else(|error| panic!("put {name}: {error}"));
}

fn read(store: &dyn BlobStore, name: &str) -> Vec<u8> {
    store
        .get(name)
        .unwrap_or_else(|error| panic!("get {name}: {error}"))
}

fn names(store: &dyn BlobStore, prefix: &str) -> Vec<String> {
    sorted(
        store
            .list_all(prefix)
            .unwrap_or_else(|error| panic!("list {prefix}: {error}")),
    )
}

fn sorted(blobs: Vec<BlobMetadata>) -> Vec<String> {
    let mut names: Vec<_> = blobs.into_iter().map(|blob| blob.name).collect();
    names.sort_unstable();
    names
}

fn remove(store: &dyn BlobStore, prefix: &str) {
    for name in names(store, prefix) {
        store
            .delete(&name)
            .unwrap_or_else(|error| panic!("delete {name}: {error}"));
    }
}

/// Bytes whose neighbours differ, however they are cut.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

#[cfg(test)]
mod tests {
    use time_and_chance::{ManualClock, Timestamp};

    use super::*;
    use crate::MemoryStore;

    #[test]
    fn memory_keeps_the_contract() {
        check_all(&MemoryStore::new(ManualClock::at(Timestamp::UNIX_EPOCH)));
    }
}
