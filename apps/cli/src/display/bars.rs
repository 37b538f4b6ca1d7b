//! Progress on a terminal: a bar for each disk, a line for what each subject is doing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use progress::News;

use super::{Subjects, about};
use crate::plain;

const BAR: &str = "{prefix:20!} {wide_bar} {percent:>3} %  {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
const SPINNER: &str = "{spinner} {msg}";
const TICK: Duration = Duration::from_millis(200);

/// The bars on the terminal.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    subjects: Subjects,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    phases: HashMap<String, ProgressBar>,
    disks: HashMap<(String, u32), ProgressBar>,
}

impl Bars {
    pub(super) fn new(subjects: Subjects) -> Self {
        Self {
            all: MultiProgress::new(),
            subjects,
            shown: Mutex::default(),
        }
    }

    pub(super) fn hear(&self, news: &News<'_>) {
        match *news {
            News::Phase {
                subject,
                phase: text,
            }
            | News::Waits { subject, text } => {
                let mut shown = self.lock();
                let line = shown.phases.entry(subject.to_owned()).or_insert_with(|| {
                    let line = self
                        .all
                        .add(ProgressBar::new_spinner().with_style(style(SPINNER)));
                    line.enable_steady_tick(TICK);
                    line
                });
                line.set_message(plain::line(&about(subject, text)).into_owned());
            }
            News::DiskBegins {
                subject,
                disk,
                bytes,
            } => {
                let bar = ProgressBar::new(bytes)
                    .with_style(style(BAR))
                    .with_prefix(plain::line(&self.subjects.label(subject, disk)).into_owned());
                let bar = self.all.add(bar);
                if let Some(old) = self.lock().disks.insert((subject.to_owned(), disk), bar) {
                    old.finish_and_clear();
                }
            }
            News::DiskAdvances {
                subject,
                disk,
                bytes,
                ..
            } => {
                if let Some(bar) = self.lock().disks.get(&(subject.to_owned(), disk)) {
                    bar.inc(bytes);
                }
            }
            News::DiskEnds { subject, disk } => {
                if let Some(bar) = self.lock().disks.remove(&(subject.to_owned(), disk)) {
                    bar.finish_and_clear();
                }
            }
            News::Merging { .. } => {}
            News::Warning { subject, text } => {
                self.say(&format!("warning: {}", about(subject, text)))
            }
            News::Ends { subject, done } => {
                let mut shown = self.lock();
                if let Some(line) = shown.phases.remove(subject) {
                    line.finish_and_clear();
                }
                shown.disks.retain(|(of, _), bar| {
                    let stays = of != subject;
                    if !stays {
                        bar.finish_and_clear();
                    }
                    stays
                });
                drop(shown);
                if self.subjects == Subjects::Disks {
                    self.say(&about(subject, if done { "done" } else { "failed" }));
                }
            }
        }
    }

    fn say(&self, line: &str) {
        // A terminal that went away needs no lines.
        let _ = self.all.println(plain::line(line));
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown
            .lock()
            .expect("no thread panics while it shows progress")
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // A failure leaves bars behind; what follows on stderr begins on a clean line.
        let shown = self.lock();
        shown
            .phases
            .values()
            .chain(shown.disks.values())
            .for_each(ProgressBar::finish_and_clear);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("our templates are well-formed")
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_well_formed() {
        for template in [BAR, SPINNER] {
            style(template);
        }
    }
}
