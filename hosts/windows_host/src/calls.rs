//! How often each wrapper of a Windows call was called: one counter per wrapper, by its name.
//!
//! A log of what a test run reached is made of it. It knows nothing of the calls themselves; what was
//! never called has no counter, so the whole list is read from the sources, not here.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Names a file that takes the name of each wrapper when this process first calls it.
pub const LOG_VARIABLE: &str = "E3_CALL_LOG";

static COUNTS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Counts one call of a wrapper, such as `wmi.exec_query`.
pub fn count(wrapper: &'static str) {
    let calls = {
        let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = counts.entry(wrapper).or_default();
        *calls += 1;
        *calls
    };
    if calls == 1 {
        note(wrapper);
    }
}

/// Returns the wrappers that were called, by name, and how often.
pub fn counted() -> Vec<(&'static str, u64)> {
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    counts.iter().map(|(name, calls)| (*name, *calls)).collect()
}

fn note(wrapper: &str) {
    static LOG: OnceLock<Option<PathBuf>> = OnceLock::new();
    let log = LOG.get_or_init(|| std::env::var_os(LOG_VARIABLE).map(PathBuf::from));
    let Some(path) = log else { return };
    // A log that cannot be written must not stop what it tells of.
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(format!("{wrapper}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrapper_has_a_counter_of_its_own() {
        count("tests.twice");
        count("tests.once");
        count("tests.twice");
        let counted: BTreeMap<_, _> = counted().into_iter().collect();
        assert_eq!(counted["tests.twice"], 2);
        assert_eq!(counted["tests.once"], 1);
        assert!(!counted.contains_key("tests.never"));
    }
}
