//! What every host of volumes must do: ordinary test code that each implementation runs.
//!
//! What the simulated machine promises here, the real one proves on Windows. Every check panics
//! with what was broken.

mod checks;
mod sim_hands;

use std::sync::Arc;

use uuid::Uuid;

use crate::{ShadowSetId, VolumeHost};

pub use checks::{
    a_failing_announcement_stops_it_all, a_frozen_device_stands_still,
    a_leftover_is_found_by_its_name, a_stopped_freeze_leaves_nothing, a_writer_may_be_left_out,
    a_writer_that_is_needed_may_not_fail, frozen_files_stand_still, nothing_is_read_past_the_end,
    release_and_drop_leave_nothing, several_volumes_are_frozen_at_one_instant,
    volumes_are_listed_where_they_lie, what_cannot_be_frozen_is_named,
    without_writers_none_is_asked,
};
pub use sim_hands::SimHands;

/// A machine with the hands to use it.
pub trait ContractWorld {
    /// Returns the host under test.
    fn host(&self) -> Arc<dyn VolumeHost>;

    /// Returns what people and programs do on that machine.
    fn hands(&self) -> &dyn Hands;
}

/// What people and programs do on a machine that is backed up.
pub trait Hands {
    /// Puts up an empty volume that is read as a device, and returns its name.
    fn add_volume(&self, mount_point: &str, bytes: u64) -> String;

    /// Puts up an empty volume whose files are read, and returns its name.
    fn add_volume_of_files(&self, mount_point: &str) -> String;

    /// Somebody writes to a volume.
    fn write(&self, volume: &str, offset: u64, data: &[u8]);

    /// Somebody writes a file.
    fn write_file(&self, volume: &str, name: &str, data: &[u8]);

    /// Has a program write to the volumes that can bring its files in order.
    fn add_writer(&self, name: &str) -> Uuid;

    /// Has a writer fail from now on, in a way that does not pass.
    fn break_writer(&self, writer: Uuid);

    /// Leaves a shadow set behind as a program does that dies, and returns its name.
    fn leave_behind(&self, volume: &str) -> ShadowSetId;
}

/// Runs every check, each in a new world.
pub fn run_all<W: ContractWorld>(mut new_world: impl FnMut() -> W) {
    let checks: [fn(&dyn ContractWorld); 13] = [
        volumes_are_listed_where_they_lie,
        a_frozen_device_stands_still,
        frozen_files_stand_still,
        several_volumes_are_frozen_at_one_instant,
        nothing_is_read_past_the_end,
        release_and_drop_leave_nothing,
        a_failing_announcement_stops_it_all,
        a_stopped_freeze_leaves_nothing,
        what_cannot_be_frozen_is_named,
        a_writer_may_be_left_out,
        a_writer_that_is_needed_may_not_fail,
        without_writers_none_is_asked,
        a_leftover_is_found_by_its_name,
    ];
    for check in checks {
        check(&new_world());
    }
}
