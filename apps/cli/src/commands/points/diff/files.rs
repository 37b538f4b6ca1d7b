//! Two snapshots of files, side by side.

use std::cell::RefCell;
use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use point::{Amount, Change, ChangedEntry, Point, TreeDifference, tree_difference};
use repo::Repository;
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::plain;
use crate::stdout::{show_document, show_text};
use crate::world::World;

/// Compares. What differs is written as it is found, since it may be as long as the trees.
pub(super) fn compare(
    world: &World,
    repo: &Arc<Repository>,
    before: Point<'_>,
    after: Point<'_>,
    stat: bool,
) -> Result<Answer, Failure> {
    let comparison = Comparison {
        world,
        repo,
        points: (before, after),
        outcome: RefCell::default(),
    };
    if world.wants_json() && !stat {
        show_document(&comparison);
        return Ok(match comparison.outcome.into_inner() {
            Some(Err(failure)) => {
                failure.tell();
                Answer::shown(failure.kind().status())
            }
            // Nothing is wrong, or whoever reads has closed the pipe and wants no more.
            Some(Ok(_)) | None => Answer::shown(0),
        });
    }
    let total = comparison.run(&mut |changed| {
        if !stat {
            show_text(&line(changed));
        }
    })?;
    let mut document = json!({ "before": before.id(), "after": after.id() });
    for (name, value) in total_fields(&total) {
        document[name] = value;
    }
    Ok(Answer::new(summary(&total), document))
}

/// Two snapshots and, once they are written as a document, what came of it.
struct Comparison<'c> {
    world: &'c World,
    repo: &'c Arc<Repository>,
    points: (Point<'c>, Point<'c>),
    outcome: RefCell<Option<Result<TreeDifference, Failure>>>,
}

impl Comparison<'_> {
    fn run(&self, each: &mut dyn FnMut(&ChangedEntry<'_>)) -> Result<TreeDifference, Failure> {
        let (before, after) = (self.points.0.root()?, self.points.1.root()?);
        let stop = self.world.stop();
        Ok(tree_difference(self.repo, before, after, stop, each)?)
    }
}

impl Serialize for Comparison<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut document = to.serialize_map(None)?;
        document.serialize_entry("before", self.points.0.id())?;
        document.serialize_entry("after", self.points.1.id())?;
        document.serialize_entry("entries", &Entries(self))?;
        match &*self.outcome.borrow() {
            Some(Ok(total)) => {
                for (name, value) in total_fields(total) {
                    document.serialize_entry(name, &value)?;
                }
            }
            Some(Err(failure)) => document.serialize_entry("error", &failure.document())?,
            None => {}
        }
        document.end()
    }
}

/// The list of what differs; found while it is written.
struct Entries<'c>(&'c Comparison<'c>);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(None)?;
        let mut written = Ok(());
        let outcome = self.0.run(&mut |changed| {
            if written.is_ok() {
                written = list.serialize_element(&document(changed));
            }
        });
        *self.0.outcome.borrow_mut() = Some(outcome);
        written?;
        list.end()
    }
}

fn total_fields(total: &TreeDifference) -> [(&'static str, Value); 6] {
    [
        ("same", json!(*total == TreeDifference::default())),
        ("added", amount_document(total.added)),
        ("removed", amount_document(total.removed)),
        ("changed_before", amount_document(total.changed_before)),
        ("changed_after", amount_document(total.changed_after)),
        ("metadata_changed", json!(total.metadata)),
    ]
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
    let path = match (changed.path, is_folder) {
        ("", _) => "the root".to_owned(),
        (path, true) => format!("{}/", plain::line(path)),
        (path, false) => plain::line(path).into_owned(),
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
