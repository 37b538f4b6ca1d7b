//! A simulated host with its WMI, and what tests ask of it again and again.

use std::sync::Arc;

use fake_hyperv::{FakeNamespaces, Manners};
use hyperv::VmId;
use hyperv::sim::{SimDisk, SimHost, SimOptions, SimVm};
use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, Timestamp};
use windows_host::wmi::{EmbeddedSource, Namespaces, Value, WmiObject, WmiSession};

pub const MIB: u64 = 1 << 20;
pub const SNAPSHOTS: &str = "Msvm_VirtualSystemSnapshotService";
pub const MANAGEMENT: &str = "Msvm_VirtualSystemManagementService";
pub const POINTS: &str = "Msvm_VirtualSystemReferencePointService";

/// A host in a folder that vanishes with it.
pub struct World {
    pub _folder: TempDir,
    pub host: SimHost,
    pub namespaces: FakeNamespaces,
    pub session: Arc<dyn WmiSession>,
}

impl World {
    pub fn new(manners: Manners) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let host = SimHost::create(
            &folder.path().join("host"),
            SimOptions::default(),
            clock.clone(),
            Chance::from_seed(1),
        )
        .unwrap();
        let namespaces = FakeNamespaces::new(host.clone(), manners, clock, Chance::from_seed(2));
        let session = namespaces.connect(r"root\virtualization\v2").unwrap();
        Self {
            _folder: folder,
            host,
            namespaces,
            session,
        }
    }

    pub fn vm(&self) -> VmId {
        let disks = vec![SimDisk::new(8 * MIB), SimDisk::new(4 * MIB)];
        self.host.add_vm(&SimVm::new("dc01", disks)).unwrap()
    }

    pub fn query(&self, wql: &str) -> Vec<WmiObject> {
        self.session
            .query(wql)
            .unwrap_or_else(|error| panic!("{wql}: {error}"))
    }

    pub fn one(&self, wql: &str) -> WmiObject {
        let mut found = self.query(wql);
        assert_eq!(found.len(), 1, "{wql}");
        found.remove(0)
    }

    pub fn system(&self, vm: VmId) -> WmiObject {
        let name = vm.to_string().to_uppercase();
        self.one(&format!(
            "SELECT * FROM Msvm_ComputerSystem WHERE Name = '{name}'"
        ))
    }

    pub fn associated(&self, path: &str, association: &str, class: &str) -> Vec<WmiObject> {
        self.query(&format!(
            "ASSOCIATORS OF {{{path}}} WHERE AssocClass = {association} ResultClass = {class}"
        ))
    }

    pub fn call(&self, class: &str, method: &str, parameters: &[(&str, Value)]) -> WmiObject {
        let service = self.one(&format!("SELECT * FROM {class}"));
        let path = service.path().unwrap();
        self.session
            .call(path, method, parameters)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Follows a job to its end and returns it, and its state after each look.
    pub fn follow(&self, answer: &WmiObject) -> (WmiObject, Vec<u16>) {
        assert_eq!(answer.u32("ReturnValue").unwrap(), 4096);
        let path = answer.text("Job").unwrap();
        let mut states = Vec::new();
        loop {
            let job = self.session.get(path).unwrap();
            let state = job.u16("JobState").unwrap();
            states.push(state);
            assert!(states.len() < 50, "a job ends");
            if matches!(state, 7..=11 | 32768) {
                return (job, states);
            }
        }
    }

    pub fn done(&self, answer: &WmiObject) -> WmiObject {
        let (job, _) = self.follow(answer);
        assert!(
            matches!(job.u16("JobState").unwrap(), 7 | 32768),
            "{}",
            job.optional_text("ErrorDescription").unwrap().unwrap_or("")
        );
        job
    }

    pub fn snapshot_settings(&self, level: u8) -> Value {
        let changes = [
            ("ConsistencyLevel", Value::U8(level)),
            ("IgnoreNonSnapshottableDisks", Value::Bool(true)),
        ];
        let class = EmbeddedSource::Class("Msvm_VirtualSystemSnapshotSettingData");
        Value::Text(self.session.embedded(class, &changes).unwrap())
    }

    pub fn try_snapshot(&self, vm: VmId, level: u8) -> WmiObject {
        let system = self.system(vm);
        self.call(
            SNAPSHOTS,
            "CreateSnapshot",
            &[
                ("AffectedSystem", system.path().unwrap().into()),
                ("SnapshotSettings", self.snapshot_settings(level)),
                ("SnapshotType", Value::I32(32768)),
            ],
        )
    }

    pub fn snapshot(&self, vm: VmId) -> WmiObject {
        let job = self.done(&self.try_snapshot(vm, 1));
        let class = "Msvm_VirtualSystemSettingData";
        let mut made = self.associated(job.path().unwrap(), "Msvm_AffectedJobElement", class);
        assert_eq!(made.len(), 1, "the job tells what it made");
        made.remove(0)
    }
}
