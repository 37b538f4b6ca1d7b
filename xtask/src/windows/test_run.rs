//! Which tests run under Wine: those of crates whose code differs between systems.
//!
//! What wine cannot do is left out by name, with the reason printed. Everything else is tested on
//! Linux, where it is the same code.

use anyhow::Result;

use super::toolchain::{PROFILE, Toolchain};
use super::wine_prefix::WinePrefix;
use crate::commands::succeeds;
use crate::test_totals::{TestTotals, run_counted};

/// Crates that hold code of their own for Windows, or whose files meet the system's.
const PACKAGES: [&str; 6] = ["local_file", "blob", "hyperv", "backup", "restore", "cli"];

/// A test that cannot hold under wine.
struct LeftOut {
    package: &'static str,
    test: &'static str,
    reason: &'static str,
}

const LEFT_OUT: [LeftOut; 0] = [];

/// Returns the crates as cargo takes them.
pub fn packages() -> Vec<&'static str> {
    PACKAGES.iter().flat_map(|it| ["--package", it]).collect()
}

/// Builds all, then runs each crate's tests; what `chosen` says, in cargo's words, instead if it
/// says anything.
pub fn run(
    toolchain: &Toolchain,
    prefix: &WinePrefix,
    chosen: &[&str],
) -> Result<(bool, TestTotals)> {
    let mut totals = TestTotals::default();
    let run_one = |arguments: &[&str], totals: &mut TestTotals| {
        let mut tests = toolchain.cargo();
        prefix.enter(&mut tests);
        tests
            .args(["test", "--locked", "--no-fail-fast", "--profile", PROFILE])
            .args(arguments)
            // Servers of the Linux tests, and their long form, are not for here.
            .env_remove("E3_TEST_TOOLS")
            .env_remove("E3_TEST_LONG");
        run_counted(&mut tests, totals)
    };
    if !chosen.is_empty() {
        let passed = run_one(chosen, &mut totals)?;
        return Ok((passed, totals));
    }
    let mut build = toolchain.cargo();
    build
        .args([
            "test",
            "--locked",
            "--no-run",
            "--tests",
            "--profile",
            PROFILE,
        ])
        .args(packages());
    if !succeeds(&mut build)? {
        return Ok((false, totals));
    }
    let mut all_passed = true;
    for package in PACKAGES {
        let mut arguments = vec!["--tests", "--package", package, "--", "--exact"];
        for left_out in LEFT_OUT.iter().filter(|it| it.package == package) {
            println!("left out: {package} {}: {}", left_out.test, left_out.reason);
            arguments.extend(["--skip", left_out.test]);
        }
        all_passed &= run_one(&arguments, &mut totals)?;
    }
    Ok((all_passed, totals))
}
