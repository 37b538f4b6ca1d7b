//! `browse_snapshot`: a folder of a restore point.

use kopia::directory::{DirectoryEntry, EntryType};
use point::Points;
use protocol::commands::{BrowseSnapshot, Command};
use protocol::moment::rfc3339;
use protocol::reports::{BrowseEntry, BrowseResult, EntryKind};
use snapshot::{find_entry, read_directory};

use super::context;
use crate::cancellation::Cancellation;
use crate::destination::Destination;
use crate::parts::Parts;
use crate::repositories::Absent;

/// Lists a folder of a snapshot. That it cannot be listed is an answer too; that the repository
/// cannot be opened is a failure.
pub fn list(
    parts: &Parts,
    command: &Command,
    order: &BrowseSnapshot,
) -> Result<BrowseResult, String> {
    let context = context(command)?;
    let destination = Destination::of(&context.destination, &parts.config);
    let destination = destination.map_err(|error| format!("failed to {error}"))?;
    let cancellation = Cancellation::below(&parts.stop);
    let lease = parts
        .repositories
        .open(&destination, Absent::IsAnError, 0, &cancellation);
    let lease = lease.map_err(|error| format!("failed to {error}"))?;
    let manifest_id = match order.manifest_id.as_str() {
        "" => &context.manifest_id,
        named => named,
    };
    let path = order.path.replace('\\', "/");
    let path = path.trim_matches('/');
    let mut result = BrowseResult {
        path: path.to_owned(),
        parent: path
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent)
            .to_owned(),
        ..BrowseResult::default()
    };
    let points = Points::load(lease.repository());
    let points = points.map_err(|error| format!("failed to {error}"))?;
    let point = points
        .find(manifest_id)
        .map_err(|error| format!("failed to {error}"))?;
    let root = point.root().map_err(|error| format!("failed to {error}"))?;
    if root.entry_type != EntryType::Directory {
        result.entries.push(described("", root));
        return Ok(result);
    }
    let found = match path {
        "" => Ok(root.clone()),
        path => find_entry(lease.repository(), root, path),
    };
    let listed = found.and_then(|folder| read_directory(lease.repository(), &folder.object));
    match listed {
        Ok(directory) => {
            let entries = directory.entries.iter();
            result.entries = entries.map(|entry| described(path, entry)).collect();
            let entries = &mut result.entries;
            entries.sort_by(|a, b| (!a.is_dir, &a.name).cmp(&(!b.is_dir, &b.name)));
            entries.truncate(order.entries_max());
        }
        Err(error) => result.error = format!("failed to list {path:?}: {error}"),
    }
    Ok(result)
}

fn described(folder: &str, entry: &DirectoryEntry) -> BrowseEntry {
    let is_dir = entry.entry_type == EntryType::Directory;
    let kind = if is_dir {
        EntryKind::Folder
    } else {
        EntryKind::File
    };
    BrowseEntry {
        name: entry.name.clone(),
        path: match folder {
            "" => entry.name.clone(),
            folder => format!("{folder}/{}", entry.name),
        },
        is_dir,
        size: if is_dir { 0 } else { entry.size },
        modified_at: rfc3339(entry.mtime),
        kind,
        icon: kind,
    }
}
