//! How far a piece of work is: news from engines, added up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use progress::{Monitor, News};

/// What is done and what there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// How far it is: each subject counts the same, for nobody knows the length of those that have
    /// not begun.
    pub percent: f64,
    /// Bytes that were dealt with.
    pub done_bytes: u64,
    /// Bytes that there are, as far as is known.
    pub total_bytes: u64,
    /// Bytes of packs that it took.
    pub packed_bytes: u64,
    /// Subjects that are over.
    pub subjects_done: u64,
    /// Subjects in all.
    pub subjects_total: u64,
    /// What is worked on.
    pub subject: String,
    /// And in which phase.
    pub phase: String,
    /// Whether it goes on only when something else is over.
    pub is_waiting: bool,
    /// The named disks that have begun, of subjects that are not over; in the order of subjects and of their disks.
    /// None if no disk was named.
    pub disks: Option<Vec<MeasuredDisk>>,
}

/// How far a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredDisk {
    /// Whose it is.
    pub subject: String,
    /// Its own name.
    pub name: String,
    /// Bytes that were dealt with.
    pub done_bytes: u64,
    /// Bytes that are to be dealt with.
    pub total_bytes: u64,
}

/// Adds news up. `hook` hears each piece before it counts.
pub struct Meter {
    hook: Box<dyn Fn(&News<'_>) + Send + Sync>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    disks: BTreeMap<(String, u32), (u64, u64)>,
    disk_names: BTreeMap<String, Vec<String>>,
    measured: Measured,
}

impl Meter {
    /// Returns a meter of work on so many subjects.
    pub fn new(subjects_total: u64, hook: impl Fn(&News<'_>) + Send + Sync + 'static) -> Self {
        let meter = Self {
            hook: Box::new(hook),
            state: Mutex::default(),
        };
        meter.lock().measured.subjects_total = subjects_total;
        meter
    }

    /// Returns how far the work is.
    pub fn measured(&self) -> Measured {
        let state = self.lock();
        Measured {
            percent: state.percent(),
            disks: state.named_disks(),
            ..state.measured.clone()
        }
    }

    /// Sets how many subjects there are.
    pub fn expect_subjects(&self, subjects_total: u64) {
        self.lock().measured.subjects_total = subjects_total;
    }

    /// Names the disks of a subject, in the order of their numbers.
    pub fn name_disks(&self, subject: &str, names: Vec<String>) {
        self.lock().disk_names.insert(subject.to_owned(), names);
    }

    /// Says what is worked on.
    pub fn is_at(&self, subject: &str, phase: &str) {
        self.lock().measured.is_at(subject, phase, false);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while he counts")
    }
}

impl Measured {
    fn is_at(&mut self, subject: &str, phase: &str, is_waiting: bool) {
        subject.clone_into(&mut self.subject);
        phase.clone_into(&mut self.phase);
        self.is_waiting = is_waiting;
    }
}

impl State {
    fn disk(&mut self, subject: &str, disk: u32) -> &mut (u64, u64) {
        self.disks.entry((subject.to_owned(), disk)).or_default()
    }

    fn named_disks(&self) -> Option<Vec<MeasuredDisk>> {
        if self.disk_names.is_empty() {
            return None;
        }
        let named = |(of, &(done_bytes, total_bytes)): (&(String, u32), &(u64, u64))| {
            let (subject, disk) = of;
            let names = self.disk_names.get(subject)?;
            Some(MeasuredDisk {
                subject: subject.clone(),
                name: names.get(usize::try_from(*disk).ok()?)?.clone(),
                done_bytes,
                total_bytes,
            })
        };
        Some(self.disks.iter().filter_map(named).collect())
    }

    fn percent(&self) -> f64 {
        let (done, total) = self
            .disks
            .values()
            .fold((0, 0), |sum, disk| (sum.0 + disk.0, sum.1 + disk.1));
        let within = match total {
            0 => 0.0,
            total => (done as f64 / total as f64).min(1.0),
        };
        let subjects = self.measured.subjects_total.max(1) as f64;
        let whole = self.measured.subjects_done as f64;
        ((whole + within) / subjects * 100.0).min(100.0)
    }
}

impl Monitor for Meter {
    fn hear(&self, news: &News<'_>) {
        (self.hook)(news);
        let state = &mut *self.lock();
        match *news {
            News::Phase { subject, phase } => state.measured.is_at(subject, phase, false),
            News::Waits { subject, text } => state.measured.is_at(subject, text, true),
            News::DiskBegins {
                subject,
                disk,
                bytes,
            } => {
                // A disk that begins again, in another pass, is counted anew.
                let (done, total) = std::mem::replace(state.disk(subject, disk), (0, bytes));
                let measured = &mut state.measured;
                measured.done_bytes = measured.done_bytes.saturating_sub(done);
                measured.total_bytes = (measured.total_bytes + bytes).saturating_sub(total);
            }
            News::DiskAdvances {
                subject,
                disk,
                bytes,
                packed_bytes,
            } => {
                state.disk(subject, disk).0 += bytes;
                state.measured.done_bytes += bytes;
                state.measured.packed_bytes += packed_bytes;
            }
            News::Ends { subject, .. } => {
                state.disks.retain(|(of, _), _| of != subject);
                state.measured.subjects_done += 1;
            }
            News::DiskEnds { .. } | News::Merging { .. } | News::Warning { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_begins_again_is_counted_anew() {
        let meter = Meter::new(1, |_| {});
        let begins = |bytes| News::DiskBegins {
            subject: "web",
            disk: 0,
            bytes,
        };
        let advances = News::DiskAdvances {
            subject: "web",
            disk: 0,
            bytes: 40,
            packed_bytes: 7,
        };
        meter.hear(&begins(100));
        meter.hear(&advances);
        assert_eq!(meter.measured().percent, 40.0);
        meter.hear(&begins(60));
        let measured = meter.measured();
        assert_eq!((measured.done_bytes, measured.total_bytes), (0, 60));
        assert_eq!(measured.packed_bytes, 7);
    }

    #[test]
    fn disks_with_names_are_told_of_until_their_subject_is_over() {
        let meter = Meter::new(1, |_| {});
        assert_eq!(meter.measured().disks, None);
        meter.name_disks(
            "web",
            vec!["system.vhdx".to_owned(), "data.vhdx".to_owned()],
        );
        for (subject, disk) in [("web", 1), ("web", 2), ("nameless", 0)] {
            meter.hear(&News::DiskBegins {
                subject,
                disk,
                bytes: 100,
            });
        }
        meter.hear(&News::DiskAdvances {
            subject: "web",
            disk: 1,
            bytes: 40,
            packed_bytes: 7,
        });
        let disk = MeasuredDisk {
            subject: "web".to_owned(),
            name: "data.vhdx".to_owned(),
            done_bytes: 40,
            total_bytes: 100,
        };
        assert_eq!(meter.measured().disks, Some(vec![disk]));
        meter.hear(&News::Ends {
            subject: "web",
            done: true,
        });
        assert_eq!(meter.measured().disks, Some(Vec::new()));
    }

    #[test]
    fn each_vm_counts_the_same() {
        let meter = Meter::new(4, |_| {});
        meter.hear(&News::DiskBegins {
            subject: "a",
            disk: 0,
            bytes: 10,
        });
        meter.hear(&News::DiskAdvances {
            subject: "a",
            disk: 0,
            bytes: 5,
            packed_bytes: 0,
        });
        assert_eq!(meter.measured().percent, 12.5);
        meter.hear(&News::Ends {
            subject: "a",
            done: true,
        });
        assert_eq!(meter.measured().percent, 25.0);
    }
}
