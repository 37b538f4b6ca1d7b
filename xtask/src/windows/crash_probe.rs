//! Proves, before any test is believed, that a program which dies under Wine is seen to have failed.
//!
//! As wine comes, a program that dies of an access violation often ends with status 0, and a crashed
//! test would pass.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::toolchain::Toolchain;
use super::wine_prefix::WinePrefix;
use crate::commands::quietly;

/// What Rust's panics end a program with.
const PANIC_STATUS: i32 = 101;
/// Wine as it comes was seen to miss one crash in five, so once proves nothing.
const ROUNDS: u32 = 10;

const WELL: &str = r#"fn main() { println!("well"); }"#;
const PANIC: &str = r#"fn main() { panic!("on purpose"); }"#;
/// In C, since safe Rust cannot.
const ACCESS_VIOLATION: &str = "int main(void) { *(volatile int *)0 = 1; return 0; }\n";

/// Runs three programs: one that is well, one that panics, one that dies.
pub fn check(toolchain: &Toolchain, prefix: &WinePrefix) -> Result<()> {
    let folder = toolchain.target_folder().join("crash_probe");
    fs::create_dir_all(&folder).context("failed to make a folder for programs that die")?;
    let compiled = |name: &str, text: &str| -> Result<_> {
        let source = folder.join(format!("{name}.rs"));
        let program = folder.join(format!("{name}.exe"));
        fs::write(&source, text)?;
        toolchain.compile(&source, &program)?;
        Ok(program)
    };
    let well = status(prefix, &compiled("well", WELL)?)?;
    ensure!(
        well == 0,
        "a program that is well ends with {well} under wine"
    );
    let panic = status(prefix, &compiled("panic", PANIC)?)?;
    ensure!(
        panic == PANIC_STATUS,
        "a program that panics ends with {panic} under wine, not with {PANIC_STATUS}"
    );

    let source = folder.join("access_violation.c");
    let program = folder.join("access_violation.exe");
    fs::write(&source, ACCESS_VIOLATION)?;
    let mut compile = Command::new("x86_64-w64-mingw32-gcc");
    quietly(compile.arg("-o").arg(&program).arg(&source))?;
    for _ in 0..ROUNDS {
        let died = status(prefix, &program)?;
        ensure!(
            died != 0,
            "a program that dies of an access violation ends with 0 under wine: no test could be believed"
        );
    }
    Ok(())
}

fn status(prefix: &WinePrefix, program: &Path) -> Result<i32> {
    let mut run = Command::new("wine");
    let output = prefix
        .enter(&mut run)
        .arg(program)
        .output()
        .context("failed to start wine")?;
    output.status.code().context("wine was killed by a signal")
}
