//! Whether a restore can go where it is asked to go.

use std::path::{Path, PathBuf};

use crate::error::{RestoreError, RestoreErrorKind, file_error};

/// What the simulated host's folder holds.
const SIMULATED_HOST: [&str; 2] = ["host.json", "vms"];
/// Block tables and headers of the new files.
const SPARE_BYTES: u64 = 16 << 20;

/// Returns the folder in which `file` shall be made.
///
/// # Errors
/// `TargetUnsuited` if it is not there.
pub(crate) fn folder_of(file: &Path) -> Result<PathBuf, RestoreError> {
    let folder = match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => return Err(unsuited(file, "that is no name of a file")),
    };
    if !folder.is_dir() {
        return Err(unsuited(file, "its folder does not exist"));
    }
    Ok(folder)
}

/// Refuses a folder that belongs to a simulated host: its files are the host's alone.
pub(crate) fn refuse_simulated_host(folder: &Path) -> Result<(), RestoreError> {
    let Some(existing) = folder.ancestors().find_map(|ancestor| {
        let ancestor = if ancestor.as_os_str().is_empty() {
            Path::new(".")
        } else {
            ancestor
        };
        local_file::real_path(ancestor).ok()
    }) else {
        return Ok(());
    };
    for ancestor in existing.ancestors() {
        if SIMULATED_HOST
            .iter()
            .all(|name| ancestor.join(name).exists())
        {
            return Err(unsuited(
                folder,
                &format!(
                    "that is inside the simulated host {}; restore to it with --host sim:{}",
                    ancestor.display(),
                    ancestor.display()
                ),
            ));
        }
    }
    Ok(())
}

/// Refuses to begin what cannot be finished for lack of room.
///
/// `needed_bytes` counts all that may hold data, so that a disk of many small pieces may need
/// less.
pub(crate) fn check_room(folder: &Path, needed_bytes: u64) -> Result<(), RestoreError> {
    let room = local_file::room(folder).map_err(file_error("look for room in", folder))?;
    refuse_too_small(
        folder,
        needed_bytes.saturating_add(SPARE_BYTES),
        room.free_bytes,
    )
}

fn refuse_too_small(folder: &Path, needed_bytes: u64, free_bytes: u64) -> Result<(), RestoreError> {
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(RestoreError::new(
        RestoreErrorKind::TargetFull,
        format!(
            "restore to {}: up to {} MiB are needed and {} MiB are free",
            folder.display(),
            needed_bytes.div_ceil(1 << 20),
            free_bytes >> 20
        ),
    ))
}

pub(crate) fn unsuited(path: &Path, why: &str) -> RestoreError {
    RestoreError::new(
        RestoreErrorKind::TargetUnsuited,
        format!("restore to {}: {why}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_said_with_how_much_is_needed() {
        let folder = Path::new("/restore");
        let mib = 1 << 20;
        assert!(refuse_too_small(folder, 100, 100).is_ok());
        let error = refuse_too_small(folder, 5 * mib, 4 * mib).unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::TargetFull);
        assert!(
            error.to_string().contains("5 MiB are needed and 4 MiB"),
            "{error}"
        );
        assert!(check_room(Path::new("/"), u64::MAX).is_err());
    }

    #[test]
    fn a_simulated_host_is_no_place_for_restored_files() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refuse_simulated_host(&folder.path().join("vms/a/b")).is_ok());
        std::fs::create_dir(folder.path().join("vms")).unwrap();
        std::fs::write(folder.path().join("host.json"), b"{}").unwrap();
        for inside in ["", "vms", "vms/new/deep"] {
            let error = refuse_simulated_host(&folder.path().join(inside)).unwrap_err();
            assert_eq!(error.kind(), RestoreErrorKind::TargetUnsuited);
        }
    }

    #[test]
    fn a_file_needs_a_folder() {
        assert_eq!(folder_of(Path::new("x.vhdx")).unwrap(), Path::new("."));
        let error = folder_of(Path::new("/no/such/folder/x.vhdx")).unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::TargetUnsuited);
    }
}
