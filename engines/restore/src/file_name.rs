//! Names that come from a repository and are to become names of files.

use crate::error::{RestoreError, RestoreErrorKind};

/// Letters that Windows gives a meaning of their own.
const WINDOWS_SPECIAL: [char; 8] = ['<', '>', ':', '"', '\\', '|', '?', '*'];
/// Names that Windows takes for devices, whatever their extension.
const WINDOWS_DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Refuses a name that would not be one file in one folder here.
///
/// # Errors
/// `Damaged` if nobody could have had a file of this name: whoever stored it means harm.
/// `TargetUnsuited` if only Windows has no such files.
pub fn check(name: &str) -> Result<(), RestoreError> {
    check_for(name, cfg!(windows))
}

fn check_for(name: &str, windows: bool) -> Result<(), RestoreError> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(RestoreError::new(
            RestoreErrorKind::Damaged,
            format!(
                "restore a file called {:?}: that is no name of a file",
                shortened(name)
            ),
        ));
    }
    if windows && !windows_has(name) {
        return Err(RestoreError::new(
            RestoreErrorKind::TargetUnsuited,
            format!(
                "restore a file called {:?}: Windows has no files of this name; restore on another system, or other paths only",
                shortened(name)
            ),
        ));
    }
    Ok(())
}

fn windows_has(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or(name)
        .trim_end()
        .to_lowercase();
    let port = stem
        .strip_prefix("com")
        .or_else(|| stem.strip_prefix("lpt"));
    let is_port = port.is_some_and(|number| {
        matches!(
            number,
            "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
        )
    });
    !name.contains(WINDOWS_SPECIAL)
        && !name.contains(|letter: char| u32::from(letter) < 32)
        && !name.ends_with(['.', ' '])
        && !WINDOWS_DEVICES.contains(&&*stem)
        && !is_port
}

fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_folder_are_damage() {
        for name in ["", ".", "..", "/", "a/b", "/etc/passwd", "../x", "a\0b"] {
            for windows in [false, true] {
                assert_eq!(
                    check_for(name, windows).unwrap_err().kind(),
                    RestoreErrorKind::Damaged,
                    "{name:?}"
                );
            }
        }
    }

    #[test]
    fn windows_refuses_what_it_would_take_for_something_else() {
        for name in [
            r"a\b",
            r"..\x",
            "C:",
            "c:x",
            "nul",
            "NUL.txt",
            "Con",
            "COM1",
            "lpt9.log",
            "a.",
            "a ",
            "a:stream",
            "what?",
            "tab\there",
            "com1 .x",
        ] {
            assert_eq!(
                check_for(name, true).unwrap_err().kind(),
                RestoreErrorKind::TargetUnsuited,
                "{name:?}"
            );
            assert!(check_for(name, false).is_ok(), "{name:?}");
        }
        for name in [
            "...x",
            "console",
            "com10",
            "a b.txt",
            "ελληνικά",
            "x..y",
            "nullable",
        ] {
            assert!(check_for(name, true).is_ok(), "{name:?}");
        }
    }
}
