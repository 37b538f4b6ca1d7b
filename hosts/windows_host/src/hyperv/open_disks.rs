//! Which checkpoints have disks that this process has open.
//!
//! Whether a handle of ours keeps a checkpoint from being converted, or lets the conversion
//! succeed and its merge fail, only a real host can tell (RH-19). So it is not left to the host:
//! a checkpoint with an open disk is neither converted nor destroyed (Hyper-V spec 1, rule 9).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyperv::{CheckpointId, HypervError, HypervErrorKind as Kind, codes};

/// Counts open disks by their checkpoints; clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenDisks {
    counts: Arc<Mutex<HashMap<CheckpointId, u32>>>,
}

/// One open disk; dropping it counts it off.
#[derive(Debug)]
pub(super) struct OpenDisk {
    disks: OpenDisks,
    checkpoint: CheckpointId,
}

impl OpenDisks {
    /// Counts a disk.
    pub(super) fn open(&self, checkpoint: CheckpointId) -> OpenDisk {
        *self.lock().entry(checkpoint).or_default() += 1;
        OpenDisk {
            disks: self.clone(),
            checkpoint,
        }
    }

    /// Checks that no disk of a checkpoint is open.
    ///
    /// # Errors
    /// `InUse` otherwise.
    pub(super) fn check_closed(
        &self,
        doing: &str,
        checkpoint: CheckpointId,
    ) -> Result<(), HypervError> {
        match self.lock().get(&checkpoint) {
            None => Ok(()),
            Some(count) => Err(HypervError::new(
                Kind::InUse,
                format!("{doing}: {count} of its disks are open in this process; close them first"),
            )
            .with_code(codes::SHARING_VIOLATION)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CheckpointId, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        let mut counts = self.disks.lock();
        if let Some(count) = counts.get_mut(&self.checkpoint) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.checkpoint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_checkpoint_is_closed_when_its_last_disk_is() {
        let disks = OpenDisks::default();
        let (here, other) = (
            CheckpointId(Uuid::from_u128(1)),
            CheckpointId(Uuid::from_u128(2)),
        );
        let first = disks.open(here);
        let second = disks.open(here);
        drop(first);
        let error = disks.check_closed("convert", here).unwrap_err();
        assert_eq!(error.kind(), Kind::InUse);
        disks.check_closed("convert", other).unwrap();
        drop(second);
        disks.check_closed("convert", here).unwrap();
    }
}
