//! Running a test of a DLL in a process of its own: the model in a DLL is one for its whole process.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::environment::{HOST_VARIABLE, MANNERS_VARIABLE, machine_folder};

/// A DLL by its name as it is built, beside the test's program, and as programs look for it.
#[derive(Debug, Clone, Copy)]
pub struct Dll {
    /// As it is built.
    pub built: &'static str,
    /// As it is looked for.
    pub wanted: &'static str,
}

/// Runs `work` in another process that finds the DLL beside its program, with these manners of the
/// model. `test` is the name of the test that calls.
///
/// # Panics
/// If the test fails there, or cannot be run.
pub fn apart(dll: Dll, test: &str, manners: &str, work: impl FnOnce()) {
    if machine_folder().is_some() {
        return work();
    }
    let folder = tempfile::tempdir().expect("a test can make a folder");
    let host = folder.path().join("host");
    fs::create_dir(&host).expect("a test can make a folder");
    let mut program = std::env::current_exe().expect("a test is a program");
    if dll.built != dll.wanted {
        let copy = folder.path().join("test.exe");
        fs::copy(&program, &copy).expect("a program can be copied");
        let beside = copy.with_file_name(dll.wanted);
        fs::copy(program.with_file_name(dll.built), beside).expect("the DLL is built");
        program = copy;
    }
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture"]);
    command.env(HOST_VARIABLE, &host);
    command.env(MANNERS_VARIABLE, manners);
    let ran = wine::begun(|| command.output()).expect("a test can be run");
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    print!("{said}");
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("1 passed"), "the test did not run: {said}");
}

/// Returns the folder of the simulated host, in that other process.
///
/// # Panics
/// If this process is none that [`apart`] started.
pub fn host_folder() -> PathBuf {
    machine_folder().expect("the test runs apart")
}
