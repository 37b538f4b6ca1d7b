//! Looking for leaks in a process in which nothing else goes on.

mod process;

use std::process::Command;

use windows_host::calls;

use process::Bounds;

/// Says that this process runs one test alone.
const ALONE: &str = "E3_TEST_ALONE";

/// Calls a thousand times, then as often again, or to ten thousand in the long form: the second
/// round must gain nothing.
pub fn gains_nothing(what: &str, call: impl FnMut()) {
    let bounds = Bounds {
        first: 1_000,
        handles: 64,
    };
    process::gains_nothing(what, bounds, call);
}

/// Runs one test of this program alone, in a process of its own: others beside it would be
/// counted, too. `looks` is called in that process.
pub fn alone(test: &str, looks: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        looks();
        for (wrapper, calls) in calls::counted() {
            println!("{wrapper}: {calls} calls");
        }
        return;
    }
    let program = std::env::current_exe().expect("we are a program");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]);
    command.env(ALONE, "1");
    let status = wine::begun(|| command.status());
    assert!(status.expect("it can be run").success());
}
