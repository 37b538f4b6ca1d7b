//! Everything a change must pass, in one run: format, tidy, lints, docs, tests, and
//! the lints and tests of what differs on Windows.
//!
//! A step that fails does not stop the ones after it, so that one run tells everything. The
//! cheap ones come first; the tests' totals come last, alone on their line.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::commands::{cargo, succeeds};
use crate::test_totals::TestTotals;
use crate::{dashboard, people_api, test_programs, tidy, windows};

/// How much the tests do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// What every change must pass.
    Short,
    /// Also storms, scale and fuzzing in full: tests see `E3_TEST_LONG=1`. Schemathesis calls the server, the dashboard is
    /// built again and looked at in a browser, and the server stands a short load.
    Long,
}

/// Runs all steps; `false` if any of them failed.
pub fn run(root: &Path, length: Length) -> Result<bool> {
    let begun = now();
    let mut failed: Vec<&str> = Vec::new();
    heading("format", begun);
    if !succeeds(cargo(root).args(["fmt", "--all", "--check"]))? {
        failed.push("format");
    }
    heading("tidy", begun);
    if !tidy::run(root)? {
        failed.push("tidy");
    }
    heading("lints", begun);
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
    heading("docs", begun);
    let mut docs = cargo(root);
    docs.args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings");
    if !succeeds(&mut docs)? {
        failed.push("docs");
    }
    // Tests wait more than they compute; the compiler for Windows takes what they leave.
    let for_windows = windows::Ahead::start(root)?;
    heading("tests", begun);
    let (passed, mut totals) = tests(root, length)?;
    if !passed {
        failed.push("tests");
    }
    heading("lints for Windows", begun);
    if !for_windows.finish()? {
        failed.push("lints for Windows");
    }
    heading("tests under Wine", begun);
    let (passed, under_wine) = windows::test(root, &[])?;
    if !passed {
        failed.push("tests under Wine");
    }
    totals.add(&under_wine);
    if length == Length::Long {
        failed.extend(server_steps(root, begun)?);
    }
    println!(
        "\n{} (after {} s)",
        outcome(&failed),
        begun.elapsed().as_secs()
    );
    println!("{totals}");
    Ok(failed.is_empty())
}

/// Runs what the long check adds for the server and its dashboard, by itself; `false` if any of it failed.
pub fn server(root: &Path) -> Result<bool> {
    let failed = server_steps(root, now())?;
    println!("\n{}", outcome(&failed));
    Ok(failed.is_empty())
}

fn outcome(failed: &[&str]) -> String {
    match failed {
        [] => "all checks passed".to_owned(),
        failed => format!("failed: {}", failed.join(", ")),
    }
}

/// Runs what wants Schemathesis, Node, a browser and a release build; returns what failed.
fn server_steps(root: &Path, begun: Instant) -> Result<Vec<&'static str>> {
    type Step = (&'static str, fn(&Path) -> Result<bool>);
    let steps: [Step; 4] = [
        (
            "people's API against its description",
            people_api::is_as_described,
        ),
        ("dashboard, built again", dashboard::is_as_committed),
        ("dashboard in a browser", dashboard::works_in_a_browser),
        ("load", dashboard::stands_a_load),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        heading(name, begun);
        if !step(root)? {
            failed.push(name);
        }
    }
    Ok(failed)
}

#[expect(
    clippy::disallowed_methods,
    reason = "people are told how long a check takes, and nothing else hangs on it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Says what comes, and after how long.
fn heading(step: &str, begun: Instant) {
    println!("\n== {step} (after {} s)", begun.elapsed().as_secs());
}

/// Runs all tests for this system. A run in which no test ran has not passed, whatever its exit
/// status says.
fn tests(root: &Path, length: Length) -> Result<(bool, TestTotals)> {
    let variables: &[_] = match length {
        Length::Short => &[],
        Length::Long => &[("E3_TEST_LONG", "1")],
    };
    let mut totals = TestTotals::default();
    let passed = test_programs::run(root, variables, &mut totals)?;
    Ok((passed && totals.passed > 0, totals))
}
