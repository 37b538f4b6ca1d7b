//! A machine whose VSS is a model.

use std::sync::Arc;
use std::time::Duration;

use fake_hyperv::FakeStorage;
use fake_vssapi::{FakeVss, Fault, Manners};
use tempfile::TempDir;
use time_and_chance::{Chance, Clock as _, ManualClock, StopSignal, Timestamp};
use uuid::Uuid;
use volume::contract::{ContractWorld, Hands, SimHands};
use volume::sim::{SimVolumeHost, SimWriterFailure, SimWriterStep};
use volume::{Freeze, FrozenVolumes, VolumeError, VolumeHost, Writers};
use windows_host::volume::{VolumeLimits, VolumeParts, WindowsVolumeHost};

pub struct World {
    _folder: TempDir,
    pub sim: SimVolumeHost,
    pub vss: FakeVss,
    pub host: Arc<WindowsVolumeHost>,
    pub clock: Arc<ManualClock>,
    hands: SimHands,
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
            hands: SimHands::new(sim.clone(), chance),
            sim,
            vss,
            host: Arc::new(host),
            clock,
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

    fn hands(&self) -> &dyn Hands {
        &self.hands
    }
}
