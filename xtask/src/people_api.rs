//! Schemathesis, which calls every route of the server's people's API as its OpenAPI document has them, and more so as
//! it has not. A part of the long check; the everyday check knows nothing of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::commands::{cargo, succeeds};

/// What the cases are made up from.
const SEEDS: &str = "1";

/// Builds the server and lets Schemathesis call it; `false` if that found a failure or an answer that is not described.
pub fn is_as_described(root: &Path) -> Result<bool> {
    let mut build = cargo(root);
    if !succeeds(build.args(["build", "--locked", "--package", "control_plane"]))? {
        return Ok(false);
    }
    let tools = std::env::var_os("E3_TEST_TOOLS")
        .context("E3_TEST_TOOLS is not set; run `./check --long`, which installs Schemathesis")?;
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root.join("target"), |it| root.join(it));
    let mut run = Command::new(root.join("apps/control_plane/tests/schemathesis/run"));
    run.current_dir(root)
        .arg("--server")
        .arg(target.join("debug/e3-control-plane"))
        .arg("--schemathesis")
        .arg(PathBuf::from(tools).join("schemathesis"));
    succeeds(run.args(["--seeds", SEEDS]))
}
