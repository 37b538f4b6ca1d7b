//! Everything a change must pass, in one run: format, tidy, lints, docs, tests.
//!
//! A step that fails does not stop the ones after it, so that one run tells everything. The
//! cheap ones come first; the tests' totals come last, alone on their line.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::test_totals::TestTotals;
use crate::tidy;

/// How much the tests do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// What every change must pass.
    Short,
    /// Also storms, scale and fuzzing in full: tests see `E3_TEST_LONG=1`.
    Long,
}

/// Runs all steps; `false` if any of them failed.
pub fn run(root: &Path, length: Length) -> Result<bool> {
    let mut failed: Vec<&str> = Vec::new();

    heading("format");
    if !succeeds(cargo(root).args(["fmt", "--all", "--check"]))? {
        failed.push("format");
    }
    heading("tidy");
    if !tidy::run(root)? {
        failed.push("tidy");
    }
    heading("lints");
    let mut lints = cargo(root);
    lints.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]);
    if !succeeds(&mut lints)? {
        failed.push("lints");
    }
    heading("docs");
    let mut docs = cargo(root);
    docs.args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings");
    if !succeeds(&mut docs)? {
        failed.push("docs");
    }
    heading("tests");
    let (passed, totals) = tests(root, length)?;
    if !passed {
        failed.push("tests");
    }

    println!();
    if failed.is_empty() {
        println!("all checks passed");
    } else {
        println!("failed: {}", failed.join(", "));
    }
    println!("{totals}");
    Ok(failed.is_empty())
}

fn heading(step: &str) {
    println!("\n== {step}");
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {command:?}"))?;
    Ok(status.success())
}

/// Runs all tests, showing what they print, and adds up their results. A run in which no test
/// ran has not passed, whatever its exit status says.
fn tests(root: &Path, length: Length) -> Result<(bool, TestTotals)> {
    let mut command = cargo(root);
    command
        .args(["test", "--workspace", "--no-fail-fast", "--locked"])
        .stdout(Stdio::piped());
    if length == Length::Long {
        command.env("E3_TEST_LONG", "1");
    }
    let mut child = command.spawn().context("failed to start the tests")?;
    let output = child
        .stdout
        .take()
        .context("failed to read the tests' output")?;
    let mut totals = TestTotals::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("failed to read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.add_line(&line);
    }
    let status = child.wait().context("failed to wait for the tests")?;
    Ok((
        status.success() && totals.failed == 0 && totals.passed > 0,
        totals,
    ))
}
