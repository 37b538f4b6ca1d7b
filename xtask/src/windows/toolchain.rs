//! Cargo, told to build for Windows with Debian's compiler and our sysroot.
//!
//! Linker and runner stand in `.cargo/config.toml`. The target folder is one of its own, since
//! the compiler is another than the one for Linux.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::commands::{cargo, compiler, quietly};

/// What is built for.
pub const TARGET: &str = "x86_64-pc-windows-gnu";
/// Debian's compiler: the one whose library source is at hand. Another may come first on the path.
pub const RUSTC: &str = "/usr/bin/rustc";
/// The profile for tests under Wine, in the root `Cargo.toml`.
pub const PROFILE: &str = "wine";

const RUSTDOC: &str = "/usr/bin/rustdoc";
const CLIPPY: &str = "/usr/bin/cargo-clippy";

/// What can compile for Windows.
pub struct Toolchain {
    root: PathBuf,
    sysroot: PathBuf,
}

impl Toolchain {
    /// Returns the toolchain of the repository at `root`.
    pub fn new(root: &Path, sysroot: PathBuf) -> Self {
        Self {
            root: root.into(),
            sysroot,
        }
    }

    /// Returns cargo, set up for Windows.
    pub fn cargo(&self) -> Command {
        let mut command = cargo(&self.root);
        self.set_up(&mut command);
        command
    }

    /// Returns clippy of the same compiler, set up for Windows.
    pub fn clippy(&self) -> Command {
        let mut command = compiler(CLIPPY, &self.root);
        command.arg("clippy");
        self.set_up(&mut command);
        command
    }

    /// Returns where what is built goes.
    pub fn target_folder(&self) -> PathBuf {
        self.root.join("target/windows")
    }

    /// Returns where a profile puts the executable.
    pub fn executable(&self, profile: &str) -> PathBuf {
        self.target_folder()
            .join(TARGET)
            .join(profile)
            .join("e3-backup-agent.exe")
    }

    /// Compiles a program of one file that needs std alone.
    pub fn compile(&self, source: &Path, program: &Path) -> Result<()> {
        let mut compile = Command::new(RUSTC);
        compile
            .args(["--edition=2024", "--target", TARGET])
            .args(["-C", "linker=x86_64-w64-mingw32-gcc", "--sysroot"])
            .arg(&self.sysroot)
            .arg("-o")
            .arg(program)
            .arg(source);
        quietly(&mut compile)
    }

    fn set_up(&self, command: &mut Command) {
        let flag = format!("--sysroot={}", self.sysroot.display());
        without_flags(command)
            .env("RUSTC", RUSTC)
            .env("RUSTDOC", RUSTDOC)
            .env("CARGO_BUILD_TARGET", TARGET)
            .env("CARGO_TARGET_DIR", self.target_folder())
            .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS", &flag)
            .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTDOCFLAGS", &flag);
    }
}

/// Takes away what would replace the target's flags, and with them the sysroot, or send what is
/// built elsewhere.
pub fn without_flags(command: &mut Command) -> &mut Command {
    for variable in [
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_ENCODED_RUSTDOCFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER",
        "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS",
    ] {
        command.env_remove(variable);
    }
    command
}
