//! What a run says while it works, and how it is told to stop.
//!
//! Engines call a [`Monitor`]; a terminal, a service or a test stands behind it. Nothing an
//! engine says here changes what it does.

mod crew;
mod work_queue;

use std::fmt::Debug;
use std::sync::Arc;

pub use crew::side_by_side;
pub use time_and_chance::{StopSignal, Stopped};
pub use work_queue::{Backlog, WorkQueue};

/// A piece of news from a run. `subject` names what it is about: a VM, a restore's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News<'a> {
    /// The subject's work begins or goes over to another phase, in words for people.
    Phase {
        /// The VM or file.
        subject: &'a str,
        /// What is being done, such as "taking a checkpoint".
        phase: &'a str,
    },
    /// The subject's work goes on when something is over that others do.
    Waits {
        /// The VM or file.
        subject: &'a str,
        /// What is waited for, such as "waiting until another run lets go of this VM".
        text: &'a str,
    },
    /// A disk's transfer begins.
    DiskBegins {
        /// The VM or file.
        subject: &'a str,
        /// The disk's number.
        disk: u32,
        /// How many bytes of the disk have to be looked at.
        bytes: u64,
    },
    /// More of a disk was transferred.
    DiskAdvances {
        /// The VM or file.
        subject: &'a str,
        /// The disk's number.
        disk: u32,
        /// How many bytes of the disk were dealt with since the last news.
        bytes: u64,
        /// How many bytes of packs that took.
        packed_bytes: u64,
    },
    /// A disk's transfer is over.
    DiskEnds {
        /// The VM or file.
        subject: &'a str,
        /// The disk's number.
        disk: u32,
    },
    /// The host merges what a checkpoint left; the subject waits for that.
    Merging {
        /// The VM.
        subject: &'a str,
        /// Percent done, if the host tells.
        percent: Option<u8>,
        /// How long the files are that are still to be merged, if that is known.
        left_bytes: Option<u64>,
    },
    /// Something an operator should know that does not end the run.
    Warning {
        /// The VM or file.
        subject: &'a str,
        /// What it is.
        text: &'a str,
    },
    /// The subject's work is over.
    Ends {
        /// The VM or file.
        subject: &'a str,
        /// Whether it is done.
        done: bool,
    },
}

/// Hears the news of runs, from many threads at once; must return quickly.
pub trait Monitor: Send + Sync + Debug {
    /// Takes a piece of news.
    fn hear(&self, news: &News<'_>);
}

/// A monitor shared by everything in one run.
pub type SharedMonitor = Arc<dyn Monitor>;

/// A monitor that hears nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn hear(&self, _: &News<'_>) {}
}

/// What every piece of work carries: whom to tell, and who may stop it.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Hears what happens.
    pub monitor: SharedMonitor,
    /// Ends the work.
    pub stop: StopSignal,
    /// What the news is about.
    pub subject: String,
}

impl Progress {
    /// Returns progress that nobody hears and nobody stops.
    pub fn silent() -> Self {
        Self {
            monitor: Arc::new(Silent),
            stop: StopSignal::new(),
            subject: String::new(),
        }
    }

    /// Returns the same progress about another subject.
    pub fn about(&self, subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            ..self.clone()
        }
    }

    /// Tells that another phase begins.
    pub fn phase(&self, phase: &str) {
        self.monitor.hear(&News::Phase {
            subject: &self.subject,
            phase,
        });
    }

    /// Tells that the work waits, and for what.
    pub fn waits(&self, text: &str) {
        self.monitor.hear(&News::Waits {
            subject: &self.subject,
            text,
        });
    }

    /// Tells something an operator should know.
    pub fn warning(&self, text: &str) {
        self.monitor.hear(&News::Warning {
            subject: &self.subject,
            text,
        });
    }

    /// Tells that a disk's transfer begins.
    pub fn disk_begins(&self, disk: u32, bytes: u64) {
        self.monitor.hear(&News::DiskBegins {
            subject: &self.subject,
            disk,
            bytes,
        });
    }

    /// Tells that more of a disk was transferred.
    pub fn disk_advances(&self, disk: u32, bytes: u64, packed_bytes: u64) {
        self.monitor.hear(&News::DiskAdvances {
            subject: &self.subject,
            disk,
            bytes,
            packed_bytes,
        });
    }

    /// Tells how far the host is with merging what a checkpoint left.
    pub fn merging(&self, percent: Option<u8>, left_bytes: Option<u64>) {
        self.monitor.hear(&News::Merging {
            subject: &self.subject,
            percent,
            left_bytes,
        });
    }

    /// Tells that a disk's transfer is over.
    pub fn disk_ends(&self, disk: u32) {
        self.monitor.hear(&News::DiskEnds {
            subject: &self.subject,
            disk,
        });
    }

    /// Tells that the subject's work is over.
    pub fn ends(&self, done: bool) {
        self.monitor.hear(&News::Ends {
            subject: &self.subject,
            done,
        });
    }
}
