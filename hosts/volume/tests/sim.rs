//! The simulated machine keeps the contract.
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

use std::sync::Arc;

use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, Timestamp};
use volume::VolumeHost;
use volume::contract::{self, ContractWorld, Hands, SimHands};
use volume::sim::SimVolumeHost;

struct SimWorld {
    folder: TempDir,
    host: SimVolumeHost,
    hands: SimHands,
}

impl SimWorld {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let chance = Chance::from_seed(1);
        let host = SimVolumeHost::new(folder.path(), clock, chance.clone());
        Self {
            hands: SimHands::new(host.clone(), chance),
            host,
            folder,
        }
    }
}

impl ContractWorld for SimWorld {
    fn host(&self) -> Arc<dyn VolumeHost> {
        Arc::new(self.host.clone())
    }

    fn hands(&self) -> &dyn Hands {
        &self.hands
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
    let other = SimVolumeHost::new(world.folder.path(), clock, Chance::from_seed(2));
    assert_eq!(other.find("v:").unwrap().unwrap().name, name);
}
