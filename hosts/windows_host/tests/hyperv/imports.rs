//! Imports whose end nobody saw, while others import too: what is ours is known for certain, and
//! what is not is left alone (Hyper-V spec 2.6, 10.1).

use std::path::PathBuf;
use std::time::Duration;

use fake_hyperv::Manners;
use fake_hyperv::meddling::{Meanwhile, Twist};
use hyperv::HypervErrorKind as Kind;
use hyperv::{ConfigurationFile, HypervError, HypervHost, PlannedVm, RequestedConsistency, VmId};
use time_and_chance::StopSignal;
use windows_host::hyperv::{Beliefs, Limits};
use windows_host::wmi::Value;

use crate::world::{MARK, World};

const CALL: &str = "call ImportSystemDefinition";
const JOB: &str = "get Msvm_ConcreteJob";

/// Every way in which the end of an import stays unseen although it is done.
fn unseen() -> [(&'static str, Twist); 4] {
    [
        (CALL, Twist::LoseAnswer(0x8007_06BE)),
        (JOB, Twist::Error(0x8004_1002)),
        (JOB, Twist::Error(0x8004_1001)),
        (JOB, Twist::Property("JobState", Value::from(99u16))),
    ]
}

struct Stage {
    world: World,
    files: Vec<ConfigurationFile>,
    folder: PathBuf,
}

impl Stage {
    fn new(manners: Manners) -> Self {
        let world = World::with(manners);
        let vm = world.vm("web");
        let (sim, stop) = (&world.sim, StopSignal::new());
        let checkpoint =
            sim.create_recovery_checkpoint(vm, RequestedConsistency::Crash, MARK, &stop);
        let files = sim.configuration_files(vm, checkpoint.unwrap()).unwrap();
        let folder = world.host.default_vm_folder("ours").unwrap();
        Self {
            world,
            files,
            folder,
        }
    }

    /// Has somebody else import the same definition just before a call of ours.
    fn stranger(&self, part: &str) {
        let (sim, files) = (self.world.sim.clone(), self.files.clone());
        let meanwhile = Meanwhile::new(move || {
            let folder = sim.default_vm_folder("stranger").unwrap();
            sim.import_planned(&files, &folder, "stranger", true)
                .unwrap();
        });
        self.world
            .meddler
            .twist(part, 1, Twist::Meanwhile(meanwhile));
    }

    fn import(&self) -> Result<PlannedVm, HypervError> {
        self.import_by(&*self.world.host)
    }

    fn import_by(&self, host: &dyn HypervHost) -> Result<PlannedVm, HypervError> {
        host.import_planned(&self.files, &self.folder, "ours", true)
    }

    /// Returns the planned VMs: their names, and where their files lie.
    fn planned(&self) -> Vec<(VmId, String, PathBuf)> {
        let planned = self.world.sim.truth().unwrap().planned.into_iter();
        let mut shown: Vec<_> = planned
            .map(|known| (known.id, known.name, known.folder))
            .collect();
        shown.sort_by(|a, b| a.1.cmp(&b.1));
        shown
    }

    fn assert_nothing_is_staged(&self) {
        let staged = self.folder.join("restored configuration");
        assert!(!staged.exists(), "{}", staged.display());
    }
}

#[test]
fn an_import_that_nobody_saw_end_is_found_beside_a_strangers() {
    for (part, twist) in unseen() {
        let stage = Stage::new(Manners::default());
        stage.stranger(CALL);
        stage.world.meddler.twist(part, 1, twist.clone());
        let ours = stage.import().unwrap();
        let planned = stage.planned();
        let names: Vec<&str> = planned.iter().map(|(_, name, _)| &**name).collect();
        assert_eq!(names, ["ours", "stranger"], "{twist:?}");
        assert_eq!((planned[0].0, &planned[0].2), (ours.id, &stage.folder));
        assert_ne!(planned[1].2, stage.folder);
        stage.world.host.abort_planned(ours.id).unwrap();
        assert_eq!(stage.planned(), planned[1..], "{twist:?}");
        stage.assert_nothing_is_staged();
    }
}

#[test]
fn a_strangers_import_is_not_taken_for_one_that_never_was() {
    for stays in [true, false] {
        let stage = Stage::new(Manners {
            imports_stay_in_their_folder: stays,
            ..Manners::default()
        });
        stage.stranger(CALL);
        stage
            .world
            .meddler
            .twist(CALL, 1, Twist::Error(0x8007_06BE));
        let error = stage.import().unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (Kind::OutcomeUnknown, Some(0x8007_06BE))
        );
        let planned = stage.planned();
        assert_eq!(planned.len(), 1);
        let (id, name, _) = &planned[0];
        assert_eq!(name, "stranger");
        assert!(error.to_string().contains(&id.to_string()), "{error}");
        stage.assert_nothing_is_staged();
    }
}

#[test]
fn what_nothing_tells_apart_is_left_alone_and_named() {
    for (part, twist) in unseen() {
        let stage = Stage::new(Manners {
            imports_stay_in_their_folder: false,
            ..Manners::default()
        });
        stage.stranger(CALL);
        stage.world.meddler.twist(part, 1, twist.clone());
        let error = stage.import().unwrap_err();
        assert_eq!(error.kind(), Kind::OutcomeUnknown, "{twist:?}: {error}");
        let planned = stage.planned();
        assert_eq!(planned.len(), 2, "{twist:?}");
        for (id, name, _) in &planned {
            assert_ne!(name, "ours", "it was taken for ours after all");
            assert!(error.to_string().contains(&id.to_string()), "{error}");
        }
        stage.assert_nothing_is_staged();
    }
}

#[test]
fn a_job_that_can_still_be_asked_tells_what_it_made() {
    let stage = Stage::new(Manners {
        imports_stay_in_their_folder: false,
        job_states: Vec::new(),
        ..Manners::default()
    });
    stage.stranger(CALL);
    let odd = Twist::Property("JobState", Value::from(99u16));
    stage.world.meddler.twist(JOB, 1, odd);
    let ours = stage.import().unwrap();
    let planned = stage.planned();
    assert_eq!((planned[0].0, &*planned[0].1), (ours.id, "ours"));
    assert_eq!(&*planned[1].1, "stranger");
}

#[test]
fn an_import_that_is_too_slow_is_found_beside_a_strangers() {
    // Its work is done, although its end is not seen within the limit.
    let stage = Stage::new(Manners {
        job_states: vec![4; 200],
        ..Manners::default()
    });
    stage.stranger(JOB);
    let host = stage.world.believing(Beliefs {
        limits: Limits {
            other: Duration::from_secs(30),
            ..Limits::default()
        },
        ..Beliefs::default()
    });
    let ours = stage.import_by(&host);
    // The changes of the planned VM that follow are as slow: what counts is whose it would be.
    let error = ours.unwrap_err();
    assert_eq!(error.kind(), Kind::OutcomeUnknown, "{error}");
    assert!(error.to_string().contains("set up"), "{error}");
    let names: Vec<String> = stage.planned().into_iter().map(|known| known.1).collect();
    assert!(names.contains(&"stranger".to_owned()), "{names:?}");
    assert_eq!(names.len(), 1, "ours is given up: {names:?}");
}

#[test]
fn a_vm_that_was_renamed_meanwhile_is_not_new() {
    let stage = Stage::new(Manners {
        imports_stay_in_their_folder: false,
        ..Manners::default()
    });
    let sim = &stage.world.sim;
    let folder = sim.default_vm_folder("there before").unwrap();
    let files = &stage.files;
    let before = sim.import_planned(files, &folder, "there before", true);
    let before = before.unwrap().id;
    let renaming = sim.clone();
    let meanwhile = Meanwhile::new(move || renaming.rename_planned(before, "renamed").unwrap());
    stage
        .world
        .meddler
        .twist(CALL, 1, Twist::Meanwhile(meanwhile));
    stage
        .world
        .meddler
        .twist(CALL, 1, Twist::Error(0x8007_06BE));
    let error = stage.import().unwrap_err();
    assert!(!error.to_string().contains("renamed"), "{error}");
    assert_eq!(stage.planned()[0].1, "renamed");
}

#[test]
fn only_what_hyperv_says_of_the_import_itself_is_the_configurations_fault() {
    for (call, twist, is_its_fault) in [
        (CALL, Twist::Return(32768), true),
        (CALL, Twist::Job(10, Some(0x8007_0002)), true),
        (CALL, Twist::Job(10, None), true),
        // Somebody cancelled it.
        (CALL, Twist::Job(8, None), false),
        (CALL, Twist::Job(9, None), false),
        (CALL, Twist::Error(0x8004_1001), false),
        ("call ModifySystemSettings", Twist::Return(32768), false),
        ("call ModifySystemSettings", Twist::Job(10, None), false),
    ] {
        let stage = Stage::new(Manners::default());
        stage.world.meddler.twist(call, 1, twist.clone());
        let error = stage.import().unwrap_err();
        let told = error.is_of_configuration();
        assert_eq!(told, is_its_fault, "{call}, {twist:?}: {error}");
    }
    let mut stage = Stage::new(Manners::default());
    stage.files.retain(|file| !file.name.ends_with(".vmcx"));
    assert!(stage.import().unwrap_err().is_of_configuration());
}
