//! Hands for a simulated machine, whichever host shows it.

use time_and_chance::Chance;
use uuid::Uuid;

use super::Hands;
use crate::ShadowSetId;
use crate::sim::{SimVolumeHost, SimWriterFailure, SimWriterStep};

/// Why nothing of this fails.
const WORKS: &str = "a simulated machine can be changed";

/// What is done on a simulated machine.
#[derive(Debug)]
pub struct SimHands {
    sim: SimVolumeHost,
    chance: Chance,
}

impl SimHands {
    /// Returns the hands of a machine; chance gives names.
    pub fn new(sim: SimVolumeHost, chance: Chance) -> Self {
        Self { sim, chance }
    }
}

impl Hands for SimHands {
    fn add_volume(&self, mount_point: &str, bytes: u64) -> String {
        self.sim.add_volume(mount_point, bytes).expect(WORKS)
    }

    fn add_volume_of_files(&self, mount_point: &str) -> String {
        self.sim.add_volume_of_files(mount_point).expect(WORKS)
    }

    fn write(&self, volume: &str, offset: u64, data: &[u8]) {
        self.sim.write(volume, offset, data).expect(WORKS);
    }

    fn write_file(&self, volume: &str, name: &str, data: &[u8]) {
        self.sim.write_file(volume, name, data).expect(WORKS);
    }

    fn add_writer(&self, name: &str) -> Uuid {
        let id = self.chance.uuid();
        self.sim.add_writer(id, name).expect(WORKS);
        id
    }

    fn break_writer(&self, writer: Uuid) {
        let failure = SimWriterFailure {
            at: SimWriterStep::Freeze,
            code: 0x8004_23F4,
            times: 100,
        };
        self.sim.fail_writer(writer, failure).expect(WORKS);
    }

    fn leave_behind(&self, volume: &str) -> ShadowSetId {
        let set = ShadowSetId(self.chance.uuid());
        let shadows = [(self.chance.uuid(), volume.to_owned())];
        self.sim.take(set, &shadows).expect(WORKS);
        set
    }
}
