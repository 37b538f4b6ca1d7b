//! What differs between two descriptions of one VM.

use std::collections::{BTreeMap, BTreeSet};

use kopia::directory::DirectoryEntry;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::descriptor::{DiskDescriptor, VmDescriptor};
use crate::points::OpenPoint;

/// Members that tell of the backup, not of the VM, and the disks, which are compared one by one.
const NOT_OF_THE_VM: [&str; 10] = [
    "descriptor_version",
    "point",
    "run",
    "guid",
    "checkpoint",
    "frozen_at",
    "consistency",
    "consistency_reason",
    "disks",
    "omitted_disks",
];
/// Members of a disk that tell of the backup.
const NOT_OF_THE_DISK: [&str; 10] = [
    "number",
    "file",
    "virtual_disk_id",
    "change_id",
    "type",
    "full_reason",
    "read_bytes",
    "sample_bytes",
    "changed_bytes",
    "uploaded_bytes",
];

/// One member that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedField {
    /// Its name; those of members within others are joined with dots.
    pub name: String,
    /// What it was, as JSON.
    pub before: Option<Value>,
    /// What it is, as JSON.
    pub after: Option<Value>,
}

/// A disk in two points of its VM.
#[derive(Debug, Clone)]
pub struct DiskPair<'d> {
    /// The disk's own identity.
    pub virtual_disk_id: Uuid,
    /// What it was, if the earlier point holds it.
    pub before: Option<&'d DiskDescriptor>,
    /// What it is, if the later point holds it.
    pub after: Option<&'d DiskDescriptor>,
}

impl DiskPair<'_> {
    /// Returns what differs but for the content.
    pub fn fields(&self) -> Vec<ChangedField> {
        match (self.before, self.after) {
            (Some(before), Some(after)) => fields(before, after, &NOT_OF_THE_DISK),
            _ => Vec::new(),
        }
    }
}

/// A configuration file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// Its name.
    pub name: String,
    /// How long it was, if it was there.
    pub before_bytes: Option<u64>,
    /// How long it is, if it is there.
    pub after_bytes: Option<u64>,
}

/// Returns in what the VM itself differs, apart from its disks.
pub fn vm_fields(before: &VmDescriptor, after: &VmDescriptor) -> Vec<ChangedField> {
    fields(before, after, &NOT_OF_THE_VM)
}

/// Returns the disks of both points, those of the later one first, each once.
pub fn disk_pairs<'d>(before: &'d VmDescriptor, after: &'d VmDescriptor) -> Vec<DiskPair<'d>> {
    let find =
        |vm: &'d VmDescriptor, id: Uuid| vm.disks.iter().find(|disk| disk.virtual_disk_id == id);
    let mut seen = BTreeSet::new();
    let ids = after.disks.iter().chain(&before.disks);
    ids.map(|disk| disk.virtual_disk_id)
        .filter(|id| seen.insert(*id))
        .map(|virtual_disk_id| DiskPair {
            virtual_disk_id,
            before: find(before, virtual_disk_id),
            after: find(after, virtual_disk_id),
        })
        .collect()
}

/// Returns the configuration files that differ.
pub fn changed_configuration(before: &OpenPoint, after: &OpenPoint) -> Vec<ChangedFile> {
    let mut names: BTreeMap<&str, [Option<&DirectoryEntry>; 2]> = BTreeMap::new();
    for (side, point) in [before, after].into_iter().enumerate() {
        for entry in point.configuration_entries() {
            names.entry(&entry.name).or_default()[side] = Some(entry);
        }
    }
    let object = |entry: Option<&DirectoryEntry>| entry.map(|entry| entry.object);
    let bytes = |entry: Option<&DirectoryEntry>| entry.map(|entry| entry.size);
    names
        .into_iter()
        .filter(|(_, [before, after])| object(*before) != object(*after))
        .map(|(name, [before, after])| ChangedFile {
            name: name.to_owned(),
            before_bytes: bytes(before),
            after_bytes: bytes(after),
        })
        .collect()
}

fn fields(before: &impl Serialize, after: &impl Serialize, left_out: &[&str]) -> Vec<ChangedField> {
    let (mut before, after) = (flat(before, left_out), flat(after, left_out));
    let mut changed = Vec::new();
    for (name, value) in after {
        let old = before.remove(&name);
        if old.as_ref() != Some(&value) {
            changed.push(ChangedField {
                name,
                before: old,
                after: Some(value),
            });
        }
    }
    changed.extend(before.into_iter().map(|(name, value)| ChangedField {
        name,
        before: Some(value),
        after: None,
    }));
    changed.sort_by(|one, other| one.name.cmp(&other.name));
    changed
}

/// Returns the values of a document by the names that lead to them.
fn flat(document: &impl Serialize, left_out: &[&str]) -> BTreeMap<String, Value> {
    let document = serde_json::to_value(document).expect("descriptors have text as keys");
    let mut values = BTreeMap::new();
    if let Value::Object(members) = document {
        for (name, value) in members {
            if !left_out.contains(&name.as_str()) {
                flatten(name, value, &mut values);
            }
        }
    }
    values
}

/// Descriptors nest a few levels, and we wrote them ourselves from types.
fn flatten(name: String, value: Value, values: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                flatten(format!("{name}.{member}"), value, values);
            }
        }
        Value::Array(items) => {
            for (number, value) in items.into_iter().enumerate() {
                flatten(format!("{name}.{number}"), value, values);
            }
        }
        value => {
            values.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(before: Value, after: Value) -> Vec<String> {
        let changed = fields(&before, &after, &["run"]);
        changed.into_iter().map(|field| field.name).collect()
    }

    #[test]
    fn members_are_compared_wherever_they_nest() {
        let before = json!({"name": "web", "run": 1, "nics": [{"mac": "a"}], "old": true});
        let after =
            json!({"name": "web", "run": 2, "nics": [{"mac": "b"}, {"mac": "c"}], "new": 1});
        assert_eq!(
            names(before.clone(), after.clone()),
            ["new", "nics.0.mac", "nics.1.mac", "old"]
        );
        assert!(names(before.clone(), before).is_empty());
    }
}
