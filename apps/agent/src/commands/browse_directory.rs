//! `browse_directory`: a folder of this machine.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use protocol::commands::BrowseDirectory;
use protocol::moment::rfc3339;
use protocol::reports::{BrowseEntry, BrowseResult, EntryKind};
use time_and_chance::Timestamp;

/// Lists a folder, or the drives. That it cannot be listed is an answer too.
pub fn list(order: &BrowseDirectory) -> BrowseResult {
    if order.path.trim().is_empty() {
        return BrowseResult {
            entries: roots(),
            ..BrowseResult::default()
        };
    }
    let path = PathBuf::from(&order.path);
    let mut result = BrowseResult {
        path: order.path.clone(),
        parent: parent(&path),
        ..BrowseResult::default()
    };
    if !path.is_absolute() {
        result.error = format!("{} is no whole path", order.path);
        return result;
    }
    match entries(&path, order.entries_max()) {
        Ok(entries) => result.entries = entries,
        Err(error) => result.error = format!("failed to list {}: {error}", order.path),
    }
    result
}

fn parent(path: &Path) -> String {
    let parent = path.parent();
    parent.map_or_else(String::new, |it| it.display().to_string())
}

/// An entry as its folder names it: whether it is a folder, and its name.
type Named = (bool, OsString);

/// Folders come first, then files, each by name. Only those that are shown are looked at: a folder may hold
/// millions.
fn entries(path: &Path, entries_max: usize) -> std::io::Result<Vec<BrowseEntry>> {
    let named = fs::read_dir(path)?
        .filter_map(Result::ok)
        .map(|entry| (is_folder(&entry), entry.file_name()));
    let first = first_of(named, entries_max);
    let entries = first.into_iter();
    Ok(entries
        .map(|(is_dir, name)| described(path, is_dir, &name))
        .collect())
}

/// Returns whether an entry is a folder, which the folder it is in says for all but links.
fn is_folder(entry: &fs::DirEntry) -> bool {
    match entry.file_type() {
        // What a link leads to is what people want to choose.
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

/// Returns the first entries in order, without keeping all of them.
fn first_of(named: impl Iterator<Item = Named>, entries_max: usize) -> Vec<Named> {
    let mut first = Vec::new();
    let cut = |first: &mut Vec<Named>| {
        first.sort_unstable_by(|a, b| (!a.0, &a.1).cmp(&(!b.0, &b.1)));
        first.truncate(entries_max);
    };
    for it in named {
        first.push(it);
        if first.len() >= 4 * entries_max.max(1000) {
            cut(&mut first);
        }
    }
    cut(&mut first);
    first
}

fn described(folder: &Path, is_dir: bool, name: &OsStr) -> BrowseEntry {
    let path = folder.join(name);
    let metadata = fs::metadata(&path).or_else(|_| fs::symlink_metadata(&path));
    let metadata = metadata.ok();
    let modified = metadata.as_ref().and_then(|it| it.modified().ok());
    let modified = modified.and_then(|it| Timestamp::try_from(it).ok());
    let kind = if is_dir {
        EntryKind::Folder
    } else {
        EntryKind::File
    };
    BrowseEntry {
        name: name.to_string_lossy().into_owned(),
        path: path.display().to_string(),
        is_dir,
        size: match (&metadata, is_dir) {
            (Some(metadata), false) => metadata.len(),
            _ => 0,
        },
        modified_at: modified.map(rfc3339).unwrap_or_default(),
        kind,
        icon: kind,
    }
}

/// Returns the topmost folders.
fn roots() -> Vec<BrowseEntry> {
    let paths: Vec<String> = match cfg!(windows) {
        true => ('A'..='Z')
            .map(|letter| format!("{letter}:\\"))
            .filter(|path| Path::new(path).is_dir())
            .collect(),
        false => vec!["/".to_owned()],
    };
    let root = |path: String| BrowseEntry {
        name: path.clone(),
        path,
        is_dir: true,
        size: 0,
        modified_at: String::new(),
        kind: EntryKind::Drive,
        icon: EntryKind::Drive,
    };
    paths.into_iter().map(root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browse(path: &str, max_items: u64) -> BrowseResult {
        list(&BrowseDirectory {
            path: path.to_owned(),
            max_items: Some(max_items),
        })
    }

    #[test]
    fn folders_come_first_and_no_more_than_wanted() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "12345").unwrap();
        fs::create_dir(folder.path().join("z")).unwrap();
        let path = folder.path().display().to_string();
        let result = browse(&path, 10);
        let names: Vec<&str> = result.entries.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["z", "a.txt"]);
        assert_eq!((result.entries[0].size, result.entries[1].size), (0, 5));
        assert!(result.entries[1].modified_at.ends_with('Z'));
        assert_eq!(browse(&path, 1).entries.len(), 1);
    }

    #[test]
    fn of_a_huge_folder_only_what_is_shown_is_kept_and_looked_at() {
        let named = (0..10_000).map(|number| (number % 100 == 99, format!("{number:05}").into()));
        let first = first_of(named.rev(), 150);
        let names: Vec<&str> = first.iter().filter_map(|it| it.1.to_str()).collect();
        assert_eq!((first.len(), first.capacity() < 10_000), (150, true));
        assert_eq!((names[0], names[99]), ("00099", "09999"));
        assert_eq!((names[100], names[149]), ("00000", "00049"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_what_it_leads_to() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        fs::write(folder.path().join("file"), "12345").unwrap();
        for (target, link) in [
            ("folder", "to-folder"),
            ("file", "to-file"),
            ("gone", "to-nothing"),
        ] {
            symlink(target, folder.path().join(link)).unwrap();
        }
        let result = browse(&folder.path().display().to_string(), 10);
        let shown: Vec<_> = result
            .entries
            .iter()
            .map(|it| (&*it.name, it.is_dir))
            .collect();
        assert_eq!(shown[..2], [("folder", true), ("to-folder", true)]);
        assert_eq!(
            shown[2..],
            [("file", false), ("to-file", false), ("to-nothing", false)]
        );
        assert_eq!(result.entries[3].size, 5);
    }

    #[test]
    fn what_cannot_be_listed_is_an_answer_too() {
        assert!(browse("relative", 1).error.contains("no whole path"));
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone").display().to_string();
        assert!(browse(&gone, 1).error.contains("failed to list"));
        assert!(!browse("", 1).entries.is_empty());
    }
}
