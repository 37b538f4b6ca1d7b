//! Compiling for Windows while something else goes on: lints first, then the tests, which are not run.
//!
//! What the compiler says goes into a file and is shown at the end, whole, so that two outputs
//! never mix.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use super::{lints, prepared, test_run};
use crate::commands::succeeds;

/// Work that goes on by itself.
pub struct Ahead {
    log: PathBuf,
    lints: JoinHandle<Result<bool>>,
}

impl Ahead {
    /// Makes what compiling needs, then begins to compile.
    pub fn start(root: &Path) -> Result<Self> {
        let toolchain = prepared(root)?;
        let folder = toolchain.target_folder();
        fs::create_dir_all(&folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
        let log = folder.join("ahead.log");
        let output =
            File::create(&log).with_context(|| format!("failed to make {}", log.display()))?;
        let mut steps = [lints(&toolchain), test_run::compiling(&toolchain)];
        for step in &mut steps {
            into(step, &output)?;
        }
        let [mut lints, mut tests] = steps;
        let lints = std::thread::spawn(move || {
            let held = succeeds(&mut lints)?;
            // If it fails, the run of the tests compiles again and shows why.
            let _ = succeeds(&mut tests)?;
            Ok(held)
        });
        Ok(Self { log, lints })
    }

    /// Waits for the end and shows what was said; `false` if a lint was broken.
    pub fn finish(self) -> Result<bool> {
        let held = self
            .lints
            .join()
            .map_err(|_| anyhow!("compiling for Windows ended in a panic"))??;
        let said = fs::read(&self.log)
            .with_context(|| format!("failed to read {}", self.log.display()))?;
        print!("{}", String::from_utf8_lossy(&said));
        Ok(held)
    }
}

fn into(command: &mut Command, output: &File) -> Result<()> {
    let handle = || output.try_clone().context("failed to share the log");
    command.stdout(handle()?).stderr(handle()?);
    Ok(())
}
