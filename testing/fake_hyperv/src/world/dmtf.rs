//! Dates and intervals as CIM writes them.

use std::time::Duration;

use time_and_chance::Timestamp;

/// Returns a moment: `yyyymmddHHMMSS.ffffff+000`, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    let utc = time_and_chance::TimeZone::UTC.to_datetime(at);
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}.{:06}+000",
        utc.year(),
        utc.month(),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second(),
        utc.subsec_nanosecond() / 1000
    )
}

/// Returns an interval: `ddddddddHHMMSS.ffffff:000`.
pub(crate) fn interval(length: Duration) -> String {
    let seconds = length.as_secs();
    format!(
        "{:08}{:02}{:02}{:02}.{:06}:000",
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        length.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_intervals_have_25_characters() {
        let at = "2026-03-04T05:06:07.890123Z".parse().unwrap();
        assert_eq!(moment(at), "20260304050607.890123+000");
        assert_eq!(
            interval(Duration::from_secs(300)),
            "00000000000500.000000:000"
        );
    }
}
