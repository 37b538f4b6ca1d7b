//! Other programs: started, waited for, and failed upon with what they said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Returns cargo, the one that runs us, in the repository's root.
pub fn cargo(root: &Path) -> Command {
    compiler(
        std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        root,
    )
}

/// Returns cargo, or a command of its kind, in the repository's root.
///
/// What cargo tells the program it runs, which is us, is kept from it: build scripts that look at it, as
/// ring's does, would run again whenever somebody has called cargo by hand, and all that hangs on them be built again.
pub fn compiler(program: impl AsRef<OsStr>, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let is_of_a_package = name
            .to_str()
            .is_some_and(|it| it.starts_with("CARGO_PKG_") || it.starts_with("CARGO_MANIFEST_"));
        if is_of_a_package {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command that shows its own output; tells whether it succeeded.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {command:?}"))?;
    Ok(status.success())
}

/// Runs a command whose output matters only if it fails.
pub fn quietly(command: &mut Command) -> Result<()> {
    output_of(command).map(drop)
}

/// Runs a command that must succeed, and returns what it wrote to stdout.
pub fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("failed to start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} wrote no UTF-8"))
}
