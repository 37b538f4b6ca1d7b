//! The client of `windows_host` over this DLL, beside the model in this process: the same answers.

#![cfg(windows)]
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

mod library;

use std::sync::Arc;

use fake_hyperv::apart::{Dll, host_folder};
use fake_hyperv::virtdisk::FakeVirtualDisks;
use fake_hyperv::{FakeNamespaces, FakeStorage, Manners};
use hyperv::sim::{SimDisk, SimFault, SimHost, SimOptions, SimVm};
use hyperv::{HypervHost as _, VmId};
use time_and_chance::{Chance, ManualClock, Timestamp};
use volume::sim::SimVolumeHost;
use windows_host::calls;
use windows_host::hyperv::{Beliefs, Parts, SystemVolumes, WindowsHypervHost};
use windows_host::wmi::com::ComNamespaces;
use windows_host::wmi::{EmbeddedSource, Namespaces, Value, WmiObject, WmiSession};

const DLL: Dll = Dll {
    built: "fake_wbem.dll",
    wanted: "fake_wbem.dll",
};

const NAMESPACE: &str = r"root\virtualization\v2";
const MIB: u64 = 1 << 20;

struct World {
    host: SimHost,
    vm: VmId,
    /// By COM, through the DLL.
    real: Arc<dyn WmiSession>,
    model: Arc<dyn WmiSession>,
}

impl World {
    fn new(manners: &str) -> Self {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let host = SimHost::create(
            &host_folder(),
            SimOptions::default(),
            clock.clone(),
            Chance::from_seed(1),
        )
        .unwrap();
        let vm = SimVm {
            pass_through: vec!["PhysicalDrive3".to_owned()],
            ..SimVm::new(
                "dc01 \"Bücher\"",
                vec![SimDisk::new(8 * MIB), SimDisk::new(4 * MIB)],
            )
        };
        let vm = host.add_vm(&vm).unwrap();
        let manners: Manners = manners.parse().unwrap();
        let model = FakeNamespaces::new(host.clone(), manners, clock, Chance::from_seed(2));
        library::register();
        Self {
            vm,
            real: ComNamespaces::default().connect(NAMESPACE).unwrap(),
            model: model.connect(NAMESPACE).unwrap(),
            host,
        }
    }

    fn system(&self) -> WmiObject {
        let name = self.vm.to_string().to_uppercase();
        let wql = format!("SELECT * FROM Msvm_ComputerSystem WHERE Name = \"{name}\"");
        self.real.query(&wql).unwrap().remove(0)
    }

    fn service(&self, class: &str) -> String {
        let rows = self.real.query(&format!("SELECT * FROM {class}")).unwrap();
        rows[0].path().unwrap().to_owned()
    }

    fn snapshot(&self, level: u8) -> WmiObject {
        let settings = EmbeddedSource::Class("Msvm_VirtualSystemSnapshotSettingData");
        let changes = [
            ("ConsistencyLevel", Value::U8(level)),
            ("IgnoreNonSnapshottableDisks", Value::Bool(true)),
        ];
        let text = self.real.embedded(settings, &changes).unwrap();
        let parameters = [
            ("AffectedSystem", self.system().path().unwrap().into()),
            ("SnapshotSettings", text.into()),
            ("SnapshotType", Value::I32(32768)),
        ];
        let service = self.service("Msvm_VirtualSystemSnapshotService");
        self.real
            .call(&service, "CreateSnapshot", &parameters)
            .unwrap()
    }

    fn follow(&self, answer: &WmiObject) -> (String, Vec<u16>) {
        let job = answer.text("Job").unwrap();
        let mut states = Vec::new();
        loop {
            let state = self.real.get(job).unwrap().u16("JobState").unwrap();
            states.push(state);
            assert!(states.len() < 50, "a job ends");
            if matches!(state, 7..=11 | 32768) {
                return (job.to_owned(), states);
            }
        }
    }
}

/// Runs a test beside the DLL, in a process of its own.
fn apart(test: &str, manners: &str, work: impl FnOnce()) {
    fake_hyperv::apart::apart(DLL, test, manners, work);
}

#[test]
fn the_client_gets_from_the_dll_what_the_model_answers() {
    apart(
        "the_client_gets_from_the_dll_what_the_model_answers",
        "",
        || {
            let world = World::new("");
            world.host.checkpoint(world.vm, "a user's").unwrap();
            let path = world.system().path().unwrap().to_owned();
            for wql in [
                "SELECT * FROM CIM_ManagedElement".to_owned(),
                "SELECT * FROM CIM_Component".to_owned(),
                "SELECT ElementName, Name FROM Msvm_ComputerSystem WHERE EnabledState = 2"
                    .to_owned(),
                "SELECT * FROM Msvm_ConcreteJob".to_owned(),
                format!("ASSOCIATORS OF {{{path}}}"),
                format!("REFERENCES OF {{{path}}}"),
            ] {
                let (real, model) = (
                    world.real.query(&wql).unwrap(),
                    world.model.query(&wql).unwrap(),
                );
                assert_eq!(real.len(), model.len(), "{wql}");
                for (real, model) in real.iter().zip(&model) {
                    assert_eq!(real, model, "{wql}");
                    if let Some(path) = &real.path {
                        let got = |session: &Arc<dyn WmiSession>| {
                            session.get(path).map_err(|error| error.code())
                        };
                        assert_eq!(got(&world.real), got(&world.model));
                    }
                }
            }
            let class = "Msvm_VirtualSystemSettingData";
            assert_eq!(
                world.real.class_properties(class),
                world.model.class_properties(class)
            );
            let source = EmbeddedSource::Instance(&path);
            let changes = [("ElementName", Value::text("<a & \"b\">"))];
            assert_eq!(
                world.real.embedded(source, &changes),
                world.model.embedded(source, &changes)
            );
        },
    );
}

#[test]
fn disks_and_volumes_come_through_the_dll_on_a_machine_without_hyperv() {
    let test = "disks_and_volumes_come_through_the_dll_on_a_machine_without_hyperv";
    apart(test, "", || {
        let namespace = r"root\Microsoft\Windows\Storage";
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let machine = SimVolumeHost::new(&host_folder(), clock, Chance::from_seed(1));
        machine.add_volume("V:\\", 8 * MIB).unwrap();
        machine.add_volume_of_files(r"C:\mounted").unwrap();
        library::register();
        let real = ComNamespaces::default().connect(namespace).unwrap();
        let model = FakeStorage::new(machine).connect(namespace).unwrap();
        for class in ["MSFT_Disk", "MSFT_Partition", "MSFT_Volume"] {
            let wql = format!("SELECT * FROM {class}");
            let (real, model) = (real.query(&wql).unwrap(), model.query(&wql).unwrap());
            assert_eq!(real, model, "{wql}");
            assert!(!real.is_empty(), "{wql}");
        }
        let missing = ComNamespaces::default().connect(NAMESPACE).unwrap_err();
        assert_eq!(missing.code(), Some(0x8004_100E));
    });
}

#[test]
fn the_client_calls_methods_as_the_model_takes_them() {
    apart(
        "the_client_calls_methods_as_the_model_takes_them",
        "",
        || {
            let world = World::new("");
            let answer = world.snapshot(1);
            assert_eq!(answer.u32("ReturnValue").unwrap(), 4096);
            let (job, states) = world.follow(&answer);
            assert_eq!(states, [2, 4, 4, 7]);
            let wql = format!(
                "ASSOCIATORS OF {{{job}}} WHERE ResultClass = Msvm_VirtualSystemSettingData"
            );
            let snapshot = world.real.query(&wql).unwrap().remove(0);
            let checkpoints = world.host.checkpoints(world.vm).unwrap();
            assert_eq!(checkpoints.len(), 1);
            let service = world.service("Msvm_VirtualSystemManagementService");
            let codes = Value::Array([0, 1, 110].map(Value::I32).to_vec());
            let parameters = [("RequestedInformation", codes)];
            let call = |session: &Arc<dyn WmiSession>| {
                session
                    .call(&service, "GetSummaryInformation", &parameters)
                    .unwrap()
            };
            let (real, model) = (call(&world.real), call(&world.model));
            let Value::Array(rows) = real.value("SummaryInformation") else {
                panic!("{real:?}");
            };
            let Value::Object(row) = &rows[0] else {
                panic!("{rows:?}");
            };
            assert_eq!(row.text("ElementName").unwrap(), "dc01 \"Bücher\"");
            assert_eq!(real.u32("ReturnValue"), model.u32("ReturnValue"));
            let source = EmbeddedSource::Instance(snapshot.path().unwrap());
            let text = world
                .real
                .embedded(source, &[("ElementName", "ours".into())])
                .unwrap();
            let renamed = world.real.call(
                &service,
                "ModifySystemSettings",
                &[("SystemSettings", text.into())],
            );
            assert_eq!(renamed.unwrap().u32("ReturnValue").unwrap(), 0);
            assert_eq!(world.host.checkpoints(world.vm).unwrap()[0].name, "ours");
        },
    );
}

#[test]
fn failures_bring_their_code_and_their_text() {
    apart("failures_bring_their_code_and_their_text", "", || {
        let world = World::new("");
        for wql in [
            "SELECT * FORM Msvm_ComputerSystem",
            "SELECT * FROM Msvm_Nothing",
        ] {
            let real = world.real.query(wql).unwrap_err();
            let model = world.model.query(wql).unwrap_err();
            assert_eq!(real.code(), model.code(), "{wql}");
        }
        let gone = r#"Msvm_ConcreteJob.InstanceID="gone""#;
        let real = world.real.get(gone).unwrap_err();
        assert_eq!(real.code(), Some(0x8004_1002));
        assert!(real.to_string().contains("find the object"), "{real}");
        let missing = ComNamespaces::default()
            .connect(r"root\MSCluster")
            .unwrap_err();
        assert_eq!(missing.code(), Some(0x8004_100E));
        let path = world.system().path().unwrap().to_owned();
        let wrong = [("RequestedState", Value::text("2"))];
        let real = world
            .real
            .call(&path, "RequestStateChange", &wrong)
            .unwrap_err();
        assert_eq!(real.code(), Some(0x8004_1005), "{real}");
        let none = world.real.call(&path, "Explode", &[]).unwrap_err();
        assert_eq!(none.code(), Some(0x8004_102E), "{none}");
        let fault = SimFault::parse(&["no-app-consistency"]).unwrap();
        world.host.add_fault(world.vm, fault, Some(1)).unwrap();
        let (job, states) = world.follow(&world.snapshot(1));
        assert_eq!(states.last(), Some(&10));
        let errors = world.real.call(&job, "GetErrorEx", &[]).unwrap();
        assert!(errors.texts("Errors").unwrap()[0].contains("0x800423F4"));
    });
}

#[test]
fn switches_of_the_model_come_from_the_environment() {
    let manners = "server-2016,no-jobs,old-state-numbers";
    apart(
        "switches_of_the_model_come_from_the_environment",
        manners,
        || {
            let world = World::new("");
            let class = "Msvm_VirtualSystemSnapshotSettingData";
            let has = |session: &Arc<dyn WmiSession>| {
                let names = session.class_properties(class).unwrap();
                names.iter().any(|name| name == "GuestBackupType")
            };
            assert!(!has(&world.real) && has(&world.model));
            assert_eq!(world.snapshot(2).u32("ReturnValue").unwrap(), 0);
        },
    );
}

/// Returns how often WMI was asked while `work` ran.
fn round_trips(work: impl FnOnce()) -> u64 {
    let asked = || -> u64 {
        let asking = [
            "wmi.exec_query",
            "wmi.next",
            "wmi.get_object",
            "wmi.exec_method",
        ];
        let counted = calls::counted().into_iter();
        counted
            .filter(|(name, _)| asking.contains(name))
            .map(|(_, calls)| calls)
            .sum()
    };
    let before = asked();
    work();
    asked() - before
}

#[test]
fn a_hundred_vms_are_listed_in_hardly_more_round_trips_than_one() {
    let test = "a_hundred_vms_are_listed_in_hardly_more_round_trips_than_one";
    apart(test, "", || {
        let world = World::new("");
        let host = WindowsHypervHost::connect(Parts {
            namespaces: Arc::new(ComNamespaces::default()),
            virtual_disks: Arc::new(FakeVirtualDisks::new(
                world.host.clone(),
                Manners::default(),
            )),
            volumes: Arc::new(SystemVolumes),
            clock: ManualClock::at(Timestamp::UNIX_EPOCH),
            beliefs: Beliefs::default(),
        })
        .unwrap();
        let listed = |count| assert_eq!(host.vms().unwrap().len(), count);
        let for_one = round_trips(|| listed(1));
        for number in 1..100 {
            let vm = SimVm::new(format!("vm{number}"), vec![SimDisk::new(4 * MIB)]);
            world.host.add_vm(&vm).unwrap();
        }
        let for_hundred = round_trips(|| listed(100));
        println!("{for_one} round trips for one VM, {for_hundred} for a hundred");
        // Rows come 64 at a time, and no class has more than a dozen of a VM.
        assert!(for_hundred < for_one + 40, "{for_one}, {for_hundred}");
    });
}
