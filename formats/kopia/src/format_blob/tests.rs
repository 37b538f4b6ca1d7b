//! Tests of `format_blob`: Kopia's own vectors, properties, damage.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::cipher::EncryptionAlgorithm;
use crate::hash::HashAlgorithm;
use crate::test_vectors::{self, hex_bytes, text};

const PASSWORD: &str = "fixture-password";

fn key() -> FormatKey {
    FormatKey::from_bytes([7; 32])
}

fn unique_id() -> Vec<u8> {
    (0..32).collect()
}

fn new_format() -> RepositoryFormat {
    RepositoryFormat::for_new_repository(
        HashAlgorithm::Blake2b256_128,
        EncryptionAlgorithm::Aes256Gcm,
        vec![0xaa; 32],
        vec![0xbb; 32],
    )
}

/// Opens a format whose sealed JSON is given.
fn open_json(sealed: &Value) -> Result<RepositoryFormat, FormatError> {
    let blob = FormatBlob {
        unique_id: unique_id(),
        encryption: FORMAT_ENCRYPTION.into(),
        encrypted_block_format: seal::seal(
            &key(),
            &unique_id(),
            [1; 12],
            sealed.to_string().as_bytes(),
        ),
        ..FormatBlob::default()
    };
    blob.open(&key())
}

fn fixtures() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(test_vectors::folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 50);
    names
}

fn blob_of(fixture: &str) -> Vec<u8> {
    let folder = test_vectors::folder().join(fixture);
    fs::read(folder.join("repo/kopia.repository.f")).unwrap()
}

fn check_fixture(fixture: &str) {
    let record = test_vectors::json(&format!("{fixture}/fixture.json"));
    let expected = &record["format"];
    let bytes = blob_of(fixture);
    let blob = FormatBlob::parse(&bytes).unwrap();
    assert_eq!(
        blob.to_bytes(),
        bytes,
        "{fixture} is written as it was read"
    );
    assert_eq!(blob.unique_id, hex_bytes(expected, "unique_id"));

    let key = blob.format_key(text(&record, "password")).unwrap();
    let format = blob.open(&key).unwrap();
    assert_eq!(format.hash, text(expected, "hash"));
    assert_eq!(format.encryption, text(expected, "encryption"));
    assert_eq!(format.ecc, text(expected, "ecc"));
    assert_eq!(
        Value::from(format.ecc_overhead_percent),
        expected["ecc_overhead_percent"]
    );
    assert_eq!(format.secret, hex_bytes(expected, "hmac_secret"));
    assert_eq!(format.master_key, hex_bytes(expected, "master_key"));
    assert_eq!(format.splitter, text(expected, "splitter"));
    assert_eq!(Value::from(format.version), expected["format_version"]);
    assert_eq!(
        Value::from(format.effective_index_version()),
        expected["index_version"]
    );
    assert_eq!(
        Value::from(format.max_pack_bytes()),
        expected["max_pack_size"]
    );
    assert_eq!(
        Value::from(format.enable_password_change),
        expected["supports_password_change"]
    );
    assert_eq!(
        serde_json::to_value(&format.epoch_parameters).unwrap(),
        expected["epoch_parameters"]
    );

    let now = "2026-11-30T00:00:00Z".parse().unwrap();
    assert!(format.check_readable(now, None).unwrap().is_empty());
    let writable = !fixture.starts_with("format-v1") && !fixture.starts_with("ecc-");
    assert_eq!(format.check_writable().is_ok(), writable, "{fixture}");
    format.hasher().unwrap();
    format.cipher().unwrap();

    let config = test_vectors::folder()
        .join(fixture)
        .join("repo/kopia.blobcfg.f");
    let config = BlobConfig::open(&key, &blob.unique_id, &fs::read(config).unwrap()).unwrap();
    assert_eq!(config, BlobConfig::default());
    assert!(!config.locks_blobs());
}

#[test]
fn every_fixture_opens_with_its_password() {
    let fixtures = fixtures();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(fixture) = fixtures.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check_fixture(fixture);
                }
            });
        }
    });
    assert!(next.into_inner() >= fixtures.len());
}

#[test]
fn a_wrong_password_is_told_from_damage() {
    for fixture in ["default", "kdf-pbkdf2", "password-changed"] {
        let blob = FormatBlob::parse(&blob_of(fixture)).unwrap();
        let key = blob.format_key("fixture-passwore").unwrap();
        let error = blob.open(&key).unwrap_err();
        assert_eq!(error.kind(), FormatErrorKind::WrongPassword);
        assert_eq!(error.to_string(), "the repository password is wrong");
    }
    let mut blob = FormatBlob::parse(&blob_of("default")).unwrap();
    let key = blob.format_key(PASSWORD).unwrap();
    blob.encrypted_block_format.truncate(27);
    assert_eq!(
        blob.open(&key).unwrap_err().kind(),
        FormatErrorKind::Damaged
    );
    let config = BlobConfig::open(&key, &blob.unique_id, &[]).unwrap_err();
    assert_eq!(config.kind(), FormatErrorKind::Damaged);
}

#[test]
fn what_is_sealed_opens() {
    let mut format = new_format();
    format.ecc = "REED-SOLOMON-CRC32".into();
    format.ecc_overhead_percent = 5;
    format.upgrade_lock = Some(UpgradeLock {
        owner_id: "someone".into(),
        creation_time: "2026-01-02T03:04:05.123456789Z".parse().unwrap(),
        advance_notice_ns: 1,
        io_drain_timeout_ns: 2,
        status_poll_interval_ns: 3,
        message: "<&>".into(),
        max_permitted_clock_drift_ns: 4,
    });
    format.required_features = vec![RequiredFeature {
        feature: "index-v2".into(),
        if_not_understood: IfNotUnderstood::default(),
    }];
    for derivation in KeyDerivation::ALL {
        let blob = FormatBlob::seal(&unique_id(), *derivation, &key(), &format, [9; 12]).unwrap();
        assert_eq!(blob.key_algorithm, derivation.name());
        let read = FormatBlob::parse(&blob.to_bytes()).unwrap();
        assert_eq!(read, blob);
        assert_eq!(read.open(&key()).unwrap(), format);
        let other_key = FormatKey::from_bytes([8; 32]);
        assert_eq!(
            read.open(&other_key).unwrap_err().kind(),
            FormatErrorKind::WrongPassword
        );
    }
}

#[test]
fn a_new_format_is_written_in_kopias_words() {
    let json: Value = serde_json::from_slice(&new_format().to_sealed_json().unwrap()).unwrap();
    assert_eq!(
        json,
        json!({"format": {
            "hash": "BLAKE2B-256-128",
            "encryption": "AES256-GCM-HMAC-SHA256",
            "secret": "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=",
            "masterKey": "u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7s=",
            "version": 3,
            "maxPackSize": 20_971_520,
            "indexVersion": 2,
            "epochParameters": {
                "Enabled": true,
                "EpochRefreshFrequency": 1_200_000_000_000_u64,
                "FullCheckpointFrequency": 7,
                "CleanupSafetyMargin": 14_400_000_000_000_u64,
                "MinEpochDuration": 86_400_000_000_000_u64,
                "EpochAdvanceOnCountThreshold": 20,
                "EpochAdvanceOnTotalSizeBytesThreshold": 10_485_760,
                "DeleteParallelism": 4,
            },
            "enablePasswordChange": true,
            "splitter": "DYNAMIC-4M-BUZHASH",
        }})
    );
}

#[test]
fn names_are_read_in_any_case_and_the_unknown_is_ignored() {
    let format = open_json(&json!({"FORMAT": {
        "HASH": "BLAKE3-256",
        "encryption": "right", "Encryption": "wrong",
        "MASTERKEY": "AQID\r\nBA==",
        "secret": null,
        "epochparameters": {"enabled": true, "minepochduration": 5},
        "upgradelock": {"OwnerId": "someone", "creationtime": "2026-01-02T03:04:05+01:00"},
        "requiredFeatures": [{"FEATURE": "x", "ifnotunderstood": {"WARN": true}}],
        "invented": {"hash": 5},
    }}))
    .unwrap();
    assert_eq!(format.hash, "BLAKE3-256");
    assert_eq!(format.encryption, "right");
    assert_eq!(format.master_key, [1, 2, 3, 4]);
    assert_eq!(format.secret, [0; 0]);
    assert!(format.epoch_parameters.enabled);
    assert_eq!(format.epoch_parameters.min_epoch_duration_ns, 5);
    let lock = format.upgrade_lock.as_ref().unwrap();
    assert_eq!(lock.owner_id, "someone");
    assert_eq!(lock.creation_time, "2026-01-02T02:04:05Z".parse().unwrap());
    assert_eq!(format.required_features[0].feature, "x");
    assert!(format.required_features[0].if_not_understood.warn);
}

#[test]
fn absent_members_mean_what_kopia_takes_them_for() {
    let format = open_json(&json!({"format": {}})).unwrap();
    assert!(!format.epoch_parameters.enabled && !format.enable_password_change);
    assert_eq!(format.max_pack_bytes(), 20 << 20);
    assert_eq!(format.effective_index_version(), 1);
    assert_eq!(format.splitter().unwrap().segment_bytes_max(), 4 << 20);
}

#[test]
fn members_of_the_wrong_type_are_damage() {
    for sealed in [
        json!({"format": {"hash": 5}}),
        json!({"format": {"secret": "%%%"}}),
        json!({"format": {"version": "3"}}),
        json!({"format": {"version": -1}}),
        json!({"format": {"upgradeLock": {"creationTime": "yesterday"}}}),
        json!({"format": []}),
        json!({"format": {"epochParameters": []}}),
        json!({"format": {"requiredFeatures": [[]]}}),
        json!({}),
        json!(null),
    ] {
        let error = open_json(&sealed).unwrap_err();
        assert_eq!(error.kind(), FormatErrorKind::Damaged, "{sealed}");
        assert!(!error.to_string().contains("%%%"));
    }
}

#[test]
fn a_blob_that_is_not_kopias_is_damage() {
    let sound = blob_of("default");
    for length in 0..sound.len() - 2 {
        let error = FormatBlob::parse(&sound[..length]).unwrap_err();
        assert_eq!(error.kind(), FormatErrorKind::Damaged);
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    for bytes in [&b"[]"[..], b"\"\"", b"{\"uniqueID\": \"*\"}", &deep] {
        assert!(FormatBlob::parse(bytes).is_err());
    }
}

#[test]
fn what_a_blob_names_must_be_known() {
    let sound = FormatBlob::parse(&blob_of("default")).unwrap();
    for name in ["", "scrypt-1-1-1"] {
        let mut blob = sound.clone();
        blob.key_algorithm = name.into();
        let error = blob.format_key(PASSWORD).unwrap_err();
        assert_eq!(error.kind(), FormatErrorKind::Unsupported);
    }
    let mut blob = sound.clone();
    blob.encryption = "NONE".into();
    let error = blob.open(&key()).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::Unsupported);
    let mut blob = sound;
    blob.unique_id.clear();
    let error = blob.format_key(PASSWORD).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::Damaged);
}

#[test]
fn purpose_keys_come_from_the_key_that_lasts() {
    let mut format = new_format();
    format.master_key = (0x20..=0x3f).collect();
    let derived = |format: &RepositoryFormat| {
        hex::encode(&format.purpose_key(&unique_id(), &key(), "maintenance", 32)[..])
    };
    let from_master_key = derived(&format);
    format.enable_password_change = false;
    let from_format_key = derived(&format);
    format.master_key = vec![0; 32];
    assert_eq!(derived(&format), from_format_key);
    assert_ne!(from_master_key, from_format_key);
}

#[test]
fn blob_config_survives_sealing() {
    let locking = BlobConfig {
        retention_mode: "COMPLIANCE".into(),
        retention_period_ns: 86_400_000_000_000,
    };
    assert!(locking.locks_blobs());
    for config in [BlobConfig::default(), locking] {
        let sealed = config.seal(&key(), &unique_id(), [3; 12]);
        let read = BlobConfig::open(&key(), &unique_id(), &sealed).unwrap();
        assert_eq!(read, config);
        let mut damaged = sealed;
        damaged[12] ^= 1;
        assert!(BlobConfig::open(&key(), &unique_id(), &damaged).is_err());
    }
    assert_eq!(serde_json::to_string(&BlobConfig::default()).unwrap(), "{}");
}

#[test]
fn debug_text_hides_secrets() {
    let format = new_format();
    let blob = FormatBlob::seal(
        &unique_id(),
        KeyDerivation::Scrypt65536_8_1,
        &key(),
        &format,
        [9; 12],
    )
    .unwrap();
    let text = format!("{format:?} {blob:?}");
    for secret in ["170", "187", "aa", "bb", "qqq", "u7u7"] {
        assert!(!text.contains(secret), "{text}");
    }
}
