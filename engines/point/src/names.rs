//! What the files of disks are called.

use std::collections::HashMap;

/// Returns the name that the file at `path` has without its folder and its last extension; paths
/// of Windows and of Unix are both understood on either.
pub fn file_stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match name.rfind('.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    }
}

/// Returns the names of disks in a point's folder: `<number>-<name>.vhdx`.
pub fn disk_file_names<'a>(disks: impl Iterator<Item = (u32, &'a str)>) -> Vec<String> {
    disks
        .map(|(number, path)| format!("{number}-{}.vhdx", file_stem(path)))
        .collect()
}

/// Returns the names restored disks get: that of the original, or `<number>-<name>.vhdx` for all
/// that would otherwise share one, whatever the case of their letters.
pub fn restored_file_names<'a>(disks: impl Iterator<Item = (u32, &'a str)>) -> Vec<String> {
    let disks: Vec<(u32, &str)> = disks
        .map(|(number, path)| (number, file_stem(path)))
        .collect();
    let mut uses: HashMap<String, usize> = HashMap::new();
    for (_, stem) in &disks {
        *uses.entry(stem.to_lowercase()).or_default() += 1;
    }
    disks
        .into_iter()
        .map(|(number, stem)| match uses[&stem.to_lowercase()] {
            1 => format!("{stem}.vhdx"),
            _ => format!("{number}-{stem}.vhdx"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_of_windows_and_unix_paths() {
        assert_eq!(file_stem(r"C:\VMs\web\System.Disk.vhdx"), "System.Disk");
        assert_eq!(file_stem("/srv/a/data.vhdx"), "data");
        assert_eq!(file_stem(".hidden"), ".hidden");
    }

    #[test]
    fn only_names_that_clash_get_numbers() {
        let disks = [
            (0, r"C:\a\disk.vhdx"),
            (1, r"D:\b\Disk.VHDX"),
            (2, r"D:\other.vhdx"),
        ];
        assert_eq!(
            restored_file_names(disks.into_iter()),
            ["0-disk.vhdx", "1-Disk.vhdx", "other.vhdx"]
        );
    }
}
