//! The agent for Windows, built and tested on Debian: `cargo xtask windows build|test|clippy`.
//!
//! ```text
//! packages ─► sysroot (std for Windows, built once) ─► toolchain (cargo with that std) ─► build: executable
//!                                                                                       ─► clippy
//!                                     wine_prefix (a small Windows) ─► crash_probe ───── ─► test: test_run
//! ```
//!
//! Debian's own rustc compiles for Windows, since it comes with its library's source; cargo, the lock
//! file and everything built for Linux stay as they are. [`Ahead`] compiles while other work, such as tests
//! that mostly wait, leaves processors idle.

mod ahead;
mod build_cache;
mod call_log;
mod crash_probe;
mod executable;
mod packages;
mod sysroot;
mod test_run;
mod toolchain;
mod wine_prefix;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::commands::succeeds;
use crate::test_totals::TestTotals;
pub use ahead::Ahead;
use toolchain::Toolchain;
use wine_prefix::WinePrefix;

/// Builds `e3-backup-agent.exe` as it is shipped; `false` if cargo failed or the file is not fit.
pub fn build(root: &Path) -> Result<bool> {
    Ok(shipped(&prepared(root)?)?.is_some())
}

/// Builds what is shipped and returns where it is; none if cargo failed or the file is not fit.
fn shipped(toolchain: &Toolchain) -> Result<Option<PathBuf>> {
    let mut build = toolchain.cargo();
    build.args(["build", "--release", "--locked", "--package", "cli"]);
    if !succeeds(&mut build)? {
        return Ok(None);
    }
    let shipped = executable::without_debug_data(&toolchain.executable("release"))?;
    Ok(executable::check(&shipped)?.then_some(shipped))
}

/// Lints the crates whose code differs on Windows, and all they use.
pub fn clippy(root: &Path) -> Result<bool> {
    succeeds(&mut lints(&prepared(root)?))
}

/// Runs the tests of those crates under Wine, or of what `chosen` names in cargo's words; `false`
/// if any failed.
pub fn test(root: &Path, chosen: &[&str]) -> Result<(bool, TestTotals)> {
    let toolchain = prepared(root)?;
    let prefix = WinePrefix::ready(root, &toolchain.target_folder())?;
    crash_probe::check(&toolchain, &prefix)?;
    test_run::run(root, &toolchain, &prefix, chosen)
}

/// Builds what is shipped and runs with it, under Wine, the tests that take any executable; `false` if
/// it is not fit or any failed.
pub fn test_shipped(root: &Path) -> Result<(bool, TestTotals)> {
    let toolchain = prepared(root)?;
    let Some(shipped) = shipped(&toolchain)? else {
        return Ok((false, TestTotals::default()));
    };
    let prefix = WinePrefix::ready(root, &toolchain.target_folder())?;
    crash_probe::check(&toolchain, &prefix)?;
    test_run::run_with(&toolchain, &prefix, &shipped)
}

fn lints(toolchain: &Toolchain) -> Command {
    let mut clippy = toolchain.clippy();
    clippy.args([
        "--locked",
        "--all-targets",
        "--keep-going",
        "--profile",
        toolchain::PROFILE,
    ]);
    clippy.args(test_run::packages());
    clippy.args(["--", "-D", "warnings"]);
    clippy
}

fn prepared(root: &Path) -> Result<Toolchain> {
    packages::install_missing(root)?;
    let sysroot = sysroot::ready(root)?;
    Ok(Toolchain::new(root, sysroot))
}
