//! Progress on stderr: bars on a terminal, now and then a line elsewhere.

mod bars;
mod lines;

use std::io::IsTerminal as _;

use progress::{Monitor, News};
use time_and_chance::SharedClock;

use bars::Bars;
use lines::Lines;

use crate::stderr;

/// What the parts of the work are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subjects {
    /// VMs or files with numbered disks.
    Disks,
    /// Things without parts.
    Wholes,
}

impl Subjects {
    /// Returns what a part is called.
    fn label(self, subject: &str, disk: u32) -> String {
        match self {
            Self::Disks if subject.is_empty() => format!("disk {disk}"),
            Self::Disks => format!("{subject}: disk {disk}"),
            Self::Wholes => subject.to_owned(),
        }
    }
}

/// Shows what a run says.
#[derive(Debug)]
pub struct Display {
    form: Form,
}

#[derive(Debug)]
enum Form {
    Bars(Bars),
    Lines(Lines),
}

impl Display {
    /// Returns a display that suits what stderr is.
    pub fn new(clock: SharedClock, subjects: Subjects) -> Self {
        let form = if std::io::stderr().is_terminal() {
            Form::Bars(Bars::new(subjects))
        } else {
            Form::Lines(Lines::new(clock, subjects))
        };
        Self { form }
    }
}

impl Monitor for Display {
    fn hear(&self, news: &News<'_>) {
        match &self.form {
            Form::Bars(bars) => bars.hear(news),
            Form::Lines(lines) => {
                if let Some(line) = lines.hear(news) {
                    stderr::say(&line);
                }
            }
        }
    }
}

/// Returns a line about a subject, which may have no name.
fn about(subject: &str, text: &str) -> String {
    if subject.is_empty() {
        text.to_owned()
    } else {
        format!("{subject}: {text}")
    }
}
