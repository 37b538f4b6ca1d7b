//! How often to ask: at the usual pace, slower while nobody answers, and never all agents at once.

use std::time::Duration;

use time_and_chance::Chance;

use crate::control_plane::CallError;

/// Nobody is asked less often, unless he wants it so.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A control plane that does not know this agent is asked this often.
const UNKNOWN_PAUSE: Duration = Duration::from_mins(5);
/// And one that wants to be asked more often is not.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// A pace of asking.
#[derive(Debug)]
pub struct Pace {
    usual: Duration,
    longest: Duration,
    is_urgent: bool,
    failures: u32,
    chance: Chance,
}

impl Pace {
    /// Returns a pace that is this one as a rule.
    pub fn new(usual: Duration, chance: &Chance) -> Self {
        Self {
            usual,
            longest: PAUSE_MAX.max(usual),
            is_urgent: false,
            failures: 0,
            chance: chance.clone(),
        }
    }

    /// Returns the pace of what keeps a run alive: whoever does not answer is asked this often at the least.
    pub fn urgent(usual: Duration, longest: Duration, chance: &Chance) -> Self {
        Self {
            // What is drawn on top of it included, which is no more than as much again.
            longest: (longest / 2).max(usual),
            is_urgent: true,
            ..Self::new(usual, chance)
        }
    }

    /// Returns the pause after an answer.
    pub fn after_answer(&mut self) -> Duration {
        self.after_answer_wishing(None)
    }

    /// Returns the pause after an answer that says when to ask again.
    pub fn after_answer_wishing(&mut self, wish: Option<Duration>) -> Duration {
        self.failures = 0;
        let pause = wish
            .unwrap_or(self.usual)
            .clamp(PAUSE_MIN, self.longest.max(PAUSE_MIN));
        self.spread(pause, 0.25)
    }

    /// Returns the pause after a failure: it doubles with each.
    pub fn after_failure(&mut self, error: &CallError) -> Duration {
        let doubled = self.usual.saturating_mul(1 << self.failures.min(6));
        self.failures += 1;
        let pause = match error.is_unauthorized() {
            true if !self.is_urgent => UNKNOWN_PAUSE,
            _ => doubled.clamp(self.usual, self.longest),
        };
        let wish = match self.is_urgent {
            true => error.after_urgent(),
            false => error.after(),
        };
        // Agents that lost the server at one time must not come back at one time, and neither must those
        // that were all told to come back after so long.
        let pause = pause.max(wish.unwrap_or_default());
        match self.is_urgent {
            true => self.spread(pause, 1.0).min(pause.max(self.longest)),
            false => self.spread(pause, 1.0),
        }
    }

    /// Makes a pause longer, by up to so much of itself.
    fn spread(&self, pause: Duration, part: f64) -> Duration {
        let drawn = u16::from_le_bytes(self.chance.bytes::<2>());
        pause + pause.mul_f64(f64::from(drawn) / f64::from(u16::MAX) * part)
    }
}

#[cfg(test)]
mod tests {
    use protocol::NoAnswer;

    use super::*;

    const USUAL: Duration = Duration::from_secs(5);

    fn refusal(after: Option<Duration>) -> CallError {
        CallError::NoAnswer(NoAnswer::Retry {
            http_status: 500,
            after,
            message: String::new(),
        })
    }

    #[test]
    fn a_silent_server_is_asked_ever_less_often_and_never_by_all_at_once() {
        let mut pace = Pace::new(USUAL, &Chance::from_seed(1));
        let pauses: Vec<Duration> = (0..8).map(|_| pace.after_failure(&refusal(None))).collect();
        assert!(pauses[0] >= USUAL && pauses[0] <= USUAL * 2);
        assert!(pauses[2] >= USUAL * 4);
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX * 2));
        let mut other = Pace::new(USUAL, &Chance::from_seed(2));
        assert_ne!(other.after_failure(&refusal(None)), pauses[0]);
        assert!(pace.after_answer() <= USUAL.mul_f64(1.25));
    }

    /// A server that is started anew cuts all polls that it holds at one time; one that is overloaded may tell
    /// all agents the same.
    #[test]
    fn a_thousand_agents_that_are_sent_away_at_one_time_come_back_one_after_another() {
        let usual = Duration::from_secs(15);
        for after in [None, Some(Duration::from_secs(120))] {
            for failures in 1..8 {
                let mut by_second = std::collections::BTreeMap::<u64, u32>::new();
                for seed in 0..1000 {
                    let mut pace = Pace::new(usual, &Chance::from_seed(seed));
                    let pauses = (0..failures).map(|_| pace.after_failure(&refusal(after)));
                    let last = pauses.last().unwrap();
                    *by_second.entry(last.as_secs()).or_default() += 1;
                }
                let most = by_second.values().max().unwrap();
                assert!(*most <= 100, "after {failures}: {by_second:?}");
            }
        }
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_wants() {
        let mut pace = Pace::new(USUAL, &Chance::from_seed(1));
        let hour = Duration::from_hours(1);
        assert!(pace.after_failure(&refusal(Some(hour))) >= hour);
        let wish = Some(Duration::from_secs(15));
        assert!(pace.after_answer_wishing(wish) >= Duration::from_secs(15));
        assert!(pace.after_answer_wishing(Some(Duration::ZERO)) >= PAUSE_MIN);
        let unknown = CallError::NoAnswer(NoAnswer::Unauthorized {
            message: String::new(),
        });
        assert!(pace.after_failure(&unknown) >= UNKNOWN_PAUSE);
    }

    #[test]
    fn what_keeps_a_run_alive_is_told_less_often_to_a_server_that_fails_and_often_enough() {
        let longest = Duration::from_secs(30);
        let mut pace = Pace::urgent(Duration::from_secs(2), longest, &Chance::from_seed(1));
        let pauses: Vec<Duration> = (0..8).map(|_| pace.after_failure(&refusal(None))).collect();
        assert!(pauses[0] < Duration::from_secs(5) && pauses[2] >= Duration::from_secs(8));
        assert!(pauses[7] >= Duration::from_secs(15));
        assert!(pauses.iter().all(|pause| *pause <= longest));
        let hour = Some(Duration::from_hours(1));
        assert!(pace.after_failure(&refusal(hour)) <= longest);
    }
}
