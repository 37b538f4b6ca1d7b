//! The walk from points down to contents.
//!
//! What was found sound once is not looked at again: points share most of what they consist of. What
//! is remembered for that is bounded; where there is more, some is looked at twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::directory::{DirectoryEntry, EntryType};
use kopia::object_id::ObjectId;
use progress::Progress;
use repo::Repository;
use snapshot::read_directory;

use crate::bad::{Bad, Reason, reason_of};
use crate::error::{VerifyError, repo_error, stopped};
use crate::harm::Harm;
use crate::packs::{Objection, Packs};
use crate::reading::Sampler;

/// Lists, and folders, remembered as looked at; then all are forgotten: 80 MiB of lists and 50 of
/// folders. A table of 2^20 places holds so many; one more would double it.
const REMEMBERED_MAX: usize = (1 << 20) / 8 * 7;
/// Damaged lists among them, which are remembered with the reason.
const DAMAGED_LISTS_MAX: usize = 1 << 16;
/// Contents remembered that were read again, since their packs are in doubt; then all are forgotten.
const READ_AGAIN_MAX: usize = 1 << 16;
/// Damaged ranges of one file that are told.
const RANGES_MAX: usize = 100;
/// Lists in lists: our images have two levels, Kopia's own at most a few.
const DEPTH_MAX: u32 = 16;
const DOING: &str = "walk through the repository";

/// What is known of an object that is a list.
#[derive(Debug, Clone)]
struct Known {
    /// Its length, if its list could be read.
    bytes: Option<u64>,
    damage: Option<Reason>,
}

/// Walks through trees and remembers what it saw.
pub(crate) struct Walk<'a> {
    repo: &'a Arc<Repository>,
    packs: &'a Packs,
    /// Contents known to be unreadable.
    bad: &'a Bad,
    sampler: Option<Sampler>,
    lists: HashMap<ObjectId, Known>,
    damaged_lists: usize,
    /// What became of contents in packs that are in doubt.
    read_again: HashMap<ContentId, Option<Reason>>,
    /// Directories without damage below, and whether lengths counted when they were looked at.
    sound_directories: HashSet<(ObjectId, bool)>,
    /// What is marked deleted and lies in its pack still counts as there.
    pub(crate) accepts_deleted: bool,
    /// Files looked at, those in known directories not counted again.
    pub(crate) files: u64,
    /// References to contents followed.
    pub(crate) references: u64,
    /// What cannot be read.
    pub(crate) harm: Harm,
}

/// A step of the walk through directories.
enum Turn {
    Enter {
        entry: Box<DirectoryEntry>,
        path: String,
    },
    Leave {
        directory: ObjectId,
        damages_before: u64,
    },
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        repo: &'a Arc<Repository>,
        packs: &'a Packs,
        bad: &'a Bad,
        harm: Harm,
    ) -> Self {
        Self {
            repo,
            packs,
            bad,
            sampler: None,
            lists: HashMap::new(),
            damaged_lists: 0,
            read_again: HashMap::new(),
            sound_directories: HashSet::new(),
            accepts_deleted: false,
            files: 0,
            references: 0,
            harm,
        }
    }

    /// Returns the repository that it walks through.
    pub(crate) fn repository(&self) -> &'a Arc<Repository> {
        self.repo
    }

    /// Offers the contents that are there to readers from now on.
    pub(crate) fn sample(&mut self, sampler: Sampler) {
        self.sampler = Some(sampler);
    }

    /// Gives the readers what is left over.
    pub(crate) fn finish(&mut self) {
        if let Some(mut sampler) = self.sampler.take() {
            sampler.hand_over();
        }
    }

    /// Walks through the tree at `root` and tells `damaged` of every path that is, with its entry.
    /// With `lengths_count`, a file that is not as long as its entry says is damaged, too.
    pub(crate) fn tree(
        &mut self,
        root: &DirectoryEntry,
        lengths_count: bool,
        progress: &Progress,
        damaged: &mut dyn FnMut(&str, &Reason, &DirectoryEntry),
    ) -> Result<(), VerifyError> {
        let mut damages = 0;
        let mut turns = vec![Turn::Enter {
            entry: Box::new(root.clone()),
            path: String::new(),
        }];
        while let Some(turn) = turns.pop() {
            progress.stop.check().map_err(stopped)?;
            let (entry, path) = match turn {
                Turn::Leave {
                    directory,
                    damages_before,
                } => {
                    if damages == damages_before {
                        if self.sound_directories.len() >= REMEMBERED_MAX {
                            self.sound_directories.clear();
                        }
                        self.sound_directories.insert((directory, lengths_count));
                    }
                    continue;
                }
                Turn::Enter { entry, path } => (entry, path),
            };
            let mut report = |reason: &Reason| {
                damages += 1;
                damaged(&path, reason, &entry);
            };
            if entry.entry_type != EntryType::Directory {
                self.files += 1;
                let bytes =
                    (lengths_count && entry.entry_type == EntryType::File).then_some(entry.size);
                let damage = self.object(&entry.object, bytes, DEPTH_MAX, progress)?;
                if let Some(reason) = &damage {
                    report(reason);
                }
                continue;
            }
            if self.is_sound(entry.object, lengths_count) {
                progress.disk_advances(
                    0,
                    entry.summary.as_ref().map_or(0, |summary| summary.size),
                    0,
                );
                continue;
            }
            if let Some(reason) = self.object(
                &entry.object,
                None,
                DEPTH_MAX,
                &progress_without_news(progress),
            )? {
                report(&reason);
                continue;
            }
            let directory = match read_directory(self.repo, &entry.object) {
                Ok(directory) => directory,
                Err(error) if error.kind().is_damage() => {
                    report(&error.to_string().into());
                    self.note_unreadable(&entry.object, DEPTH_MAX)?;
                    continue;
                }
                Err(error) => return Err(repo_error(DOING)(error)),
            };
            turns.push(Turn::Leave {
                directory: entry.object,
                damages_before: damages,
            });
            turns.extend(directory.entries.into_iter().rev().map(|child| {
                let path = if path.is_empty() {
                    child.name.clone()
                } else {
                    format!("{path}/{}", child.name)
                };
                Turn::Enter {
                    entry: Box::new(child),
                    path,
                }
            }));
        }
        Ok(())
    }

    fn is_sound(&self, directory: ObjectId, lengths_count: bool) -> bool {
        let seen = |lengths_counted| {
            self.sound_directories
                .contains(&(directory, lengths_counted))
        };
        seen(true) || (!lengths_count && seen(false))
    }

    /// Looks at an object and all it consists of; returns the first damage.
    fn object(
        &mut self,
        object: &ObjectId,
        bytes_expected: Option<u64>,
        depth: u32,
        progress: &Progress,
    ) -> Result<Option<Reason>, VerifyError> {
        progress.stop.check().map_err(stopped)?;
        let Some(list) = object.list_of() else {
            let damage = self.content(
                &object.content,
                bytes_expected.filter(|_| !object.compressed),
            )?;
            progress.disk_advances(0, bytes_expected.unwrap_or(0), 0);
            return Ok(damage);
        };
        let known = match self.lists.get(object) {
            Some(known) => {
                progress.disk_advances(0, known.bytes.unwrap_or(0), 0);
                known.clone()
            }
            None => {
                let known = self.list(&list, depth, progress)?;
                self.remember(*object, known.clone());
                known
            }
        };
        let wrong_length = || {
            let (bytes, expected) = (known.bytes?, bytes_expected?);
            (bytes != expected)
                .then(|| format!("object {object} has {bytes} bytes instead of {expected}").into())
        };
        Ok(known.damage.clone().or_else(wrong_length))
    }

    fn remember(&mut self, list: ObjectId, known: Known) {
        if known.damage.is_some() {
            if self.damaged_lists >= DAMAGED_LISTS_MAX {
                return;
            }
            self.damaged_lists += 1;
        }
        if self.lists.len() >= REMEMBERED_MAX {
            self.lists.clear();
            self.damaged_lists = 0;
        }
        self.lists.insert(list, known);
    }

    fn list(
        &mut self,
        list: &ObjectId,
        depth: u32,
        progress: &Progress,
    ) -> Result<Known, VerifyError> {
        let broken = |damage: Reason| Known {
            bytes: None,
            damage: Some(damage),
        };
        let Some(depth) = depth.checked_sub(1) else {
            return Ok(broken(format!("list {list}: lists nest too deeply").into()));
        };
        if let Some(damage) = self.object(list, None, depth, &progress_without_news(progress))? {
            return Ok(broken(damage));
        }
        let entries = match self.repo.read_list(list) {
            Ok(entries) => entries,
            Err(error) if error.kind().is_damage() => {
                self.note_unreadable(list, depth)?;
                return Ok(broken(error.to_string().into()));
            }
            Err(error) => return Err(repo_error(DOING)(error)),
        };
        let mut damage = None;
        for entry in &entries {
            let found = self.object(&entry.object, Some(entry.bytes), depth, progress)?;
            damage = damage.or(found);
        }
        let bytes = entries
            .last()
            .and_then(|last| last.start.checked_add(last.bytes));
        Ok(Known { bytes, damage })
    }

    fn content(
        &mut self,
        id: &ContentId,
        bytes_expected: Option<u64>,
    ) -> Result<Option<Reason>, VerifyError> {
        self.references += 1;
        let record = self.repo.find(id).map_err(repo_error(DOING))?;
        if let Some(reason) = self.bad.reason(id) {
            match &record {
                Some(record) => self.harm.unreadable(record),
                None => self.harm.missing(*id),
            }
            return Ok(Some(Arc::clone(reason)));
        }
        let Some(record) = record else {
            self.harm.missing(*id);
            return Ok(Some(
                format!("content {id} is missing from the index").into(),
            ));
        };
        if record.deleted && !self.accepts_deleted {
            self.harm.missing(*id);
            return Ok(Some(format!("content {id} is marked as deleted").into()));
        }
        match self.packs.objection(&record)? {
            None => {}
            Some(Objection::Gone(reason)) => {
                self.harm.pack_gone(&record);
                return Ok(Some(reason.into()));
            }
            Some(Objection::Short(reason)) => {
                self.harm.unreadable(&record);
                return Ok(Some(reason.into()));
            }
        }
        if self.bad.is_in_doubt(&record)
            && let Some(reason) = self.read_again(*id)?
        {
            self.harm.unreadable(&record);
            return Ok(Some(reason));
        }
        if let Some(sampler) = &mut self.sampler {
            sampler.offer(*id);
        }
        let bytes = u64::from(record.original_bytes);
        Ok(bytes_expected
            .filter(|expected| *expected != bytes)
            .map(|expected| format!("content {id} has {bytes} bytes instead of {expected}").into()))
    }
}

impl Walk<'_> {
    /// Says why a content of a pack that is in doubt cannot be read, if it cannot.
    fn read_again(&mut self, id: ContentId) -> Result<Option<Reason>, VerifyError> {
        if let Some(known) = self.read_again.get(&id) {
            return Ok(known.clone());
        }
        let known = match self.repo.verify_content(&id) {
            Ok(()) => None,
            Err(error) if error.kind().is_damage() => Some(reason_of(&id, &error)),
            Err(error) => return Err(repo_error(DOING)(error)),
        };
        if self.read_again.len() >= READ_AGAIN_MAX {
            self.read_again.clear();
        }
        self.read_again.insert(id, known.clone());
        Ok(known)
    }

    /// Notes which contents of a folder or a list make it unreadable.
    fn note_unreadable(&mut self, object: &ObjectId, depth: u32) -> Result<(), VerifyError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Ok(());
        };
        if let Some(list) = object.list_of() {
            return match self.repo.read_list(&list) {
                Ok(entries) => entries
                    .iter()
                    .try_for_each(|entry| self.note_unreadable(&entry.object, depth)),
                Err(error) if error.kind().is_damage() => self.note_unreadable(&list, depth),
                Err(error) => Err(repo_error(DOING)(error)),
            };
        }
        let id = &object.content;
        match self.repo.verify_content(id) {
            Ok(()) => Ok(()),
            Err(error) if error.kind().is_damage() => {
                match self.repo.find(id).map_err(repo_error(DOING))? {
                    Some(record) => self.harm.unreadable(&record),
                    None => self.harm.missing(*id),
                }
                Ok(())
            }
            Err(error) => Err(repo_error(DOING)(error)),
        }
    }

    /// Returns which ranges of a damaged file, as start and length, cannot be read: those of its
    /// chunks, neighbours joined; not more than a hundred of them.
    pub(crate) fn damaged_ranges(
        &mut self,
        file: &DirectoryEntry,
    ) -> Result<Vec<(u64, u64)>, VerifyError> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let references = self.references;
        let mut parts = vec![(file.object, 0u64, file.size, DEPTH_MAX)];
        while let Some((object, start, bytes, depth)) = parts.pop() {
            if ranges.len() > RANGES_MAX {
                break;
            }
            let known = self.lists.get(&object);
            if bytes == 0 || known.is_some_and(|known| known.damage.is_none()) {
                continue;
            }
            let entries = match object.list_of() {
                None => match self.content(&object.content, None)? {
                    None => continue,
                    Some(_) => None,
                },
                Some(_) if depth == 0 => None,
                Some(list) => match self.repo.read_list(&list) {
                    Ok(entries) => Some(entries),
                    Err(error) if error.kind().is_damage() => None,
                    Err(error) => return Err(repo_error(DOING)(error)),
                },
            };
            if let Some(entries) = entries {
                parts.extend(entries.iter().rev().map(|entry| {
                    let start = start.saturating_add(entry.start);
                    (entry.object, start, entry.bytes, depth - 1)
                }));
                continue;
            }
            match ranges.last_mut() {
                Some((from, length)) if *from + *length == start => *length += bytes,
                _ => ranges.push((start, bytes)),
            }
        }
        ranges.truncate(RANGES_MAX);
        self.references = references;
        Ok(ranges)
    }
}

/// Lists are looked at besides the data they name, so their bytes do not count as progress.
fn progress_without_news(progress: &Progress) -> Progress {
    Progress {
        stop: progress.stop.clone(),
        ..Progress::silent()
    }
}
