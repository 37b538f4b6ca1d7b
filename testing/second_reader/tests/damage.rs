//! Repositories of Kopia's, damaged: whatever can be noticed is noticed, on opening or by the audit.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is the failure report, in these tests' own functions too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use second_reader::SecondReader;

const PASSWORD: &str = "fixture-password";

/// A copy of a fixture that may be damaged.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn of(fixture: &str) -> Copy {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../testdata/kopia")
            .join(fixture)
            .join("repo");
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&source, folder.path());
        Copy { folder }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for item in fs::read_dir(folder).unwrap() {
                let path = item.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files.push(path)
                }
            }
        }
        files.sort();
        files
    }

    /// The path below the root, without slashes: `.f` at the end, the blob ID before.
    fn name(&self, path: &Path) -> String {
        path.strip_prefix(self.folder.path())
            .unwrap()
            .to_str()
            .unwrap()
            .replace('/', "")
    }

    fn complaints(&self) -> Vec<String> {
        match SecondReader::open(self.folder.path(), PASSWORD) {
            Ok(reader) => reader.audit(),
            Err(error) => vec![error],
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// Flips bytes near the beginning, in the middle (but not in a pack: there is padding, which nothing guards) and at the end.
fn flips_are_noticed(fixture: &str, wanted: fn(&str) -> bool) {
    let copy = Copy::of(fixture);
    let mut tried = 0;
    for path in copy.files() {
        let name = copy.name(&path);
        if !wanted(&name) {
            continue;
        }
        let good = fs::read(&path).unwrap();
        let is_pack = name.starts_with(['p', 'q']);
        let places: &[usize] = match name.as_str() {
            "kopia.repository.f" => &[good.len() - 40],
            _ if is_pack => &[40, good.len() - 60, good.len() - 1],
            _ => &[0, good.len() / 2, good.len() - 1],
        };
        for &at in places {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(!copy.complaints().is_empty(), "{name} at {at}");
            tried += 1;
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(!copy.complaints().is_empty(), "{name} cut");
        fs::write(&path, &good).unwrap();
    }
    assert!(tried > 0);
    assert_eq!(copy.complaints(), Vec::<String>::new());
}

#[test]
fn flipped_bytes_are_noticed_in_every_blob() {
    flips_are_noticed("flat-layout", |name| name.ends_with(".f"));
}

#[test]
fn flipped_bytes_are_noticed_in_epochs_blobs_and_superseded_indexes() {
    flips_are_noticed("epochs-maintained", |name| {
        name.starts_with("xe") || name.starts_with("xr") || name.starts_with("xw")
    });
}

#[test]
fn repairable_damage_is_noticed_and_read_through() {
    let copy = Copy::of("ecc-20");
    let before = SecondReader::open(copy.folder.path(), PASSWORD).unwrap();
    let record = before
        .contents()
        .find(|record| record.original_length > 1000)
        .unwrap()
        .clone();
    let plain = before.read_content(&record.id).unwrap();
    let path = copy
        .files()
        .into_iter()
        .find(|path| copy.name(path) == format!("{}.f", record.pack))
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let end = (record.pack_offset + record.packed_length) as usize;
    for at in [end - 1, end - 300] {
        bytes[at] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    let after = SecondReader::open(copy.folder.path(), PASSWORD).unwrap();
    assert_eq!(after.read_content(&record.id).unwrap(), plain);
    assert!(
        after
            .audit()
            .iter()
            .any(|violation| violation.contains("error correction"))
    );
}

#[test]
fn lost_blobs_are_noticed() {
    let copy = Copy::of("flat-layout");
    let mut tried = 0;
    for path in copy.files() {
        if copy.name(&path) == "kopia.maintenance.f" {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!copy.complaints().is_empty(), "{}", copy.name(&path));
        fs::write(&path, bytes).unwrap();
        tried += 1;
    }
    assert!(tried >= 6);
}

#[test]
fn left_over_alien_and_misplaced_files_are_noticed() {
    let copy = Copy::of("default");
    let root = copy.folder.path();
    for (path, complaint) in [
        (
            "s/001/12233445566778899aabbccddeeff-s0011223344556677147.f",
            "session marker left over",
        ),
        ("p/001/12233445566778899aabbccddeeff.f", "alien"),
        ("alien.f", "alien"),
        ("p/be5/x.f.tmp.0011223344556677", "no blob"),
        (
            "p00112233445566778899aabbccddeeff-s0011223344556677147.f",
            "is not where",
        ),
        ("xe7.f", "wrong body"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"anything").unwrap();
        let complaints = copy.complaints();
        assert!(
            complaints.iter().any(|found| found.contains(complaint)),
            "{complaint}: {complaints:?}"
        );
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_index_that_came_too_late_for_its_epoch_is_noticed() {
    let copy = Copy::of("epochs-maintained");
    let early = copy
        .files()
        .into_iter()
        .find(|path| copy.name(path).starts_with("xn"))
        .unwrap();
    let name = copy.name(&early);
    let (_, rest) = name.split_once('_').unwrap();
    let late = copy.folder.path().join("x/n99").join(format!("_{rest}"));
    fs::create_dir_all(late.parent().unwrap()).unwrap();
    fs::rename(early, late).unwrap();
    assert!(
        copy.complaints()
            .iter()
            .any(|found| found.contains("nobody reads yet"))
    );
}

#[test]
fn wrong_passwords_and_empty_folders_are_refused() {
    let copy = Copy::of("flat-layout");
    let error = SecondReader::open(copy.folder.path(), "another")
        .err()
        .unwrap();
    assert!(error.contains("wrong password"), "{error}");
    assert!(SecondReader::open(tempfile::tempdir().unwrap().path(), PASSWORD).is_err());
}
