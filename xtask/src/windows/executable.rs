//! What is shipped: one file of a bearable size that needs only DLLs which every Windows has.
//!
//! mingw's linker puts debug data into the executable itself, four times as much as there is of
//! program. It goes into a file beside it; names of functions stay, so that a panic says where it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::commands::{output_of, quietly};

const BYTES_MAX: u64 = 40 << 20;

/// DLLs of every Windows from Server 2016 on, as import tables name them, in lower case.
const DLLS: [&str; 20] = [
    "advapi32.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "crypt32.dll",
    "kernel32.dll",
    "mpr.dll",
    "msvcrt.dll",
    "ntdll.dll",
    "ole32.dll",
    "oleaut32.dll",
    "propsys.dll",
    "rpcrt4.dll",
    "secur32.dll",
    "shell32.dll",
    "user32.dll",
    "userenv.dll",
    "virtdisk.dll",
    "vssapi.dll",
    "wevtapi.dll",
    "ws2_32.dll",
];
/// Sets of entries that Windows resolves itself.
const API_SETS: &str = "api-ms-win-";

/// Puts what is shipped of a program that was built into a folder of its own, and its debug data
/// beside it; returns the former. What cargo built stays as it is, or cargo would build it again.
pub fn without_debug_data(built: &Path) -> Result<PathBuf> {
    let folder = built.with_file_name("shipped");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    let name = built.file_name().context("the program has no name")?;
    let shipped = folder.join(name);
    let debug_data = shipped.with_extension("debug");
    for (what, result) in [
        ("--only-keep-debug", &debug_data),
        ("--strip-debug", &shipped),
    ] {
        let mut copy = Command::new("x86_64-w64-mingw32-objcopy");
        quietly(copy.arg(what).arg(built).arg(result))?;
    }
    Ok(shipped)
}

/// Says what the file is; `false` if it is too large or would need more than Windows has.
pub fn check(path: &Path) -> Result<bool> {
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("failed to look at {}", path.display()))?
        .len();
    println!(
        "{}: {:.1} MiB",
        path.display(),
        bytes as f64 / f64::from(1 << 20)
    );
    if bytes > BYTES_MAX {
        println!("larger than {} MiB", BYTES_MAX >> 20);
    }
    Ok(needs_windows_alone(path)? && bytes <= BYTES_MAX)
}

/// Says which DLLs the program needs; `false` if there is one that not every Windows has.
pub fn needs_windows_alone(path: &Path) -> Result<bool> {
    let headers = output_of(
        Command::new("x86_64-w64-mingw32-objdump")
            .arg("-p")
            .arg(path),
    )?;
    let imported = imported_dlls(&headers);
    let (own, foreign): (Vec<&str>, Vec<&str>) = imported
        .iter()
        .map(String::as_str)
        .partition(|dll| is_of_windows(dll));
    println!("{} needs {}", path.display(), own.join(", "));
    if !foreign.is_empty() {
        println!("not every Windows has: {}", foreign.join(", "));
    }
    Ok(foreign.is_empty())
}

/// Returns each DLL once, in lower case.
fn imported_dlls(headers: &str) -> BTreeSet<String> {
    headers
        .lines()
        .filter_map(|line| line.trim().strip_prefix("DLL Name: "))
        .map(str::to_ascii_lowercase)
        .collect()
}

fn is_of_windows(dll: &str) -> bool {
    dll.starts_with(API_SETS) || DLLS.contains(&dll)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dlls_of_the_compiler_are_told_from_those_of_windows() {
        let headers = "\tDLL Name: KERNEL32.dll\n\tvma: Hint\n\tDLL Name: libgcc_s_seh-1.dll\n\
            \tDLL Name: kernel32.dll\n\tDLL Name: api-ms-win-core-synch-l1-2-0.dll\n";
        let imported = imported_dlls(headers);
        assert_eq!(imported.len(), 3);
        let foreign: Vec<_> = imported.iter().filter(|it| !is_of_windows(it)).collect();
        assert_eq!(foreign, ["libgcc_s_seh-1.dll"]);
    }
}
