//! Folders for new VMs, and file names made of the names that people give.

use std::path::{Path, PathBuf};

/// Names that Windows keeps for devices, whatever follows behind a dot.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// Returns a folder below `parent` named after a VM that nothing lies in yet.
pub fn fresh(parent: &Path, name: &str) -> PathBuf {
    let name = file_name(name);
    let mut folder = parent.join(&name);
    let mut number = 2u64;
    while !is_free(&folder) {
        folder = parent.join(format!("{name} ({number})"));
        number += 1;
    }
    folder
}

fn is_free(folder: &Path) -> bool {
    match folder.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !folder.exists(),
    }
}

/// Returns whether `path` is `folder` or lies below it; Windows does not tell cases apart.
pub fn holds(folder: &Path, path: &Path) -> bool {
    let lower = |path: &Path| path.to_string_lossy().to_lowercase();
    Path::new(&lower(path)).starts_with(lower(folder))
}

/// Returns a name for a file from a name that a person gave; good on Windows too.
pub fn file_name(name: &str) -> String {
    let clean: String = name
        .chars()
        .map(|letter| match letter {
            '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' => '_',
            letter if letter.is_control() => '_',
            letter => letter,
        })
        .take(80)
        .collect();
    match clean.trim_matches(['.', ' ']) {
        "" => "vm".to_owned(),
        clean if is_device(clean) => format!("_{clean}"),
        clean => clean.to_owned(),
    }
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let letters = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = stem.len() == letters.len() + 1;
    let known = DEVICES
        .iter()
        .position(|device| letters.eq_ignore_ascii_case(device));
    known.is_some_and(|at| numbered == (at >= 4) && (numbered || stem.len() == letters.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_holds_itself_and_what_lies_below_it() {
        for (path, is_held) in [
            ("/vms/web", true),
            ("/VMs/Web/", true),
            ("/vms/web/restored configuration", true),
            ("/vms/web 2", false),
            ("/vms", false),
            ("", false),
        ] {
            assert_eq!(
                holds(Path::new("/vms/web"), Path::new(path)),
                is_held,
                "{path}"
            );
        }
    }

    #[test]
    fn any_name_becomes_one_that_every_system_takes() {
        for (name, expected) in [
            ("web", "web"),
            ("a\"b*c?", "a_b_c_"),
            (" ..", "vm"),
            ("nul", "_nul"),
            ("COM1.x", "_COM1.x"),
            ("com", "com"),
            ("con1", "con1"),
            ("Bücher (2)", "Bücher (2)"),
        ] {
            assert_eq!(file_name(name), expected);
        }
        assert_eq!(file_name(&"x".repeat(100)).len(), 80);
    }
}
