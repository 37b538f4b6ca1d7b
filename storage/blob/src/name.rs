//! Which names a blob may have.
//!
//! Names become file names and keys, and some come from outside (listings, session markers), so
//! only what Kopia itself uses passes (Kopia spec 1.2): no separators, nothing a file system
//! refuses, nothing hidden. What the names mean is unknown here.

use std::fmt;

use crate::{BlobError, BlobErrorKind};

/// File names end at 255 bytes; this leaves room for `.f.tmp.` and 16 digits.
const NAME_BYTES_MAX: usize = 220;

/// Returns whether a store may hold a blob of this name.
pub fn is_valid(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && is_valid_part(name)
}

/// Returns whether all characters may occur in a name, wherever they stand.
pub fn is_valid_part(part: &str) -> bool {
    part.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte))
}

/// Refuses a name that no store may hold.
pub fn check(name: &str) -> Result<(), BlobError> {
    if is_valid(name) {
        return Ok(());
    }
    Err(BlobError::new(
        BlobErrorKind::Invalid,
        format!(
            "use {name:?} as a blob's name: it is not 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ - . @, or begins with a dot"
        ),
    ))
}

/// Refuses a place for a new repository in which there is such a blob. What the creation of one
/// leaves that was cut short is nothing: who creates the repository deals with it.
pub fn refuse_taken(place: &dyn fmt::Display, name: &str) -> Result<(), BlobError> {
    if name == "kopia.blobcfg" {
        return Ok(());
    }
    Err(BlobError::new(
        BlobErrorKind::AlreadyThere,
        format!("create a repository in {place}: it holds one already (blob {name})"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kopias_names_pass_and_paths_do_not() {
        for name in [
            "kopia.repository",
            "kopia.repository.backup.user@host",
            "p14970cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147",
            "xr0_6_00ff-s0123456789abcdef-c12",
            "_log_20261123200500_1a2b_1700000000_1700000001_1_00ff",
            "n00000000000000000000000000000000-repository_unreadable_by_this_kopia_version_upgrade_required",
        ] {
            assert!(check(name).is_ok(), "{name}");
        }
        let long = "p".repeat(NAME_BYTES_MAX + 1);
        for name in [
            "", ".", "..", ".shards", "a/b", "a\\b", "../a", "a:b", "a\0", "a\n", "ä", "a b", "a*",
            &long,
        ] {
            let error = check(name).expect_err(name);
            assert_eq!(error.kind(), BlobErrorKind::Invalid, "{name}");
        }
    }
}
