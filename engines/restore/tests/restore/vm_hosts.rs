//! VMs onto hosts: whole, or as if nobody had tried.

use std::path::PathBuf;
use std::sync::Arc;

use disk::BlockRead;
use hyperv::sim::{SimDisk, SimFault, SimHost, SimOptions, SimVm, Step};
use hyperv::{HypervErrorKind, HypervHost, NetworkAdapter, RequestedConsistency, VmId, VmState};
use point::{OpenPoint, Points};
use progress::{Monitor, News, Progress, StopSignal};
use restore::vm::{HostTarget, RestoredVm, to_host};
use restore::{RestoreError, RestoreErrorKind};
use time_and_chance::{Chance, SystemClock};

use crate::vm_folders::{descriptor, disk_descriptor, publish};
use crate::world::{StopAtFirstPiece, World, options};

const MIB: u64 = 1 << 20;

/// A host with one VM, and a point of it.
struct HostWorld {
    world: World,
    host: SimHost,
    vm: VmId,
    point: OpenPoint,
    contents: Vec<Vec<u8>>,
}

impl HostWorld {
    fn new() -> Self {
        let world = World::new();
        let host = SimHost::create(
            &world.folder.path().join("host"),
            SimOptions::default(),
            SystemClock::new(),
            Chance::from_seed(5),
        )
        .unwrap();
        let vm = host
            .add_vm(&SimVm::new(
                "web",
                vec![SimDisk::new(8 * MIB), SimDisk::new(5 * MIB)],
            ))
            .unwrap();
        host.write(vm, 0, MIB, &[1; 70_000]).unwrap();
        host.write(vm, 1, 5 * MIB - 512, &[2; 512]).unwrap();
        let (point, contents) = back_up(&world, &host, vm);
        Self {
            world,
            host,
            vm,
            point,
            contents,
        }
    }

    fn restore(
        &self,
        target: &HostTarget,
        progress: &Progress,
    ) -> Result<RestoredVm, RestoreError> {
        to_host(
            &self.world.repo,
            &self.point,
            &self.host,
            target,
            &options(false),
            progress,
        )
    }

    /// Lets the next import fail.
    fn break_import(&self) {
        let fault = SimFault::JobFailsAt { step: Step::Import };
        self.host.add_host_fault(fault, Some(1)).unwrap();
    }

    /// Returns every file on the host that belongs to VMs.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.host.folder().join("vms")];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files.push(path)
                }
            }
        }
        files.sort();
        files
    }
}

fn back_up(world: &World, host: &SimHost, vm: VmId) -> (OpenPoint, Vec<Vec<u8>>) {
    let stop = StopSignal::new();
    let checkpoint = host
        .create_recovery_checkpoint(vm, RequestedConsistency::Application, "test", &stop)
        .unwrap();
    let configuration = host.configuration_files(vm, checkpoint).unwrap();
    let configuration = configuration
        .into_iter()
        .map(|file| (file.name, file.content))
        .collect();
    let mut disks = Vec::new();
    let mut objects = Vec::new();
    let mut contents = Vec::new();
    for (number, frozen) in (0u32..).zip(host.frozen_disks(vm, checkpoint).unwrap()) {
        let source = host.open_frozen_disk(vm, checkpoint, &frozen).unwrap();
        objects.push(world.store_disk(&*source));
        contents.push(read_all(&*source));
        let mut disk = disk_descriptor(
            number,
            frozen.location,
            frozen.original_path.to_str().unwrap(),
        );
        disk.controller = frozen.controller;
        disk.controller_number = frozen.controller_number;
        disk.virtual_disk_id = source.virtual_disk_id();
        disks.push(disk);
    }
    host.destroy_checkpoint(vm, checkpoint).unwrap();
    let shown = host.vm(vm).unwrap();
    let mut described = descriptor(vm, &shown.name, disks);
    described.network_adapters = shown.network_adapters;
    let id = publish(world, described, objects, configuration);
    let points = Points::load(&world.repo).unwrap();
    (
        points.find(&id).unwrap().open(&world.repo).unwrap(),
        contents,
    )
}

fn read_all(disk: &(impl BlockRead + ?Sized)) -> Vec<u8> {
    let mut bytes = vec![0; disk.size_bytes() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

fn new_copy(name: &str) -> HostTarget {
    HostTarget {
        name: Some(name.into()),
        new_id: true,
        ..HostTarget::default()
    }
}

#[test]
fn a_copy_comes_back_beside_the_original_with_identities_of_its_own() {
    let world = HostWorld::new();
    let target = HostTarget {
        power_on: true,
        ..new_copy("web copy")
    };
    let restored = world.restore(&target, &Progress::silent()).unwrap();
    assert_ne!(restored.id, world.vm);
    assert!(restored.started, "{:?}", restored.warnings);
    let original = world.host.vm(world.vm).unwrap();
    let copy = world.host.vm(restored.id).unwrap();
    assert_eq!((&*copy.name, copy.state), ("web copy", VmState::Running));
    for (number, content) in (0u32..).zip(&world.contents) {
        assert!(
            read_all(&world.host.open_live_disk(restored.id, number).unwrap()) == *content,
            "disk {number}"
        );
        let index = number as usize;
        assert_ne!(
            copy.disks[index].virtual_disk_id,
            original.disks[index].virtual_disk_id
        );
        assert_eq!(restored.disks[index].path, copy.disks[index].path);
    }
    assert!(world.host.planned_vms().unwrap().is_empty());
}

#[test]
fn a_vm_that_is_gone_comes_back_as_itself() {
    let world = HostWorld::new();
    let before = world.host.vm(world.vm).unwrap();
    world.host.delete_vm(world.vm, false).unwrap();
    let restored = world
        .restore(&HostTarget::default(), &Progress::silent())
        .unwrap();
    assert_eq!(
        (restored.id, &*restored.name, restored.started),
        (world.vm, "web", false)
    );
    let after = world.host.vm(world.vm).unwrap();
    assert_eq!(after.state, VmState::Off);
    for (number, content) in (0u32..).zip(&world.contents) {
        assert!(
            read_all(&world.host.open_live_disk(world.vm, number).unwrap()) == *content,
            "disk {number}"
        );
        assert_eq!(
            after.disks[number as usize].virtual_disk_id,
            before.disks[number as usize].virtual_disk_id
        );
    }
    let switches = |adapters: &[NetworkAdapter]| {
        adapters
            .iter()
            .map(|adapter| adapter.switch.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        switches(&after.network_adapters),
        switches(&before.network_adapters)
    );
}

#[test]
fn a_vm_goes_to_the_folder_and_the_switch_that_were_asked_for() {
    let world = HostWorld::new();
    let parent = world.host.folder().join("vms/elsewhere");
    let target = HostTarget {
        parent: Some(parent.clone()),
        switch: Some("default SWITCH".into()),
        ..new_copy("web copy")
    };
    for folder in ["web copy", "web copy (2)"] {
        let restored = world.restore(&target, &Progress::silent()).unwrap();
        for disk in &restored.disks {
            assert_eq!(disk.path.parent().unwrap(), parent.join(folder));
        }
        let copy = world.host.vm(restored.id).unwrap();
        for adapter in copy.network_adapters {
            assert_eq!(adapter.switch.as_deref(), Some("Default Switch"));
        }
    }
    let before = (world.host.vms().unwrap(), world.files());
    let nowhere = HostTarget {
        switch: Some("Nowhere".into()),
        ..target
    };
    let error = world.restore(&nowhere, &Progress::silent()).unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::NotFound);
    assert!(error.to_string().contains("Default Switch"), "{error}");
    assert_eq!((world.host.vms().unwrap(), world.files()), before);
}

#[test]
fn a_vm_that_is_there_is_never_touched() {
    let world = HostWorld::new();
    let before = (world.host.vm(world.vm).unwrap(), world.files());
    let error = world
        .restore(&HostTarget::default(), &Progress::silent())
        .unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::Exists);
    assert!(error.to_string().contains("--new-id"), "{error}");
    assert_eq!((world.host.vm(world.vm).unwrap(), world.files()), before);
}

#[test]
fn a_restore_that_fails_at_any_step_leaves_nothing_on_the_host() {
    let steps = [
        Step::CreateDisk,
        Step::Define,
        Step::SetDisks,
        Step::SetSwitches,
        Step::Validate,
        Step::Realise,
    ];
    for step in steps {
        let world = HostWorld::new();
        let before = (world.host.vms().unwrap(), world.files());
        world
            .host
            .add_host_fault(SimFault::JobFailsAt { step }, Some(1))
            .unwrap();
        if step == Step::Define {
            world.break_import();
        }
        let error = world
            .restore(&new_copy("web copy"), &Progress::silent())
            .unwrap_err();
        assert!(
            matches!(error.kind(), RestoreErrorKind::Host(_)),
            "{step}: {error}"
        );
        assert_eq!(
            (world.host.vms().unwrap(), world.files()),
            before,
            "after {step} failed"
        );
        assert!(
            world.host.planned_vms().unwrap().is_empty(),
            "after {step} failed"
        );
        world
            .restore(&new_copy("web copy"), &Progress::silent())
            .unwrap();
    }
}

#[test]
fn a_vm_whose_configuration_cannot_be_imported_is_defined_anew_and_said_to_be() {
    for new_id in [true, false] {
        let world = HostWorld::new();
        let before = world.host.vm(world.vm).unwrap();
        if !new_id {
            world.host.delete_vm(world.vm, false).unwrap();
        }
        world.break_import();
        let target = HostTarget {
            new_id,
            power_on: true,
            ..new_copy("web again")
        };
        let restored = world.restore(&target, &Progress::silent()).unwrap();
        assert_ne!(restored.id, world.vm, "Hyper-V gives defined VMs new ids");
        assert!(restored.started);
        let after = world.host.vm(restored.id).unwrap();
        let places = |vm: &hyperv::Vm| -> Vec<_> {
            let disks = vm.disks.iter();
            disks
                .map(|disk| (disk.controller, disk.controller_number, disk.location))
                .collect()
        };
        assert_eq!(places(&after), places(&before));
        assert_eq!(after.network_adapters, before.network_adapters);
        for (number, content) in (0u32..).zip(&world.contents) {
            let disk = world.host.open_live_disk(restored.id, number).unwrap();
            assert!(read_all(&disk) == *content, "disk {number}");
        }
        let said = restored.warnings.join("\n");
        assert!(said.contains("could not be imported"), "{said}");
        assert!(said.contains("not taken over"), "{said}");
        assert_eq!(said.contains(&world.vm.to_string()), !new_id, "{said}");
    }
}

#[test]
fn an_import_that_nobody_saw_end_is_not_made_up_for() {
    let world = HostWorld::new();
    let fault = SimFault::OutcomeUnknownAt {
        step: Step::Import,
        done: false,
    };
    world.host.add_host_fault(fault, Some(1)).unwrap();
    let before = (world.host.vms().unwrap(), world.files());
    let error = world
        .restore(&new_copy("web copy"), &Progress::silent())
        .unwrap_err();
    assert_eq!(
        error.kind(),
        RestoreErrorKind::Host(HypervErrorKind::OutcomeUnknown)
    );
    assert_eq!((world.host.vms().unwrap(), world.files()), before);
}

#[test]
fn a_stopped_restore_leaves_nothing_on_the_host() {
    let world = HostWorld::new();
    let before = (world.host.vms().unwrap(), world.files());
    let error = world
        .restore(&new_copy("web copy"), &StopAtFirstPiece::progress())
        .unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::Stopped);
    assert_eq!((world.host.vms().unwrap(), world.files()), before);
}

#[test]
fn a_realising_whose_outcome_was_not_seen_is_judged_by_what_is_there() {
    for done in [true, false] {
        let world = HostWorld::new();
        let before = (world.host.vms().unwrap(), world.files());
        world
            .host
            .add_host_fault(
                SimFault::OutcomeUnknownAt {
                    step: Step::Realise,
                    done,
                },
                Some(1),
            )
            .unwrap();
        let restored = world.restore(&new_copy("web copy"), &Progress::silent());
        match restored {
            Ok(vm) => {
                assert!(done);
                assert!(
                    read_all(&world.host.open_live_disk(vm.id, 0).unwrap()) == world.contents[0]
                );
            }
            Err(error) => {
                assert!(!done, "{error}");
                assert_eq!(
                    error.kind(),
                    RestoreErrorKind::Host(HypervErrorKind::OutcomeUnknown)
                );
                assert_eq!((world.host.vms().unwrap(), world.files()), before);
            }
        }
    }
}

/// Breaks a VM's start when it is about to be started; before, there is no such VM.
#[derive(Debug)]
struct BreakStart {
    host: SimHost,
    name: &'static str,
}

impl Monitor for BreakStart {
    fn hear(&self, news: &News<'_>) {
        if let News::Phase {
            phase: "starting the VM",
            ..
        } = news
        {
            let vms = self.host.vms().unwrap();
            let vm = vms.iter().find(|vm| vm.name == self.name).unwrap().id;
            let fault = SimFault::JobFailsAt { step: Step::Start };
            self.host.add_fault(vm, fault, Some(1)).unwrap();
        }
    }
}

#[test]
fn a_vm_that_does_not_start_is_restored_all_the_same() {
    let world = HostWorld::new();
    let monitor = BreakStart {
        host: world.host.clone(),
        name: "web copy",
    };
    let progress = Progress {
        monitor: Arc::new(monitor),
        ..Progress::silent()
    };
    let target = HostTarget {
        power_on: true,
        ..new_copy("web copy")
    };
    let restored = world.restore(&target, &progress).unwrap();
    assert!(!restored.started);
    let said = restored
        .warnings
        .iter()
        .any(|warning| warning.contains("did not start"));
    assert!(said, "{:?}", restored.warnings);
    assert_eq!(world.host.vm(restored.id).unwrap().state, VmState::Off);
}

#[test]
fn a_switch_that_is_not_here_leaves_the_adapter_disconnected_with_a_warning() {
    let world = HostWorld::new();
    let other = SimHost::create(
        &world.world.folder.path().join("other"),
        SimOptions {
            switches: vec!["Elsewhere".into()],
            ..SimOptions::default()
        },
        SystemClock::new(),
        Chance::from_seed(9),
    )
    .unwrap();
    let target = HostTarget::default();
    let restored = to_host(
        &world.world.repo,
        &world.point,
        &other,
        &target,
        &options(false),
        &Progress::silent(),
    )
    .unwrap();
    let adapters = other.vm(restored.id).unwrap().network_adapters;
    assert!(adapters.iter().all(|adapter| adapter.switch.is_none()));
    let connected = world
        .host
        .vm(world.vm)
        .unwrap()
        .network_adapters
        .iter()
        .filter(|adapter| adapter.switch.is_some())
        .count();
    let warned = restored
        .warnings
        .iter()
        .filter(|warning| warning.contains("no switch named"))
        .count();
    assert_eq!(warned, connected, "{:?}", restored.warnings);
    assert!(
        restored
            .disks
            .iter()
            .all(|disk| disk.path.starts_with(other.folder()))
    );
}
