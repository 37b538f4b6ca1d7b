//! Asking a host for changed ranges until it has answered for the whole disk.
//!
//! Hosts answer in part, in any order, with ranges that touch or overlap (Hyper-V spec 7.1).
//! Everything that is easy to get wrong about that stands here once, for every host.

use disk::{ByteRange, RangeSet};

/// Ranges are merged whenever so many have gathered, so that memory stays bounded.
const GATHERED_RANGES_MAX: usize = 1 << 20;

/// What a host says about one stretch of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialAnswer {
    /// Changed ranges, offsets in the virtual disk, in whatever order.
    pub ranges: Vec<ByteRange>,
    /// How far behind the asked offset the answer reaches.
    pub processed_bytes: u64,
}

/// Why there is no complete answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError<E> {
    /// The host refused.
    #[error("get changed ranges: {0}")]
    Host(E),
    /// The host answered for nothing, so asking again would never end.
    #[error("get changed ranges at {offset}: the host answered for no byte")]
    NoProgress {
        /// Where it was asked.
        offset: u64,
    },
}

/// Asks `ask(offset, length)` until all `size_bytes` are answered for; returns the union,
/// cut at the end of the disk.
///
/// # Errors
/// What `ask` returns; `NoProgress` if an answer covers nothing.
pub fn query_loop<E>(
    size_bytes: u64,
    mut ask: impl FnMut(u64, u64) -> Result<PartialAnswer, E>,
) -> Result<RangeSet, QueryError<E>> {
    let mut gathered = Vec::new();
    let mut offset = 0;
    while offset < size_bytes {
        let answer = ask(offset, size_bytes - offset).map_err(QueryError::Host)?;
        if answer.processed_bytes == 0 {
            return Err(QueryError::NoProgress { offset });
        }
        gathered.extend(
            answer
                .ranges
                .iter()
                .filter_map(|range| ByteRange::new(range.start(), range.end().min(size_bytes))),
        );
        if gathered.len() > GATHERED_RANGES_MAX {
            gathered = RangeSet::from_unsorted(gathered).iter().collect();
        }
        offset = offset.saturating_add(answer.processed_bytes);
    }
    Ok(RangeSet::from_unsorted(gathered))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).expect("tests ask for ranges that are not empty")
    }

    #[test]
    fn a_partial_answer_is_not_taken_for_all() {
        let mut asked = Vec::new();
        let set = query_loop(100, |offset, length| {
            asked.push((offset, length));
            Ok::<_, ()>(PartialAnswer {
                ranges: vec![range(offset + 5, offset + 6), range(offset, offset + 5)],
                processed_bytes: 40,
            })
        })
        .unwrap();
        assert_eq!(asked, [(0, 100), (40, 60), (80, 20)]);
        let expected = [range(0, 6), range(40, 46), range(80, 86)];
        assert_eq!(set.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_ranges_means_nothing_changed() {
        let set = query_loop(100, |_, length| {
            Ok::<_, ()>(PartialAnswer {
                ranges: Vec::new(),
                processed_bytes: length,
            })
        });
        assert_eq!(set, Ok(RangeSet::new()));
    }

    #[test]
    fn an_answer_for_no_byte_is_an_error() {
        let set = query_loop(100, |offset, _| {
            Ok::<_, ()>(PartialAnswer {
                ranges: Vec::new(),
                processed_bytes: if offset == 0 { 60 } else { 0 },
            })
        });
        assert_eq!(set, Err(QueryError::NoProgress { offset: 60 }));
    }

    #[test]
    fn an_error_in_a_later_part_is_not_swallowed() {
        let set = query_loop(100, |offset, _| match offset {
            0 => Ok(PartialAnswer {
                ranges: vec![range(0, 10)],
                processed_bytes: 50,
            }),
            _ => Err("gone"),
        });
        assert_eq!(set, Err(QueryError::Host("gone")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn however_it_is_cut_the_answer_is_the_same(
            changed in proptest::collection::vec((0u64..500, 1u64..60), 0..20),
            steps in proptest::collection::vec(1u64..120, 1..10),
        ) {
            let changed: Vec<_> = changed
                .iter()
                .filter_map(|&(start, bytes)| ByteRange::at(start, bytes))
                .collect();
            let whole = RangeSet::from_unsorted(changed);
            let mut step = steps.iter().cycle();
            let answered = query_loop(500, |offset, length| {
                let processed_bytes = (*step.next().expect("a cycle never ends")).min(length);
                let mut ranges: Vec<_> = whole.within(range(offset, offset + processed_bytes)).collect();
                ranges.reverse();
                Ok::<_, ()>(PartialAnswer { ranges, processed_bytes })
            });
            let expected = RangeSet::from_unsorted(whole.within(range(0, 500)).collect());
            prop_assert_eq!(answered, Ok(expected));
        }
    }
}
