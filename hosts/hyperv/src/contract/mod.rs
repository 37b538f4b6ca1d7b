//! What every Hyper-V host must do: ordinary test code that each implementation runs.
//!
//! What the simulated host promises here, the real one proves on a Windows machine. Every check
//! panics with what was broken. A check that only a real host can answer for good carries the
//! number of the Hyper-V spec's section 20.

mod backup;
mod restore;

pub use backup::{
    a_destroyed_checkpoint_leaves_nothing, a_frozen_disk_stands_still,
    a_quiet_disk_has_an_empty_change_set, a_second_recovery_checkpoint_is_refused,
    an_open_disk_blocks_conversion, an_unknown_id_is_unknown, changes_cover_every_write,
    only_recovery_checkpoints_are_converted, reference_points_list_every_tracked_disk,
    vms_are_discovered, what_is_gone_is_not_found,
};
pub use restore::{
    a_planned_vm_can_be_given_up, a_restored_vm_comes_back, a_vm_without_configuration_comes_back,
    realising_without_disk_files_is_refused, the_same_id_is_refused_while_it_lives,
};

use disk::{BlockRead, ByteRange};
use time_and_chance::StopSignal;

use crate::{
    Checkpoint, CheckpointId, CheckpointKind, HypervHost, MergeState, RequestedConsistency,
    SharedHypervHost, VmId,
};

/// How often a merge is looked at before it counts as one that never ends.
const MERGE_LOOKS_MAX: u32 = 10_000;

/// A host with the hands to use it as guests and administrators do.
pub trait ContractWorld {
    /// Returns the host under test.
    fn host(&self) -> SharedHypervHost;

    /// Puts up a running VM of generation 2 whose guest can be quiesced, with empty, trackable
    /// disks of these lengths.
    fn add_vm(&mut self, name: &str, disk_bytes: &[u64]) -> VmId;

    /// The guest writes.
    fn guest_write(&mut self, vm: VmId, disk: usize, offset: u64, bytes: &[u8]);

    /// A user takes a checkpoint of his own.
    fn user_checkpoint(&mut self, vm: VmId) -> CheckpointId;

    /// Takes the VM and its files away.
    fn delete_vm(&mut self, vm: VmId);

    /// Lets a little time pass, for work in the background.
    fn wait(&mut self);

    /// Returns whether reference points have the ids that frozen disks tell, as is believed; a
    /// host that has others says so here (RH-1).
    fn points_have_the_frozen_ids(&self) -> bool {
        true
    }
}

/// Runs every check, each in a new world.
pub fn run_all<W: ContractWorld>(mut new_world: impl FnMut() -> W) {
    let checks: [fn(&mut dyn ContractWorld); 16] = [
        vms_are_discovered,
        a_frozen_disk_stands_still,
        changes_cover_every_write,
        a_quiet_disk_has_an_empty_change_set,
        an_unknown_id_is_unknown,
        only_recovery_checkpoints_are_converted,
        an_open_disk_blocks_conversion,
        a_second_recovery_checkpoint_is_refused,
        reference_points_list_every_tracked_disk,
        a_destroyed_checkpoint_leaves_nothing,
        what_is_gone_is_not_found,
        a_restored_vm_comes_back,
        a_vm_without_configuration_comes_back,
        the_same_id_is_refused_while_it_lives,
        realising_without_disk_files_is_refused,
        a_planned_vm_can_be_given_up,
    ];
    for check in checks {
        check(&mut new_world());
    }
}

/// Takes an application-consistent recovery checkpoint.
fn freeze(host: &dyn HypervHost, vm: VmId) -> CheckpointId {
    host.create_recovery_checkpoint(
        vm,
        RequestedConsistency::Application,
        "contract",
        &StopSignal::new(),
    )
    .expect("a running VM with a healthy guest can be frozen")
}

/// Waits until no merge runs.
fn settle(world: &mut dyn ContractWorld, vm: VmId) {
    for _ in 0..MERGE_LOOKS_MAX {
        match world
            .host()
            .merge_state(vm)
            .expect("a VM that is here has a merge state")
        {
            MergeState::Idle => return,
            MergeState::Running(_) => world.wait(),
            MergeState::Stuck(why) => panic!("a merge is stuck: {why}"),
        }
    }
    panic!("a merge never ends");
}

/// Returns the recovery checkpoints of a VM.
fn recovery_checkpoints(host: &dyn HypervHost, vm: VmId) -> Vec<Checkpoint> {
    let mut checkpoints = host.checkpoints(vm).expect("checkpoints are listed");
    checkpoints.retain(|checkpoint| checkpoint.kind == CheckpointKind::Recovery);
    checkpoints
}

/// Returns the whole content of a small disk.
fn content_of(disk: &(impl BlockRead + ?Sized)) -> Vec<u8> {
    let bytes = usize::try_from(disk.size_bytes()).expect("the disks of these checks are small");
    let mut content = vec![0; bytes];
    let mut from = 0;
    // What is not allocated has to read as zeros: so it is left out, and compared all the same.
    while let Some(range) = disk.next_allocated(from).expect("allocation is known") {
        disk.read_at(
            range.start(),
            &mut content[range.start() as usize..range.end() as usize],
        )
        .expect("what is allocated can be read");
        from = range.end();
    }
    let mut all = vec![0; bytes];
    disk.read_at(0, &mut all)
        .expect("the whole disk can be read");
    assert!(all == content, "what is not allocated reads as zeros");
    all
}

/// Returns where two contents differ, by the byte.
fn differing_bytes<'a>(old: &'a [u8], new: &'a [u8]) -> impl Iterator<Item = ByteRange> + 'a {
    let pairs = old.iter().zip(new).enumerate();
    pairs
        .filter(|(_, (old, new))| old != new)
        .map(|(offset, _)| ByteRange::at(offset as u64, 1).expect("one byte is a range"))
}
