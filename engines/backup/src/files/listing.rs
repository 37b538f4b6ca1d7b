//! Looking through a folder: what is in it, what earlier snapshots have of that, and what is to be
//! done.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use kopia::policy::Policy;

use super::node::{FileJob, FolderJob, Node, Place};
use super::os::{self, Facts, FolderHandle, Found, Kind, Listing};
use super::previous::{OldFolders, is_unchanged};
use super::rules::{self, CACHE_TAG_NAME, DotIgnoreFile, FolderRules, PatternError, Verdict};
use super::tally::add;
use super::walk::Hand;
use crate::error::BackupError;

/// What of a cache's mark is looked at.
const CACHE_TAG_BYTES: u64 = 64;
/// No file of patterns is longer.
const DOT_IGNORE_BYTES_MAX: u64 = 16 << 20;

/// Why a folder is not taken that is empty since its file system is gone.
const UNMOUNTED: &str = "the file system that was mounted there is gone";

/// An entry with the name that it gets in the snapshot.
struct Named {
    name: String,
    /// Its name on disk if that is another one.
    disk_name: Option<OsString>,
    facts: Facts,
}

/// What is to be done for a folder, and what is done already.
#[derive(Default)]
struct Sorted {
    files: Vec<FileJob>,
    folders: Vec<FolderJob>,
    reused: Vec<DirectoryEntry>,
    /// How many of the reused ones the old folder has just so.
    same: usize,
}

impl Hand<'_, '_> {
    /// Looks through a folder.
    pub fn open_folder(&mut self, job: FolderJob) -> Result<(), BackupError> {
        let FolderJob {
            parent,
            name,
            place,
            old,
            others,
        } = job;
        let policy = self.walk.policy_of(&parent, &name);
        let listed_on = match &place {
            Place::Open(_) => None,
            Place::In { device, .. } => Some(*device),
        };
        let entered = enter(&parent, place).and_then(|(folder, facts, listing)| {
            let is_gone = |listed| was_unmounted(parent.device, listed, facts.device);
            if listed_on.is_some_and(is_gone) {
                return Err(io::Error::other(UNMOUNTED));
            }
            let rules = match listed_on {
                None => self.rules_of_source(&policy.effective),
                Some(_) => self.rules_below(&parent, &name),
            };
            let rules = rules.map_err(io::Error::other)?;
            let warn = |file: &str| {
                let path = parent.path_of(&name);
                self.walk.tally.warn(format!(
                    "{file} in {path} leads nowhere or vanished, so nothing is left out for it"
                ));
            };
            let (rules, listing) = apply_files(rules, &folder, listing, &warn)?;
            Ok((folder, facts, listing, rules))
        });
        let (folder, facts, listing, rules) = match entered {
            Ok(entered) => entered,
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.walk.vanished(&parent, &name);
                } else {
                    let is_ignored = policy.ignores_folder_errors();
                    let reason = os::reason(&error);
                    self.walk.fail(&parent, &name, reason, is_ignored)?;
                }
                return self.one_done(parent);
            }
        };
        // What was mounted since the folder was listed is judged as what it is now.
        let is_mounted_since = listed_on.is_some_and(|listed| listed != facts.device);
        if is_mounted_since && self.is_excluded(&parent, &name, &facts) {
            return self.one_done(parent);
        }
        let node = Node::opened(&parent, name, folder, &facts, policy, rules, old);
        self.walk.note_open(&node);
        for (name, error) in &listing.failed {
            let is_ignored = node.policy.ignores_file_errors();
            let reason = os::reason(error);
            self.walk
                .fail(&node, &os::name_text(name), reason, is_ignored)?;
        }
        let mut old = match self.walk.options.full {
            true => OldFolders::default(),
            false => OldFolders::read(
                self.walk.repo(),
                node.old.as_ref().map(|old| old.object),
                &others,
                &|text| self.walk.tally.warn(text),
            )?,
        };
        if let Some(count) = old.first_count {
            node.set_old_count(count);
        }
        let named = self.name_all(&node, listing.found);
        let sorted = self.sort_out(&node, named, &mut old)?;
        node.expect(sorted.files.len() + sorted.folders.len());
        node.add_all(sorted.reused, sorted.same);
        self.walk
            .queue
            .add(|waiting| waiting.add(sorted.files, sorted.folders));
        self.one_done(node)
    }

    /// Gives every entry its name in the snapshot and brings them into Kopia's order.
    fn name_all(&self, node: &Node, found: Vec<Found>) -> Vec<Named> {
        let mut is_any_odd = false;
        let mut named: Vec<Named> = found
            .into_iter()
            .map(|Found { name, facts }| match name.into_string() {
                Ok(name) => Named {
                    name,
                    disk_name: None,
                    facts,
                },
                Err(name) => {
                    is_any_odd = true;
                    Named {
                        name: os::name_text(&name),
                        disk_name: Some(name),
                        facts,
                    }
                }
            })
            .collect();
        if is_any_odd {
            self.tell_apart(node, &mut named);
        }
        named.sort_by(|a, b| {
            let key = |entry: &Named| entry.facts.kind != Kind::Folder;
            (key(a), &a.name).cmp(&(key(b), &b.name))
        });
        named
    }

    /// Names that are no text lose bytes, and might then be those of others.
    fn tell_apart(&self, node: &Node, named: &mut [Named]) {
        named.sort_by(|a, b| {
            let key = |entry: &Named| entry.disk_name.clone();
            key(a).cmp(&key(b))
        });
        let texts = named.iter().filter(|entry| entry.disk_name.is_none());
        let mut taken: HashSet<String> = texts.map(|entry| entry.name.clone()).collect();
        for entry in named.iter_mut().filter(|entry| entry.disk_name.is_some()) {
            let base = entry.name.clone();
            let mut number = 2;
            while !taken.insert(entry.name.clone()) {
                entry.name = format!("{base}_{number}");
                number += 1;
            }
            self.walk.tally.warn(format!(
                "{} has a name that is no text; its odd bytes are lost, for the format has no room for them",
                node.path_of(&entry.name)
            ));
        }
    }

    /// Decides for every entry what is to be done with it.
    fn sort_out(
        &mut self,
        node: &Arc<Node>,
        named: Vec<Named>,
        old: &mut OldFolders,
    ) -> Result<Sorted, BackupError> {
        let mut sorted = Sorted::default();
        for Named {
            name,
            disk_name,
            facts,
        } in named
        {
            let is_folder = facts.kind == Kind::Folder;
            if self.is_excluded(node, &name, &facts) {
                continue;
            }
            // What earlier snapshots have under a name that lost bytes may be another entry's.
            let states = match disk_name {
                None => old.find(is_folder, &name),
                Some(_) => Vec::new(),
            };
            match facts.kind {
                Kind::Other(oddity) => {
                    let is_ignored = node.policy.ignores_unknown_types();
                    self.walk
                        .fail(node, &name, oddity.to_string(), is_ignored)?;
                }
                Kind::Folder => {
                    let mut first = None;
                    let mut others = Vec::new();
                    for state in states {
                        others.push(state.entry.object);
                        if state.is_first {
                            first = Some(state.entry);
                        }
                    }
                    let disk_name = disk_name.unwrap_or_else(|| OsString::from(&name));
                    sorted.folders.push(FolderJob {
                        parent: Arc::clone(node),
                        name,
                        place: Place::In {
                            name: disk_name,
                            device: facts.device,
                        },
                        old: first,
                        others,
                    });
                }
                Kind::File | Kind::Symlink => {
                    let state = states
                        .into_iter()
                        .find(|state| is_unchanged(&state.entry, &facts));
                    if let Some(state) = state
                        && self.may_reuse(&state.entry.object)?
                    {
                        self.count_reused(&state.entry);
                        sorted.same += usize::from(state.is_first);
                        sorted.reused.push(state.entry);
                        continue;
                    }
                    sorted.files.push(FileJob {
                        parent: Arc::clone(node),
                        name,
                        disk_name,
                        facts,
                        folder: None,
                    });
                }
            }
        }
        Ok(sorted)
    }

    fn rules_below(&self, parent: &Node, name: &str) -> Result<Arc<FolderRules>, PatternError> {
        let own = self.walk.policies.of(|| parent.path_of(name));
        let own = own.and_then(|own| own.own.as_ref());
        match &parent.rules {
            Some(rules) => rules.below(name, own),
            None => self.rules_of_source(&parent.policy.effective),
        }
    }

    fn rules_of_source(&self, policy: &Policy) -> Result<Arc<FolderRules>, PatternError> {
        let options = self.walk.options;
        FolderRules::root(&options.applied_to(policy), &options.exclude)
    }

    /// Returns whether rules leave an entry out, and counts it then.
    fn is_excluded(&self, node: &Node, name: &str, facts: &Facts) -> bool {
        let Some(rules) = &node.rules else {
            return false;
        };
        let is_folder = facts.kind == Kind::Folder;
        let verdict = rules.verdict(rules::Found {
            name,
            is_folder,
            bytes: facts.bytes,
            on_other_file_system: facts.device != node.device,
        });
        let tally = &self.walk.tally;
        match verdict {
            Verdict::Keep => return false,
            Verdict::Excluded(_) if is_folder => add(&tally.excluded_folders, 1),
            Verdict::Excluded(_) => {
                add(&tally.excluded_files, 1);
                add(&tally.excluded_bytes, facts.bytes);
            }
        }
        true
    }

    /// Counts an entry that was taken over from an earlier snapshot.
    pub fn count_reused(&mut self, entry: &DirectoryEntry) {
        let tally = &self.walk.tally;
        add(&tally.cached_files, 1);
        add(&tally.cached_bytes, entry.size);
        if entry.entry_type == EntryType::Symlink {
            add(&tally.symlinks, 1);
        } else {
            add(&tally.files, 1);
            add(&tally.bytes, entry.size);
            self.dealt_bytes += entry.size;
        }
    }
}

/// Says whether what was mounted on a folder is gone: what is there now is the folder that it was
/// mounted on, which says nothing of what was listed.
fn was_unmounted(parent: u64, listed: u64, entered: u64) -> bool {
    listed != entered && entered == parent
}

fn enter(parent: &Node, place: Place) -> io::Result<(FolderHandle, Facts, Listing)> {
    let folder = match place {
        Place::Open(folder) => folder,
        Place::In { name, .. } => match &parent.folder {
            Some(folder) => folder.enter(&name)?,
            None => return Err(io::ErrorKind::NotFound.into()),
        },
    };
    let facts = folder.facts()?;
    let listing = folder.list()?;
    Ok((folder, facts, listing))
}

/// Heeds the files in a folder that say what of it is taken: a cache is taken as an empty folder.
/// `missing` is told of those that are listed and not there.
fn apply_files(
    rules: Arc<FolderRules>,
    folder: &FolderHandle,
    listing: Listing,
    missing: &dyn Fn(&str),
) -> io::Result<(Arc<FolderRules>, Listing)> {
    let has = |name: &str| listing.found.iter().find(|found| found.name == name);
    let is_tagged = has(CACHE_TAG_NAME).is_some_and(|tag| tag.facts.kind == Kind::File);
    if is_tagged && rules.leaves_out_caches() {
        let start = read_rules(folder, CACHE_TAG_NAME, CACHE_TAG_BYTES)?;
        if start.is_some_and(|start| rules::is_cache_tag(&start)) {
            return Ok((rules, Listing::default()));
        }
    }
    let mut contents = Vec::new();
    for name in rules.dot_ignore_names() {
        if has(name).is_some_and(|file| file.facts.kind != Kind::Folder) {
            match read_rules(folder, name, DOT_IGNORE_BYTES_MAX)? {
                Some(content) => contents.push((name.clone(), content)),
                None => missing(name),
            }
        }
    }
    let files: Vec<DotIgnoreFile<'_>> = contents
        .iter()
        .map(|(name, content)| DotIgnoreFile { name, content })
        .collect();
    let rules = rules
        .with_dot_ignore_files(&files)
        .map_err(io::Error::other)?;
    Ok((rules, listing))
}

/// Reads a file that says what of its folder is taken; `None` if there is none behind the name.
/// That must not look as if the folder itself had vanished.
fn read_rules(folder: &FolderHandle, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    match folder.read_start(name, bytes_max) {
        Ok(start) => Ok(Some(start)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let reason = format!("read {name} in it: {}", os::reason(&error));
            Err(io::Error::new(error.kind(), reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_whose_file_system_went_is_told_from_one_that_was_mounted_since() {
        let (outer, inner, other) = (1, 2, 3);
        for (listed, entered, is_gone) in [
            (outer, outer, false),
            (inner, inner, false),
            (inner, outer, true),
            // Mounted since, be it for the first time or once more.
            (outer, inner, false),
            (inner, other, false),
        ] {
            assert_eq!(was_unmounted(outer, listed, entered), is_gone);
        }
    }
}
