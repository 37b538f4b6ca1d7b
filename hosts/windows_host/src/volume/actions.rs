//! What a code of VSS leads to, and the words for people: one table.
//!
//! Microsoft's pages on each call say of many codes that they pass by themselves and that the
//! whole operation is to be begun anew after some time; those are tried again here. The table in
//! `docs/operating/windows.md` says the same to administrators, which a test holds.

use volume::VolumeErrorKind;

/// What to do about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Begin anew after a while: it passes by itself.
    Again,
    /// Begin anew without the writers that failed, if they may be left out.
    WithoutWriters,
    /// Fail: it would be the same the next time.
    Fail,
}

/// A range of codes and what it means.
struct Row {
    first: u32,
    last: u32,
    action: Action,
    kind: VolumeErrorKind,
    words: &'static str,
}

const fn row(
    first: u32,
    last: u32,
    action: Action,
    kind: VolumeErrorKind,
    words: &'static str,
) -> Row {
    Row {
        first,
        last,
        action,
        kind,
        words,
    }
}

/// What is not in the table.
const OTHER: Row = row(
    0,
    0,
    Action::Fail,
    VolumeErrorKind::Failed,
    "look at VSS and volsnap in the event log at that time",
);

#[rustfmt::skip]
const TABLE: [Row; 30] = {
    use Action::{Again, Fail, WithoutWriters};
    use VolumeErrorKind::{Busy, Denied, Failed, Full, Invalid, NotFound, Unavailable, Unsupported, WriterFailed};
    [
        row(0x8000_4001, 0x8000_4001, Fail, Unsupported, "this system has no VSS"),
        row(0x8007_007E, 0x8007_007F, Fail, Unsupported, "this system has no vssapi.dll"),
        row(0x8007_0005, 0x8007_0005, Fail, Denied, "VSS wants an administrator who is elevated, a backup operator or SYSTEM"),
        row(0x8007_000E, 0x8007_000E, Again, Busy, "VSS is out of memory"),
        row(0x8007_0422, 0x8007_0422, Fail, Unavailable, "the service Volume Shadow Copy (VSS) is switched off"),
        row(0x8007_06BA, 0x8007_06BE, Again, Unavailable, "the service Volume Shadow Copy (VSS) went away"),
        row(0x8004_2301, 0x8004_2301, Fail, Failed, "VSS does not accept the order of the calls"),
        row(0x8004_2302, 0x8004_2302, Again, Failed, "VSS ran into something unexpected"),
        row(0x8004_2304, 0x8004_2304, Fail, Failed, "a provider of VSS is not registered"),
        row(0x8004_2306, 0x8004_2306, Again, Failed, "the provider of VSS refused"),
        row(0x8004_2308, 0x8004_2308, Fail, NotFound, "there is no such volume or shadow"),
        row(0x8004_230C, 0x8004_230C, Fail, Unsupported, "VSS cannot freeze this volume: it takes local volumes with NTFS, ReFS or CSV"),
        row(0x8004_230D, 0x8004_230D, Fail, Invalid, "the volume is named twice"),
        row(0x8004_230E, 0x8004_230E, Fail, Unsupported, "the provider of VSS cannot freeze this volume"),
        row(0x8004_230F, 0x8004_230F, Again, Failed, "the provider of VSS ran into something unexpected"),
        row(0x8004_2312, 0x8004_2312, Fail, Invalid, "VSS freezes no more than 64 volumes at once"),
        row(0x8004_2313, 0x8004_2314, Again, Busy, "the volumes are too busy to be held still"),
        row(0x8004_2315, 0x8004_2315, WithoutWriters, WriterFailed, "a writer of VSS ran into something unexpected"),
        row(0x8004_2316, 0x8004_2316, Again, Busy, "another program is freezing volumes"),
        row(0x8004_2317, 0x8004_2317, Fail, Full, "a volume has as many shadows as it may have"),
        row(0x8004_2318, 0x8004_2318, Fail, Unavailable, "the writers of VSS cannot be reached: look at the services Volume Shadow Copy and COM+ Event System"),
        row(0x8004_2319, 0x8004_2319, WithoutWriters, WriterFailed, "a writer of VSS does not answer"),
        row(0x8004_231B, 0x8004_231B, Fail, Unsupported, "this system does not make shadows of this kind"),
        row(0x8004_231D, 0x8004_231D, Again, Busy, "a volume is in use"),
        row(0x8004_231E, 0x8004_231F, Fail, Full, "there is no room for what is overwritten while volumes are frozen"),
        row(0x8004_2327, 0x8004_2327, Fail, Failed, "the provider of VSS wants the machine to be restarted"),
        row(0x8004_2328, 0x8004_2329, Again, Busy, "transactions could not be held still"),
        row(0x8004_232A, 0x8004_232F, Fail, Unsupported, "VSS cannot freeze this volume here"),
        row(0x8004_23F0, 0x8004_23F4, WithoutWriters, WriterFailed, "a writer of VSS failed"),
        row(0x8004_2336, 0x8004_2336, WithoutWriters, WriterFailed, "a writer of VSS failed in part"),
    ]
};

fn found(code: u32) -> &'static Row {
    let mut rows = TABLE.iter();
    rows.find(|row| (row.first..=row.last).contains(&code))
        .unwrap_or(&OTHER)
}

/// Returns what to do about a code that a call gave.
pub fn action(code: u32) -> Action {
    found(code).action
}

/// Returns whether a writer that failed with this code may do better the next time (out of
/// resources, out of time, retryable); others fail again.
pub(super) fn passes(writer_failure: u32) -> bool {
    matches!(writer_failure, 0x8004_23F1..=0x8004_23F3)
}

/// Returns what a caller can act on.
pub(super) fn kind(code: u32) -> VolumeErrorKind {
    found(code).kind
}

/// Returns the words for a code.
pub(super) fn words(code: u32) -> &'static str {
    found(code).words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_stands_in_the_papers_with_a_remedy() {
        let page = include_str!("../../../../docs/operating/windows.md");
        for row in &TABLE {
            let codes = match row.first == row.last {
                true => format!("0x{:08X}", row.first),
                false => format!("0x{:08X}-0x{:08X}", row.first, row.last),
            };
            let start = format!("| {codes} | {} | ", row.words);
            let line = page.lines().find(|line| line.starts_with(&start));
            let remedy = line.map(|line| line[start.len()..].trim_end_matches(" |").trim());
            assert!(remedy.is_some_and(|remedy| !remedy.is_empty()), "{start}");
        }
    }

    #[test]
    fn no_code_has_two_rows() {
        for (number, row) in TABLE.iter().enumerate() {
            assert!(row.first <= row.last);
            let others = TABLE.iter().enumerate();
            for (_, other) in others.filter(|(at, _)| *at != number) {
                assert!(
                    row.last < other.first || other.last < row.first,
                    "{:X}",
                    row.first
                );
            }
        }
    }

    #[test]
    fn documented_codes_lead_to_documented_actions() {
        for (code, wanted) in [
            (0x8004_2314, Action::Again), // HOLD_WRITES_TIMEOUT: "wait ten minutes and try again"
            (0x8004_2316, Action::Again), // SNAPSHOT_SET_IN_PROGRESS: "wait to try again"
            (0x8004_23F4, Action::WithoutWriters),
            (0x8004_231F, Action::Fail), // INSUFFICIENT_STORAGE
            (0x8004_2301, Action::Fail), // BAD_STATE
            (0x8000_FFFF, Action::Fail), // not in the table
        ] {
            assert_eq!(action(code), wanted, "0x{code:08X}");
        }
        assert_eq!(kind(0x8000_FFFF), VolumeErrorKind::Failed);
        assert!(passes(0x8004_23F2) && !passes(0x8004_23F4));
    }
}
