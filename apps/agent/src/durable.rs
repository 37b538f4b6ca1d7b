//! When an event of progress is due that is kept: seldom, for a run has room for so many
//! (control-plane API 6.1).

use std::time::Duration;

use crate::config::Config;

/// However large the steps, events are so far apart.
const APART_MIN: Duration = Duration::from_secs(2);

/// When the next durable event of progress is due.
#[derive(Debug, Clone)]
pub struct Durable {
    interval: Duration,
    step_percent: f64,
    last: Option<(f64, Duration)>,
}

impl Durable {
    /// Returns the pace that the configuration wants.
    pub fn of(config: &Config) -> Self {
        Self {
            interval: Duration::from_secs(config.progress_event_interval_secs),
            step_percent: config.progress_event_pct_step.max(0.1),
            last: None,
        }
    }

    /// Returns whether an event is due. The first look only begins the count.
    pub fn is_due(&mut self, percent: f64, now: Duration) -> bool {
        let (before, at) = *self.last.get_or_insert((percent, now));
        let apart = now.saturating_sub(at);
        let by_time = apart >= self.interval;
        let by_step = percent - before >= self.step_percent && apart >= APART_MIN;
        let is_due = percent > before && (by_time || by_step);
        if is_due {
            self.last = Some((percent, now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_due_after_a_step_or_after_a_while_and_never_without_progress() {
        let mut durable = Durable {
            interval: Duration::from_secs(30),
            step_percent: 1.0,
            last: None,
        };
        for (percent, second, is_due) in [
            (0.0, 0, false),
            (50.0, 1, false),
            (50.0, 2, true),
            (50.5, 10, false),
            (50.5, 32, true),
            (50.5, 90, false),
            (51.5, 91, true),
        ] {
            let due = durable.is_due(percent, Duration::from_secs(second));
            assert_eq!(due, is_due, "{percent} % after {second} s");
        }
    }
}
