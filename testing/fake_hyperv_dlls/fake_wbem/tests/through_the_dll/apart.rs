//! Running a test in a process of its own: the model in the DLL is one for its whole process.

use std::path::PathBuf;
use std::process::Command;

/// Names the folder of the simulated host, for the DLL and for the test.
const HOST: &str = "E3_FAKE_HYPERV";
const MANNERS: &str = "E3_FAKE_HYPERV_MANNERS";

/// Runs `work` in a copy of this program, with switches of the model as the DLL takes them.
/// `test` is the name of the test that calls.
pub fn apart(test: &str, manners: &str, work: impl FnOnce()) {
    if std::env::var_os(HOST).is_some() {
        return work();
    }
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("host");
    std::fs::create_dir(&host).unwrap();
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(HOST, &host)
        .env(MANNERS, manners)
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("1 passed"), "the test did not run: {said}");
}

/// Returns the folder of the simulated host.
pub fn host_folder() -> PathBuf {
    std::env::var_os(HOST).map(PathBuf::from).unwrap()
}
