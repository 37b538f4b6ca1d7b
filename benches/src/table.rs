//! Figures as tables of Markdown, and how amounts are written.

use std::fmt;
use std::time::Duration;

/// A theme's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it is about.
    pub heading: String,
    /// What stands in each column; the first is the work's name.
    pub columns: Vec<&'static str>,
    /// One row for each work.
    pub rows: Vec<Vec<String>>,
    /// The same drawn in text, if that helps.
    pub chart: String,
    /// What a reader must know about the figures.
    pub notes: Vec<String>,
}

impl Table {
    /// Returns a table without rows.
    pub fn new(heading: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            heading: heading.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            chart: String::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row and shows it, since the next may take minutes.
    pub fn add(&mut self, row: Vec<String>) {
        eprintln!("  {}", row.join(" | "));
        self.rows.push(row);
    }

    /// Adds a note and shows it.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        eprintln!("  {note}");
        self.notes.push(note);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n", self.heading)?;
        if !self.rows.is_empty() {
            writeln!(f, "| {} |", self.columns.join(" | "))?;
            writeln!(f, "|{}", "---|".repeat(self.columns.len()))?;
            for row in &self.rows {
                writeln!(f, "| {} |", row.join(" | "))?;
            }
            writeln!(f)?;
        }
        if !self.chart.is_empty() {
            writeln!(f, "```\n{}\n```\n", self.chart.trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        Ok(())
    }
}

/// Returns seconds with two digits that tell something, at least.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// Returns an amount in MiB.
pub fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib {
        _ if mib < 10.0 => format!("{mib:.1} MiB"),
        _ => format!("{mib:.0} MiB"),
    }
}

/// Returns how often `ours` goes into `theirs`; nothing if it cannot be told.
pub fn ratio(theirs: Duration, ours: Duration) -> String {
    match ours.is_zero() {
        true => String::new(),
        false => format!("{:.1}", theirs.as_secs_f64() / ours.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_as_markdown() {
        let mut table = Table::new("Hashes", &["hash", "MB/s"]);
        table.add(vec!["BLAKE3".into(), "4,400".into()]);
        table.note("one lane");
        let text = "### Hashes\n\n| hash | MB/s |\n|---|---|\n| BLAKE3 | 4,400 |\n\n- one lane\n";
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn amounts_keep_the_digits_that_matter() {
        assert_eq!(seconds(Duration::from_millis(784)), "0.78 s");
        assert_eq!(seconds(Duration::from_millis(20_300)), "20.3 s");
        assert_eq!(mib(131 << 20), "131 MiB");
        assert_eq!(mib(3 << 19), "1.5 MiB");
        let (theirs, ours) = (Duration::from_secs(20), Duration::from_secs(8));
        assert_eq!(ratio(theirs, ours), "2.5");
        assert_eq!(ratio(theirs, Duration::ZERO), "");
    }
}
