//! A checkpoint that was announced before it was taken, and how it is known by that until it is
//! named and noted (Hyper-V spec 4.2, 12.1).

use hyperv::{
    Checkpoint, CheckpointId, CheckpointKind, HypervError, HypervHost, OperationInProgress, VmId,
};
use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;

/// How long after it was announced a checkpoint is taken at most: guests are given twenty minutes.
const SECONDS_MAX: i64 = 30 * 60;
/// How much earlier a checkpoint may seem to be than what came before it.
const CLOCK_SLACK_SECONDS: i64 = 5;

/// What tells a checkpoint that is about to be taken from all others: until it is named it carries
/// the name that the host gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// When.
    pub at: Timestamp,
    /// The VM's name, with which the host's begins.
    pub vm_name: String,
    /// The checkpoints that were there.
    pub before: Vec<CheckpointId>,
}

impl Announced {
    /// Announces a checkpoint of a VM that has these.
    pub fn before_one(at: Timestamp, vm_name: &str, checkpoints: &[Checkpoint]) -> Self {
        Self {
            at,
            vm_name: vm_name.to_owned(),
            before: checkpoints.iter().map(|listed| listed.id).collect(),
        }
    }

    /// Returns the only checkpoint that may be the one that was announced, if any.
    ///
    /// # Errors
    /// How many may be it, if several: another product may be using the others.
    pub fn among(&self, checkpoints: &[Checkpoint]) -> Result<Option<CheckpointId>, usize> {
        let candidates: Vec<&Checkpoint> = checkpoints
            .iter()
            .filter(|checkpoint| self.may_be(checkpoint))
            .collect();
        match candidates[..] {
            [] => Ok(None),
            [only] => Ok(Some(only.id)),
            _ => Err(candidates.len()),
        }
    }

    /// Returns whether a checkpoint may be the one that was announced and came neither to name nor
    /// to note: it was not there before, was made soon after, and carries the name that the host
    /// gives, `VM - (date - time)`. One of another product may look the same for a moment.
    fn may_be(&self, checkpoint: &Checkpoint) -> bool {
        let age_seconds = checkpoint.created.as_second() - self.at.as_second();
        checkpoint.kind == CheckpointKind::Recovery
            && !self.before.contains(&checkpoint.id)
            && (-CLOCK_SLACK_SECONDS..=SECONDS_MAX).contains(&age_seconds)
            && checkpoint
                .name
                .strip_prefix(&self.vm_name)
                .is_some_and(|rest| rest.starts_with(" - ("))
    }
}

/// Returns whether the host is still making a checkpoint, which may be one that was announced: it
/// is not listed yet.
pub fn is_one_being_made(host: &dyn HypervHost, vm: VmId) -> Result<bool, HypervError> {
    Ok(host.vm(vm)?.operation == Some(OperationInProgress::CreatingCheckpoint))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_checkpoint_that_a_run_announced_is_told_from_others() {
        let id = |number| CheckpointId(Uuid::from_u128(number));
        let at = Timestamp::UNIX_EPOCH;
        let checkpoint = |number, name: &str, seconds| Checkpoint {
            id: id(number),
            kind: CheckpointKind::Recovery,
            name: name.to_owned(),
            created: at + Duration::from_secs(seconds),
        };
        let announced = Announced::before_one(at, "web", &[checkpoint(1, "web", 0)]);
        for (number, name, seconds, ours) in [
            (2, "web - (3/1/2026 - 12:00:04 PM)", 4, true),
            (1, "web - (3/1/2026 - 12:00:04 PM)", 4, false),
            (2, "another product", 4, false),
            (2, "web server - (3/1/2026 - 12:00:04 PM)", 4, false),
            (2, "web - nightly", 4, false),
            (2, "web - (3/1/2026 - 3:00:00 PM)", 3 * 3600, false),
        ] {
            let found = checkpoint(number, name, seconds);
            let expected = Ok(ours.then_some(found.id));
            let told = announced.among(std::slice::from_ref(&found));
            assert_eq!(told, expected, "{found:?}");
        }
        // Of several none is told.
        let name = "web - (3/1/2026 - 12:00:04 PM)";
        let several = [checkpoint(2, name, 4), checkpoint(3, name, 5)];
        assert_eq!(announced.among(&several), Err(2));
    }
}
