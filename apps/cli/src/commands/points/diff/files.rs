//! Two snapshots of files, side by side.

use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use point::{Amount, Change, ChangedEntry, Point, TreeDifference, tree_difference};
use repo::Repository;
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::stdout::show_text;
use crate::world::World;

/// Compares. Without `--json`, lines are written as they are found.
pub(super) fn compare(
    world: &World,
    repo: &Arc<Repository>,
    before: Point<'_>,
    after: Point<'_>,
    stat: bool,
) -> Result<Answer, Failure> {
    let mut documents = Vec::new();
    let mut each = |changed: &ChangedEntry<'_>| match world.wants_json() {
        _ if stat => {}
        true => documents.push(document(changed)),
        false => show_text(&line(changed)),
    };
    let total = tree_difference(repo, before.root()?, after.root()?, world.stop(), &mut each)?;
    let mut whole = json!({
        "before": before.id(),
        "after": after.id(),
        "same": total == TreeDifference::default(),
        "added": amount_document(total.added),
        "removed": amount_document(total.removed),
        "changed_before": amount_document(total.changed_before),
        "changed_after": amount_document(total.changed_after),
        "metadata_changed": total.metadata,
    });
    if !stat {
        whole["entries"] = documents.into();
    }
    Ok(Answer::new(summary(&total), whole))
}

fn summary(total: &TreeDifference) -> String {
    if *total == TreeDifference::default() {
        return "nothing differs".to_owned();
    }
    let files =
        |amount: Amount| format!("{} files ({})", amount.files, amounts::bytes(amount.bytes));
    format!(
        "added    {}\nremoved  {}\nchanged  {}, {} before\nonly mode, owner or time of {} entries",
        files(total.added),
        files(total.removed),
        files(total.changed_after),
        amounts::bytes(total.changed_before.bytes),
        total.metadata
    )
}

fn amount_document(amount: Amount) -> Value {
    json!({ "files": amount.files, "bytes": amount.bytes })
}

fn line(changed: &ChangedEntry<'_>) -> String {
    let entry = changed.after.or(changed.before);
    let is_folder = entry.is_some_and(|entry| entry.entry_type == EntryType::Directory);
    // What a terminal would take for an order must not reach it.
    let path = match (changed.path, is_folder) {
        ("", _) => "the root".to_owned(),
        (path, true) => format!("{}/", path.escape_debug()),
        (path, false) => path.escape_debug().to_string(),
    };
    let size = |entry: Option<&DirectoryEntry>| {
        let Some(entry) = entry else {
            return String::new();
        };
        let amount = Amount::of(entry);
        let bytes = amounts::bytes(amount.bytes);
        match is_folder {
            true => format!("{} files, {bytes}", amount.files),
            false => bytes,
        }
    };
    match changed.change {
        Change::Added => format!("+ {path}  ({})", size(changed.after)),
        Change::Removed => format!("- {path}  ({})", size(changed.before)),
        Change::Content => format!(
            "M {path}  ({}, {} before)",
            size(changed.after),
            size(changed.before)
        ),
        Change::Metadata => format!("m {path}  ({})", attributes(changed)),
    }
}

/// Returns which attributes differ.
fn attributes(changed: &ChangedEntry<'_>) -> String {
    let (Some(before), Some(after)) = (changed.before, changed.after) else {
        return String::new();
    };
    let mut differing = Vec::new();
    if before.mode != after.mode {
        differing.push(format!("mode {:04o} -> {:04o}", before.mode, after.mode));
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        differing.push(format!(
            "owner {}:{} -> {}:{}",
            before.uid, before.gid, after.uid, after.gid
        ));
    }
    if before.mtime != after.mtime && after.entry_type != EntryType::Directory {
        differing.push(format!(
            "time {} -> {}",
            amounts::time(before.mtime),
            amounts::time(after.mtime)
        ));
    }
    differing.join(", ")
}

fn document(changed: &ChangedEntry<'_>) -> Value {
    let side = |entry: Option<&DirectoryEntry>| {
        entry.map(|entry| {
            let amount = Amount::of(entry);
            json!({
                "type": entry.entry_type,
                "bytes": amount.bytes,
                "files": amount.files,
                "mode": format!("{:04o}", entry.mode),
                "uid": entry.uid,
                "gid": entry.gid,
                "time": entry.mtime,
                "object": entry.object,
            })
        })
    };
    json!({
        "path": changed.path,
        "change": changed.change.as_str(),
        "before": side(changed.before),
        "after": side(changed.after),
    })
}
