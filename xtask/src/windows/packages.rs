//! The Debian packages that building for Windows and running the result take.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::commands::succeeds;

/// A file that a package brings, and the package.
const WANTED: [(&str, &str); 6] = [
    ("/usr/bin/rustc", "rustc-web"),
    (
        "/usr/lib/rustlib/src/rust/library/std/Cargo.toml",
        "rust-web-src",
    ),
    ("/usr/bin/cargo-clippy", "rust-web-clippy"),
    ("/usr/bin/x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"),
    ("/usr/bin/wine", "wine"),
    ("/usr/lib/wine/wine64", "wine64"),
];

/// Installs what is missing if this runs as root; otherwise says how to.
pub fn install_missing(root: &Path) -> Result<()> {
    let missing: Vec<&str> = WANTED
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = Command::new(root.join("xtask/install_packages"));
    install.arg("cargo xtask windows").args(&missing);
    if !succeeds(&mut install)? {
        bail!("packages for Windows are missing: {}", missing.join(" "));
    }
    Ok(())
}
