//! Running a test in a copy of this program that finds the DLL beside it.

use std::path::PathBuf;
use std::process::Command;

/// Names the folder of the simulated machine, for the DLL and for the test.
const FOLDER: &str = "E3_FAKE_VOLUMES";
const MANNERS: &str = "E3_FAKE_VSS_MANNERS";

/// Runs `work` beside the DLL, with switches of the model as the DLL takes them. `test` is the
/// name of the test that calls.
pub fn apart(test: &str, manners: &str, work: impl FnOnce()) {
    if std::env::var_os(FOLDER).is_some() {
        return work();
    }
    let folder = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let copy = folder.path().join("test.exe");
    std::fs::copy(&this, &copy).unwrap();
    let dll = this.with_file_name("fake_vssapi.dll");
    std::fs::copy(dll, folder.path().join("vssapi.dll")).unwrap();
    let machine = folder.path().join("machine");
    std::fs::create_dir(&machine).unwrap();
    let ran = Command::new(copy)
        .args([test, "--exact", "--nocapture"])
        .env(FOLDER, &machine)
        .env(MANNERS, manners)
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("1 passed"), "the test did not run: {said}");
}

/// Returns the folder of the simulated machine, emptied.
pub fn machine_folder() -> PathBuf {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from).unwrap();
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir(&folder).unwrap();
    folder
}
