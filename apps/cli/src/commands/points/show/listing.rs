//! What lies at a path in a point.

use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use point::Amount;
use repo::{RepoErrorKind, Repository};
use serde_json::{Value, json};
use snapshot::{find_entry, read_directory};

use crate::amounts;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::table::table;

/// Lists a folder, or a single entry.
pub(super) fn list(
    repo: &Arc<Repository>,
    root: &DirectoryEntry,
    path: &str,
) -> Result<Answer, Failure> {
    let entry = find_entry(repo, root, path).map_err(|error| match error.kind() {
        RepoErrorKind::NotFound => {
            Failure::new(FailureKind::NotInPoint, format!("failed to {error}"))
        }
        _ => error.into(),
    })?;
    let entries = match entry.entry_type {
        EntryType::Directory => read_directory(repo, &entry.object)?.entries,
        _ => vec![entry],
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let text = match rows.is_empty() {
        true => "the folder is empty".to_owned(),
        false => table(&["MODE", "OWNER", "SIZE", "TIME", "NAME"], &[2], &rows),
    };
    let entries: Vec<Value> = entries.iter().map(document).collect();
    Ok(Answer::new(
        text,
        json!({ "path": path, "entries": entries }),
    ))
}

fn row(entry: &DirectoryEntry) -> Vec<String> {
    let (kind, mark) = match &entry.entry_type {
        EntryType::Directory => ("d", "/"),
        EntryType::Symlink => ("l", ""),
        EntryType::File => ("-", ""),
        EntryType::Other(_) => ("?", ""),
    };
    vec![
        format!("{kind}{:04o}", entry.mode),
        format!("{}:{}", entry.uid, entry.gid),
        amounts::bytes(Amount::of(entry).bytes),
        amounts::time(entry.mtime),
        format!("{}{mark}", entry.name),
    ]
}

fn document(entry: &DirectoryEntry) -> Value {
    let amount = Amount::of(entry);
    json!({
        "name": entry.name,
        "type": entry.entry_type,
        "mode": format!("{:04o}", entry.mode),
        "uid": entry.uid,
        "gid": entry.gid,
        "bytes": amount.bytes,
        "files": amount.files,
        "time": entry.mtime,
        "object": entry.object,
    })
}
