//! Volumes of this machine: which one a path lies on, its name, mount points and file system.
//!
//! It knows nothing of the room on them (`local_file` does) and nothing of shadow copies.
//!
//! Unsafe code is run by: `a_path_is_found_on_its_volume`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "volumes are asked by calls")]

use std::path::{Path, PathBuf};

use windows::Win32::Foundation::{ERROR_MORE_DATA, ERROR_NO_MORE_FILES, HANDLE};
use windows::Win32::Storage::FileSystem::{
    FindFirstVolumeW, FindNextVolumeW, FindVolumeClose, GetVolumeInformationW,
    GetVolumeNameForVolumeMountPointW, GetVolumePathNameW, GetVolumePathNamesForVolumeNameW,
};
use windows::core::{Error, HSTRING};

use crate::calls;
use crate::win32_error::Win32Error;

/// The longest path Windows has, in 16-bit characters, the 0 at its end included.
const PATH_MAX: usize = 32_768;
/// Long enough for `\\?\Volume{…}\`, and for the name of a file system.
const NAME_MAX: usize = 64;

/// Returns the folder in which the volume of a path is mounted, such as `C:\`. The path need not
/// be there.
///
/// # Errors
/// If the path is of no volume.
pub fn mount_point_of(path: &Path) -> Result<PathBuf, Win32Error> {
    calls::count("volumes.mount_point_of");
    let mut found = vec![0; PATH_MAX];
    // SAFETY: the path ends with 0 and lives through the call; the place is ours, and its length
    // is handed over with it.
    unsafe { GetVolumePathNameW(&HSTRING::from(path), &mut found) }.map_err(|error| {
        Win32Error::new(format!("find the volume of {}", path.display()), &error)
    })?;
    Ok(PathBuf::from(text(&found)))
}

/// Returns the name of the volume mounted in a folder: `\\?\Volume{GUID}\`, which stays the same
/// wherever it is mounted.
///
/// # Errors
/// If nothing is mounted there, or a share, which has no such name.
pub fn name_of(mount_point: &Path) -> Result<String, Win32Error> {
    calls::count("volumes.name_of");
    let mut found = [0; NAME_MAX];
    // SAFETY: as in `mount_point_of`.
    unsafe { GetVolumeNameForVolumeMountPointW(&HSTRING::from(mount_point), &mut found) }.map_err(
        |error| {
            let doing = format!("find the name of the volume at {}", mount_point.display());
            Win32Error::new(doing, &error)
        },
    )?;
    Ok(text(&found))
}

/// Returns the folders in which a volume is mounted: letters and others. It may be none.
///
/// # Errors
/// If there is no volume of that name.
pub fn mount_points(name: &str) -> Result<Vec<PathBuf>, Win32Error> {
    calls::count("volumes.mount_points");
    let wide = HSTRING::from(name);
    let mut found = vec![0; 512];
    loop {
        let mut needed = 0;
        // SAFETY: as in `mount_point_of`; the place for the number is ours.
        let result =
            unsafe { GetVolumePathNamesForVolumeNameW(&wide, Some(&mut found), &mut needed) };
        match result {
            Ok(()) => break,
            Err(error)
                if error.code() == ERROR_MORE_DATA.to_hresult()
                    && needed as usize > found.len() =>
            {
                found.resize(needed as usize, 0);
            }
            Err(error) => {
                return Err(Win32Error::new(
                    format!("find where {name} is mounted"),
                    &error,
                ));
            }
        }
    }
    // One after the other, each with a 0, and one more at the end.
    let points = found.split(|it| *it == 0).take_while(|it| !it.is_empty());
    Ok(points.map(|it| PathBuf::from(text(it))).collect())
}

/// Returns the name of the file system of the volume mounted in a folder, such as `NTFS`.
///
/// # Errors
/// If nothing is mounted there, or it has no file system that Windows knows.
pub fn file_system(mount_point: &Path) -> Result<String, Win32Error> {
    calls::count("volumes.file_system");
    let mut found = [0; NAME_MAX];
    // SAFETY: as in `mount_point_of`; nothing else is asked for.
    unsafe {
        GetVolumeInformationW(
            &HSTRING::from(mount_point),
            None,
            None,
            None,
            None,
            Some(&mut found),
        )
    }
    .map_err(|error| {
        let doing = format!("find the file system at {}", mount_point.display());
        Win32Error::new(doing, &error)
    })?;
    Ok(text(&found))
}

/// Returns the names of all volumes of this machine.
///
/// # Errors
/// If Windows does not tell.
pub fn all() -> Result<Vec<String>, Win32Error> {
    calls::count("volumes.all");
    let failed = |error: Error| Win32Error::new("list the volumes of this machine", &error);
    let mut found = [0; NAME_MAX];
    // SAFETY: the place is ours, and its length is handed over with it; what is opened is closed
    // on drop.
    let search = Search(unsafe { FindFirstVolumeW(&mut found) }.map_err(failed)?);
    let mut names = vec![text(&found)];
    loop {
        // SAFETY: as above, and the search is open.
        match unsafe { FindNextVolumeW(search.0, &mut found) } {
            Ok(()) => names.push(text(&found)),
            Err(error) if error.code() == ERROR_NO_MORE_FILES.to_hresult() => return Ok(names),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// A search for volumes, closed on drop.
struct Search(HANDLE);

impl Drop for Search {
    fn drop(&mut self) {
        // SAFETY: it is ours and open, and not used again. It could only fail if it were not.
        let _ = unsafe { FindVolumeClose(self.0) };
    }
}

/// Returns the text before the first 0.
fn text(wide: &[u16]) -> String {
    let end = wide.iter().position(|it| *it == 0).unwrap_or(wide.len());
    String::from_utf16_lossy(&wide[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_on_its_volume() {
        let windows = PathBuf::from(std::env::var_os("SystemRoot").expect("Windows sets it"));
        let point = mount_point_of(&windows.join(r"no\such\file")).expect("it has a volume");
        assert!(windows.starts_with(&point), "{}", point.display());
        let name = name_of(&point).expect("it has a name");
        assert!(
            name.starts_with(r"\\?\Volume{") && name.ends_with('\\'),
            "{name}"
        );
        let points = mount_points(&name).expect("it is there");
        let known = |it: &PathBuf| it.as_os_str().eq_ignore_ascii_case(point.as_os_str());
        assert!(points.iter().any(known), "{points:?}");
        assert!(!file_system(&point).expect("it has one").is_empty());
        assert!(all().expect("they are told").contains(&name));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(name_of(Path::new(r"C:\no\such\folder\")).is_err());
        assert!(
            file_system(Path::new(
                r"\\?\Volume{00000000-0000-0000-0000-000000000000}\"
            ))
            .is_err()
        );
    }
}
