//! Every documented code (Hyper-V spec 2.5 and 16) at every method and every virtdisk call: each
//! leads to what callers act on, and none leaves anything but what was there before.
//!
//! What a run of a backup makes of them is told by the scenarios.

use std::path::PathBuf;

use disk::{Changes, DiskErrorKind, Geometry};
use fake_hyperv::Manners;
use fake_hyperv::meddling::{ALWAYS, Twist};
use hyperv::HypervErrorKind as Kind;
use hyperv::{
    CheckpointId, ConfigurationFile, Controller, DefinedDisk, HypervError, HypervHost, NewDisk,
    RequestedConsistency, VmDefinition, VmId, VmState,
};
use time_and_chance::StopSignal;
use uuid::Uuid;
use windows_host::hyperv::{OwnVm, Probing as _};

use crate::world::{MIB, World};

/// What methods return, in either family, and what is no documented number at all.
const RETURNED: [(u32, Kind); 21] = [
    (1, Kind::Unsupported),
    (2, Kind::Failed),
    (3, Kind::Unavailable),
    (4, Kind::Invalid),
    (5, Kind::Busy),
    (6, Kind::Invalid),
    (7, Kind::Failed),
    (4097, Kind::Failed),
    (32768, Kind::Failed),
    (32769, Kind::Denied),
    (32770, Kind::Unsupported),
    (32771, Kind::OutcomeUnknown),
    (32772, Kind::Unavailable),
    (32773, Kind::Invalid),
    (32774, Kind::Busy),
    (32775, Kind::Busy),
    (32776, Kind::Invalid),
    (32777, Kind::NotFound),
    (32778, Kind::Unavailable),
    (32779, Kind::Failed),
    (40_000, Kind::Failed),
];

/// What calls of methods fail with.
const FAILED_CALLS: [(u32, Kind); 20] = [
    (0x8001_0007, Kind::OutcomeUnknown),
    (0x8001_0105, Kind::OutcomeUnknown),
    (0x8001_0108, Kind::OutcomeUnknown),
    (0x8001_FFFF, Kind::OutcomeUnknown),
    (0x8004_1001, Kind::Failed),
    (0x8004_1002, Kind::NotFound),
    (0x8004_1003, Kind::Denied),
    (0x8004_100E, Kind::Unsupported),
    (0x8004_1010, Kind::Unsupported),
    (0x8004_1013, Kind::OutcomeUnknown),
    (0x8004_1014, Kind::Unavailable),
    (0x8004_1015, Kind::OutcomeUnknown),
    (0x8004_102F, Kind::Invalid),
    (0x8004_1032, Kind::OutcomeUnknown),
    (0x8004_1033, Kind::OutcomeUnknown),
    (0x8004_103A, Kind::Invalid),
    (0x8004_106C, Kind::Unavailable),
    (0x8007_05B4, Kind::OutcomeUnknown),
    (0x8007_06BA, Kind::Unavailable),
    (0x8007_06BE, Kind::OutcomeUnknown),
];

/// What jobs' messages and virtdisk's calls carry.
const SAID: [(u32, Kind); 50] = [
    (0x8007_0002, Kind::Failed),
    (0x8007_0003, Kind::Failed),
    (0x8007_0005, Kind::Denied),
    (0x8007_0013, Kind::Failed),
    (0x8007_0020, Kind::InUse),
    (0x8007_0021, Kind::InUse),
    (0x8007_0027, Kind::Full),
    (0x8007_0050, Kind::Failed),
    (0x8007_0057, Kind::Invalid),
    (0x8007_0070, Kind::Full),
    (0x8007_00B7, Kind::Failed),
    (0x8007_026A, Kind::Unsupported),
    (0x8007_0299, Kind::Unsupported),
    (0x8007_052F, Kind::Denied),
    (0x8007_0569, Kind::Denied),
    (0x8007_0570, Kind::Failed),
    (0x8007_05B4, Kind::Unavailable),
    (0x8007_139F, Kind::Failed),
    (0x8007_1772, Kind::Unsupported),
    (0x8000_4005, Kind::Failed),
    (0xC03A_0001, Kind::Failed),
    (0xC03A_000C, Kind::Failed),
    (0xC03A_000D, Kind::Failed),
    (0xC03A_000E, Kind::Failed),
    (0xC03A_000F, Kind::Failed),
    (0xC03A_0010, Kind::Failed),
    (0xC03A_0011, Kind::Failed),
    (0xC03A_0012, Kind::Unsupported),
    (0xC03A_0013, Kind::Unsupported),
    (0xC03A_0014, Kind::Failed),
    (0xC03A_0015, Kind::Failed),
    (0xC03A_0016, Kind::Failed),
    (0xC03A_0017, Kind::Failed),
    (0xC03A_0018, Kind::Failed),
    (0xC03A_0019, Kind::Failed),
    (0xC03A_001A, Kind::Unsupported),
    (0xC03A_001B, Kind::Unsupported),
    (0xC03A_001C, Kind::InUse),
    (0xC03A_001D, Kind::Unsupported),
    (0xC03A_001E, Kind::InUse),
    (0xC03A_001F, Kind::InUse),
    (0xC03A_0020, Kind::Failed),
    (0xC03A_0022, Kind::Failed),
    (0xC03A_0024, Kind::Failed),
    (0xC03A_0029, Kind::Failed),
    (0xC03A_002A, Kind::Failed),
    (0xC03A_0030, Kind::Failed),
    (0xC03A_0034, Kind::Failed),
    (0xC05C_FF0A, Kind::Unsupported),
    (0xC05C_FF0C, Kind::Unsupported),
];

/// What the guest's VSS says, through a job.
const GUEST: [u32; 6] = [
    0x8004_23F0,
    0x8004_23F1,
    0x8004_23F2,
    0x8004_23F3,
    0x8004_23F4,
    0x8004_23FB,
];

/// A VM with what calls are made about.
struct Stage {
    world: World,
    vm: VmId,
    checkpoint: CheckpointId,
}

impl Stage {
    /// The work of a job is done when its end is seen: here it is not.
    fn new() -> Self {
        let world = World::with(Manners {
            jobs_work_first: false,
            ..Manners::default()
        });
        let vm = world.vm("staged");
        let checkpoint = world.freeze_as(vm, RequestedConsistency::Crash).unwrap();
        Self {
            world,
            vm,
            checkpoint,
        }
    }

    fn host(&self) -> &dyn HypervHost {
        &*self.world.host
    }

    fn configuration(&self) -> Vec<ConfigurationFile> {
        self.host()
            .configuration_files(self.vm, self.checkpoint)
            .unwrap()
    }

    fn import(&self) -> Result<VmId, HypervError> {
        let folder = self.host().default_vm_folder("planned").unwrap();
        let files = self.configuration();
        let planned = self
            .host()
            .import_planned(&files, &folder, "planned", true)?;
        Ok(planned.id)
    }

    /// Calls a method with every code in every way it can fail, then as it is.
    fn check(
        &self,
        method: &str,
        said: &[(u32, Kind)],
        special: impl Fn(u32) -> Option<Kind>,
        call: impl Fn() -> Result<(), HypervError>,
    ) {
        self.check_answers(method, &special, &call);
        for &(code, kind) in said {
            let kind = special(code).unwrap_or(kind);
            self.expect(method, Twist::Job(10, Some(code)), (code, kind), &call);
        }
        for code in GUEST {
            let kind = special(code).unwrap_or(Kind::GuestRefused);
            self.expect(method, Twist::Job(10, Some(code)), (code, kind), &call);
        }
        for (state, kind) in [
            (8, Kind::Failed),
            (9, Kind::Failed),
            (10, Kind::Failed),
            (11, Kind::Failed),
            (13, Kind::OutcomeUnknown),
        ] {
            let part = format!("call {method}");
            let meddler = &self.world.meddler;
            meddler.twist(&part, ALWAYS, Twist::Job(state, None));
            let error = call().unwrap_err();
            assert_eq!(error.kind(), kind, "{method} in state {state}: {error}");
            meddler.rest();
        }
        call().unwrap_or_else(|error| panic!("{method} as it is: {error}"));
    }

    /// Calls a method that leaves no job with every answer that is no success.
    fn check_answers(
        &self,
        method: &str,
        special: impl Fn(u32) -> Option<Kind>,
        call: impl Fn() -> Result<(), HypervError>,
    ) {
        for (code, kind) in RETURNED {
            let kind = special(code).unwrap_or(kind);
            self.expect(method, Twist::Return(code), (code, kind), &call);
        }
        for (code, kind) in FAILED_CALLS {
            let kind = special(code).unwrap_or(kind);
            self.expect(method, Twist::Error(code), (code, kind), &call);
        }
    }

    fn expect(
        &self,
        method: &str,
        twist: Twist,
        (code, kind): (u32, Kind),
        call: impl Fn() -> Result<(), HypervError>,
    ) {
        let shown = format!("{method} {twist:?}");
        let meddler = &self.world.meddler;
        meddler.twist(&format!("call {method}"), ALWAYS, twist);
        let error = match call() {
            Err(error) => error,
            Ok(()) => panic!("{shown}: taken for a success"),
        };
        assert_eq!(error.kind(), kind, "{shown}: {error}");
        assert_eq!(error.code(), Some(code), "{shown}: {error}");
        meddler.rest();
    }
}

/// Imports take long: the short form lets their jobs fail with some of the codes.
fn is_long() -> bool {
    std::env::var_os("E3_TEST_LONG").is_some()
}

fn some_said() -> Vec<(u32, Kind)> {
    let every = if is_long() { 1 } else { 6 };
    SAID.into_iter().step_by(every).collect()
}

fn as_it_is(_: u32) -> Option<Kind> {
    None
}

#[test]
fn every_code_of_what_backups_call_has_its_kind() {
    let stage = Stage::new();
    let (host, vm) = (stage.host(), stage.vm);
    let stop = StopSignal::new();
    host.destroy_checkpoint(vm, stage.checkpoint).unwrap();
    stage.world.settle(vm);
    stage.check("CreateSnapshot", &SAID, as_it_is, || {
        let crash = RequestedConsistency::Crash;
        stage.world.freeze_as(vm, crash).map(drop)
    });
    let checkpoint = host.checkpoints(vm).unwrap()[0].id;
    stage.check("ConvertToReferencePoint", &SAID, as_it_is, || {
        host.convert_to_reference_point(vm, checkpoint, &stop)
            .map(drop)
    });
    stage.world.settle(vm);
    let point = host.reference_points(vm).unwrap().remove(0).id;
    stage.check("DestroyReferencePoint", &SAID, as_it_is, || {
        host.destroy_reference_point(vm, &point)
    });
    assert!(host.reference_points(vm).unwrap().is_empty());
    let checkpoint = stage.world.freeze(vm).unwrap();
    stage.check("DestroySnapshot", &SAID, as_it_is, || {
        host.destroy_checkpoint(vm, checkpoint)
    });
    assert!(host.checkpoints(vm).unwrap().is_empty());
    stage.world.settle(vm);
}

#[test]
fn every_code_of_what_restores_call_has_its_kind() {
    let stage = Stage::new();
    let host = stage.host();
    let said = some_said();
    let of_another_vm = |code| {
        let is_its = [32779, 0x8007_0050, 0x8007_00B7].contains(&code);
        is_its.then_some(Kind::Invalid)
    };
    let give_up = |id: Result<VmId, HypervError>| host.abort_planned(id?);
    stage.check("ImportSystemDefinition", &SAID, of_another_vm, || {
        give_up(stage.import())
    });
    stage.check("ModifySystemSettings", &said, as_it_is, || {
        give_up(stage.import())
    });
    assert!(host.planned_vms().unwrap().is_empty());

    let planned = stage.import().unwrap();
    let folder = host.default_vm_folder("planned").unwrap();
    let path = new_disk(&stage, &folder.join("new.vhdx"));
    let paths = [Some(path)];
    stage.check("ModifyResourceSettings", &said, as_it_is, || {
        host.set_planned_disks(planned, &paths)
    });
    stage.check("RealizePlannedSystem", &said, as_it_is, || {
        host.realise_planned(planned).map(drop)
    });
    assert!(host.planned_vms().unwrap().is_empty());
    stage.check("RequestStateChange", &said, as_it_is, || {
        host.start(planned)
    });
    assert_eq!(host.vm(planned).unwrap().state, VmState::Running);

    let planned = stage.import().unwrap();
    stage.check("RemoveResourceSettings", &said, as_it_is, || {
        host.set_planned_disks(planned, &[None])
    });
    stage.check("DestroySystem", &said, as_it_is, || {
        host.abort_planned(planned)
    });
    assert!(host.planned_vms().unwrap().is_empty());
}

#[test]
fn every_code_of_what_defines_a_vm_anew_has_its_kind_and_leaves_no_planned_vm() {
    let stage = Stage::new();
    let host = stage.host();
    let was = host.vm(stage.vm).unwrap();
    let folder = host.default_vm_folder("anew").unwrap();
    let path = new_disk(&stage, &folder.join("new.vhdx"));
    let definition = VmDefinition {
        name: "anew".to_owned(),
        generation: was.generation,
        firmware: was.firmware,
        processors: was.processors,
        memory_bytes: was.memory_bytes,
        network_adapters: was.network_adapters,
        disks: vec![DefinedDisk {
            controller: Controller::Scsi,
            controller_number: 0,
            location: 0,
            path,
        }],
    };
    for method in ["DefinePlannedSystem", "AddResourceSettings"] {
        stage.check(method, &some_said(), as_it_is, || {
            let defined = host.define_planned(&definition, &[], &folder);
            let left = host.planned_vms().unwrap().len();
            assert_eq!(left, usize::from(defined.is_ok()), "{method}");
            host.abort_planned(defined?.planned.id)
        });
    }
}

#[test]
fn every_code_of_handing_over_a_key_protector_has_its_kind_and_leaves_no_planned_vm() {
    let stage = Stage::new();
    let protector = vec![1; 64];
    let mut extras = stage.world.extras();
    extras.key_protectors.insert(stage.vm, protector);
    drop(extras);
    let hand_over = || {
        let planned = stage.import();
        let left = stage.host().planned_vms().unwrap().len();
        assert_eq!(left, usize::from(planned.is_ok()));
        stage.host().abort_planned(planned?)
    };
    stage.check_answers("SetKeyProtector", as_it_is, hand_over);
    hand_over().unwrap();
}

#[test]
fn every_code_of_making_a_vm_for_a_self_test_has_its_kind() {
    let stage = Stage::new();
    let (host, probing) = (stage.host(), &stage.world.host);
    let folder = host.default_vm_folder("own").unwrap();
    let own = OwnVm {
        name: "own".to_owned(),
        notes: String::new(),
        disk: new_disk(&stage, &folder.join("own.vhdx")),
        folder,
    };
    let named = || {
        let vms = host.vms().unwrap().into_iter();
        let mut named = vms.filter(|vm| vm.name == own.name).map(|vm| vm.id);
        (named.next(), named.next())
    };
    let said = some_said();
    stage.check("DefineSystem", &said, as_it_is, || {
        let made = probing.make_vm(&own);
        assert_eq!(named(), (made.as_ref().ok().copied(), None));
        probing.destroy_vm(made?)
    });
    // One that got no disk is found by its name.
    stage.check("AddResourceSettings", &said, as_it_is, || {
        let made = probing.make_vm(&own);
        let (there, another) = named();
        assert_eq!(another, None);
        probing.destroy_vm(there.unwrap()).unwrap();
        made.map(drop)
    });
    assert_eq!(named(), (None, None));
}

#[test]
fn a_validation_that_fails_is_a_verdict_and_one_that_is_not_heard_is_none() {
    let stage = Stage::new();
    let host = stage.host();
    let planned = stage.import().unwrap();
    let part = "call ValidatePlannedSystem";
    for (code, _) in SAID {
        let job = Twist::Job(10, Some(code));
        stage.world.meddler.twist(part, ALWAYS, job);
        let messages = host.validate_planned(planned).unwrap();
        assert!(messages.iter().any(|told| told.fatal), "0x{code:08X}");
        stage.world.meddler.rest();
    }
    for twist in [
        Twist::Return(32769),
        Twist::Return(32775),
        Twist::Return(32771),
        Twist::Error(0x8007_06BE),
        Twist::Job(13, None),
    ] {
        stage.world.meddler.twist(part, ALWAYS, twist.clone());
        let verdict = host.validate_planned(planned);
        assert!(verdict.is_err(), "{twist:?}: {verdict:?}");
        stage.world.meddler.rest();
    }
}

fn new_disk(stage: &Stage, path: &std::path::Path) -> PathBuf {
    stage.host().create_disk(path, &disk()).unwrap();
    path.to_owned()
}

fn disk() -> NewDisk {
    NewDisk {
        geometry: Geometry {
            virtual_bytes: MIB,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
        },
        block_bytes: None,
        virtual_disk_id: Uuid::from_u128(5),
    }
}

/// Returns a code as virtdisk gives it: Win32 codes bare.
fn bare(code: u32) -> u32 {
    match code >> 16 {
        0x8007 => code & 0xFFFF,
        _ => code,
    }
}

#[test]
fn every_code_of_opening_a_frozen_disk_has_its_kind() {
    let stage = Stage::new();
    let (host, meddler) = (stage.host(), &stage.world.meddler);
    let frozen = host.frozen_disks(stage.vm, stage.checkpoint).unwrap();
    for (code, kind) in SAID {
        for call in [
            "disk open Read",
            "disk size of",
            "disk physical_sector_bytes of",
            "disk virtual_disk_id of",
        ] {
            meddler.twist(call, 1, Twist::Error(bare(code)));
            let opened = host.open_frozen_disk(stage.vm, stage.checkpoint, &frozen[0]);
            let error = opened.err().unwrap();
            assert_eq!((error.kind(), error.code()), (kind, Some(code)), "{call}");
            meddler.rest();
        }
        for call in [
            "disk open Information",
            "disk parent of",
            "disk container of",
        ] {
            meddler.twist(call, 1, Twist::Error(bare(code)));
            let listed = host.frozen_disks(stage.vm, stage.checkpoint);
            match code {
                // A shared disk is listed, so that it can be left out.
                0xC05C_FF0A => drop(listed.unwrap()),
                _ => assert_eq!(listed.unwrap_err().code(), Some(code), "{call}"),
            }
            // The VM is shown all the same, and others with it.
            meddler.rest();
            meddler.twist(call, ALWAYS, Twist::Error(bare(code)));
            let shown = host.vm(stage.vm).unwrap();
            assert_eq!(shown.disks.len(), 1);
            meddler.rest();
        }
    }
    // What tells where holes are may fail as it likes: then all counts as allocated.
    meddler.twist("disk parent of", 1, Twist::Error(0xC03A_000D));
    let source = host.open_frozen_disk(stage.vm, stage.checkpoint, &frozen[0]);
    let source = source.unwrap();
    let all = disk::ByteRange::new(0, source.size_bytes());
    assert_eq!(source.next_allocated(0).unwrap(), all);
}

#[test]
fn every_code_of_an_open_disk_is_an_error_or_a_full_read_and_never_a_wrong_answer() {
    let stage = Stage::new();
    let (host, meddler) = (stage.host(), &stage.world.meddler);
    let frozen = host.frozen_disks(stage.vm, stage.checkpoint).unwrap();
    let source = host.open_frozen_disk(stage.vm, stage.checkpoint, &frozen[0]);
    let source = source.unwrap();
    let id = source.change_id().unwrap().unwrap();
    let mut buf = [0; 512];
    for (code, _) in SAID {
        let code = bare(code);
        meddler.twist("disk change_tracking of", 1, Twist::Error(code));
        assert_eq!(source.change_id().unwrap(), None, "0x{code:08X}");
        meddler.twist("disk query_changes of", 1, Twist::Error(code));
        let Changes::Unknown(reason) = source.changes_since(&id) else {
            panic!("0x{code:08X} is no answer");
        };
        assert_eq!(reason.code, Some(code));
        meddler.twist("disk read_at of", 1, Twist::Error(code));
        assert!(source.read_at(0, &mut buf).is_err(), "0x{code:08X}");
    }
    assert!(matches!(source.changes_since(&id), Changes::Ranges(_)));
    source.read_at(0, &mut buf).unwrap();
}

#[test]
fn every_code_of_a_new_disk_is_an_error() {
    let stage = Stage::new();
    let (host, meddler) = (stage.host(), &stage.world.meddler);
    let folder = host.default_vm_folder("new").unwrap();
    for (number, (code, kind)) in SAID.into_iter().enumerate() {
        let code = bare(code);
        let path = folder.join(format!("{number}.vhdx"));
        for call in ["disk create of", "disk open Write"] {
            meddler.twist(call, 1, Twist::Error(code));
            let error = host.create_disk(&path, &disk()).err().unwrap();
            // A file that is there already is the caller's mistake.
            let there = call == "disk create of" && [0x50, 0xB7].contains(&code);
            let kind = if there { Kind::Invalid } else { kind };
            assert_eq!(error.kind(), kind, "{call} 0x{code:08X}: {error}");
            meddler.rest();
        }
        std::fs::remove_file(&path).unwrap();
    }
    let file = host
        .create_disk(&folder.join("disk.vhdx"), &disk())
        .unwrap();
    for (code, kind) in [
        (112, DiskErrorKind::Full),
        (39, DiskErrorKind::Full),
        (5, DiskErrorKind::Refused),
        (19, DiskErrorKind::Refused),
        (32, DiskErrorKind::Refused),
        (1392, DiskErrorKind::Damaged),
        (0xC03A_0002, DiskErrorKind::Damaged),
        (31, DiskErrorKind::Unreadable),
    ] {
        for call in ["disk write_at of", "disk flush of"] {
            meddler.twist(call, 1, Twist::Error(code));
            let done = file.write_at(0, &[1; 512]).and_then(|()| file.flush());
            assert_eq!(done.unwrap_err().kind(), kind, "{call} {code}");
        }
    }
}
