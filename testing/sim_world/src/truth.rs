//! What every disk and every point must hold. It never asks the product.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperv::{CheckpointId, VmId};
use uuid::Uuid;

/// Disks by the file at the root of their chain; copied only when written to.
pub(crate) type Disks = BTreeMap<String, Arc<Vec<u8>>>;

/// A virtual machine as its guest and its administrator know it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) vm: VmId,
    pub(crate) host: usize,
    pub(crate) disks: Disks,
    /// User checkpoints and what they hold.
    pub(crate) checkpoints: Vec<(CheckpointId, Disks)>,
    /// Another product's checkpoints.
    pub(crate) foreign: Vec<CheckpointId>,
}

impl Machine {
    pub(crate) fn new(vm: VmId, host: usize) -> Self {
        Self {
            vm,
            host,
            disks: Disks::new(),
            checkpoints: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// Writes into a disk.
    pub(crate) fn write(&mut self, disk: &str, offset: u64, bytes: &[u8]) {
        let content = Arc::make_mut(self.disks.get_mut(disk).expect("the machine has the disk"));
        content[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// Brings back what a user checkpoint holds; disks that came later stay as they are.
    pub(crate) fn apply(&mut self, checkpoint: CheckpointId) {
        let held = self.checkpoints.iter().find(|(id, _)| *id == checkpoint);
        let held = held.expect("the machine has the checkpoint").1.clone();
        for (disk, content) in held {
            if let Some(live) = self.disks.get_mut(&disk) {
                *live = content;
            }
        }
    }
}

/// All machines, and what every point of each repository holds.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) machines: Vec<Machine>,
    pub(crate) points: [BTreeMap<Uuid, Disks>; 2],
}
