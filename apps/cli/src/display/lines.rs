//! Progress where there is no terminal: phases as they come, transfers every ten seconds.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use progress::News;
use time_and_chance::SharedClock;

use super::{Subjects, about};
use crate::amounts;

const EVERY: Duration = Duration::from_secs(10);

/// The transfers under way.
#[derive(Debug)]
pub(super) struct Lines {
    clock: SharedClock,
    subjects: Subjects,
    transfers: Mutex<HashMap<(String, u32), Transfer>>,
}

#[derive(Debug)]
struct Transfer {
    begun: Duration,
    told: Duration,
    bytes: u64,
    done_bytes: u64,
    packed_bytes: u64,
}

impl Lines {
    pub(super) fn new(clock: SharedClock, subjects: Subjects) -> Self {
        Self {
            clock,
            subjects,
            transfers: Mutex::default(),
        }
    }

    /// Returns what is to be printed now.
    pub(super) fn hear(&self, news: &News<'_>) -> Option<String> {
        let now = self.clock.monotonic();
        let mut transfers = self
            .transfers
            .lock()
            .expect("no thread panics while it tells progress");
        match *news {
            News::Phase {
                subject,
                phase: text,
            }
            | News::Waits { subject, text } => Some(about(subject, text)),
            News::DiskBegins {
                subject,
                disk,
                bytes,
            } => {
                let transfer = Transfer {
                    begun: now,
                    told: now,
                    bytes,
                    done_bytes: 0,
                    packed_bytes: 0,
                };
                transfers.insert((subject.to_owned(), disk), transfer);
                None
            }
            News::DiskAdvances {
                subject,
                disk,
                bytes,
                packed_bytes,
            } => {
                let transfer = transfers.get_mut(&(subject.to_owned(), disk))?;
                transfer.done_bytes = transfer.done_bytes.saturating_add(bytes);
                transfer.packed_bytes = transfer.packed_bytes.saturating_add(packed_bytes);
                (now.saturating_sub(transfer.told) >= EVERY).then(|| {
                    transfer.told = now;
                    format!(
                        "{}: {}",
                        self.subjects.label(subject, disk),
                        transfer.on_the_way(now)
                    )
                })
            }
            News::DiskEnds { subject, disk } => {
                let transfer = transfers.remove(&(subject.to_owned(), disk))?;
                let is_worth_a_line =
                    self.subjects == Subjects::Disks || transfer.told > transfer.begun;
                is_worth_a_line.then(|| {
                    format!(
                        "{}: {}",
                        self.subjects.label(subject, disk),
                        transfer.at_the_end(now)
                    )
                })
            }
            News::Merging { .. } => None,
            News::Warning { subject, text } => Some(format!("warning: {}", about(subject, text))),
            News::Ends { subject, done } => {
                transfers.retain(|(of, _), _| of != subject);
                (self.subjects == Subjects::Disks)
                    .then(|| about(subject, if done { "done" } else { "failed" }))
            }
        }
    }
}

impl Transfer {
    fn on_the_way(&self, now: Duration) -> String {
        let seconds = now.saturating_sub(self.begun).as_secs_f64();
        let rate = if seconds > 0.0 {
            self.done_bytes as f64 / seconds
        } else {
            0.0
        };
        let percent = self
            .done_bytes
            .min(self.bytes)
            .saturating_mul(100)
            .checked_div(self.bytes)
            .unwrap_or(100);
        let left = if rate >= 1.0 {
            let left_seconds = self.bytes.saturating_sub(self.done_bytes) as f64 / rate;
            format!(
                ", {} left",
                amounts::duration(
                    Duration::try_from_secs_f64(left_seconds).unwrap_or(Duration::MAX)
                )
            )
        } else {
            String::new()
        };
        format!(
            "{percent} % of {}, {}/s{left}",
            amounts::bytes(self.bytes),
            amounts::bytes(rate as u64)
        )
    }

    fn at_the_end(&self, now: Duration) -> String {
        let took = amounts::duration(now.saturating_sub(self.begun));
        let stored = match self.packed_bytes {
            0 => String::new(),
            packed => format!(", {} new in the repository", amounts::bytes(packed)),
        };
        format!("{} in {took}{stored}", amounts::bytes(self.done_bytes))
    }
}

#[cfg(test)]
mod tests {
    use time_and_chance::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn a_transfer_is_told_every_ten_seconds_with_rate_and_time_left() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let lines = Lines::new(clock.clone(), Subjects::Disks);
        let subject = "web";
        assert_eq!(
            lines.hear(&News::DiskBegins {
                subject,
                disk: 1,
                bytes: 400 << 20
            }),
            None
        );
        let advance = News::DiskAdvances {
            subject,
            disk: 1,
            bytes: 50 << 20,
            packed_bytes: 1 << 20,
        };
        clock.advance(Duration::from_secs(5));
        assert_eq!(lines.hear(&advance), None);
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            lines.hear(&advance).as_deref(),
            Some("web: disk 1: 25 % of 400 MiB, 10.0 MiB/s, 30.0 s left")
        );
        clock.advance(Duration::from_secs(1));
        assert_eq!(lines.hear(&advance), None);
        assert_eq!(
            lines.hear(&News::DiskEnds { subject, disk: 1 }).as_deref(),
            Some("web: disk 1: 150 MiB in 11.0 s, 3.00 MiB new in the repository")
        );
        assert_eq!(
            lines
                .hear(&News::Ends {
                    subject,
                    done: true
                })
                .as_deref(),
            Some("web: done")
        );
    }

    #[test]
    fn a_disk_without_bytes_is_told_without_dividing_by_nothing() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let lines = Lines::new(clock.clone(), Subjects::Disks);
        lines.hear(&News::DiskBegins {
            subject: "",
            disk: 0,
            bytes: 0,
        });
        clock.advance(EVERY);
        let line = lines.hear(&News::DiskAdvances {
            subject: "",
            disk: 0,
            bytes: 0,
            packed_bytes: 0,
        });
        assert_eq!(line.as_deref(), Some("disk 0: 100 % of 0 B, 0 B/s"));
    }
}
