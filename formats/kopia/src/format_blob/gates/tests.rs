//! Tests of `gates`: Kopia's own vectors, properties, damage.

use super::*;
use crate::format_blob::{FormatErrorKind, IfNotUnderstood, RequiredFeature, UpgradeLock};

const HOUR_NS: i64 = 3_600_000_000_000;

fn sound_format() -> RepositoryFormat {
    RepositoryFormat::for_new_repository(
        HashAlgorithm::Blake2b256_128,
        EncryptionAlgorithm::Aes256Gcm,
        vec![1; 32],
        vec![2; 32],
    )
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn noon() -> Timestamp {
    at("2026-01-02T12:00:00Z")
}

/// Announced at noon for six hours later; takes effect two hours before that.
fn lock() -> UpgradeLock {
    UpgradeLock {
        owner_id: "someone".into(),
        creation_time: noon(),
        advance_notice_ns: 6 * HOUR_NS,
        io_drain_timeout_ns: HOUR_NS / 2,
        status_poll_interval_ns: 1,
        message: "see you later".into(),
        max_permitted_clock_drift_ns: HOUR_NS,
    }
}

fn required(feature: &str, warn: bool) -> RequiredFeature {
    RequiredFeature {
        feature: feature.into(),
        if_not_understood: IfNotUnderstood {
            warn,
            message: "you need time travel".into(),
            url: "https://example.com/time".into(),
            upgrade_to_version: "1.21".into(),
        },
    }
}

#[test]
fn a_new_repository_may_be_read_and_written() {
    let format = sound_format();
    assert_eq!(format.check_readable(noon(), None).unwrap(), [""; 0]);
    format.check_writable().unwrap();
}

#[test]
fn formats_we_do_not_know_are_not_opened() {
    let changes: &[fn(&mut RepositoryFormat)] = &[
        |f| f.version = 0,
        |f| f.version = 4,
        |f| f.index_version = 3,
        |f| f.hash = "MD5".into(),
        |f| f.hash = String::new(),
        |f| f.encryption = "SALSA20".into(),
        |f| f.ecc = "HAMMING".into(),
        |f| {
            f.ecc = "REED-SOLOMON-CRC32".into();
            f.ecc_overhead_percent = 101;
        },
        |f| f.required_features = vec![required("time-travel", false)],
        |f| {
            f.required_features = vec![required("time-travel", true), required("other", false)];
        },
    ];
    for change in changes {
        let mut format = sound_format();
        change(&mut format);
        let error = format.check_readable(noon(), None).unwrap_err();
        assert_eq!(error.kind(), FormatErrorKind::Unsupported, "{format:?}");
    }
}

#[test]
fn formats_we_do_not_write_may_be_read() {
    type Change = fn(&mut RepositoryFormat);
    let changes: &[(&str, Change)] = &[
        ("format version 1", |f| f.version = 1),
        ("without epochs", |f| f.epoch_parameters.enabled = false),
        ("MinEpochDuration", |f| {
            f.epoch_parameters.min_epoch_duration_ns = 0;
        }),
        ("indexes of version 1", |f| f.index_version = 1),
        ("indexes of version 1", |f| f.index_version = 0),
        ("copies of the format blob", |f| {
            f.enable_password_change = false;
        }),
        ("error correction", |f| f.ecc = "REED-SOLOMON-CRC32".into()),
        ("splitter \"KNIFE\"", |f| f.splitter = "KNIFE".into()),
        ("pack size", |f| f.max_pack_size = (10 << 20) - 1),
        ("pack size", |f| f.max_pack_size = (120 << 20) + 1),
    ];
    for (reason, change) in changes {
        let mut format = sound_format();
        change(&mut format);
        format.check_readable(noon(), None).unwrap();
        let error = format.check_writable().unwrap_err();
        assert_eq!(error.kind(), FormatErrorKind::Unsupported);
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn every_parameter_a_writer_honours_is_accepted() {
    let changes: &[fn(&mut RepositoryFormat)] = &[
        |f| f.version = 2,
        |f| f.splitter = String::new(),
        |f| f.splitter = "DYNAMIC-1M-RABINKARP".into(),
        |f| f.max_pack_size = 0,
        |f| f.max_pack_size = 10 << 20,
        |f| f.max_pack_size = 120 << 20,
        |f| f.required_features = vec![required("index-v1", false), required("index-v2", false)],
    ];
    for change in changes {
        let mut format = sound_format();
        change(&mut format);
        assert!(format.check_readable(noon(), None).unwrap().is_empty());
        format.check_writable().unwrap();
    }
}

#[test]
fn keys_that_cannot_be_used_are_errors() {
    let mut format = sound_format();
    format.master_key.clear();
    assert_eq!(
        format.cipher().unwrap_err().kind(),
        FormatErrorKind::Damaged
    );
    assert!(format.check_writable().is_err());
    let mut format = sound_format();
    format.secret = vec![1; 65];
    assert_eq!(
        format.hasher().unwrap_err().kind(),
        FormatErrorKind::Unsupported
    );
    format.hash = "BLAKE2S-256".into();
    format.secret = vec![1; 33];
    assert!(format.hasher().is_err());
}

#[test]
fn a_feature_that_only_warns_is_a_warning() {
    let mut format = sound_format();
    format.required_features = vec![required("time-travel", true)];
    let warnings = format.check_readable(noon(), None).unwrap();
    assert_eq!(
        warnings,
        [
            "the repository uses a feature this program does not have: time-travel: you need time \
             travel, see https://example.com/time, available in Kopia 1.21"
        ]
    );
    format.check_writable().unwrap();
}

#[test]
fn the_refusal_of_a_feature_says_what_to_do() {
    let mut format = sound_format();
    format.required_features = vec![required("time-travel", false)];
    let text = format.check_readable(noon(), None).unwrap_err().to_string();
    for part in [
        "time-travel",
        "you need time travel",
        "https://example.com/time",
        "1.21",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_upgrade_lock_takes_effect_in_time_to_drain() {
    let mut format = sound_format();
    format.upgrade_lock = Some(lock());
    let warnings = format
        .check_readable(at("2026-01-02T15:59:59.999999999Z"), None)
        .unwrap();
    assert_eq!(
        warnings,
        ["the repository is about to be upgraded by someone: see you later"]
    );
    let error = format
        .check_readable(at("2026-01-02T16:00:00Z"), Some("someone else"))
        .unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::UpgradeInProgress);
    assert_eq!(
        error.to_string(),
        "the repository is being upgraded by someone: see you later"
    );
    let ours = format.check_readable(at("2026-01-02T16:00:00Z"), Some("someone"));
    assert!(ours.unwrap().is_empty());
}

#[test]
fn a_lock_is_drained_when_the_notice_is_over() {
    let lock = lock();
    assert!(!lock.is_drained(at("2026-01-02T17:59:59Z")));
    assert!(lock.is_drained(at("2026-01-02T18:00:00Z")));
}

#[test]
fn a_lock_without_time_to_drain_holds_at_once() {
    let mut lock = lock();
    lock.advance_notice_ns = 0;
    assert!(lock.is_locked(at("2026-01-01T00:00:00Z")));
    assert!(!lock.is_drained(at("2026-01-02T13:59:59Z")));
    assert!(lock.is_drained(at("2026-01-02T14:00:00Z")));
}

#[test]
fn a_lock_of_extreme_durations_does_not_overflow() {
    for extreme in [i64::MIN, i64::MAX] {
        let mut lock = lock();
        lock.advance_notice_ns = extreme;
        lock.io_drain_timeout_ns = extreme;
        lock.max_permitted_clock_drift_ns = extreme;
        lock.is_locked(Timestamp::MAX);
        lock.is_drained(Timestamp::MIN);
    }
}
