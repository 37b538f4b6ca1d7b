//! The sum of what `cargo test` reports, one closing line for each test program.

use std::fmt;

/// How many tests passed and failed, over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TestTotals {
    /// Tests that ran and held.
    pub passed: u64,
    /// Tests that ran and did not hold.
    pub failed: u64,
}

impl TestTotals {
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
