//! A small Windows of our own: a wine prefix, set up so that tests in it can be believed.
//!
//! It lies in the target folder, takes seconds and 700 MB, and is made anew when what it is made of
//! changes. No display is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::commands::{output_of, quietly};

/// Keys and values of the registry: where, name, type, value.
///
/// Without wine's debugger a crash ends `wine` with a status other than 0; with it, often with 0.
/// A vssapi.dll beside a program comes before wine's own, which has no VSS behind it.
/// The rest makes it a server of the generation that Hyper-V hosts are (Windows Server 2022).
const REGISTRY: [[&str; 4]; 6] = [
    [
        r"HKCU\Software\Wine\DllOverrides",
        "winedbg.exe",
        "REG_SZ",
        "",
    ],
    [
        r"HKCU\Software\Wine\DllOverrides",
        "vssapi",
        "REG_SZ",
        "native,builtin",
    ],
    [
        r"HKLM\Software\Microsoft\Windows NT\CurrentVersion",
        "CurrentVersion",
        "REG_SZ",
        "10.0",
    ],
    [
        r"HKLM\Software\Microsoft\Windows NT\CurrentVersion",
        "CurrentBuild",
        "REG_SZ",
        "20348",
    ],
    [
        r"HKLM\Software\Microsoft\Windows NT\CurrentVersion",
        "CurrentBuildNumber",
        "REG_SZ",
        "20348",
    ],
    [
        r"HKLM\System\CurrentControlSet\Control\ProductOptions",
        "ProductType",
        "REG_SZ",
        "ServerNT",
    ],
];

/// Wine 8 lacks a DLL that Rust's standard library takes random bytes from: without it no
/// program starts.
const RANDOM_BYTES: &str = include_str!("../../windows/bcryptprimitives.c");

/// The prefix, kept warm for as long as this value lives.
pub struct WinePrefix {
    folder: PathBuf,
    /// A program that waits for input. When the last program ends, wine stops its services and its
    /// server, and every test would pay for their start.
    holder: Child,
}

impl WinePrefix {
    /// Returns the prefix below `target`, made if there is none yet.
    pub fn ready(root: &Path, target: &Path) -> Result<Self> {
        let folder = target.join("wine_prefix");
        let mark = folder.join("made_of");
        let version = output_of(Command::new("wine").arg("--version"))?;
        let made_of = format!("{version}\n{REGISTRY:?}\n{RANDOM_BYTES}");
        if fs::read_to_string(&mark).ok().as_ref() != Some(&made_of) {
            println!("\n== wine prefix");
            make(root, &folder)?;
            // Last, so that a prefix cut short is made again.
            fs::write(&mark, made_of).context("failed to mark the wine prefix as whole")?;
        }
        let mut more = Command::new("wine");
        in_prefix(&mut more, &folder)
            .args(["cmd", "/c", "more"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let holder = more.spawn().context("failed to start wine")?;
        Ok(Self { folder, holder })
    }

    /// Lets a command, and what it starts, run programs in this prefix.
    pub fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        in_prefix(command, &self.folder)
    }
}

impl Drop for WinePrefix {
    fn drop(&mut self) {
        // Its input ends, and so does it; if not, nobody is left to tell.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn make(root: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).context("failed to remove the old wine prefix")?;
    }
    fs::create_dir_all(folder)?;
    // It complains that there is no 32-bit wine, which is so and harmless.
    quietly(in_prefix(&mut Command::new("wine"), folder).args(["wineboot", "-i"]))?;
    for [key, name, kind, value] in REGISTRY {
        let mut set = Command::new("wine");
        in_prefix(&mut set, folder)
            .args(["reg", "add", key, "/v", name, "/t", kind, "/d", value, "/f"]);
        quietly(&mut set)?;
    }
    let mut compile = Command::new("x86_64-w64-mingw32-gcc");
    compile
        .args(["-O2", "-shared", "-o"])
        .arg(folder.join("drive_c/windows/system32/bcryptprimitives.dll"))
        .arg(root.join("xtask/windows/bcryptprimitives.c"))
        .arg("-ladvapi32");
    quietly(&mut compile)?;
    // Settings reach the disk when the server ends.
    quietly(in_prefix(&mut Command::new("wineserver"), folder).arg("-w"))
}

fn in_prefix<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command
        .env("WINEPREFIX", folder)
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", "mscoree=;mshtml=")
        .env_remove("DISPLAY")
}
