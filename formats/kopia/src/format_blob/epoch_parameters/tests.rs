//! Tests of `epoch_parameters`: Kopia's own vectors, properties, damage.

use super::*;
use crate::format_blob::FormatErrorKind;

#[test]
fn the_defaults_are_valid_and_kopias() {
    let defaults = EpochParameters::default();
    defaults.check().unwrap();
    assert_eq!(
        serde_json::to_string(&defaults).unwrap(),
        r#"{"Enabled":true,"EpochRefreshFrequency":1200000000000,"FullCheckpointFrequency":7,"CleanupSafetyMargin":14400000000000,"MinEpochDuration":86400000000000,"EpochAdvanceOnCountThreshold":20,"EpochAdvanceOnTotalSizeBytesThreshold":10485760,"DeleteParallelism":4}"#
    );
}

#[test]
fn disabled_parameters_are_never_refused() {
    EpochParameters::disabled().check().unwrap();
}

#[test]
fn each_rule_has_its_limit() {
    type Change = fn(&mut EpochParameters);
    let limits: &[(Change, Change)] = &[
        (
            |p| {
                p.min_epoch_duration_ns = 10 * MINUTE_NS;
                p.epoch_refresh_frequency_ns = MINUTE_NS;
            },
            |p| p.min_epoch_duration_ns -= 1,
        ),
        (
            |p| {
                p.min_epoch_duration_ns = 3 * HOUR_NS;
                p.epoch_refresh_frequency_ns = HOUR_NS;
            },
            |p| p.epoch_refresh_frequency_ns += 1,
        ),
        (
            |p| p.full_checkpoint_frequency = 1,
            |p| p.full_checkpoint_frequency -= 1,
        ),
        (
            |p| p.cleanup_safety_margin_ns = HOUR_NS,
            |p| p.cleanup_safety_margin_ns -= 1,
        ),
        (
            |p| p.epoch_advance_on_count_threshold = 10,
            |p| p.epoch_advance_on_count_threshold -= 1,
        ),
        (
            |p| p.epoch_advance_on_total_size_bytes_threshold = MIB,
            |p| p.epoch_advance_on_total_size_bytes_threshold -= 1,
        ),
    ];
    for (to_limit, beyond) in limits {
        let mut parameters = EpochParameters::default();
        to_limit(&mut parameters);
        parameters.check().unwrap();
        beyond(&mut parameters);
        let error = parameters.check().unwrap_err();
        assert_eq!(error.kind(), FormatErrorKind::Unsupported);
    }
}

#[test]
fn extreme_parameters_do_not_overflow() {
    let mut parameters = EpochParameters {
        epoch_refresh_frequency_ns: i64::MAX,
        min_epoch_duration_ns: i64::MAX,
        ..EpochParameters::default()
    };
    assert!(parameters.check().is_err());
    parameters.epoch_refresh_frequency_ns = i64::MIN;
    parameters.check().unwrap();
}
