//! A machine whose VSS is a model.

use std::sync::Arc;
use std::time::Duration;

use fake_vssapi::{FakeStorage, FakeVss, Fault, Manners};
use tempfile::TempDir;
use time_and_chance::{Chance, Clock as _, ManualClock, StopSignal, Timestamp};
use uuid::Uuid;
use volume::contract::ContractWorld;
use volume::sim::{SimVolumeHost, SimWriterFailure, SimWriterStep};
use volume::{Freeze, FrozenVolumes, ShadowSetId, VolumeError, VolumeHost, Writers};
use windows_host::volume::{VolumeLimits, VolumeParts, WindowsVolumeHost};

pub struct World {
    _folder: TempDir,
    pub sim: SimVolumeHost,
    pub vss: FakeVss,
    pub host: Arc<WindowsVolumeHost>,
    pub clock: Arc<ManualClock>,
    chance: Chance,
}

impl World {
    pub fn new(manners: Manners) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let chance = Chance::from_seed(1);
        let sim = SimVolumeHost::new(folder.path(), clock.clone(), chance.clone());
        let vss = FakeVss::new(folder.path(), sim.clone(), manners, chance.clone());
        let host = WindowsVolumeHost::new(VolumeParts {
            namespaces: Arc::new(FakeStorage::new(sim.clone())),
            vss: Arc::new(vss.clone()),
            clock: clock.clone(),
            limits: VolumeLimits::default(),
        });
        Self {
            _folder: folder,
            sim,
            vss,
            host: Arc::new(host),
            clock,
            chance,
        }
    }

    pub fn fault(&self, call: &str, code: u32, times: u32) {
        let call = call.to_owned();
        self.vss.add_fault(Fault { call, code, times }).unwrap();
    }

    pub fn fail_writer(&self, id: Uuid, at: SimWriterStep, code: u32, times: u32) {
        let failure = SimWriterFailure { at, code, times };
        self.sim.fail_writer(id, failure).unwrap();
    }

    pub fn freeze(
        &self,
        volume: &str,
        writers: Writers,
    ) -> Result<Box<dyn FrozenVolumes>, VolumeError> {
        let what = Freeze {
            volumes: vec![volume.to_owned()],
            writers,
        };
        let stop = StopSignal::new();
        self.host.freeze(&what, &mut |_| Ok(()), &stop)
    }

    pub fn passed(&self) -> Duration {
        self.clock.monotonic()
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
        self.fail_writer(writer, SimWriterStep::Freeze, 0x8004_23F4, 100);
    }

    fn leave_behind(&mut self, volume: &str) -> ShadowSetId {
        let set = ShadowSetId(self.chance.uuid());
        let shadows = [(self.chance.uuid(), volume.to_owned())];
        self.sim.take(set, &shadows).unwrap();
        set
    }
}
