//! Tests of `directory`: Kopia's own vectors, properties, damage.

use super::*;

fn entry(name: &str, entry_type: EntryType) -> DirectoryEntry {
    DirectoryEntry {
        name: name.to_owned(),
        entry_type,
        mode: 0o644,
        size: 5,
        mtime: time_text::parse("2024-01-02T03:04:05.123456789Z").unwrap(),
        uid: 1000,
        gid: 0,
        object: "3527d586ee5aff96476f787a7c00ad9b".parse().unwrap(),
        summary: None,
        other: BTreeMap::new(),
    }
}

fn subdirectory(name: &str) -> DirectoryEntry {
    let mut entry = entry(name, EntryType::Directory);
    entry.mode = 0o1777;
    entry.size = 0;
    entry.object = "k98758baa4a1d9f84b7634d4268a398e8".parse().unwrap();
    entry.summary = Some(DirectorySummary {
        size: 7,
        files: 2,
        symlinks: 1,
        dirs: 3,
        max_time: time_text::parse("2025-01-02T03:04:05Z").unwrap(),
        ..DirectorySummary::default()
    });
    entry
}

#[test]
fn directories_come_first_and_names_in_byte_order() {
    let directory = Directory {
        entries: vec![
            entry("b<", EntryType::File),
            entry("B", EntryType::Symlink),
            subdirectory("z"),
        ],
        summary: None,
    };
    let json = directory.encode().unwrap();
    assert_eq!(
        std::str::from_utf8(&json).unwrap(),
        concat!(
            r#"{"stream":"kopia:directory","entries":["#,
            r#"{"name":"z","type":"d","mode":"04000777","mtime":"2024-01-02T03:04:05.123456789Z","uid":1000,"obj":"k98758baa4a1d9f84b7634d4268a398e8","summ":{"size":7,"files":2,"symlinks":1,"dirs":3,"maxTime":"2025-01-02T03:04:05Z","numFailed":0}},"#,
            r#"{"name":"B","type":"s","mode":"0644","size":5,"mtime":"2024-01-02T03:04:05.123456789Z","uid":1000,"obj":"3527d586ee5aff96476f787a7c00ad9b"},"#,
            r#"{"name":"b\u003c","type":"f","mode":"0644","size":5,"mtime":"2024-01-02T03:04:05.123456789Z","uid":1000,"obj":"3527d586ee5aff96476f787a7c00ad9b"}"#,
            r#"],"summary":null}"#,
            "\n"
        )
    );
    let mut back = Directory::parse(&json).unwrap();
    back.entries.reverse();
    assert_eq!(back, directory);
}

#[test]
fn members_of_newer_clients_survive() {
    let json = br#"{"stream":"kopia:directory","entries":[{"name":"a","type":"f","btime":"2020-01-01T00:00:00Z","obj":"3527d586ee5aff96476f787a7c00ad9b","new":[1]}],"summary":null}"#;
    let read = Directory::parse(json).unwrap();
    assert_eq!(read.entries[0].other.len(), 2);
    assert_eq!(read.entries[0].mtime, Timestamp::UNIX_EPOCH);
    let again = Directory::parse(&read.encode().unwrap()).unwrap();
    assert_eq!(again, read);
}

#[test]
fn summaries_count_everything_below() {
    let own = time_text::parse("2001-01-01T00:00:00Z").unwrap();
    let empty = DirectorySummary::of(&[], own);
    assert_eq!((empty.dirs, empty.files, empty.max_time), (1, 0, own));
    let mut failed = subdirectory("y");
    if let Some(summary) = &mut failed.summary {
        summary.num_failed = 12;
        summary.errors = (0..12)
            .rev()
            .map(|i| EntryFailure {
                path: format!("y/{i:02}"),
                error: "gone".to_owned(),
            })
            .collect();
    }
    let entries = [
        entry("a", EntryType::File),
        entry("b", EntryType::Symlink),
        entry("c", EntryType::Other("x".to_owned())),
        subdirectory("z"),
        failed,
    ];
    let summary = DirectorySummary::of(&entries, own);
    assert_eq!(
        (summary.size, summary.files, summary.symlinks, summary.dirs),
        (19, 5, 3, 7)
    );
    assert_eq!(
        time_text::format(summary.max_time).unwrap(),
        "2025-01-02T03:04:05Z"
    );
    assert_eq!((summary.num_failed, summary.errors.len()), (12, 10));
    assert_eq!(summary.errors[0].path, "y/00");
}

#[test]
fn names_that_would_lose_data_are_refused() {
    for name in ["", ".", "..", "a/b", "a\0"] {
        let directory = Directory {
            entries: vec![entry(name, EntryType::File)],
            summary: None,
        };
        assert!(
            matches!(directory.encode(), Err(DirectoryError::InvalidName(_))),
            "{name}"
        );
    }
    let twice = Directory {
        entries: vec![entry("a", EntryType::File), subdirectory("a")],
        summary: None,
    };
    assert!(matches!(
        twice.encode(),
        Err(DirectoryError::DuplicateName(_))
    ));
    let mut old = entry("a", EntryType::File);
    old.mtime = Timestamp::MIN;
    let directory = Directory {
        entries: vec![old],
        summary: None,
    };
    assert!(matches!(
        directory.encode(),
        Err(DirectoryError::Unrepresentable(_))
    ));
}

#[test]
fn what_is_not_a_directory_is_refused() {
    let entry = |members: &str| {
        format!(r#"{{"stream":"kopia:directory","entries":[{{"name":"a","type":"f"{members}}}]}}"#)
    };
    let obj = r#","obj":"3527d586ee5aff96476f787a7c00ad9b""#;
    assert!(Directory::parse(entry(obj).as_bytes()).is_ok());
    for json in [
        String::new(),
        "{}".to_owned(),
        r#"{"stream":"kopia:indirect","entries":[]}"#.to_owned(),
        entry(""),
        entry(r#","obj":"""#),
        entry(&format!(r#"{obj},"size":-1"#)),
        entry(&format!(r#"{obj},"mode":"rwx""#)),
        entry(&format!(r#"{obj},"mode":420"#)),
        entry(&format!(r#"{obj},"mtime":"noon""#)),
        entry(&format!(r#"{obj},"uid":4294967296"#)),
        entry(&format!(r#"{obj}}},{{"name":"a"{obj}"#)),
    ] {
        assert!(Directory::parse(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn counts_that_a_damaged_summary_makes_too_large_stay_at_the_largest() {
    let summary = r#"{"size":1,"files":18446744073709551615,"symlinks":18446744073709551615,"dirs":18446744073709551615,"maxTime":"2024-01-03T03:04:05Z","numFailed":0}"#;
    let obj = r#""obj":"k3527d586ee5aff96476f787a7c00ad9b""#;
    let json = format!(
        r#"{{"stream":"kopia:directory","entries":[{{"name":"d","type":"d",{obj},"summ":{summary}}},{{"name":"f","type":"f",{obj}}},{{"name":"s","type":"s",{obj}}}]}}"#
    );
    let entries = Directory::parse(json.as_bytes()).unwrap().entries;
    let total = DirectorySummary::of(&entries, Timestamp::UNIX_EPOCH);
    assert_eq!(
        (total.files, total.symlinks, total.dirs),
        (u64::MAX, u64::MAX, u64::MAX)
    );
}
