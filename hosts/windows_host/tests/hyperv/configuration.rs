//! What of a VM's configuration a backup carries along (Hyper-V spec 9).

use std::time::Duration;

use fake_hyperv::Manners;
use fake_hyperv::meddling::{ALWAYS, Twist};
use hyperv::{
    CheckpointId, ConfigurationFile, HypervErrorKind as Kind, HypervHost, MergeState, VmId,
};
use time_and_chance::{Clock as _, StopSignal};
use windows_host::wmi::Value;

use crate::world::World;

const PROTECTOR: &str = "key-protector.bin";
const SETTINGS: &str = "settings.xml";

fn files(world: &World, vm: VmId) -> Vec<ConfigurationFile> {
    let checkpoint = world.freeze(vm).unwrap();
    let files = world.host.configuration_files(vm, checkpoint).unwrap();
    world.host.destroy_checkpoint(vm, checkpoint).unwrap();
    world.settle(vm);
    files
}

fn named<'a>(files: &'a [ConfigurationFile], name: &str) -> Option<&'a [u8]> {
    let file = files.iter().find(|file| file.name == name)?;
    Some(&file.content)
}

#[test]
fn the_key_protector_of_a_vm_with_a_virtual_tpm_comes_along_and_back() {
    let world = World::new();
    let vm = world.vm("tpm");
    assert_eq!(named(&files(&world, vm), PROTECTOR), None);
    let protector: Vec<u8> = (0..=255).collect();
    world.extras().key_protectors.insert(vm, protector.clone());
    let kept = files(&world, vm);
    assert_eq!(named(&kept, PROTECTOR), Some(&*protector));
    let folder = world.host.default_vm_folder("again").unwrap();
    let planned = world
        .host
        .import_planned(&kept, &folder, "again", true)
        .unwrap();
    let restored = world.extras().key_protectors.get(&planned.id).cloned();
    assert_eq!(restored, Some(protector));
    world.host.abort_planned(planned.id).unwrap();
}

#[test]
fn a_key_protector_that_cannot_be_had_is_an_error() {
    let world = World::new();
    let vm = world.vm("tpm");
    world.extras().key_protectors.insert(vm, vec![1; 64]);
    let checkpoint = world.freeze(vm).unwrap();
    for (twist, kind) in [
        (Twist::Return(32769), Kind::Denied),
        (Twist::Return(32768), Kind::Failed),
        (Twist::Error(0x8004_1003), Kind::Denied),
    ] {
        world
            .meddler
            .twist("call GetKeyProtector", ALWAYS, twist.clone());
        let error = world.host.configuration_files(vm, checkpoint).unwrap_err();
        assert_eq!(error.kind(), kind, "{twist:?}: {error}");
        world.meddler.rest();
    }
}

#[test]
fn the_settings_come_along_as_text_with_every_part() {
    let world = World::new();
    let vm = world.vm("described \"<1>\"");
    let files = files(&world, vm);
    assert!(files.iter().any(|file| file.name.ends_with(".vmcx")));
    let text = String::from_utf8(named(&files, SETTINGS).unwrap().to_vec()).unwrap();
    for class in [
        "Msvm_VirtualSystemSettingData",
        "Msvm_StorageAllocationSettingData",
        "Msvm_ProcessorSettingData",
        "Msvm_MemorySettingData",
        "Msvm_SyntheticEthernetPortSettingData",
        "Msvm_SecuritySettingData",
    ] {
        assert!(text.contains(class), "{class}: {text}");
    }
    assert!(!text.contains("<!--"), "{text}");
}

#[test]
fn files_that_are_gone_leave_the_settings_as_text_which_say_why() {
    let world = World::new();
    let vm = world.vm("poor");
    let checkpoint = world.freeze(vm).unwrap();
    let all = world.host.configuration_files(vm, checkpoint).unwrap();
    let truth = world.sim.truth().unwrap();
    for file in &truth.vms[0].checkpoints[0].configuration_files {
        std::fs::remove_file(file).unwrap();
    }
    let left = world.host.configuration_files(vm, checkpoint).unwrap();
    assert!(all.len() > 1 && left.len() == 1);
    let text = String::from_utf8(left[0].content.clone()).unwrap();
    assert!(text.contains("could not be had"), "{text}");
    let folder = world.host.default_vm_folder("again").unwrap();
    let error = world.host.import_planned(&left, &folder, "again", true);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("settings as text"), "{error}");
}

/// Ends a checkpoint of ours, one way or the other.
fn end(world: &World, vm: VmId, checkpoint: CheckpointId, converts: bool) {
    let stop = StopSignal::new();
    let host = &world.host;
    match converts {
        true => host
            .convert_to_reference_point(vm, checkpoint, &stop)
            .map(drop)
            .unwrap(),
        false => host.destroy_checkpoint(vm, checkpoint).unwrap(),
    }
}

#[test]
fn disks_that_were_not_to_be_merged_may_be_again_before_a_checkpoint_of_ours_ends() {
    for jobs_wait_for_merge in [true, false] {
        for converts in [true, false] {
            let world = World::with(Manners {
                jobs_wait_for_merge,
                ..Manners::default()
            });
            let vm = world.vm("exported");
            let checkpoint = world.freeze(vm).unwrap();
            world.forbid_merging(vm);
            let begun = world.clock.monotonic();
            end(&world, vm, checkpoint, converts);
            assert!(world.extras().merging_off.is_empty());
            world.settle(vm);
            let took = world.clock.monotonic() - begun;
            assert!(took < Duration::from_mins(2), "it took {took:?}");
        }
    }
}

#[test]
fn while_a_vm_is_being_exported_its_disks_are_let_alone_and_thereafter_let_merge() {
    for converts in [true, false] {
        let world = World::new();
        let vm = world.vm("exported");
        let checkpoint = world.freeze(vm).unwrap();
        world.forbid_merging(vm);
        let exporting = Value::Array(vec![2u16.into(), 32773u16.into()]);
        let exporting = Twist::Property("OperationalStatus", exporting);
        world
            .meddler
            .twist("get Msvm_ComputerSystem", ALWAYS, exporting);
        end(&world, vm, checkpoint, converts);
        for _ in 0..3 {
            let state = world.host.merge_state(vm).unwrap();
            assert!(matches!(state, MergeState::Running(_)), "{state:?}");
            world.clock.advance(Duration::from_mins(5));
        }
        assert!(world.extras().merging_off.contains(&vm));
        world.meddler.rest();
        // Whoever forbade it is about to take that back, and did not.
        let state = world.host.merge_state(vm).unwrap();
        assert!(matches!(state, MergeState::Running(_)), "{state:?}");
        assert!(world.extras().merging_off.contains(&vm));
        world.settle(vm);
        assert!(world.extras().merging_off.is_empty());
    }
}

#[test]
fn a_vm_whose_disks_cannot_be_let_merge_keeps_no_checkpoint_and_is_told_of() {
    let world = World::new();
    let vm = world.vm("stays off");
    let checkpoint = world.freeze(vm).unwrap();
    world.forbid_merging(vm);
    world
        .meddler
        .twist("call ModifyDiskMergeSettings", ALWAYS, Twist::Return(32768));
    world.host.destroy_checkpoint(vm, checkpoint).unwrap();
    let begun = world.host.merge_state(vm).unwrap();
    assert!(matches!(begun, MergeState::Running(_)));
    world.clock.advance(Duration::from_secs(30));
    for _ in 0..2 {
        let MergeState::Stuck(why) = world.host.merge_state(vm).unwrap() else {
            panic!("nothing says that it is stuck");
        };
        assert!(why.contains("told not to merge"), "{why}");
        assert!(why.contains("could not let"), "{why}");
    }
    // It is tried until it works.
    world.meddler.rest();
    world.settle(vm);
    assert!(world.extras().merging_off.is_empty());
}
