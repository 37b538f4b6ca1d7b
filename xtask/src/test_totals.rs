//! The sum of what `cargo test` reports, one closing line for each test program.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// How many tests passed and failed, over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TestTotals {
    /// Tests that ran and held.
    pub passed: u64,
    /// Tests that ran and did not hold.
    pub failed: u64,
}

/// Runs a command of `cargo test`, showing what it prints, and adds its results to `totals`; tells
/// whether it passed.
pub fn run_counted(command: &mut Command, totals: &mut TestTotals) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start the tests")?;
    let output = child
        .stdout
        .take()
        .context("failed to read the tests' output")?;
    let mut found = TestTotals::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("failed to read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        found.add_line(&line);
    }
    let status = child.wait().context("failed to wait for the tests")?;
    totals.add(&found);
    Ok(status.success() && found.failed == 0)
}

impl TestTotals {
    /// Adds the tests of another run.
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Adds a line of `cargo test`'s output, if it is a test program's closing line.
    pub fn add_line(&mut self, line: &str) {
        let Some(rest) = line.trim_start().strip_prefix("test result: ") else {
            return;
        };
        let Some((_, counts)) = rest.split_once(". ") else {
            return;
        };
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let (Some(number), Some(name)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match name {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for TestTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_and_others_ignored() {
        let mut totals = TestTotals::default();
        for line in [
            "running 3 tests",
            "test a::test_result ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.01s",
            "test result: nonsense",
            "test result: ok. x passed; 9",
        ] {
            totals.add_line(line);
        }
        assert_eq!(
            totals,
            TestTotals {
                passed: 13,
                failed: 2
            }
        );
        assert_eq!(totals.to_string(), "13 passed, 2 failed");
    }
}
