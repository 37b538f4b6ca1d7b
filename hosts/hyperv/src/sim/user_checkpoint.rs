//! What users do with checkpoints of their own: take, apply, delete.

use std::path::PathBuf;

use super::container;
use super::session::Session;
use crate::{CheckpointId, CheckpointKind, HypervError, HypervErrorKind, VmId, codes};

/// The name of checkpoints that the fault `apply-user-checkpoint` makes.
const USER_NAME: &str = "before the change";

impl Session<'_> {
    /// Takes a user checkpoint.
    pub(super) fn take_user_checkpoint(
        &mut self,
        vm: VmId,
        name: &str,
    ) -> Result<CheckpointId, HypervError> {
        self.freeze(vm, CheckpointKind::User, name, false)
    }

    /// Applies a user checkpoint: the disks are again what it holds, what came later is gone
    /// unless another checkpoint holds it, and every tracking id is void.
    pub(super) fn apply_user_checkpoint(
        &mut self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<(), HypervError> {
        let record = self.user_checkpoint(vm, checkpoint)?;
        let mut live = Vec::new();
        for disk in &record.disks {
            if let Some(index) = self
                .vm(vm)?
                .disks
                .iter()
                .position(|live| live.key == disk.key)
            {
                container::check_closed(&self.path(self.vm(vm)?.disks[index].leaf()))?;
                let root = disk.chain.first().cloned().unwrap_or_default();
                live.push((index, disk.chain.clone(), self.child_name(&root)));
            }
        }
        let new: Vec<PathBuf> = live.iter().map(|(_, _, child)| child.clone()).collect();
        self.intend(&new)?;
        let mut unused = Vec::new();
        for (index, mut chain, child) in live {
            self.host.fuse.burn()?;
            container::create_child(&self.path(&child), &self.paths(&chain), &self.host.chance)?;
            chain.push(child.clone());
            let record = self.vm_mut(vm)?;
            let disk = &mut record.disks[index];
            let key = disk.key;
            if disk.tracking.is_some() {
                unused.push(disk.tracking_file());
            }
            disk.lose_tracking(codes::TRACKING_INVALID_ID);
            let left = std::mem::replace(&mut disk.chain, chain);
            for file in left {
                if !record.chains(key).flatten().any(|needed| *needed == file) {
                    record.disks[index].marks.remove(&file);
                    unused.push(file);
                }
            }
            self.note_marks(vm, index, &[child])?;
        }
        self.vm_mut(vm)?.last_applied_checkpoint = Some(checkpoint);
        self.expect_merge(vm)?;
        self.spare(&new);
        self.doom(unused);
        self.finish()
    }

    /// Deletes a user checkpoint.
    pub(super) fn delete_user_checkpoint(
        &mut self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<(), HypervError> {
        let record = self.user_checkpoint(vm, checkpoint)?;
        for disk in &record.disks {
            container::check_closed(&self.path(disk.frozen_file()))?;
        }
        self.remove_checkpoint(vm, checkpoint)
    }

    /// Applies the newest user checkpoint, of which one is taken first if there is none.
    pub(super) fn apply_some_user_checkpoint(&mut self, vm: VmId) -> Result<(), HypervError> {
        let newest = self
            .vm(vm)?
            .checkpoints
            .iter()
            .rfind(|checkpoint| checkpoint.kind == CheckpointKind::User)
            .map(|checkpoint| checkpoint.id);
        let checkpoint = match newest {
            Some(checkpoint) => checkpoint,
            None => self.take_user_checkpoint(vm, USER_NAME)?,
        };
        self.apply_user_checkpoint(vm, checkpoint)
    }

    fn user_checkpoint(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<super::state::CheckpointRecord, HypervError> {
        let record = self.checkpoint(vm, checkpoint)?;
        if record.kind == CheckpointKind::User {
            return Ok(record.clone());
        }
        Err(HypervError::new(
            HypervErrorKind::Unsupported,
            format!("use checkpoint {checkpoint}: it is not a user's"),
        )
        .with_code(codes::NOT_SUPPORTED))
    }
}
