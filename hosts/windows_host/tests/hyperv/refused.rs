//! What cannot be backed up from the host: seen, and refused or listed with its reason
//! (Hyper-V spec 3.4, 4.7).

use fake_hyperv::GuestCluster;
use fake_hyperv::meddling::{ALWAYS, Twist};
use hyperv::RequestedConsistency::Crash;
use hyperv::sim::{SimDisk, SimVm};
use hyperv::{HypervErrorKind as Kind, HypervHost, VmState};
use windows_host::wmi::Value;

use crate::world::{MIB, World};

const ASK: &str = "call QueryGuestClusterInformation";

#[test]
fn the_node_of_a_guest_cluster_is_refused_with_its_reason_unless_it_is_taken_alone() {
    let world = World::new();
    let (node, single) = (world.vm("node"), world.vm("single"));
    let cluster = GuestCluster {
        id: "6E5A1C0F-7B8A-4C0B-9F57-5A3E0C1D2E3F".to_owned(),
        shared_disks: vec![r"C:\ClusterStorage\Volume1\quorum.vhds".to_owned()],
    };
    world.extras().guest_clusters.insert(node, cluster.clone());
    let error = world.freeze(node).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    let text = error.to_string();
    assert!(text.contains(&cluster.id), "{text}");
    assert!(text.contains("inside the guests"), "{text}");
    assert!(world.host.checkpoints(node).unwrap().is_empty());
    world.freeze(single).unwrap();
    world.freeze_as(node, Crash).unwrap();
}

#[test]
fn a_guest_that_does_not_tell_of_a_cluster_is_backed_up() {
    for twist in [
        Twist::Return(32770),
        Twist::Return(32775),
        Twist::Return(32768),
        Twist::Error(0x8004_1002),
        Twist::Error(0x8004_102E),
        Twist::Property("GuestClusterInformation", Value::Null),
        Twist::Property("GuestClusterInformation", Value::text("<INSTANCE ")),
    ] {
        let world = World::new();
        let vm = world.vm("silent");
        world.meddler.twist(ASK, ALWAYS, twist.clone());
        world
            .freeze(vm)
            .unwrap_or_else(|error| panic!("{twist:?}: {error}"));
    }
}

#[test]
fn a_vm_that_is_not_running_is_not_asked_for_its_cluster_for_long() {
    let world = World::new();
    let vm = world.vm("saved");
    world.sim.set_state(vm, VmState::Saved).unwrap();
    world.freeze_as(vm, Crash).unwrap();
    let calls = world.meddler.take_calls();
    assert!(!calls.iter().any(|call| call.starts_with(ASK)), "{calls:?}");
}

#[test]
fn a_shared_disk_is_shared_however_windows_tells_it() {
    let world = World::new();
    let vm = world.vm("member");
    let shared = || world.host.vm(vm).unwrap().disks[0].shared;
    assert!(!shared());
    // The settings say so.
    let storage = "query Msvm_VirtualSystemSettingDataComponent";
    let reserved = Twist::Property("PersistentReservationsSupported", Value::Bool(true));
    world.meddler.twist(storage, 1, reserved);
    assert!(shared());
    // Or virtdisk does.
    let open = "disk open Information";
    world.meddler.twist(open, 1, Twist::Error(0xC05C_FF0A));
    assert!(shared());
    assert!(!shared());
}

#[test]
fn what_a_checkpoint_lists_names_a_shared_disk_that_cannot_be_opened() {
    let world = World::new();
    let disks = vec![SimDisk::new(4 * MIB), SimDisk::new(4 * MIB)];
    let vm = world.sim.add_vm(&SimVm::new("two", disks)).unwrap();
    let checkpoint = world.freeze(vm).unwrap();
    let open = "disk open Information";
    world.meddler.twist(open, 1, Twist::Error(0xC05C_FF0A));
    let frozen = world.host.frozen_disks(vm, checkpoint).unwrap();
    assert_eq!(frozen.len(), 2);
    assert_eq!(frozen[0].original_path, frozen[0].path);
    // Of one that is not shared, nothing is guessed.
    world.meddler.twist(open, 1, Twist::Error(0xC03A_000D));
    let error = world.host.frozen_disks(vm, checkpoint).unwrap_err();
    assert_eq!(error.code(), Some(0xC03A_000D));
}
