//! A machine whose VSS is the DLL.

use std::sync::Arc;

use fake_hyperv::FakeStorage;
use fake_hyperv::apart::host_folder;
use fake_vssapi::{FakeVss, Fault, Manners};
use time_and_chance::{Chance, ManualClock, SharedClock, Timestamp};
use volume::VolumeHost;
use volume::contract::{ContractWorld, Hands, SimHands};
use volume::sim::SimVolumeHost;
use windows_host::volume::{VolumeLimits, VolumeParts, WindowsVolumeHost};
use windows_host::vss::com::ComVss;

pub struct World {
    /// Of the same machine, to make faults.
    model: FakeVss,
    host: Arc<WindowsVolumeHost>,
    hands: SimHands,
}

impl World {
    pub fn new() -> Self {
        let folder = host_folder();
        // The checks of a contract each want a machine of their own.
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let clock: SharedClock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let chance = Chance::from_system();
        let sim = SimVolumeHost::new(&folder, clock.clone(), chance.clone());
        let manners = Manners::default();
        let model = FakeVss::new(&folder, sim.clone(), manners, chance.clone());
        let host = WindowsVolumeHost::new(VolumeParts {
            namespaces: Arc::new(FakeStorage::new(sim.clone())),
            vss: Arc::new(ComVss),
            clock,
            limits: VolumeLimits::default(),
        });
        Self {
            model,
            host: Arc::new(host),
            hands: SimHands::new(sim, chance),
        }
    }

    pub fn fault(&self, call: &str, code: u32, times: u32) {
        let call = call.to_owned();
        self.model.add_fault(Fault { call, code, times }).unwrap();
    }
}

impl ContractWorld for World {
    fn host(&self) -> Arc<dyn VolumeHost> {
        self.host.clone()
    }

    fn hands(&self) -> &dyn Hands {
        &self.hands
    }
}
