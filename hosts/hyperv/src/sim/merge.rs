//! Merging differencing files away once no checkpoint needs the file beneath them.
//!
//! A file that is neither frozen by a checkpoint nor written by the guest, and that has a single
//! child, takes its child's content in. Until `host.json` names the shorter chain the child is
//! whole, so a merge that was killed is simply done again from its beginning.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::container;
use super::fault::SimFault;
use super::session::Session;
use super::state::VmRecord;
use crate::{HypervError, HypervErrorKind, MergeProgress, MergeState, VmId};

/// A merge that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DueMerge {
    disk: usize,
    /// From the root to the file that takes the content in.
    below: Vec<PathBuf>,
    child: PathBuf,
}

impl DueMerge {
    fn parent(&self) -> &Path {
        self.below.last().map_or(Path::new(""), PathBuf::as_path)
    }
}

/// Returns the first merge that is due.
fn due(vm: &VmRecord) -> Option<DueMerge> {
    all_due(vm).next()
}

/// Returns the merge that is due next of every disk.
fn all_due(vm: &VmRecord) -> impl Iterator<Item = DueMerge> {
    vm.disks.iter().enumerate().filter_map(|(disk, record)| {
        let chains: Vec<&Vec<PathBuf>> = vm.chains(record.key).collect();
        let needed: BTreeSet<&PathBuf> = chains.iter().filter_map(|chain| chain.last()).collect();
        let above = |file: &PathBuf| -> BTreeSet<PathBuf> {
            chains
                .iter()
                .flat_map(|chain| chain.windows(2))
                .filter(|pair| &pair[0] == file)
                .map(|pair| pair[1].clone())
                .collect()
        };
        chains.iter().find_map(|chain| {
            chain.iter().enumerate().find_map(|(depth, file)| {
                let mut children = above(file).into_iter();
                let child = children.next()?;
                (!needed.contains(file) && children.next().is_none()).then(|| DueMerge {
                    disk,
                    below: chain[..=depth].to_vec(),
                    child,
                })
            })
        })
    })
}

impl Session<'_> {
    /// Tells whether disks of the VM are being merged.
    pub(super) fn merge_state(&self, vm: VmId) -> Result<MergeState, HypervError> {
        let vm = self.vm(vm)?;
        let blocked = vm.merge_stuck.as_ref().or(vm.merge_blocked.as_ref());
        Ok(match (due(vm), blocked) {
            (None, _) => MergeState::Idle,
            (Some(_), Some(why)) => MergeState::Stuck(why.clone()),
            (Some(_), None) => MergeState::Running(MergeProgress {
                percent: Some(0),
                left_bytes: self.bytes_to_merge(vm),
            }),
        })
    }

    fn bytes_to_merge(&self, vm: &VmRecord) -> Option<u64> {
        let lengths = all_due(vm).map(|merge| {
            let child = std::fs::metadata(self.path(&merge.child));
            child.ok().map(|file| file.len())
        });
        lengths.sum()
    }

    /// Notes that a checkpoint went away, so that a merge is seen to run for a while.
    pub(super) fn expect_merge(&mut self, vm: VmId) -> Result<(), HypervError> {
        let calls = self.state.merge_calls;
        let vm = self.vm_mut(vm)?;
        vm.merge_calls_left = calls;
        vm.merge_blocked = None;
        Ok(())
    }

    /// Lets the background work of a VM go on by one call.
    pub(super) fn tick(&mut self, vm: VmId) -> Result<(), HypervError> {
        let Some(next) = due(self.vm(vm)?) else {
            return Ok(());
        };
        if self.has_begun(vm, &next)? {
            return self.merge_all(vm);
        }
        if self.vm(vm)?.merge_stuck.is_some() {
            return Ok(());
        }
        if self
            .strike(vm, |fault| *fault == SimFault::StuckMerge)?
            .is_some()
        {
            self.vm_mut(vm)?.merge_stuck = Some(
                "the background merge failed: the file is in use by another process (0x80070020)"
                    .to_owned(),
            );
            return self.save();
        }
        let record = self.vm_mut(vm)?;
        if record.merge_calls_left > 0 {
            record.merge_calls_left -= 1;
            return self.save();
        }
        self.merge_all(vm)
    }

    /// Finishes merges that were killed in the middle, so that chains can be read.
    pub(super) fn finish_begun_merges(&mut self, vm: VmId) -> Result<(), HypervError> {
        match due(self.vm(vm)?) {
            Some(next) if self.has_begun(vm, &next)? => self.merge_all(vm),
            _ => Ok(()),
        }
    }

    /// Returns whether a merge was begun and killed: the file it writes bears no mark then.
    fn has_begun(&self, vm: VmId, merge: &DueMerge) -> Result<bool, HypervError> {
        let disk = &self.vm(vm)?.disks[merge.disk];
        Ok(!disk.marks.contains_key(merge.parent()))
    }

    fn merge_all(&mut self, vm: VmId) -> Result<(), HypervError> {
        while let Some(merge) = due(self.vm(vm)?) {
            match self.merge(vm, &merge) {
                Ok(()) => self.vm_mut(vm)?.merge_blocked = None,
                Err(error) if error.kind() == HypervErrorKind::Unavailable => return Err(error),
                Err(error) => {
                    self.vm_mut(vm)?.merge_blocked = Some(error.to_string());
                    return self.save();
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, vm: VmId, merge: &DueMerge) -> Result<(), HypervError> {
        // From here on the file may look different from what was noted: we are writing it.
        if self.vm_mut(vm)?.disks[merge.disk]
            .marks
            .remove(merge.parent())
            .is_some()
        {
            self.save()?;
        }
        let below = self.paths(&merge.below);
        self.host.merge_files(&below, &self.path(&merge.child))?;
        self.note_marks(vm, merge.disk, &[merge.parent().to_path_buf()])?;
        let record = self.vm_mut(vm)?;
        let key = record.disks[merge.disk].key;
        let disk = &mut record.disks[merge.disk];
        disk.chain.retain(|file| *file != merge.child);
        disk.marks.remove(&merge.child);
        let frozen = record
            .checkpoints
            .iter_mut()
            .flat_map(|checkpoint| &mut checkpoint.disks)
            .filter(|disk| disk.key == key);
        for disk in frozen {
            disk.chain.retain(|file| *file != merge.child);
        }
        self.doom([merge.child.clone()]);
        self.finish()
    }

    /// Notes how files of a disk look now that this host has written them.
    pub(super) fn note_marks(
        &mut self,
        vm: VmId,
        disk: usize,
        files: &[PathBuf],
    ) -> Result<(), HypervError> {
        for file in files {
            let mark = container::mark(&self.path(file))?;
            self.vm_mut(vm)?.disks[disk]
                .marks
                .insert(file.clone(), mark);
        }
        Ok(())
    }
}
