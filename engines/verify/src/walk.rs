//! The walk from points down to contents.
//!
//! What was found sound once is not looked at again: points share most of what they consist of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::directory::{DirectoryEntry, EntryType};
use kopia::object_id::ObjectId;
use progress::Progress;
use repo::Repository;
use snapshot::read_directory;

use crate::error::{VerifyError, is_damage, repo_error, stopped};
use crate::packs::Packs;
use crate::reading::Sampler;

/// Lists in lists: our images have two levels, Kopia's own at most a few.
const DEPTH_MAX: u32 = 16;
const DOING: &str = "walk through the repository";

/// Why something is damaged.
pub(crate) type Reason = Arc<str>;

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
    bad: &'a HashMap<ContentId, Reason>,
    sampler: Option<Sampler>,
    lists: HashMap<ObjectId, Known>,
    /// Directories without damage below, and whether lengths counted when they were looked at.
    sound_directories: HashSet<(ObjectId, bool)>,
    /// Files looked at, those in known directories not counted again.
    pub(crate) files: u64,
    /// References to contents followed.
    pub(crate) references: u64,
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
        bad: &'a HashMap<ContentId, Reason>,
        sampler: Option<Sampler>,
    ) -> Self {
        Self {
            repo,
            packs,
            bad,
            sampler,
            lists: HashMap::new(),
            sound_directories: HashSet::new(),
            files: 0,
            references: 0,
        }
    }

    /// Gives the readers what is left over.
    pub(crate) fn finish(&mut self) {
        if let Some(mut sampler) = self.sampler.take() {
            sampler.hand_over();
        }
    }

    /// Walks through the tree at `root` and tells `damaged` of every path that is. With
    /// `lengths_count`, a file that is not as long as its entry says is damaged, too.
    pub(crate) fn tree(
        &mut self,
        root: &DirectoryEntry,
        lengths_count: bool,
        progress: &Progress,
        damaged: &mut dyn FnMut(&str, &Reason),
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
                        self.sound_directories.insert((directory, lengths_count));
                    }
                    continue;
                }
                Turn::Enter { entry, path } => (entry, path),
            };
            let mut report = |reason: &Reason| {
                damages += 1;
                damaged(&path, reason);
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
                Err(error) if is_damage(error.kind()) => {
                    report(&error.to_string().into());
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
                self.lists.insert(*object, known.clone());
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
            Err(error) if is_damage(error.kind()) => return Ok(broken(error.to_string().into())),
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
        if let Some(reason) = self.bad.get(id) {
            return Ok(Some(Arc::clone(reason)));
        }
        let Some(record) = self.repo.find(id).map_err(repo_error(DOING))? else {
            return Ok(Some(
                format!("content {id} is missing from the index").into(),
            ));
        };
        if record.deleted {
            return Ok(Some(format!("content {id} is marked as deleted").into()));
        }
        if let Some(objection) = self.packs.objection(&record)? {
            return Ok(Some(objection.into()));
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

/// Lists are looked at besides the data they name, so their bytes do not count as progress.
fn progress_without_news(progress: &Progress) -> Progress {
    Progress {
        stop: progress.stop.clone(),
        ..Progress::silent()
    }
}
