//! The collection: what no snapshot needs is marked deleted, what one needs is brought back.
//!
//! Snapshots, incomplete ones included, are walked down to their contents; each list and each
//! directory is opened once. Then the index, which is in the same order as the marks, is walked
//! beside them.

use std::collections::HashSet;
use std::sync::Arc;

use kopia::content_id::{ContentId, prefix};
use kopia::directory::{DirectoryEntry, EntryType};
use kopia::object_id::ObjectId;
use kopia::record::ContentRecord;
use progress::Progress;
use repo::{RepoError, RepoErrorKind, Repository, Writer};
use snapshot::{Snapshots, read_directory};

use crate::error::{MaintainError, MaintainErrorKind, repo_error, stopped};
use crate::marks::{Marks, SortedMarks};
use crate::packs::Packs;
use crate::plan::Limits;
use crate::report::Collected;

const DOING: &str = "collect what no snapshot needs";
/// Contents to be brought back are moved so many at a time.
const REVIVED_AT_ONCE: usize = 1024;

/// One collection.
pub(crate) struct Collection<'a> {
    pub(crate) repo: &'a Arc<Repository>,
    /// Stores what changes; without one, nothing does.
    pub(crate) writer: Option<&'a Writer>,
    pub(crate) limits: Limits,
    pub(crate) progress: &'a Progress,
}

impl Collection<'_> {
    /// Marks, then sweeps.
    ///
    /// # Errors
    /// A manifest, a directory or a list that cannot be read: what it needs would be collected.
    pub(crate) fn run(&self) -> Result<Collected, MaintainError> {
        let mut walk = Walk {
            collection: self,
            marks: Marks::new(self.repo.temporary_folder()),
            opened: HashSet::new(),
            snapshots: HashSet::new(),
        };
        // Points that were published while others were walked are walked too, until none is new.
        while walk.new_snapshots()? {}
        let mut collected = Collected {
            snapshots: walk.snapshots.len() as u64,
            opened: walk.opened.len() as u64,
            ..Collected::default()
        };
        self.sweep(&mut walk.marks, &mut collected)?;
        Ok(collected)
    }

    fn sweep(&self, marks: &mut Marks, collected: &mut Collected) -> Result<(), MaintainError> {
        self.progress
            .phase("comparing the index with what is in use");
        // Listed after the index was read: every pack in there is among them.
        let packs = Packs::list(self.repo.store(), self.limits)?;
        let mut marks = marks.sorted()?;
        let mut deleted_but_needed: Vec<ContentRecord> = Vec::new();
        let mut failure = None;
        let walked = self.repo.for_each_content(None, &mut |record| {
            let step = || {
                self.progress.stop.check().map_err(stopped)?;
                let needed = pass_to(&mut marks, record.id, &mut collected.missing)?;
                self.judge(record, needed, &packs, collected, &mut deleted_but_needed)
            };
            step().map_err(|error| {
                failure = Some(error);
                RepoError::new(RepoErrorKind::Stopped, DOING)
            })
        });
        match failure {
            Some(error) => return Err(error),
            None => walked.map_err(repo_error(DOING))?,
        }
        while marks.peek().is_some() {
            collected.missing += 1;
            marks.pass()?;
        }
        self.revive(&mut deleted_but_needed, collected)?;
        match self.writer {
            Some(writer) => writer.flush().map_err(repo_error(DOING)),
            None => Ok(()),
        }
    }

    fn judge(
        &self,
        record: ContentRecord,
        needed: bool,
        packs: &Packs,
        collected: &mut Collected,
        deleted_but_needed: &mut Vec<ContentRecord>,
    ) -> Result<(), MaintainError> {
        let bytes = u64::from(record.packed_bytes);
        match (needed, record.deleted) {
            (true, false) => collected.in_use.add(bytes),
            (true, true) => {
                collected.in_use.add(bytes);
                deleted_but_needed.push(record);
                if deleted_but_needed.len() >= REVIVED_AT_ONCE {
                    self.revive(deleted_but_needed, collected)?;
                }
            }
            (false, true) => {}
            (false, false) if record.id.prefix() == Some(prefix::MANIFEST) => {}
            (false, false) => {
                let is_old = self.limits.may_bury(record.timestamp_seconds)
                    && !packs.is_young(&record.pack_blob);
                if !is_old {
                    collected.too_young.add(bytes);
                    return Ok(());
                }
                collected.buried.add(bytes);
                if let Some(writer) = self.writer {
                    writer.bury(&record).map_err(repo_error(DOING))?;
                }
            }
        }
        Ok(())
    }

    fn revive(
        &self,
        records: &mut Vec<ContentRecord>,
        collected: &mut Collected,
    ) -> Result<(), MaintainError> {
        records.sort_by(|a, b| (&a.pack_blob, a.pack_offset).cmp(&(&b.pack_blob, b.pack_offset)));
        match self.writer {
            Some(writer) => {
                let moved = writer.move_contents(records).map_err(repo_error(DOING))?;
                collected.revived.count += moved.contents;
                collected.revived.bytes += moved.bytes;
                if let Some(first) = moved.damaged.first() {
                    let kind = MaintainErrorKind::Repo(RepoErrorKind::Damaged);
                    let what =
                        format!("bring back what was deleted though a snapshot needs it: {first}");
                    return Err(MaintainError::new(kind, what));
                }
            }
            None => records
                .iter()
                .for_each(|record| collected.revived.add(u64::from(record.packed_bytes))),
        }
        records.clear();
        Ok(())
    }
}

/// Passes every mark below `id`, which the index does not have, and the one of `id`; returns
/// whether there is one.
fn pass_to(
    marks: &mut SortedMarks,
    id: ContentId,
    missing: &mut u64,
) -> Result<bool, MaintainError> {
    while marks.peek().is_some_and(|mark| mark < id) {
        *missing += 1;
        marks.pass()?;
    }
    let needed = marks.peek() == Some(id);
    if needed {
        marks.pass()?;
    }
    Ok(needed)
}

/// The walk from snapshots down to contents.
struct Walk<'a> {
    collection: &'a Collection<'a>,
    marks: Marks,
    /// Lists and directories that were opened.
    opened: HashSet<(ObjectId, bool)>,
    /// Manifests that were walked.
    snapshots: HashSet<String>,
}

impl Walk<'_> {
    /// Walks through every snapshot that was not walked yet; returns whether there was one.
    fn new_snapshots(&mut self) -> Result<bool, MaintainError> {
        let Collection { repo, progress, .. } = self.collection;
        let snapshots = Snapshots::load(repo).map_err(repo_error(DOING))?;
        if let Some((id, why)) = snapshots.unreadable().first() {
            return Err(MaintainError::new(
                MaintainErrorKind::Repo(RepoErrorKind::Damaged),
                format!(
                    "{DOING}: manifest {id} cannot be read, and what it names would be lost: {why}"
                ),
            ));
        }
        let mut found = false;
        for snapshot in snapshots.iter() {
            if !self.snapshots.insert(snapshot.id.clone()) {
                continue;
            }
            found = true;
            let count = self.snapshots.len();
            if count % 100 == 1 {
                progress.phase(&format!("marking what snapshot {count} needs"));
            }
            match &snapshot.manifest.root_entry {
                Some(root) => self.tree(root)?,
                None if !snapshot.manifest.incomplete.is_empty() => {}
                None => {
                    return Err(MaintainError::new(
                        MaintainErrorKind::Repo(RepoErrorKind::Damaged),
                        format!("{DOING}: snapshot {} names no root", snapshot.id),
                    ));
                }
            }
        }
        Ok(found)
    }

    fn tree(&mut self, root: &DirectoryEntry) -> Result<(), MaintainError> {
        let is_directory = |entry: &DirectoryEntry| entry.entry_type == EntryType::Directory;
        self.object(root.object)?;
        let mut directories = Vec::new();
        if is_directory(root) {
            directories.push(root.object);
        }
        while let Some(directory) = directories.pop() {
            if !self.opened.insert((directory, true)) {
                continue;
            }
            self.collection.progress.stop.check().map_err(stopped)?;
            let read = read_directory(self.collection.repo, &directory);
            for entry in read.map_err(repo_error(DOING))?.entries {
                self.object(entry.object)?;
                if is_directory(&entry) {
                    directories.push(entry.object);
                }
            }
        }
        Ok(())
    }

    /// Marks everything an object consists of, its lists included.
    fn object(&mut self, object: ObjectId) -> Result<(), MaintainError> {
        let mut objects = vec![object];
        while let Some(object) = objects.pop() {
            let Some(list) = object.list_of() else {
                self.marks.add(object.content)?;
                continue;
            };
            if !self.opened.insert((object, false)) {
                continue;
            }
            self.collection.progress.stop.check().map_err(stopped)?;
            objects.push(list);
            let mut failure = Ok(());
            let marks = &mut self.marks;
            self.collection
                .repo
                .for_each_part(&list, &mut |part| match part.object.list_of() {
                    Some(_) => objects.push(part.object),
                    None if failure.is_ok() => failure = marks.add(part.object.content),
                    None => {}
                })
                .map_err(repo_error(DOING))?;
            failure?;
        }
        Ok(())
    }
}
