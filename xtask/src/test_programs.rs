//! Runs the tests of this system: all test programs are built in one go, and each runs as soon as it
//! is built, several beside each other, since they wait more than they compute. What each prints is
//! shown whole when it ends.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::commands::cargo;
use crate::test_totals::{TestTotals, run_counted};

/// So many programs run beside each other; each runs its own tests on all cores.
const AT_ONCE: usize = 2;

/// Tests whose server stands on SQLite, and once more on PostgreSQL.
const ON_BOTH_DATABASES: [&str; 3] = [
    "apps/control_plane/tests/people/main.rs",
    "apps/control_plane/tests/things/main.rs",
    "apps/control_plane/tests/watch/main.rs",
];

/// A program that was built to be run as a test.
#[derive(Debug, PartialEq, Eq)]
struct TestProgram {
    /// The executable.
    path: PathBuf,
    /// The package's folder, in which its tests expect to be run.
    package: PathBuf,
    /// What it is made from, for people.
    source: String,
}

/// Runs all tests with `variables` in their environment, and adds their results to `totals`; tells
/// whether they passed.
pub fn run(root: &Path, variables: &[(&str, &str)], totals: &mut TestTotals) -> Result<bool> {
    let (built, queue) = mpsc::channel();
    let queue = Mutex::new(queue);
    let passed = std::thread::scope(|scope| {
        let builder = scope.spawn(move || build(root, &built));
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| scope.spawn(|| work(&queue, variables)))
            .collect();
        let mut passed = true;
        for worker in workers {
            let (worker_passed, found) =
                worker.join().expect("a worker reports, and never panics")?;
            passed &= worker_passed;
            totals.add(&found);
        }
        let all_built = builder.join().expect("a builder reports as well")?;
        anyhow::Ok(passed && all_built)
    })?;
    let mut examples = cargo(root);
    examples
        .args(["test", "--workspace", "--doc", "--no-fail-fast", "--locked"])
        .envs(variables.iter().copied());
    Ok(run_counted(&mut examples, totals)? && passed)
}

/// Builds every test program of the workspace, hands each out as soon as it is there, and tells
/// whether all could be built.
fn build(root: &Path, built: &Sender<TestProgram>) -> Result<bool> {
    let mut command = cargo(root);
    command.args([
        "test",
        "--workspace",
        "--no-run",
        "--locked",
        "--no-fail-fast",
    ]);
    command.arg("--message-format=json-render-diagnostics");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start the compiler")?;
    let messages = child
        .stdout
        .take()
        .context("failed to read what was built")?;
    for line in BufReader::new(messages).lines() {
        let line = line.context("failed to read what was built")?;
        let message = serde_json::from_str(&line).context("cargo said what is no JSON")?;
        if let Some(program) = test_program(&message, root) {
            // Nobody takes it if the workers failed, who tell why.
            let _ = built.send(program);
        }
    }
    let status = child.wait().context("failed to wait for the compiler")?;
    Ok(status.success())
}

/// Returns the test program that a message of cargo's tells of, if it does.
fn test_program(message: &Value, root: &Path) -> Option<TestProgram> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let package = Path::new(message["manifest_path"].as_str()?).parent()?;
    let source = Path::new(message["target"]["src_path"].as_str()?);
    Some(TestProgram {
        path,
        package: package.to_owned(),
        source: source
            .strip_prefix(root)
            .unwrap_or(source)
            .display()
            .to_string(),
    })
}

/// What a program runs on, in words and as variables of its environment.
type On = (&'static str, &'static [(&'static str, &'static str)]);

/// Returns on which databases a program is run, one after the other; most have none.
fn databases_of(program: &TestProgram) -> &'static [On] {
    const ALONE: On = ("", &[]);
    const POSTGRESQL: On = (" on PostgreSQL", &[("E3_TEST_DATABASE", "postgresql")]);
    match ON_BOTH_DATABASES.contains(&program.source.as_str()) {
        true => &[ALONE, POSTGRESQL],
        false => &[ALONE],
    }
}

/// Runs programs until none is left to come.
fn work(
    queue: &Mutex<Receiver<TestProgram>>,
    variables: &[(&str, &str)],
) -> Result<(bool, TestTotals)> {
    let mut totals = TestTotals::default();
    let mut passed = true;
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(program) = next else {
            return Ok((passed, totals));
        };
        for (on, also) in databases_of(&program) {
            let (program_passed, output) = run_program(&program, &[variables, also].concat())?;
            let mut found = TestTotals::default();
            output.lines().for_each(|line| found.add_line(line));
            let verdict = if program_passed { "passed" } else { "FAILED" };
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "\n-- {}{on} {verdict}\n{output}", program.source)?;
            passed &= program_passed && found.failed == 0;
            totals.add(&found);
        }
    }
}

/// Runs a program and returns whether it passed, and all that it printed.
fn run_program(program: &TestProgram, variables: &[(&str, &str)]) -> Result<(bool, String)> {
    let failed = || format!("failed to run {}", program.path.display());
    let (mut reader, writer) = io::pipe().with_context(failed)?;
    let mut command = Command::new(&program.path);
    command
        .current_dir(&program.package)
        .env("CARGO_MANIFEST_DIR", &program.package)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(writer.try_clone().with_context(failed)?)
        .stderr(writer);
    let mut child = command.spawn().with_context(failed)?;
    // It holds the pipe's other end, and the output would never end.
    drop(command);
    let mut output = Vec::new();
    reader.read_to_end(&mut output).with_context(failed)?;
    let status = child.wait().with_context(failed)?;
    let mut output = String::from_utf8_lossy(&output).into_owned();
    if !status.success() {
        output.push_str(&format!("{}: {status}\n", program.source));
    }
    Ok((status.success(), output))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn artifact(is_test: bool, executable: Value) -> Value {
        json!({
            "reason": "compiler-artifact",
            "manifest_path": "/house/storage/blob/Cargo.toml",
            "target": {"src_path": "/house/storage/blob/src/lib.rs"},
            "profile": {"test": is_test},
            "executable": executable,
        })
    }

    #[test]
    fn only_programs_made_for_testing_are_run() {
        let found = |message: Value| test_program(&message, Path::new("/house"));
        let expected = TestProgram {
            path: "/house/target/debug/deps/blob-1".into(),
            package: "/house/storage/blob".into(),
            source: "storage/blob/src/lib.rs".to_owned(),
        };
        let executable = json!("/house/target/debug/deps/blob-1");
        assert_eq!(found(artifact(true, executable.clone())), Some(expected));
        assert_eq!(found(artifact(false, executable)), None);
        assert_eq!(found(artifact(true, Value::Null)), None);
        assert_eq!(found(json!({"reason": "build-finished"})), None);
    }

    #[test]
    fn a_program_that_fails_is_named_with_what_it_printed() {
        let program = TestProgram {
            path: "/bin/sh".into(),
            package: "/".into(),
            source: "a/test.rs".to_owned(),
        };
        let (passed, output) = run_program(&program, &[]).unwrap();
        assert!(passed, "{output}");
        let missing = TestProgram {
            path: "/nowhere/at/all".into(),
            ..program
        };
        assert!(run_program(&missing, &[]).is_err());
        let failing = TestProgram {
            path: "/bin/false".into(),
            ..missing
        };
        let (passed, output) = run_program(&failing, &[]).unwrap();
        assert!(
            !passed && output.contains("a/test.rs: exit status: 1"),
            "{output}"
        );
    }
}
