//! `browse_directory`: a folder of this machine.

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

/// Folders come first, then files, each by name.
fn entries(path: &Path, entries_max: usize) -> std::io::Result<Vec<BrowseEntry>> {
    let mut found: Vec<BrowseEntry> = fs::read_dir(path)?
        .filter_map(|entry| Some(described(&entry.ok()?)))
        .collect();
    found.sort_by(|a, b| (!a.is_dir, &a.name).cmp(&(!b.is_dir, &b.name)));
    found.truncate(entries_max);
    Ok(found)
}

fn described(entry: &fs::DirEntry) -> BrowseEntry {
    let path = entry.path();
    // What a link leads to is what people want to choose.
    let metadata = fs::metadata(&path).or_else(|_| entry.metadata()).ok();
    let is_dir = metadata.as_ref().is_some_and(fs::Metadata::is_dir);
    let modified = metadata.as_ref().and_then(|it| it.modified().ok());
    let modified = modified.and_then(|it| Timestamp::try_from(it).ok());
    let kind = if is_dir {
        EntryKind::Folder
    } else {
        EntryKind::File
    };
    BrowseEntry {
        name: entry.file_name().to_string_lossy().into_owned(),
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
    fn what_cannot_be_listed_is_an_answer_too() {
        assert!(browse("relative", 1).error.contains("no whole path"));
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone").display().to_string();
        assert!(browse(&gone, 1).error.contains("failed to list"));
        assert!(!browse("", 1).entries.is_empty());
    }
}
