//! How far the disks of a restore are, as events: when a disk begins, when it is there, and in
//! between as often as the configuration has it.

use std::collections::HashMap;
use std::sync::Mutex;

use progress::News;
use protocol::event::HypervRestoreDiskProgress;
use time_and_chance::SharedClock;

use crate::config::Config;
use crate::durable::Durable;

/// Turns news of engines into events; the subject of the news is the disk's name.
pub struct DiskProgress {
    clock: SharedClock,
    pace: Durable,
    disks: Mutex<HashMap<String, Disk>>,
}

struct Disk {
    done_bytes: u64,
    total_bytes: u64,
    pace: Durable,
}

impl DiskProgress {
    /// Returns what tells at the pace that the configuration wants.
    pub fn new(config: &Config, clock: SharedClock) -> Self {
        Self {
            clock,
            pace: Durable::of(config),
            disks: Mutex::default(),
        }
    }

    /// Returns the event that a piece of news is worth.
    pub fn event(&self, news: &News<'_>) -> Option<HypervRestoreDiskProgress> {
        let now = self.clock.monotonic();
        let mut disks = self.disks.lock().expect("nobody panics while he counts");
        match *news {
            News::DiskBegins { subject, bytes, .. } => {
                let mut disk = Disk {
                    done_bytes: 0,
                    total_bytes: bytes,
                    pace: self.pace.clone(),
                };
                disk.pace.is_due(0.0, now);
                let told = disk.told(subject, "restoring");
                disks.insert(subject.to_owned(), disk);
                Some(told)
            }
            News::DiskAdvances { subject, bytes, .. } => {
                let disk = disks.get_mut(subject)?;
                disk.done_bytes = disk.total_bytes.min(disk.done_bytes + bytes);
                let percent = disk.done_bytes as f64 / disk.total_bytes.max(1) as f64 * 100.0;
                let is_due = disk.pace.is_due(percent, now);
                is_due.then(|| disk.told(subject, "restoring"))
            }
            News::DiskEnds { subject, .. } => {
                let mut disk = disks.remove(subject)?;
                disk.done_bytes = disk.total_bytes;
                Some(disk.told(subject, "restored"))
            }
            _ => None,
        }
    }
}

impl Disk {
    fn told(&self, name: &str, status: &str) -> HypervRestoreDiskProgress {
        HypervRestoreDiskProgress {
            disk_name: name.to_owned(),
            bytes_done: self.done_bytes,
            bytes_total: self.total_bytes,
            status: status.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time_and_chance::ManualClock;

    use super::*;

    #[test]
    fn a_disk_is_told_of_at_both_ends_and_now_and_then_between() {
        let clock = ManualClock::at("2026-03-01T12:00:00Z".parse().unwrap());
        let told = DiskProgress::new(&Config::default(), clock.clone());
        let mut events = Vec::new();
        let mut hear = |news: News<'_>| {
            let event = told.event(&news);
            events.extend(event.map(|it| (it.bytes_done, it.bytes_total, it.status)));
        };
        hear(News::DiskBegins {
            subject: "a.vhdx",
            disk: 0,
            bytes: 1000,
        });
        for _ in 0..10 {
            hear(News::DiskAdvances {
                subject: "a.vhdx",
                disk: 0,
                bytes: 100,
                packed_bytes: 0,
            });
        }
        clock.advance(Duration::from_secs(60));
        // What nobody began is nobody's.
        hear(News::DiskEnds {
            subject: "b.vhdx",
            disk: 0,
        });
        hear(News::DiskEnds {
            subject: "a.vhdx",
            disk: 0,
        });
        let at = |done: u64, status: &str| (done, 1000, status.to_owned());
        assert_eq!(events, [at(0, "restoring"), at(1000, "restored")]);
    }
}
