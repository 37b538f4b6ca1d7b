//! Ranges of bytes and sets of them.

/// A non-empty range of bytes, `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// Returns `start..end`, or `None` if that is empty.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// Returns the range of `bytes` bytes at `start`, or `None` if it is empty or overflows.
    pub fn at(start: u64, bytes: u64) -> Option<Self> {
        Self::new(start, start.checked_add(bytes)?)
    }

    /// Returns the first byte's offset.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Returns the offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Returns the length.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Returns what both ranges cover.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// A set of bytes as sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<ByteRange>,
}

impl RangeSet {
    /// Returns the empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the set that `ranges` cover, in whatever order they come.
    pub fn from_unsorted(mut ranges: Vec<ByteRange>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<ByteRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self { ranges: merged }
    }

    /// Returns the ranges in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ByteRange> + '_ {
        self.ranges.iter().copied()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns how many bytes the set covers.
    pub fn total_bytes(&self) -> u64 {
        self.ranges.iter().map(ByteRange::bytes).sum()
    }

    /// Returns the set grown outwards to multiples of `unit_bytes` and cut at `limit`.
    ///
    /// # Panics
    /// If `unit_bytes` is 0.
    pub fn rounded_out(&self, unit_bytes: u64, limit: u64) -> Self {
        assert!(unit_bytes > 0, "a unit has at least one byte");
        let grown = self.ranges.iter().filter_map(|range| {
            let start = range.start / unit_bytes * unit_bytes;
            let end = range
                .end
                .div_ceil(unit_bytes)
                .saturating_mul(unit_bytes)
                .min(limit);
            ByteRange::new(start, end)
        });
        Self::from_unsorted(grown.collect())
    }

    /// Returns what of the set lies within `window`, in order.
    pub fn within(&self, window: ByteRange) -> impl Iterator<Item = ByteRange> + '_ {
        let first = self
            .ranges
            .partition_point(|range| range.end <= window.start);
        self.ranges[first..]
            .iter()
            .map_while(move |range| range.intersection(&window))
    }

    /// Returns whether any byte of `window` is in the set.
    pub fn touches(&self, window: ByteRange) -> bool {
        self.within(window).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        RangeSet::from_unsorted(
            ranges
                .iter()
                .filter_map(|&(start, end)| ByteRange::new(start, end))
                .collect(),
        )
    }

    #[test]
    fn touching_and_overlapping_ranges_merge() {
        let merged: Vec<_> = set(&[(8, 9), (0, 4), (4, 6), (5, 7)]).iter().collect();
        assert_eq!(merged, set(&[(0, 7), (8, 9)]).iter().collect::<Vec<_>>());
        assert_eq!(merged.len(), 2);
    }

    #[test]
    fn rounding_out_stops_at_the_limit() {
        let rounded = set(&[(5, 6), (17, 18)]).rounded_out(8, 20);
        assert_eq!(rounded, set(&[(0, 8), (16, 20)]));
    }

    #[test]
    fn an_overflowing_range_is_none() {
        assert_eq!(ByteRange::at(u64::MAX, 2), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn a_set_holds_exactly_the_bytes_it_was_given(
            ranges in proptest::collection::vec((0u64..64, 0u64..64), 0..12),
            window in (0u64..64, 0u64..64),
        ) {
            let set = set(&ranges);
            let model = |byte: u64| ranges.iter().any(|&(s, e)| s <= byte && byte < e);
            for byte in 0..64 {
                let here = ByteRange::at(byte, 1).expect("one byte");
                prop_assert_eq!(set.touches(here), model(byte));
            }
            if let Some(window) = ByteRange::new(window.0, window.1) {
                let bytes: u64 = set.within(window).map(|range| range.bytes()).sum();
                let expected = (window.start()..window.end()).filter(|&byte| model(byte)).count();
                prop_assert_eq!(bytes, expected as u64);
            }
        }
    }
}
