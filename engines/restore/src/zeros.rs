//! Which parts of a buffer are worth writing.

use std::ops::Range;

use disk::is_zero;

/// Zeros are left out in units of this, counted from the disk's or file's start.
pub(crate) const UNIT_BYTES: u64 = 64 << 10;

/// Returns the parts of `data`, which begins at `offset`, that hold something other than zeros:
/// runs of whole units, as long as they are.
pub(crate) fn non_zero_runs(offset: u64, data: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < data.len() && is_zero(&data[unit(offset, at, data.len())]) {
            at = unit(offset, at, data.len()).end;
        }
        let start = at;
        while at < data.len() && !is_zero(&data[unit(offset, at, data.len())]) {
            at = unit(offset, at, data.len()).end;
        }
        (start < at).then_some(start..at)
    })
}

/// Returns the rest of the unit in which byte `at` of a buffer lies.
fn unit(offset: u64, at: usize, len: usize) -> Range<usize> {
    let left = UNIT_BYTES - (offset + at as u64) % UNIT_BYTES;
    at..len.min(at + left as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIT: usize = UNIT_BYTES as usize;

    fn runs(offset: u64, data: &[u8]) -> Vec<(usize, usize)> {
        non_zero_runs(offset, data)
            .map(|run| (run.start, run.end))
            .collect()
    }

    #[test]
    fn runs_are_whole_units_counted_from_the_disks_start() {
        let mut data = vec![0; 4 * UNIT];
        data[UNIT + 5] = 1;
        data[2 * UNIT] = 1;
        assert_eq!(runs(0, &data), [(UNIT, 3 * UNIT)]);
        assert_eq!(runs(UNIT_BYTES - 10, &data), [(10, 2 * UNIT + 10)]);
        assert_eq!(runs(7, &[]), []);
        assert_eq!(runs(7, &[0; 100]), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_left_out_is_zero(
            offset in 0u64..200_000,
            len in 0usize..400_000,
            marks in proptest::collection::vec(0usize..400_000, 0..6),
        ) {
            let mut data = vec![0; len];
            for mark in marks.into_iter().filter(|mark| *mark < len) {
                data[mark] = 9;
            }
            let mut rest = data.clone();
            let mut end = 0;
            for run in non_zero_runs(offset, &data) {
                prop_assert!(run.start >= end && run.end > run.start);
                end = run.end;
                rest[run].fill(0);
            }
            prop_assert!(rest.iter().all(|byte| *byte == 0));
        }
    }
}
