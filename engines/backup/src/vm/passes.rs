//! After a pass whose checkpoint was given up: another pass, or an end. A function from facts to
//! a decision.
//!
//! A pass walks the disks from front to back. What it *deals with* is found in the repository,
//! or brought there, or zeros; what lies behind the place it came to it does not see:
//!
//! ```text
//! |─────────────────── planned: what this pass had to read ───────────────────|
//! |────────── dealt with ──────────|────────────────── unseen ────────────────|
//!  zeros and found │──── brought ──│── missing: as dense as what was seen ──│
//!                  │─────────────────────────── the rest ───────────────────│
//! ```
//!
//! The *rest* is what was missing when the pass began: what it brought, and of the unseen as much
//! as is data there if it is as dense as what was seen. Nobody knows what of that the repository
//! has already, so all of it counts. A pass has to bring a tenth of the rest, and has to
//! come further than the one before: what guests write between two passes must not keep a run
//! going for ever.

use std::time::Duration;

/// A pass has to bring one part in so many of what was missing when it began.
const REST_PARTS: u64 = 10;

/// What is known of a pass whose checkpoint was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassFacts {
    /// What the pass had to read of the disks.
    pub planned_bytes: u64,
    /// What of it was dealt with.
    pub dealt_bytes: u64,
    /// What of that was no zeros.
    pub data_bytes: u64,
    /// What of that the repository did not have before.
    pub brought_bytes: u64,
    /// What the brought bytes take in the repository.
    pub packed_bytes: u64,
    /// How long the checkpoint was held.
    pub held: Duration,
    /// What the pass before left unseen, if there was one.
    pub unseen_before_bytes: Option<u64>,
}

/// What comes after such a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextPass {
    /// Another pass goes on; this much was not seen.
    Again {
        /// What lies behind the place the pass came to.
        unseen_bytes: u64,
    },
    /// The pass brought too little of the rest.
    TooLittle(Shortfall),
    /// The pass came no further than the one before.
    NoFurther(Shortfall),
    /// All is stored, yet the point could not be finished while a checkpoint may be held.
    NeverFinished,
}

/// How much too slow it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortfall {
    /// What was missing when the pass began.
    pub rest_bytes: u64,
    /// What is still missing.
    pub missing_bytes: u64,
    /// What the pass moved into the repository per second.
    pub bytes_per_second: u64,
    /// What would bring all that is missing over in one pass as long as this one.
    pub needed_bytes_per_second: u64,
}

/// Decides.
pub fn next_pass(facts: &PassFacts) -> NextPass {
    let dealt_bytes = facts.dealt_bytes.min(facts.planned_bytes);
    let data_bytes = facts.data_bytes.min(dealt_bytes);
    let brought_bytes = facts.brought_bytes.min(data_bytes);
    let unseen_bytes = facts.planned_bytes - dealt_bytes;
    let missing_bytes = match dealt_bytes {
        0 => unseen_bytes,
        dealt => share(unseen_bytes, data_bytes, dealt),
    };
    let rest_bytes = brought_bytes + missing_bytes;
    let came_further = facts
        .unseen_before_bytes
        .is_none_or(|before| unseen_bytes < before);
    if unseen_bytes == 0 && (brought_bytes == 0 || !came_further) {
        return NextPass::NeverFinished;
    }
    let shortfall = || Shortfall {
        rest_bytes,
        missing_bytes,
        bytes_per_second: per_second(facts.packed_bytes, facts.held),
        needed_bytes_per_second: per_second(packed(missing_bytes, facts), facts.held),
    };
    if brought_bytes < rest_bytes.div_ceil(REST_PARTS) {
        NextPass::TooLittle(shortfall())
    } else if !came_further {
        NextPass::NoFurther(shortfall())
    } else {
        NextPass::Again { unseen_bytes }
    }
}

/// Returns what `bytes` of the disks will take in the repository if they are like those that
/// were brought.
fn packed(bytes: u64, facts: &PassFacts) -> u64 {
    match facts.brought_bytes {
        0 => bytes,
        brought => share(bytes, facts.packed_bytes, brought),
    }
}

/// Returns `bytes · part / whole`.
fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(whole);
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let milliseconds = time.as_millis().max(1);
    u64::try_from((u128::from(bytes) * 1000).div_ceil(milliseconds)).unwrap_or(u64::MAX)
}

impl NextPass {
    /// Returns why no other pass follows and what to do, to be read after "failed to ", or
    /// `None` if one does.
    pub fn refusal(&self, facts: &PassFacts) -> Option<String> {
        let held_hours = facts.held.as_secs_f64() / 3600.0;
        let (what, shortfall) = match self {
            Self::Again { .. } => return None,
            Self::NeverFinished => {
                return Some(format!(
                    "finish the point in the {held_hours:.1} hours its checkpoint was held, although all data is stored; allow more with --checkpoint-hours. What is stored stays, and the next run goes on from it"
                ));
            }
            Self::TooLittle(shortfall) => ("less than a tenth of it", shortfall),
            Self::NoFurther(shortfall) => {
                ("and came no further than the pass before it", shortfall)
            }
        };
        Some(format!(
            "bring over the about {} that were missing: this pass stored {}, {what}, in the {held_hours:.1} hours its checkpoint was held, at {}. To bring the remaining {} over in one such pass takes a line of {}. Find a faster line, or hold checkpoints longer (--checkpoint-hours). What is stored stays, protected from maintenance, and the next run goes on from it",
            amount(shortfall.rest_bytes),
            amount(facts.brought_bytes),
            rate(shortfall.bytes_per_second),
            amount(shortfall.missing_bytes),
            rate(shortfall.needed_bytes_per_second),
        ))
    }
}

fn amount(bytes: u64) -> String {
    if bytes < 1 << 30 {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    } else {
        format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
    }
}

/// Returns a rate in MB/s, rounded up.
fn rate(bytes_per_second: u64) -> String {
    if bytes_per_second < 1_000_000 {
        format!(
            "{:.3} MB/s",
            bytes_per_second.div_ceil(1_000) as f64 / 1_000.0
        )
    } else {
        format!(
            "{:.1} MB/s",
            bytes_per_second.div_ceil(100_000) as f64 / 10.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn facts(planned: u64, dealt: u64, brought: u64, before: Option<u64>) -> PassFacts {
        PassFacts {
            planned_bytes: planned * GIB,
            dealt_bytes: dealt * GIB,
            data_bytes: dealt * GIB,
            brought_bytes: brought * GIB,
            packed_bytes: brought * GIB / 2,
            held: Duration::from_secs(1 << 10),
            unseen_before_bytes: before.map(|before| before * GIB),
        }
    }

    #[test]
    fn a_pass_that_brings_a_tenth_of_the_rest_is_followed_by_another() {
        let again = |unseen| NextPass::Again {
            unseen_bytes: unseen * GIB,
        };
        let cases = [
            (facts(100, 10, 10, None), again(90)),
            (facts(100, 60, 60, None), again(40)),
            // The second pass finds 60 there: 40 are the rest, of which it brings 4.
            (facts(100, 64, 4, Some(40)), again(36)),
            // What others stored is found by the first pass too.
            (facts(100, 91, 1, None), again(9)),
            // Everything is stored, the rest took too long: once more.
            (facts(100, 100, 30, None), again(0)),
        ];
        for (facts, expected) in cases {
            assert_eq!(next_pass(&facts), expected, "{facts:?}");
            assert_eq!(expected.refusal(&facts), None);
        }
    }

    #[test]
    fn a_pass_that_brings_less_than_a_tenth_of_the_rest_is_the_last() {
        for facts in [
            facts(100, 9, 9, None),
            facts(100, 63, 3, Some(40)),
            facts(100, 0, 0, None),
            facts(100, 50, 0, Some(60)),
        ] {
            assert!(
                matches!(next_pass(&facts), NextPass::TooLittle(_)),
                "{facts:?}"
            );
        }
    }

    #[test]
    fn zeros_are_no_part_of_the_rest() {
        let sparse = PassFacts {
            data_bytes: 2 * GIB,
            ..facts(100, 20, 2, None)
        };
        // Of the 80 unseen, a tenth is data: 2 of 10 were brought.
        assert_eq!(
            next_pass(&sparse),
            NextPass::Again {
                unseen_bytes: 80 * GIB
            }
        );
        let slower = PassFacts {
            data_bytes: GIB,
            ..facts(100, 5, 1, None)
        };
        let NextPass::TooLittle(shortfall) = next_pass(&slower) else {
            panic!("1 of 20 is less than a tenth");
        };
        assert_eq!(shortfall.missing_bytes, 19 * GIB);
    }

    #[test]
    fn a_pass_that_comes_no_further_is_the_last_whatever_it_brings() {
        let facts = facts(100, 60, 50, Some(40));
        assert!(matches!(next_pass(&facts), NextPass::NoFurther(_)));
    }

    #[test]
    fn what_is_stored_but_never_finished_ends_after_a_second_try() {
        assert_eq!(
            next_pass(&facts(100, 100, 5, Some(0))),
            NextPass::NeverFinished
        );
        assert_eq!(
            next_pass(&facts(100, 100, 0, None)),
            NextPass::NeverFinished
        );
    }

    #[test]
    fn the_needed_line_carries_what_is_missing_in_one_pass_of_the_same_length() {
        let facts = facts(100, 5, 5, None);
        let NextPass::TooLittle(shortfall) = next_pass(&facts) else {
            panic!("5 of 100 are less than a tenth");
        };
        // Half of each byte goes over the line: 95 GiB become 47.5, in 1,024 seconds.
        assert_eq!(shortfall.needed_bytes_per_second, 95 * GIB / 2 / (1 << 10));
        let text = next_pass(&facts).refusal(&facts).unwrap();
        for words in [
            "the about 100.0 GiB that were missing",
            "stored 5.0 GiB",
            "remaining 95.0 GiB",
            "a line of 49.9 MB/s",
        ] {
            assert!(text.contains(words), "{text:?} does not say {words:?}");
        }
    }

    #[test]
    fn odd_counts_never_panic() {
        for (planned, dealt, brought) in [(0, 0, 0), (0, 5, 5), (5, 9, 9), (u64::MAX, 1, u64::MAX)]
        {
            for before in [None, Some(0), Some(u64::MAX)] {
                let facts = PassFacts {
                    planned_bytes: planned,
                    dealt_bytes: dealt,
                    data_bytes: dealt,
                    brought_bytes: brought,
                    packed_bytes: u64::MAX,
                    held: Duration::ZERO,
                    unseen_before_bytes: before,
                };
                let _ = next_pass(&facts).refusal(&facts);
            }
        }
    }
}
