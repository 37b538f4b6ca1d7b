//! The audit of what snapshots refer to: objects (Kopia spec 6.2), directories, their order and totals (7.3, 7.4).

use std::collections::HashMap;

use crate::directory::{Directory, Summary};
use crate::manifest::SnapshotManifest;
use crate::object::{ObjectId, print_list};
use crate::reader::SecondReader;
use crate::snapshot::Entry;

const DEPTH_MAX: usize = 400;

/// What an object is for, and so which prefix its contents have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    File,
    Directory,
    List,
}

struct TreeAudit<'a> {
    reader: &'a SecondReader,
    /// The lengths of objects already judged; `None` if they cannot be read.
    lengths: HashMap<(String, Class), Option<u64>>,
    /// The summaries of directories already judged.
    directories: HashMap<String, Option<Summary>>,
    violations: &'a mut Vec<String>,
}

impl SecondReader {
    pub(crate) fn audit_trees(&self, violations: &mut Vec<String>) {
        let mut audit = TreeAudit {
            reader: self,
            lengths: HashMap::new(),
            directories: HashMap::new(),
            violations,
        };
        for manifest in self.snapshot_manifests() {
            match SnapshotManifest::parse(manifest) {
                Err(error) => audit
                    .violations
                    .push(format!("snapshot {}: {error}", manifest.id)),
                Ok(snapshot) => {
                    let before = audit.violations.len();
                    audit.entry(&Entry::new(String::new(), snapshot.root), 0);
                    for violation in audit.violations.iter_mut().skip(before) {
                        *violation = format!("snapshot {}: {violation}", manifest.id);
                    }
                }
            }
        }
    }
}

impl TreeAudit<'_> {
    fn entry(&mut self, entry: &Entry, depth: usize) {
        let class = if entry.kind == "d" {
            Class::Directory
        } else {
            Class::File
        };
        let Some(length) = self.object(&entry.object_id, class, 0) else {
            self.wrong(&entry.path, "cannot be read");
            return;
        };
        match entry.kind.as_str() {
            "f" | "s" => {
                if entry.size != length {
                    self.wrong(
                        &entry.path,
                        &format!("has the size {}, its object {length}", entry.size),
                    );
                }
                match &entry.summary {
                    None => {}
                    Some(summary)
                        if depth == 0
                            && entry.kind == "f"
                            && (summary.size, summary.files) == (length, 1) => {}
                    Some(_) => self.wrong(&entry.path, "has a wrong summary"),
                }
                if entry.kind == "s" && entry.object_id.starts_with('I') {
                    self.wrong(&entry.path, "is a symbolic link in several contents");
                }
            }
            "d" => {
                let Some(own) = self.directory(entry, depth) else {
                    return;
                };
                if entry.summary.as_ref() != Some(&own) {
                    self.wrong(&entry.path, "has another summary than its directory object");
                }
                if entry.size != 0 {
                    self.wrong(&entry.path, "is a directory with a size");
                }
            }
            kind => self.wrong(&entry.path, &format!("is of the unknown type {kind:?}")),
        }
    }

    /// Judges a directory once, and gives its summary.
    fn directory(&mut self, entry: &Entry, depth: usize) -> Option<Summary> {
        if depth > DEPTH_MAX {
            self.wrong(&entry.path, "is nested too deeply");
            return None;
        }
        if let Some(known) = self.directories.get(&entry.object_id) {
            return known.clone();
        }
        let bytes = self.reader.read_object(&entry.object_id);
        let parsed =
            bytes.and_then(|bytes| Directory::parse(&bytes).map(|directory| (directory, bytes)));
        let summary = match parsed {
            Err(error) => {
                self.wrong(&entry.path, &error);
                None
            }
            Ok((directory, bytes)) => {
                if directory.print().as_bytes() != bytes {
                    self.wrong(
                        &entry.path,
                        "is a directory not written as Kopia writes them",
                    );
                }
                for wrong in directory.wrong_names() {
                    self.wrong(&entry.path, &wrong);
                }
                for child in &directory.entries {
                    self.entry(
                        &Entry::new(entry.child_path(&child.name), child.clone()),
                        depth + 1,
                    );
                }
                let (own, totals) = (&directory.summary, directory.totals(&entry.mtime));
                if totals != *own {
                    self.wrong(
                        &entry.path,
                        &format!("has the totals {own:?}, not {totals:?}"),
                    );
                }
                Some(directory.summary)
            }
        };
        self.directories
            .insert(entry.object_id.clone(), summary.clone());
        summary
    }

    /// Judges an object once, and gives its length.
    fn object(&mut self, object_id: &str, class: Class, depth: usize) -> Option<u64> {
        let key = (object_id.to_owned(), class);
        if let Some(&known) = self.lengths.get(&key) {
            return known;
        }
        let length = self
            .judge_object(object_id, class, depth)
            .unwrap_or_else(|error| {
                self.violations.push(format!("object {object_id}: {error}"));
                None
            });
        self.lengths.insert(key, length);
        length
    }

    fn judge_object(
        &mut self,
        object_id: &str,
        class: Class,
        depth: usize,
    ) -> Result<Option<u64>, String> {
        if depth > 16 {
            return Err("lists are nested too deeply".to_owned());
        }
        let id = ObjectId::parse(object_id, self.reader.format.hash.length_bytes)?;
        if id.zipped && self.reader.format.enable_password_change {
            return Err("is compressed as an object where contents are".to_owned());
        }
        if id.indirections == 0 {
            let prefix_fits = match class {
                Class::File => id.prefix().is_empty(),
                Class::Directory => id.prefix() == "k",
                Class::List => matches!(id.prefix(), "x" | "k"),
            };
            if !prefix_fits {
                self.violations.push(format!(
                    "object {object_id} has a wrong prefix for a {class:?}"
                ));
            }
            let record = self
                .reader
                .content_record(&id.content)
                .ok_or("is in no index")?;
            if record.deleted {
                self.violations
                    .push(format!("object {object_id} is referred to but deleted"));
            }
            return self.reader.object_length(object_id).map(Some);
        }
        let list_object = object_id.strip_prefix('I').ok_or("is not indirect")?;
        if self.object(list_object, Class::List, depth + 1).is_none() {
            return Ok(None);
        }
        let list = self.reader.object_list(object_id, depth)?;
        if print_list(&list).as_bytes() != self.reader.object_list_bytes(object_id, depth)? {
            self.violations.push(format!(
                "object {object_id} has a list not written as Kopia writes them"
            ));
        }
        let mut readable = true;
        let end = list.last().map_or(0, |last| last.end());
        for entry in list.iter() {
            // Kopia reads a long file in parts, the last of whatever is left: it may be nothing.
            if entry.length == 0 && entry.start < end {
                self.violations.push(format!(
                    "object {object_id} has an entry without bytes at {}",
                    entry.start
                ));
            }
            match self.object(&entry.object, class, depth + 1) {
                Some(length) if length != entry.length => self.violations.push(format!(
                    "object {object_id} has an entry of {} bytes at {}, its object {length}",
                    entry.length, entry.start
                )),
                Some(_) => {}
                None => readable = false,
            }
        }
        Ok(Some(end).filter(|_| readable && !list.is_empty()))
    }

    fn wrong(&mut self, path: &str, what: &str) {
        self.violations.push(format!("{path:?} {what}"));
    }
}
