//! A machine whose VSS is the DLL.

use std::sync::Arc;

use fake_hyperv::apart::host_folder;
use fake_vssapi::{FakeStorage, FakeVss, Fault, Manners};
use time_and_chance::{Chance, ManualClock, SharedClock, Timestamp};
use uuid::Uuid;
use volume::contract::ContractWorld;
use volume::sim::{SimVolumeHost, SimWriterFailure, SimWriterStep};
use volume::{ShadowSetId, VolumeHost};
use windows_host::volume::{VolumeLimits, VolumeParts, WindowsVolumeHost};
use windows_host::vss::com::ComVss;

pub struct World {
    pub sim: SimVolumeHost,
    /// Of the same machine, to make faults.
    model: FakeVss,
    host: Arc<WindowsVolumeHost>,
    chance: Chance,
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
            sim,
            model,
            host: Arc::new(host),
            chance,
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

    fn add_volume(&mut self, mount_point: &str, bytes: u64) -> String {
        self.sim.add_volume(mount_point, bytes).unwrap()
    }

    fn add_volume_of_files(&mut self, mount_point: &str) -> String {
        self.sim.add_volume_of_files(mount_point).unwrap()
    }

    fn write(&mut self, volume: &str, offset: u64, data: &[u8]) {
        self.sim.write(volume, offset, data).unwrap();
    }

    fn write_file(&mut self, volume: &str, name: &str, data: &[u8]) {
        self.sim.write_file(volume, name, data).unwrap();
    }

    fn add_writer(&mut self, name: &str) -> Uuid {
        let id = self.chance.uuid();
        self.sim.add_writer(id, name).unwrap();
        id
    }

    fn break_writer(&mut self, writer: Uuid) {
        let failure = SimWriterFailure {
            at: SimWriterStep::Freeze,
            code: 0x8004_23F4,
            times: 100,
        };
        self.sim.fail_writer(writer, failure).unwrap();
    }

    fn leave_behind(&mut self, volume: &str) -> ShadowSetId {
        let set = ShadowSetId(self.chance.uuid());
        let shadows = [(self.chance.uuid(), volume.to_owned())];
        self.sim.take(set, &shadows).unwrap();
        set
    }
}
