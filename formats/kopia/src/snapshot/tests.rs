//! Tests of `snapshot`: Kopia's own vectors, properties, damage.

use super::*;

const KOPIAS: &str = r#"{"id":"","source":{"host":"fixture-host","userName":"fixture-user","path":"/data/special"},"description":"unicode ✓ \u003cb\u003e","startTime":"2026-11-22T10:43:39.346372258Z","endTime":"2026-11-22T10:43:39.3871Z","stats":{"totalSize":2989,"excludedTotalSize":0,"fileCount":651,"cachedFiles":0,"nonCachedFiles":651,"dirCount":75,"excludedFileCount":0,"excludedDirCount":0,"ignoredErrorCount":0,"errorCount":0},"incomplete":"limit reached","rootEntry":{"name":"special","type":"d","mode":"0755","mtime":"2024-01-02T03:04:05.123456789Z","uid":1000,"gid":1000,"obj":"kd38d5914eb6d35d97875e4dea43c1138","summ":{"size":2989,"files":651,"symlinks":8,"dirs":75,"maxTime":"2100-01-01T00:00:00Z","incomplete":"limit reached","numFailed":0}},"tags":{"tag:env":"fixture","tag:team":"blue"},"pins":["keep-me"]}"#;

fn snapshot() -> SnapshotManifest {
    SnapshotManifest::parse(KOPIAS).unwrap()
}

fn publish(snapshot: &SnapshotManifest) -> Result<ManifestEntry, PublishError> {
    snapshot.to_manifest("0a".to_owned(), Timestamp::UNIX_EPOCH)
}

#[test]
fn kopias_manifest_is_written_again_in_its_very_bytes() {
    let mut with_id = snapshot();
    with_id.id = "0f46f2d28c08b15aff01f2e4403e69c0".to_owned();
    let entry = publish(&with_id).unwrap();
    assert_eq!(entry.data.get(), KOPIAS);
    let labels: Vec<_> = entry.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        labels,
        [
            ("hostname", "fixture-host"),
            ("path", "/data/special"),
            ("tag:env", "fixture"),
            ("tag:team", "blue"),
            ("type", "snapshot"),
            ("username", "fixture-user"),
        ]
    );
}

#[test]
fn members_of_newer_clients_survive() {
    let json = KOPIAS
        .replacen(r#""pins""#, r#""newer":{"a":[1]},"pins""#, 1)
        .replacen(r#""errorCount":0"#, r#""errorCount":0,"newStat":7"#, 1);
    let entry = publish(&SnapshotManifest::parse(&json).unwrap()).unwrap();
    assert!(entry.data.get().contains(r#""newer":{"a":[1]}"#));
    assert!(entry.data.get().contains(r#""newStat":7"#));
}

#[test]
fn a_snapshot_that_kopia_would_drop_is_not_published() {
    let refused = |change: fn(&mut SnapshotManifest)| {
        let mut snapshot = snapshot();
        change(&mut snapshot);
        publish(&snapshot).unwrap_err()
    };
    assert!(matches!(
        refused(|s| s.source.host.clear()),
        PublishError::Source("host")
    ));
    assert!(matches!(
        refused(|s| s.source.user_name.clear()),
        PublishError::Source("user name")
    ));
    assert!(matches!(
        refused(|s| s.source.path.clear()),
        PublishError::Source("path")
    ));
    assert!(matches!(
        refused(|s| s.root_entry = None),
        PublishError::NoRoot
    ));
    assert!(matches!(
        refused(|s| s.root_entry.as_mut().unwrap().entry_type = EntryType::Symlink),
        PublishError::Root
    ));
    assert!(matches!(
        refused(|s| {
            let root = s.root_entry.as_mut().unwrap();
            root.entry_type = EntryType::File;
            root.summary = None;
        }),
        PublishError::Root
    ));
    assert!(matches!(
        refused(|s| s.end_time = Timestamp::UNIX_EPOCH),
        PublishError::Times
    ));
    assert!(matches!(
        refused(|s| s.end_time = Timestamp::MAX),
        PublishError::Times
    ));
    assert!(matches!(
        refused(|s| {
            s.tags.insert("path".to_owned(), "/".to_owned());
        }),
        PublishError::Tag(_)
    ));
    assert!(matches!(
        refused(|s| s.root_entry.as_mut().unwrap().mtime = Timestamp::MIN),
        PublishError::Unreadable(Some(_))
    ));
    // Written as its POSIX bits, this mode would come back as another.
    assert!(matches!(
        refused(|s| s.root_entry.as_mut().unwrap().mode = 0o100_755),
        PublishError::Unreadable(None)
    ));
}

#[test]
fn a_missing_root_can_be_told_from_damage() {
    let json = r#"{"source":{},"startTime":"2026-11-22T10:43:39Z","endTime":"2026-11-22T10:43:39Z","tags":null,"pins":null}"#;
    assert_eq!(SnapshotManifest::parse(json).unwrap().root_entry, None);
    for cut in 0..KOPIAS.len() {
        if KOPIAS.is_char_boundary(cut) {
            assert!(SnapshotManifest::parse(&KOPIAS[..cut]).is_err());
        }
    }
    for (from, to) in [
        (r#""startTime":"2026"#, r#""startTime":"20x6"#),
        (r#""pins":["keep-me"]"#, r#""pins":"keep-me""#),
        (r#""obj":"kd3"#, r#""obj":"k"#),
    ] {
        let json = KOPIAS.replacen(from, to, 1);
        assert_ne!(json, KOPIAS);
        assert!(SnapshotManifest::parse(&json).is_err(), "{to}");
    }
}
