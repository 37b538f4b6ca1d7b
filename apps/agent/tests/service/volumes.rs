//! Disks and volumes of a machine one of whose devices hangs.

use std::sync::{Arc, Condvar, Mutex};

use agent::Afterwards;
use scripted_control_plane::{CommandOrder, Settings};
use serde_json::json;
use volume::{Disk, StorageLayout, Volume, VolumeError};

use crate::world::World;

/// A machine whose disks nobody can list until somebody lets them go.
#[derive(Debug, Default)]
struct Hanging {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many have asked.
    asked: usize,
    lets_go: bool,
}

impl StorageLayout for Hanging {
    fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        Ok(Vec::new())
    }

    fn disks(&self) -> Result<Vec<Disk>, VolumeError> {
        let mut state = self.state.lock().unwrap();
        state.asked += 1;
        drop(self.changed.wait_while(state, |it| !it.lets_go).unwrap());
        Ok(Vec::new())
    }
}

impl Hanging {
    fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    fn let_go(&self) {
        self.state.lock().unwrap().lets_go = true;
        self.changed.notify_all();
    }
}

#[test]
fn a_listing_of_volumes_that_hangs_holds_up_no_event_no_health_and_no_end() {
    let mut world = World::new(Settings::default());
    let hanging = Arc::new(Hanging::default());
    world.storage = hanging.clone();
    world.begin();
    world.wait_for("a listing that hangs", |_| hanging.asked() == 1);
    let run = world.queue(world.files());
    assert_eq!(world.end_of(&run), "success");
    world.event(&run, "COMPLETED_SUCCESS");
    world.wait_for("health events after that", |plane| {
        plane.with(|world| {
            let mut events = world.agent_events.iter();
            events.any(|it| it["message_id"] == "AGENT_RUN_FINISHED")
        })
    });
    // Nobody hangs beside it, and who needs the disks is told.
    let list = CommandOrder::new("list_disks", json!({}));
    let (is_done, said) = world.answer_to(world.plane.queue_command(list));
    assert!(!is_done && said.contains("hangs"), "{said}");
    assert_eq!(hanging.asked(), 1);
    world.check();
    assert_eq!(world.end(), Afterwards::Stop);
    hanging.let_go();
}
