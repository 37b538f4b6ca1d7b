//! The simulated machine keeps the contract.
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

use std::sync::Arc;

use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, Timestamp};
use uuid::Uuid;
use volume::contract::{self, ContractWorld};
use volume::sim::{SimVolumeHost, SimWriterFailure, SimWriterStep};
use volume::{ShadowSetId, VolumeHost};

struct SimWorld {
    _folder: TempDir,
    host: SimVolumeHost,
    chance: Chance,
}

impl SimWorld {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let chance = Chance::from_seed(1);
        Self {
            host: SimVolumeHost::new(folder.path(), clock, chance.clone()),
            _folder: folder,
            chance,
        }
    }
}

impl ContractWorld for SimWorld {
    fn host(&self) -> Arc<dyn VolumeHost> {
        Arc::new(self.host.clone())
    }

    fn add_volume(&mut self, mount_point: &str, bytes: u64) -> String {
        self.host.add_volume(mount_point, bytes).unwrap()
    }

    fn add_volume_of_files(&mut self, mount_point: &str) -> String {
        self.host.add_volume_of_files(mount_point).unwrap()
    }

    fn write(&mut self, volume: &str, offset: u64, data: &[u8]) {
        self.host.write(volume, offset, data).unwrap();
    }

    fn write_file(&mut self, volume: &str, name: &str, data: &[u8]) {
        self.host.write_file(volume, name, data).unwrap();
    }

    fn add_writer(&mut self, name: &str) -> Uuid {
        let id = self.chance.uuid();
        self.host.add_writer(id, name).unwrap();
        id
    }

    fn break_writer(&mut self, writer: Uuid) {
        let failure = SimWriterFailure {
            at: SimWriterStep::Freeze,
            code: 0x8004_23F4,
            times: 100,
        };
        self.host.fail_writer(writer, failure).unwrap();
    }

    fn leave_behind(&mut self, volume: &str) -> ShadowSetId {
        let set = ShadowSetId(self.chance.uuid());
        let shadows = [(self.chance.uuid(), volume.to_owned())];
        self.host.take(set, &shadows).unwrap();
        set
    }
}

#[test]
fn the_simulated_machine_keeps_the_contract() {
    contract::run_all(SimWorld::new);
}

#[test]
fn another_process_sees_the_same_machine() {
    let world = SimWorld::new();
    let name = world.host.add_volume("V:\\", 1 << 20).unwrap();
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let other = SimVolumeHost::new(world._folder.path(), clock, Chance::from_seed(2));
    assert_eq!(other.find("v:").unwrap().unwrap().name, name);
}
