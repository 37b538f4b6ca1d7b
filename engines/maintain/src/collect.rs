//! The collection: what no snapshot needs is marked deleted, what one needs is brought back.
//!
//! Snapshots, incomplete ones included, are walked down to their contents, level by level: what
//! names others waits on disk, sorted, beside what was opened before, so that each list and each
//! directory is opened once. Then the index, which is in the same order as the marks, is walked
//! beside them.

use std::collections::HashSet;
use std::sync::Arc;

use kopia::content_id::{ContentId, prefix};
use kopia::directory::{DirectoryEntry, EntryType};
use kopia::object_id::ObjectId;
use kopia::record::ContentRecord;
use progress::Progress;
use repo::{IndexRow, RepoError, RepoErrorKind, Repository, Writer};
use snapshot::{Snapshots, read_directory};

use crate::error::{MaintainError, MaintainErrorKind, repo_error, stopped};
use crate::marks::{Marks, Opened};
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
        let folder = self.repo.temporary_folder();
        let mut walk = Walk {
            collection: self,
            marks: Marks::new(folder),
            waiting: Marks::new(folder),
            opened: Marks::new(folder),
            opened_count: 0,
            snapshots: HashSet::new(),
        };
        // Points that were published while others were walked are walked too, until none is new.
        while walk.new_snapshots()? {
            while walk.open_waiting()? {}
        }
        let mut collected = Collected {
            snapshots: walk.snapshots.len() as u64,
            opened: walk.opened_count,
            ..Collected::default()
        };
        self.sweep(&mut walk.marks, &mut collected)?;
        Ok(collected)
    }

    fn sweep(
        &self,
        marks: &mut Marks<ContentId>,
        collected: &mut Collected,
    ) -> Result<(), MaintainError> {
        self.progress
            .phase("comparing the index with what is in use");
        // Listed after the index was read: every pack in there is among them.
        let packs = Packs::list(self.repo.store(), self.limits)?;
        let mut marks = marks.sorted()?;
        let mut deleted_but_needed: Vec<ContentRecord> = Vec::new();
        let mut failure = None;
        let walked = self.repo.walk_index().for_each(&mut |row| {
            let mut step = || {
                self.progress.stop.check().map_err(stopped)?;
                let needed = marks.pass_to(row.id(), &mut collected.missing)?;
                self.judge(row, needed, &packs, collected, &mut deleted_but_needed)
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
        row: &IndexRow<'_>,
        needed: bool,
        packs: &Packs,
        collected: &mut Collected,
        deleted_but_needed: &mut Vec<ContentRecord>,
    ) -> Result<(), MaintainError> {
        let bytes = row.packed_bytes();
        match (needed, row.is_deleted()) {
            (true, false) => collected.in_use.add(bytes),
            (true, true) => {
                collected.in_use.add(bytes);
                deleted_but_needed.push(row.record().map_err(repo_error(DOING))?);
                if deleted_but_needed.len() >= REVIVED_AT_ONCE {
                    self.revive(deleted_but_needed, collected)?;
                }
            }
            (false, true) => {}
            (false, false) if row.id().prefix() == Some(prefix::MANIFEST) => {}
            (false, false) => {
                let record = row.record().map_err(repo_error(DOING))?;
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

/// The walk from snapshots down to contents.
struct Walk<'a> {
    collection: &'a Collection<'a>,
    /// Contents in use.
    marks: Marks<ContentId>,
    /// What is to be opened next, unless it was opened before.
    waiting: Marks<Opened>,
    /// Lists and directories that were opened.
    opened: Marks<Opened>,
    opened_count: u64,
    /// Manifests that were walked.
    snapshots: HashSet<String>,
}

impl Walk<'_> {
    /// Begins with every snapshot that was not walked yet; returns whether there was one.
    fn new_snapshots(&mut self) -> Result<bool, MaintainError> {
        let Collection { repo, progress, .. } = self.collection;
        progress.phase("listing the snapshots");
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
            match &snapshot.manifest.root_entry {
                Some(root) => self.entry(root)?,
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

    /// Opens what waits and was not opened yet; returns whether there was anything.
    fn open_waiting(&mut self) -> Result<bool, MaintainError> {
        let folder = self.collection.repo.temporary_folder();
        let mut waiting = std::mem::replace(&mut self.waiting, Marks::new(folder));
        let mut waiting = waiting.sorted()?;
        let mut before = self.opened.sorted()?;
        let mut now = Marks::new(folder);
        let count = self.opened_count;
        while let Some(next) = waiting.peek() {
            waiting.pass()?;
            if before.pass_to(next, &mut 0)? {
                continue;
            }
            let Collection { progress, .. } = self.collection;
            progress.stop.check().map_err(stopped)?;
            if self.opened_count.is_multiple_of(1000) {
                progress.phase(&format!(
                    "marking what is in use: {} lists and folders opened",
                    self.opened_count
                ));
            }
            match next {
                Opened::List(object) => self.list(object)?,
                Opened::Directory(object) => self.directory(object)?,
            }
            now.add(next)?;
            self.opened_count += 1;
        }
        self.opened.append(now)?;
        Ok(self.opened_count > count)
    }

    fn directory(&mut self, object: ObjectId) -> Result<(), MaintainError> {
        let read = read_directory(self.collection.repo, &object);
        let entries = read.map_err(repo_error(DOING))?.entries;
        entries.iter().try_for_each(|entry| self.entry(entry))
    }

    fn list(&mut self, object: ObjectId) -> Result<(), MaintainError> {
        let Some(list) = object.list_of() else {
            return Ok(());
        };
        self.object(list)?;
        let mut failure = Ok(());
        let repo = self.collection.repo;
        repo.for_each_part(&list, &mut |part| {
            if failure.is_ok() {
                failure = self.object(part.object);
            }
        })
        .map_err(repo_error(DOING))?;
        failure
    }

    /// Notes what an entry names.
    fn entry(&mut self, entry: &DirectoryEntry) -> Result<(), MaintainError> {
        self.object(entry.object)?;
        match entry.entry_type {
            EntryType::Directory => self.waiting.add(Opened::Directory(entry.object)),
            _ => Ok(()),
        }
    }

    /// Marks the content that an object is; one that is a list is opened later.
    fn object(&mut self, object: ObjectId) -> Result<(), MaintainError> {
        match object.list_of() {
            Some(_) => self.waiting.add(Opened::List(object)),
            None => self.marks.add(object.content),
        }
    }
}
