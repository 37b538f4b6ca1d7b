//! Whether this process is at rest: all of its threads but the one that asks wait for something.
//!
//! Linux tells of each thread whether it waits, and how often it has begun to. A thread that waits at two
//! looks and has not begun to in between has waited all along; if all did, there was a moment between the
//! looks at which nobody had anything to do. A thread that waits for a disk counts as one that works.

use std::collections::BTreeMap;
use std::fs;

/// Looks again and again.
#[derive(Debug, Default)]
pub struct Rest {
    /// What the last look found, if all waited: how often each thread has begun to.
    last: Option<BTreeMap<String, String>>,
}

impl Rest {
    /// Returns whether the process was at rest at some moment since the last look.
    pub fn is_reached(&mut self) -> bool {
        let now = waiting();
        let is_reached = now.is_some() && now == self.last;
        self.last = if is_reached { None } else { now };
        is_reached
    }
}

/// Returns how often each thread but this one has begun to wait; `None` if one works.
fn waiting() -> Option<BTreeMap<String, String>> {
    let me = fs::read_link("/proc/thread-self").unwrap();
    let me = me.file_name().unwrap().to_owned();
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/task").unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == me {
            continue;
        }
        // One that has ended since was at work.
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|it| it.trim().to_owned())
        };
        if !of("State:")?.starts_with('S') {
            return None;
        }
        let begun = of("voluntary_ctxt_switches:")?;
        threads.insert(entry.file_name().to_string_lossy().into_owned(), begun);
    }
    Some(threads)
}
