//! Finding blobs by walking their folders.
//!
//! A blob's name is the names of its folders and of its file, put together (Kopia spec 1.3).
//! Folders that cannot lead to the prefix are not opened.

use std::fs;
use std::io;
use std::path::Path;

use time_and_chance::Timestamp;

use super::failed;
use super::shards::SUFFIX;
use crate::{BlobError, BlobErrorKind, BlobMetadata, name};

/// Hands over every blob below `root` whose name begins with `prefix`.
pub fn list(
    root: &Path,
    prefix: &str,
    each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
) -> Result<(), BlobError> {
    // No symbolic link is followed to a folder, and a name's length is bounded, so this ends.
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((path, before)) = folders.pop() {
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && path != root => continue,
            other => other.map_err(|error| failed("list folder", &path, error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list folder", &path, error))?;
            let kind = entry
                .file_type()
                .map_err(|error| failed("list folder", &path, error))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push((format!("{before}{name}"), entry.path(), kind.is_dir()));
            }
        }
        names.sort_unstable();
        for (name, path, is_folder) in names.iter().rev() {
            if *is_folder && may_lead_to(name, prefix) {
                folders.push((path.clone(), name.clone()));
            }
        }
        for (file, path, is_folder) in names {
            let Some(name) = file.strip_suffix(SUFFIX) else {
                continue;
            };
            if is_folder || !name.starts_with(prefix) || !name::is_valid(name) {
                continue;
            }
            if let Some(found) = metadata(name, &path)? {
                each(found)?;
            }
        }
    }
    Ok(())
}

fn may_lead_to(folders: &str, prefix: &str) -> bool {
    name::is_valid(folders) && (folders.starts_with(prefix) || prefix.starts_with(folders))
}

/// Returns what is known about the blob's file, or `None` if there is none (any more).
pub fn metadata(name: &str, path: &Path) -> Result<Option<BlobMetadata>, BlobError> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| failed("look at", path, error))?,
    };
    if !found.is_file() {
        return Ok(None);
    }
    let modified = found
        .modified()
        .map_err(|error| failed("look at", path, error))?;
    let modified = Timestamp::try_from(modified).map_err(|error| {
        let message = format!("understand when {} was written", path.display());
        BlobError::new(BlobErrorKind::Invalid, message).caused_by(error)
    })?;
    Ok(Some(BlobMetadata {
        name: name.to_owned(),
        bytes: found.len(),
        modified,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_on_the_way_to_the_prefix_are_opened() {
        for (folders, prefix, is_opened) in [
            ("p", "", true),
            ("p", "p", true),
            ("p149", "p1", true),
            ("p1", "p149", true),
            ("q", "p", false),
            ("p2", "p149", false),
            ("xn12_", "xn1_", false),
            ("lost+found", "", false),
            (".git", "", false),
        ] {
            assert_eq!(
                may_lead_to(folders, prefix),
                is_opened,
                "{folders} for {prefix:?}"
            );
        }
    }
}
