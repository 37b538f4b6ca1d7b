//! What is done next in an update: pure functions of how far it was, what is found in place, and the
//! time.
//!
//! ```text
//! Preparing ─► Replacing ─► OnTrial ─► Over (it works)
//!     │            │           └─► PuttingBack ─► Over (failed)
//!     └────────────┴──────────────────────────────┘
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time_and_chance::{SignedDuration, Timestamp};

/// A new program has so long to reach the control plane.
pub const TRIAL_MAX: Duration = Duration::from_mins(15);
/// And is started so often.
pub const STARTS_MAX: u32 = 3;

/// How far an update is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The new program is fetched and checked; nothing was replaced.
    Preparing,
    /// It is about to take the old one's place.
    Replacing,
    /// It is in place, and has to show that it works.
    OnTrial {
        /// Who starts later has had his time, if he was started before.
        until: Timestamp,
        /// How often it was started.
        starts: u32,
        /// What tells the last start from others, where there is something.
        #[serde(default)]
        last_start: Option<String>,
    },
    /// The old one is being put back.
    PuttingBack {
        /// Why.
        why: String,
    },
    /// It is over; the control plane is to know.
    Over {
        /// Why it failed, if it did.
        failure: Option<String>,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write down how far it is.
    Note(Stage),
    /// Keep the old program beside its place; on Windows the place is empty then.
    KeepOld,
    /// Put the new one in place.
    PutInPlace,
    /// Put the old one back in its place.
    PutBack,
    /// Remove the new one from beside it.
    ForgetStaged,
    /// Remove the old one from beside it.
    ForgetKept,
}

/// Which program is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPlace {
    /// The one from before the update.
    Old,
    /// The one of the update.
    New,
    /// Neither of them.
    Other,
    /// None.
    Nothing,
}

/// What is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// In place.
    pub in_place: InPlace,
    /// Whether the old program is kept beside it.
    pub is_old_kept: bool,
}

/// A start of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start<'a> {
    /// What tells it from others, where there is something.
    pub id: Option<&'a str>,
    /// When it is.
    pub now: Timestamp,
}

/// Returns how the new program takes the old one's place.
pub fn replace(now: Timestamp) -> Vec<Step> {
    vec![
        Step::Note(Stage::Replacing),
        Step::KeepOld,
        Step::PutInPlace,
        Step::Note(on_trial_from(now)),
    ]
}

fn on_trial_from(now: Timestamp) -> Stage {
    let span = SignedDuration::try_from(TRIAL_MAX).unwrap_or(SignedDuration::ZERO);
    Stage::OnTrial {
        until: now.checked_add(span).unwrap_or(Timestamp::MAX),
        starts: 0,
        last_start: None,
    }
}

/// Returns what is done when the service begins.
pub fn at_start(stage: &Stage, found: Found, start: Start<'_>) -> Vec<Step> {
    match stage {
        Stage::Preparing => over(
            "the service ended while the new version was being fetched or checked; order it again",
        ),
        Stage::Replacing => match found.in_place {
            InPlace::New => at_start(&on_trial_from(start.now), found, start),
            InPlace::Nothing if found.is_old_kept => put_back(INTERRUPTED),
            InPlace::Old | InPlace::Other | InPlace::Nothing => over(INTERRUPTED),
        },
        Stage::OnTrial {
            until,
            starts,
            last_start,
        } => match found.in_place {
            InPlace::New if start.id.is_some() && start.id == last_start.as_deref() => Vec::new(),
            InPlace::New if *starts >= STARTS_MAX => give_up(
                found,
                &format!(
                    "the new version was started {starts} times and never reached the control plane"
                ),
            ),
            InPlace::New if *starts > 0 && start.now >= *until => give_up(
                found,
                "the new version did not reach the control plane in time",
            ),
            InPlace::New => vec![Step::Note(Stage::OnTrial {
                until: *until,
                starts: starts + 1,
                last_start: start.id.map(str::to_owned),
            })],
            InPlace::Nothing if found.is_old_kept => put_back("the new version is gone"),
            InPlace::Old | InPlace::Other | InPlace::Nothing => {
                over("another program was put in the place of the new version")
            }
        },
        Stage::PuttingBack { why } => match found.in_place {
            InPlace::New | InPlace::Nothing => give_up(found, why),
            InPlace::Old | InPlace::Other => over(why),
        },
        Stage::Over { .. } => Vec::new(),
    }
}

const INTERRUPTED: &str =
    "the service ended just before the new version took the old one's place; order it again";

/// Returns what is done while the new program is on trial and runs for so long.
pub fn on_trial(stage: &Stage, has_polled: bool, running_for: Duration) -> Vec<Step> {
    match stage {
        Stage::OnTrial { .. } if has_polled => {
            vec![Step::Note(Stage::Over { failure: None }), Step::ForgetKept]
        }
        Stage::OnTrial { .. } if running_for >= TRIAL_MAX => put_back(&format!(
            "the new version did not reach the control plane within {} minutes",
            TRIAL_MAX.as_secs() / 60
        )),
        _ => Vec::new(),
    }
}

/// Returns what is done when a step failed while the service runs: `found` if that is known.
pub fn failed(stage: &Stage, found: Option<Found>, why: &str) -> Vec<Step> {
    let is_still_there = found.is_some_and(|it| it.in_place == InPlace::Old);
    match stage {
        Stage::Preparing => over(why),
        Stage::Replacing | Stage::OnTrial { .. } if !is_still_there => put_back(why),
        Stage::Replacing | Stage::OnTrial { .. } => over(why),
        Stage::PuttingBack { .. } | Stage::Over { .. } => Vec::new(),
    }
}

fn over(why: &str) -> Vec<Step> {
    vec![
        Step::ForgetStaged,
        Step::Note(Stage::Over {
            failure: Some(why.to_owned()),
        }),
    ]
}

fn put_back(why: &str) -> Vec<Step> {
    vec![
        Step::Note(Stage::PuttingBack {
            why: why.to_owned(),
        }),
        Step::PutBack,
        Step::ForgetStaged,
        Step::Note(Stage::Over {
            failure: Some(format!("{why}; the version from before was put back")),
        }),
    ]
}

fn give_up(found: Found, why: &str) -> Vec<Step> {
    match found.is_old_kept {
        true => put_back(why),
        false => over(&format!(
            "{why}, and the version from before is not there any more"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old";
    const NEW: &str = "new";

    /// A machine: what lies where, what is written down.
    #[derive(Debug, Clone, PartialEq)]
    struct Machine {
        in_place: Option<&'static str>,
        staged: Option<&'static str>,
        kept: Option<&'static str>,
        stage: Stage,
        is_windows: bool,
        now: Timestamp,
    }

    impl Machine {
        fn found(&self) -> Found {
            Found {
                in_place: match self.in_place {
                    Some(OLD) => InPlace::Old,
                    Some(NEW) => InPlace::New,
                    Some(_) => InPlace::Other,
                    None => InPlace::Nothing,
                },
                is_old_kept: self.kept == Some(OLD),
            }
        }

        fn take(&mut self, step: &Step) {
            match step {
                Step::Note(stage) => self.stage = stage.clone(),
                Step::KeepOld => {
                    self.kept = self.in_place;
                    if self.is_windows {
                        self.in_place = None;
                    }
                }
                Step::PutInPlace => {
                    assert!(self.staged.is_some(), "{self:?}");
                    self.in_place = self.staged.take();
                }
                Step::PutBack => {
                    assert!(self.kept.is_some(), "{self:?}");
                    self.in_place = self.kept.take();
                }
                Step::ForgetStaged => self.staged = None,
                Step::ForgetKept => self.kept = None,
            }
        }

        /// Takes steps until a crash after so many; returns whether all were taken.
        fn take_until(&mut self, steps: &[Step], crash_after: usize) -> bool {
            steps.iter().take(crash_after).for_each(|it| self.take(it));
            steps.len() <= crash_after
        }
    }

    fn minutes(minutes: i64) -> SignedDuration {
        SignedDuration::from_mins(minutes)
    }

    fn ready_to_replace(is_windows: bool) -> Machine {
        Machine {
            in_place: Some(OLD),
            staged: Some(NEW),
            kept: None,
            stage: Stage::Preparing,
            is_windows,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// Starts the service again and again, with a crash after so many steps of the first start, until
    /// nothing more happens. A program in place begins if it is a good one.
    fn settle(machine: &mut Machine, is_new_good: bool, crash_after: usize) {
        let mut crash_after = crash_after;
        for start in 0..20 {
            machine.now += minutes(1);
            let id = start.to_string();
            let found = machine.found();
            let start = Start {
                id: Some(&id),
                now: machine.now,
            };
            // On Windows nobody begins where no program is; there it is a person, or a machine that
            // lost its power between two renames and has the journal of its volume.
            let steps = at_start(&machine.stage, found, start);
            let is_whole = machine.take_until(&steps, std::mem::replace(&mut crash_after, 99));
            if !is_whole {
                continue;
            }
            // The same start looks twice on Linux.
            assert_eq!(at_start(&machine.stage, machine.found(), start), []);
            if machine.in_place == Some(NEW) && is_new_good {
                let steps = on_trial(&machine.stage, true, Duration::ZERO);
                steps.iter().for_each(|step| machine.take(step));
            }
            if matches!(machine.stage, Stage::Over { .. }) {
                return;
            }
        }
        panic!("it never ends: {machine:?}");
    }

    #[test]
    fn a_crash_after_any_step_leaves_one_whole_program_and_the_truth_about_it() {
        for is_windows in [false, true] {
            for is_new_good in [true, false] {
                for (first, second) in (0..6).flat_map(|it| (0..6).map(move |at| (it, at))) {
                    let mut machine = ready_to_replace(is_windows);
                    let begun = machine.now;
                    let is_replaced = machine.take_until(&replace(begun), first);
                    assert!(is_windows || machine.in_place.is_some(), "{machine:?}");
                    settle(&mut machine, is_new_good, second);
                    let Stage::Over { failure } = &machine.stage else {
                        unreachable!("it is settled");
                    };
                    let case = format!("{is_windows} {is_new_good} {first} {second}: {machine:?}");
                    let expected = if failure.is_none() { NEW } else { OLD };
                    assert_eq!(machine.in_place, Some(expected), "{case}");
                    // It works if and only if it could come up, and it did once it was in place.
                    assert!(is_new_good || failure.is_some(), "{case}");
                    assert!(!(is_new_good && is_replaced) || failure.is_none(), "{case}");
                    assert_eq!(machine.staged, None, "{case}");
                }
            }
        }
    }

    #[test]
    fn a_new_program_has_its_starts_and_its_time() {
        let trial = |starts, last_start: Option<&str>| Stage::OnTrial {
            until: Timestamp::UNIX_EPOCH + minutes(15),
            starts,
            last_start: last_start.map(str::to_owned),
        };
        let found = Found {
            in_place: InPlace::New,
            is_old_kept: true,
        };
        let at = |minute, id| Start {
            id,
            now: Timestamp::UNIX_EPOCH + minutes(minute),
        };
        let goes_on = |stage: Stage, start| {
            let steps = at_start(&stage, found, start);
            !steps.contains(&Step::PutBack)
        };
        assert!(goes_on(trial(0, None), at(1, None)));
        assert!(goes_on(trial(2, None), at(1, None)));
        assert!(!goes_on(trial(3, None), at(1, None)));
        // A start that was counted is not counted again.
        assert!(goes_on(trial(3, Some("a")), at(1, Some("a"))));
        assert!(!goes_on(trial(3, Some("a")), at(1, Some("b"))));
        // A machine that was off has its first start whenever that is.
        assert!(goes_on(trial(0, None), at(9_000, None)));
        assert!(!goes_on(trial(1, None), at(15, None)));
        // A clock that was put back gives more time, and no more starts.
        assert!(goes_on(trial(1, None), at(-9_000, None)));
        let gone = Found {
            is_old_kept: false,
            ..found
        };
        let steps = at_start(&trial(3, None), gone, at(1, None));
        assert!(!steps.contains(&Step::PutBack), "{steps:?}");
        let while_running = |has_polled, minutes| {
            on_trial(&trial(1, None), has_polled, Duration::from_mins(minutes))
        };
        assert_eq!(while_running(false, 14), []);
        assert!(while_running(false, 15).contains(&Step::PutBack));
        assert!(while_running(true, 15).contains(&Step::ForgetKept));
    }

    #[test]
    fn what_somebody_put_in_place_meanwhile_stays() {
        let found = |in_place| Found {
            in_place,
            is_old_kept: true,
        };
        let start = Start {
            id: None,
            now: Timestamp::UNIX_EPOCH,
        };
        for stage in [
            Stage::Replacing,
            on_trial_from(start.now),
            Stage::PuttingBack {
                why: "it hangs".to_owned(),
            },
        ] {
            for in_place in [InPlace::Old, InPlace::Other] {
                let steps = at_start(&stage, found(in_place), start);
                assert!(!steps.contains(&Step::PutBack), "{stage:?}");
                assert!(matches!(
                    steps.last(),
                    Some(Step::Note(Stage::Over { failure: Some(_) }))
                ));
            }
        }
    }

    #[test]
    fn a_step_that_fails_ends_with_the_old_program() {
        let found = |in_place| {
            Some(Found {
                in_place,
                is_old_kept: true,
            })
        };
        let puts_back = |stage: &Stage, found| {
            let steps = failed(stage, found, "no room");
            steps.contains(&Step::PutBack)
        };
        assert!(!puts_back(&Stage::Preparing, None));
        assert!(!puts_back(&Stage::Replacing, found(InPlace::Old)));
        assert!(puts_back(&Stage::Replacing, found(InPlace::Nothing)));
        assert!(puts_back(&Stage::Replacing, found(InPlace::New)));
        assert!(puts_back(
            &on_trial_from(Timestamp::UNIX_EPOCH),
            found(InPlace::New)
        ));
    }
}
