//! How much of what wraps Windows' calls a test run under Wine has reached.
//!
//! Each wrapper counts its calls by a name that stands in the sources; the processes of a run
//! note each name they meet in one file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// What the crate that counts takes the file's name from.
const VARIABLE: &str = "E3_CALL_LOG";
const SOURCES: &str = "hosts/windows_host/src";
const COUNTED: &str = "calls::count(\"";
/// So much of all must be reached, in hundredths.
const REACHED_MIN: usize = 80;

/// Wrappers that no test under Wine can be seen to reach, and why.
const OUT_OF_REACH: [(&str, &str); 5] = [
    (
        "service.report",
        "called in the process that the service manager starts, which is not told of the log",
    ),
    ("event_channel.next", NO_CHANNELS),
    ("event_channel.publisher", NO_CHANNELS),
    ("event_channel.render", NO_CHANNELS),
    ("event_channel.message", NO_CHANNELS),
];
const NO_CHANNELS: &str = "wine opens no channel of the event log";

/// The file in which calls are noted.
pub struct CallLog {
    path: PathBuf,
}

impl CallLog {
    /// Returns an empty log beside what is built.
    pub fn new(target: &Path) -> Result<Self> {
        let path = target.join("calls.log");
        fs::write(&path, "").with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Self { path })
    }

    /// Has a command under Wine note its calls.
    pub fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        // As programs under Wine see the root.
        let path = format!("Z:{}", self.path.display()).replace('/', "\\");
        command.env(VARIABLE, path)
    }

    /// Prints what was reached; `false` if it is too little.
    pub fn judge(&self, root: &Path) -> Result<bool> {
        let noted = fs::read_to_string(&self.path)
            .with_context(|| format!("failed to read {}", self.path.display()))?;
        let mut all = BTreeSet::new();
        wrappers(&root.join(SOURCES), &mut all)?;
        let (report, enough) = judgement(&all, &noted);
        println!("{report}");
        Ok(enough)
    }
}

fn judgement(all: &BTreeSet<String>, noted: &str) -> (String, bool) {
    let noted: BTreeSet<&str> = noted.lines().collect();
    let (reached, missed): (Vec<&String>, Vec<&String>) =
        all.iter().partition(|name| noted.contains(name.as_str()));
    let mut report = format!(
        "\nwrappers of Windows' calls: {} of {} called under Wine",
        reached.len(),
        all.len()
    );
    for name in missed {
        let known = OUT_OF_REACH.iter().find(|(known, _)| known == name);
        let reason = known.map_or("no test reaches it", |(_, reason)| reason);
        report += &format!("\nnot called: {name}: {reason}");
    }
    (report, reached.len() * 100 >= all.len() * REACHED_MIN)
}

/// Adds the names by which the sources below `folder` count.
fn wrappers(folder: &Path, all: &mut BTreeSet<String>) -> Result<()> {
    let failed = || format!("failed to read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.is_dir() {
            wrappers(&path, all)?;
            continue;
        }
        let source = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let names = source.split(COUNTED).skip(1);
        all.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_of_five_are_enough_and_three_are_not() {
        let all: BTreeSet<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let (report, enough) = judgement(&all, "d\na\nc\nb\na\nother\n");
        assert!(enough, "{report}");
        assert!(report.contains("4 of 5"), "{report}");
        assert!(report.contains("not called: e: no test"), "{report}");
        assert!(!judgement(&all, "a\nb\nc\n").1);
    }

    #[test]
    fn wrappers_are_found_in_the_sources() {
        let mut all = BTreeSet::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        wrappers(&root.join(SOURCES), &mut all).expect("the sources are there");
        assert!(all.contains("wmi.exec_query"), "{all:?}");
        assert!(all.contains("dpapi.protect"), "{all:?}");
    }
}
