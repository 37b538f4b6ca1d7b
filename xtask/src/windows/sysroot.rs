//! Rust's standard library for Windows, built once from Debian's source with Debian's compiler.
//!
//! The result is a sysroot: ordinary `cargo build` takes it with `--sysroot`, and nothing unstable is left
//! in daily use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::build_cache;
use super::toolchain::{RUSTC, TARGET, without_flags};
use crate::commands::{cargo, output_of, succeeds};

/// A throw-away crate that brings the library along. Line tables give backtraces with lines inside
/// std; `panic_abort` must be built for what its name says, or nothing can link it.
const MANIFEST: &str = r#"cargo-features = ["profile-rustflags"]
[package]
name = "stdbuild"
version = "0.0.0"
edition = "2021"
[workspace]
[profile.release]
debug = "line-tables-only"
[profile.release.package.panic_abort]
rustflags = ["-Cpanic=abort"]
"#;

/// libtest is among them, for tests.
const CRATES: &str = "-Zbuild-std=std,panic_unwind,panic_abort,proc_macro,test";

/// Lets the agent be optimised across crates.
const FLAGS: &str = "-Cembed-bitcode=yes";

/// Returns the sysroot's folder, building it if this compiler has none yet.
pub fn ready(root: &Path) -> Result<PathBuf> {
    let version = output_of(Command::new(RUSTC).arg("-vV"))?;
    build_cache::get_or_make(root, &format!("sysroot-{}", key(&version)), |folder| {
        println!("\n== standard library for Windows (once for each compiler; some minutes)");
        make(root, folder)
    })
}

/// What a sysroot depends on: the compiler, and how it is built.
fn key(version: &str) -> String {
    let mut hash = Sha256::new();
    for part in [version, MANIFEST, CRATES, FLAGS] {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn make(root: &Path, folder: &Path) -> Result<()> {
    let building = folder.join("building");
    fs::create_dir_all(building.join("src"))?;
    fs::write(building.join("src/lib.rs"), "")?;
    fs::write(building.join("Cargo.toml"), MANIFEST)?;
    let mut build = cargo(root);
    without_flags(&mut build)
        .current_dir(&building)
        .args(["build", "--release", CRATES, "--target", TARGET])
        .arg("--target-dir")
        .arg(building.join("target"))
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS);
    if !succeeds(&mut build)? {
        bail!("failed to build the standard library for {TARGET}");
    }
    let libraries = folder.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&libraries)?;
    let built = building.join("target").join(TARGET).join("release/deps");
    for entry in
        fs::read_dir(&built).with_context(|| format!("failed to list {}", built.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if name.ends_with(".rlib") && !name.starts_with("libstdbuild") {
            fs::copy(&path, libraries.join(name))?;
        }
    }
    fs::remove_dir_all(&building).context("failed to remove what the library was built in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_compiler_gets_another_sysroot() {
        assert_eq!(key("rustc 1.96.0"), key("rustc 1.96.0"));
        assert_ne!(key("rustc 1.96.0"), key("rustc 1.96.1"));
        assert_eq!(key("").len(), 64);
    }
}
