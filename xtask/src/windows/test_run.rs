//! Which tests run under Wine: those of crates whose code differs between systems.
//!
//! What wine cannot do is left out by name, with the reason printed. Everything else is tested on
//! Linux, where it is the same code.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::call_log::CallLog;
use super::executable;
use super::toolchain::{PROFILE, Toolchain};
use super::wine_prefix::WinePrefix;
use crate::test_totals::{TestTotals, run_counted};

/// Crates that hold code of their own for Windows, or whose files meet the system's.
const PACKAGES: [&str; 11] = [
    "local_file",
    "blob",
    "hyperv",
    "volume",
    "windows_host",
    "backup",
    "restore",
    "cli",
    "fake_virtdisk",
    "fake_vssapi",
    "fake_wbem",
];

/// What of them is tested: unit tests, and of the others those that need no server.
const TARGETS: [&str; 20] = [
    "--lib",
    "--bins",
    "--test",
    "sim",
    "--test",
    "wmi_answers",
    "--test",
    "wmi_of_this_machine",
    "--test",
    "wrappers",
    "--test",
    "files",
    "--test",
    "restore",
    "--test",
    "cli",
    "--test",
    "layout",
    "--test",
    "through_the_dll",
];

/// Names the executable to be tested; without it, it is the one that cargo builds for the tests.
const TESTED: &str = "E3_TEST_AGENT";
/// Asks for the long form of tests.
const LONG: &str = "E3_TEST_LONG";

const NO_PROGRAMS: &str = "drives programs of Linux (qemu-img, mke2fs, kill, sh)";
const NO_HOLES: &str = "holes cannot be asked for under wine, so terabytes of zeros would be read";
const NOT_THEIR_NAMES: &str = "restores names that Windows refuses";
const DEEP_PATHS: &str = "a thousand folders in each other take wine minutes";
const COARSE_TIMES: &str = "file systems of Windows keep times in steps of 100 ns";
const NO_LINKS: &str = "wine says that it has made a symbolic link to a file, and makes none";

/// Tests that are left out, by their names or the beginnings of these, and why.
const LEFT_OUT: [(&str, &str); 18] = [
    // hyperv
    ("tracking::a_huge_thin_disk_is_cheap", NO_HOLES),
    // backup
    (
        "kopia_fixtures::every_object_gets_the_id_that_kopia_gave_it",
        COARSE_TIMES,
    ),
    // restore
    ("files::present::tests::what_is_there_decides", COARSE_TIMES),
    (
        "kopia_fixtures::every_snapshot_that_kopia_wrote_is_restored",
        NOT_THEIR_NAMES,
    ),
    ("trees::a_tree_deeper_than_any_system_has", DEEP_PATHS),
    (
        "trees::small_files_that_lie_side_by_side_are_fetched",
        NO_LINKS,
    ),
    ("trees::wildcards_find_what_no_name_is", NOT_THEIR_NAMES),
    // cli
    (
        "damage::damage_is_named_nothing_false_is_restored",
        NO_PROGRAMS,
    ),
    ("damage_of_kopias::", NOT_THEIR_NAMES),
    ("end_to_end::", NO_PROGRAMS),
    ("exit_status::a_store_that_goes_away", NO_PROGRAMS),
    ("exit_status::ctrl_c_cancels_cleanly", NO_PROGRAMS),
    ("files::a_cancelled_run_leaves_no_point", NO_PROGRAMS),
    ("help::every_shell_gets_its_completions", NO_PROGRAMS),
    ("kills::", NO_PROGRAMS),
    ("kopias_own::", NOT_THEIR_NAMES),
    ("older_agent::", NO_PROGRAMS),
    ("performance::", NO_PROGRAMS),
];

/// Returns the crates as cargo takes them.
pub fn packages() -> Vec<&'static str> {
    PACKAGES.iter().flat_map(|it| ["--package", it]).collect()
}

/// Returns the command that compiles the tests exactly as [`run`] does, and runs none.
pub fn compiling(toolchain: &Toolchain) -> Command {
    let mut tests = tests(toolchain);
    tests.arg("--no-run").args(packages()).args(TARGETS);
    tests
}

/// Runs the tests, or what `chosen` says in cargo's words.
///
/// One call of cargo for all: by itself each crate would be given dependencies of fewer features,
/// built anew.
pub fn run(
    root: &Path,
    toolchain: &Toolchain,
    prefix: &WinePrefix,
    chosen: &[&str],
) -> Result<(bool, TestTotals)> {
    let mut tests = tests_under_wine(toolchain, prefix);
    let calls = CallLog::new(&toolchain.target_folder())?;
    calls.enter(&mut tests);
    if chosen.is_empty() {
        tests.args(packages()).args(TARGETS).arg("--");
        for (test, reason) in LEFT_OUT {
            println!("left out: {test}: {reason}");
            tests.args(["--skip", test]);
        }
    } else {
        // Whoever chooses may want the long form.
        if let Some(long) = std::env::var_os(LONG) {
            tests.env(LONG, long);
        }
        tests.args(chosen);
    }
    let mut totals = TestTotals::default();
    let passed = run_counted(&mut tests, &mut totals)?;
    if !chosen.is_empty() {
        return Ok((passed, totals));
    }
    let reached = calls.judge(root)?;
    // What is shipped is built by hand; that it still finds its DLLs is seen at every run.
    let starts = executable::needs_windows_alone(&toolchain.executable(PROFILE))?;
    // A run in which no test ran proves nothing.
    Ok((passed && reached && starts && totals.passed > 0, totals))
}

/// What runs with any executable: the tests of one beside our DLLs, and of one as a service.
const ANY_EXECUTABLE: [&str; 3] = [
    "on_hyperv::",
    "volumes::beside_fakes::",
    "windows_service::",
];

/// Runs the tests that take any executable with this one.
pub fn run_with(
    toolchain: &Toolchain,
    prefix: &WinePrefix,
    executable: &Path,
) -> Result<(bool, TestTotals)> {
    let mut tests = tests_under_wine(toolchain, prefix);
    tests.env(TESTED, executable);
    // All crates, as ever: each by itself would be given other dependencies.
    tests.args(packages());
    tests.args(["--test", "cli", "--"]).args(ANY_EXECUTABLE);
    let mut totals = TestTotals::default();
    let passed = run_counted(&mut tests, &mut totals)?;
    Ok((passed && totals.passed > 0, totals))
}

fn tests_under_wine(toolchain: &Toolchain, prefix: &WinePrefix) -> Command {
    let mut tests = tests(toolchain);
    prefix
        .enter(&mut tests)
        // Servers of the Linux tests, and their long form, are not for here; nor is another
        // executable, unless it is asked for.
        .env_remove("E3_TEST_TOOLS")
        .env_remove(LONG)
        .env_remove(TESTED);
    tests
}

fn tests(toolchain: &Toolchain) -> Command {
    let mut tests = toolchain.cargo();
    tests.args(["test", "--locked", "--no-fail-fast", "--profile", PROFILE]);
    tests
}
