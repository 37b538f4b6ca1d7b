//! The simulated host is as strict as the real one, and its commands do what they say.

use std::process::Command;

use crate::world::*;
use disk::BlockRead;
use hyperv::sim::{SimDisk, SimDiskContent, SimGuest, SimHost, SimOptions, SimVm, Subformat};
use hyperv::{
    CheckpointKind, Controller, Generation, HypervErrorKind, HypervHost, MergeState,
    OperationInProgress, RequestedConsistency, VmState, codes,
};
use time_and_chance::{Chance, ManualClock, StopSignal, Timestamp};

#[test]
fn a_host_is_made_once() {
    let world = World::new();
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let again = SimHost::create(
        world.host.folder(),
        SimOptions::default(),
        clock.clone(),
        Chance::from_seed(2),
    );
    assert_eq!(again.unwrap_err().kind(), HypervErrorKind::Invalid);
    let nowhere = SimHost::open(&world.outside("nowhere"), clock, Chance::from_seed(2));
    assert_eq!(nowhere.unwrap_err().code(), Some(codes::FILE_NOT_FOUND));
}

#[test]
fn vms_look_as_they_were_ordered() {
    let world = World::new();
    let disk = |virtual_bytes, logical_sector_bytes, subformat| {
        SimDisk::holding(SimDiskContent::New {
            virtual_bytes,
            logical_sector_bytes,
            subformat,
        })
    };
    let order = SimVm {
        generation: Generation::One,
        guest: SimGuest::Linux,
        state: VmState::Paused,
        pass_through: vec!["LUN 7".to_owned()],
        ..SimVm::new(
            "db: 01",
            vec![
                disk(8 * MIB, 512, Subformat::Fixed),
                disk(8 * MIB, 4096, Subformat::Dynamic),
                disk(4 * MIB, 512, Subformat::Dynamic),
                SimDisk {
                    shared: true,
                    ..SimDisk::new(4 * MIB)
                },
            ],
        )
    };
    let id = world.host.add_vm(&order).unwrap();
    let vm = world.host.vm(id).unwrap();
    assert_eq!(vm.name, "db: 01");
    assert_eq!(
        (vm.generation, vm.state),
        (Generation::One, VmState::Paused)
    );
    assert_eq!(vm.firmware, "BIOS");
    assert!(vm.guest.is_some_and(|guest| !guest.windows));
    let places: Vec<_> = vm
        .disks
        .iter()
        .map(|disk| (disk.controller, disk.controller_number, disk.location))
        .collect();
    use Controller::{Ide, Scsi};
    assert_eq!(
        places,
        [(Ide, 0, 0), (Ide, 0, 1), (Ide, 1, 0), (Scsi, 0, 0)]
    );
    let sectors: Vec<_> = vm
        .disks
        .iter()
        .map(|disk| disk.logical_sector_bytes)
        .collect();
    assert_eq!(sectors, [512, 4096, 512, 512]);
    assert_eq!(vm.omitted_disks[0].name, "LUN 7");
    assert!(vm.disks[3].shared);
    assert!(
        vm.disks[0].path.ends_with("vms/db_ 01/db_ 01.vhdx"),
        "{:?}",
        vm.disks[0].path
    );
    let checkpoint = world
        .host
        .create_recovery_checkpoint(id, RequestedConsistency::Crash, "m", &StopSignal::new())
        .unwrap();
    let frozen = world.host.frozen_disks(id, checkpoint).unwrap();
    assert_eq!(frozen.len(), 3, "a shared disk is in no checkpoint");
}

#[test]
fn two_vms_of_one_name_do_not_share_a_folder() {
    let world = World::new();
    let (one, other) = (world.vm(), world.vm());
    let folder = |vm| {
        world.host.vm(vm).unwrap().disks[0]
            .path
            .parent()
            .unwrap()
            .to_owned()
    };
    assert_ne!(folder(one), folder(other));
}

#[test]
fn disks_that_qemu_made_are_taken_in_and_stay_readable_for_it() {
    let world = World::new();
    let raw = world.outside("source.raw");
    let mut bytes = vec![0u8; 24 << 20];
    Chance::from_seed(3).fill(&mut bytes[5 << 20..6 << 20]);
    Chance::from_seed(4).fill(&mut bytes[23 << 20..]);
    std::fs::write(&raw, &bytes).unwrap();
    for subformat in ["dynamic", "fixed"] {
        let made = world.outside(&format!("Data {subformat}.vhdx"));
        let convert = Command::new("qemu-img")
            .args([
                "convert",
                "-f",
                "raw",
                "-O",
                "vhdx",
                "-o",
                &format!("subformat={subformat}"),
            ])
            .args([&raw, &made])
            .status();
        let Ok(status) = convert else {
            eprintln!("skipped: qemu-img is not here");
            return;
        };
        assert!(status.success());
        let vm = world
            .host
            .add_vm(&SimVm::new(subformat, vec![SimDisk::copy_of(&made)]))
            .unwrap();
        assert!(live_content(&world.host, vm, 0) == bytes);
        let checkpoint = freeze(&world.host, vm);
        world.host.write(vm, 0, 12_345_344, &[0xAB; 4096]).unwrap();
        world
            .host
            .write(vm, 0, 5 * MIB + 512, &[0xCD; 512])
            .unwrap();
        convert_then_check(&world, vm, checkpoint, &bytes);
    }
}

fn convert_then_check(
    world: &World,
    vm: hyperv::VmId,
    checkpoint: hyperv::CheckpointId,
    before: &[u8],
) {
    assert!(content(&*open(&world.host, vm, checkpoint, 0)) == before);
    convert(&world.host, vm, checkpoint);
    let mut after = before.to_vec();
    after[12_345_344..12_349_440].fill(0xAB);
    after[(5 << 20) + 512..(5 << 20) + 1024].fill(0xCD);
    assert!(live_content(&world.host, vm, 0) == after);
    let path = world.host.vm(vm).unwrap().disks[0].path.clone();
    assert!(
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("Data ")
    );
    let check = Command::new("qemu-img")
        .arg("check")
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    let raw = world.outside("back.raw");
    let converted = Command::new("qemu-img")
        .args(["convert", "-f", "vhdx", "-O", "raw"])
        .args([&path, &raw])
        .status()
        .unwrap();
    assert!(converted.success());
    assert!(std::fs::read(&raw).unwrap()[..after.len()] == after);
}

#[test]
fn a_guest_made_equal_to_a_raw_file_writes_only_differences() {
    let world = World::new();
    let vm = world.vm();
    let raw = world.outside("new.raw");
    let mut bytes = vec![0u8; 8 << 20];
    bytes[4096..8192].fill(1);
    bytes[1 << 20..(1 << 20) + 100].fill(2);
    std::fs::write(&raw, &bytes).unwrap();
    let pairs = |ranges: Vec<disk::ByteRange>| -> Vec<(u64, u64)> {
        ranges
            .iter()
            .map(|range| (range.start(), range.end()))
            .collect()
    };
    let written = pairs(world.host.write_from_raw(vm, 0, &raw).unwrap());
    assert_eq!(written, [(4096, 8192), (MIB, MIB + 4096)]);
    assert!(live_content(&world.host, vm, 0) == bytes);
    assert_eq!(world.host.write_from_raw(vm, 0, &raw).unwrap(), []);
    bytes[4096..8192].fill(0);
    std::fs::write(&raw, &bytes).unwrap();
    assert_eq!(
        pairs(world.host.write_from_raw(vm, 0, &raw).unwrap()),
        [(4096, 8192)]
    );
    let dump = world.outside("dump.raw");
    world.host.dump(vm, 0, &dump).unwrap();
    assert!(std::fs::read(&dump).unwrap() == bytes);
    std::fs::write(&raw, &bytes[1..]).unwrap();
    let short = world.host.write_from_raw(vm, 0, &raw).unwrap_err();
    assert_eq!(short.kind(), HypervErrorKind::Invalid);
}

#[test]
fn random_writes_replay_from_their_seed() {
    let (one, other) = (World::new(), World::new());
    let (a, b) = (one.vm(), other.vm());
    let ranges = one.host.write_random(a, 0, MIB, 5).unwrap();
    assert_eq!(other.host.write_random(b, 0, MIB, 5).unwrap(), ranges);
    assert!(live_content(&one.host, a, 0) == live_content(&other.host, b, 0));
    let bytes: u64 = ranges.iter().map(disk::ByteRange::bytes).sum();
    assert!((MIB..=MIB + 512).contains(&bytes));
    assert!(other.host.write(b, 0, 8 * MIB - 1, &[1; 2]).is_err());
}

#[test]
fn user_checkpoints_hold_apply_and_go() {
    let world = World::new();
    let host = &world.host;
    let vm = world.vm();
    host.write(vm, 0, 0, &[1; 4096]).unwrap();
    let one = host.checkpoint(vm, "one").unwrap();
    host.write(vm, 0, 0, &[2; 4096]).unwrap();
    let two = host.checkpoint(vm, "two").unwrap();
    host.write(vm, 0, 0, &[3; 4096]).unwrap();
    let first = |bytes: Vec<u8>| bytes[0];
    assert_eq!(first(live_content(host, vm, 0)), 3);
    host.apply_checkpoint(vm, one).unwrap();
    assert_eq!(first(live_content(host, vm, 0)), 1);
    assert_eq!(host.vm(vm).unwrap().last_applied_checkpoint, Some(one));
    host.apply_checkpoint(vm, two).unwrap();
    assert_eq!(first(live_content(host, vm, 0)), 2);
    host.write(vm, 0, 4096, &[9; 512]).unwrap();
    // The middle of the chain goes first, then the rest.
    host.delete_checkpoint(vm, one).unwrap();
    settle(host, vm);
    assert_eq!(first(live_content(host, vm, 0)), 2);
    host.apply_checkpoint(vm, two).unwrap();
    assert_eq!(live_content(host, vm, 0)[4096], 0);
    host.delete_checkpoint(vm, two).unwrap();
    settle(host, vm);
    assert_eq!(first(live_content(host, vm, 0)), 2);
    let disk = host.vm(vm).unwrap().disks.remove(0);
    assert_eq!((disk.chain_depth, disk.path), (0, disk.original_path));
    let left = files(&host.folder().join("vms"));
    assert!(
        left.iter().all(|file| !file.ends_with(".avhdx")),
        "{left:?}"
    );
    assert!(
        left.iter().all(|file| !file.contains("Snapshots/")),
        "{left:?}"
    );
}

#[test]
fn a_user_checkpoint_during_a_backup_disturbs_nothing() {
    let world = World::new();
    let host = &world.host;
    let vm = world.vm();
    host.write(vm, 0, 0, &[1; 512]).unwrap();
    let ours = freeze(host, vm);
    host.write(vm, 0, 512, &[2; 512]).unwrap();
    let theirs = host.checkpoint(vm, "mine").unwrap();
    host.write(vm, 0, 1024, &[3; 512]).unwrap();
    let frozen = content(&*open(host, vm, ours, 0));
    assert_eq!((frozen[0], frozen[512], frozen[1024]), (1, 0, 0));
    convert(host, vm, ours);
    let live = live_content(host, vm, 0);
    assert_eq!((live[0], live[512], live[1024]), (1, 2, 3));
    assert_eq!(
        host.vm(vm).unwrap().disks[0].chain_depth,
        1,
        "the user's checkpoint stays"
    );
    host.apply_checkpoint(vm, theirs).unwrap();
    let live = live_content(host, vm, 0);
    assert_eq!((live[0], live[512], live[1024]), (1, 2, 0));
}

#[test]
fn consistency_follows_guest_and_state() {
    let levels = |guest, state| {
        let world = World::new();
        let order = SimVm {
            guest,
            state,
            ..SimVm::new("v", vec![SimDisk::new(4 * MIB)])
        };
        let vm = world.host.add_vm(&order).unwrap();
        [
            RequestedConsistency::Application,
            RequestedConsistency::Crash,
        ]
        .map(|level| {
            let taken = world
                .host
                .create_recovery_checkpoint(vm, level, "m", &StopSignal::new());
            taken
                .map(|taken| convert(&world.host, vm, taken).application_level)
                .map_err(|error| error.kind())
        })
    };
    let both = [Ok(true), Ok(false)];
    let crash_only = [Err(HypervErrorKind::GuestRefused), Ok(false)];
    assert_eq!(levels(SimGuest::Windows, VmState::Running), both);
    assert_eq!(levels(SimGuest::Linux, VmState::Running), both);
    assert_eq!(levels(SimGuest::None, VmState::Running), crash_only);
    for state in [VmState::Off, VmState::Saved, VmState::Paused] {
        assert_eq!(levels(SimGuest::Windows, state), crash_only, "{state:?}");
    }
}

#[test]
fn a_merge_is_seen_to_run_and_holds_the_vm() {
    let world = World::with(SimOptions {
        merge_calls: 3,
        ..SimOptions::default()
    });
    let vm = world.vm();
    let checkpoint = freeze(&world.host, vm);
    world.host.write(vm, 0, 0, &[1; 512]).unwrap();
    try_convert(&world.host, vm, checkpoint).unwrap();
    let shown = world.host.vm(vm).unwrap();
    assert_eq!(shown.operation, Some(OperationInProgress::MergingDisks));
    let busy = try_freeze(&world.host, vm).unwrap_err();
    assert_eq!(
        (busy.kind(), busy.code()),
        (HypervErrorKind::Busy, Some(32775))
    );
    assert!(matches!(
        world.host.merge_state(vm).unwrap(),
        MergeState::Running(_)
    ));
    settle(&world.host, vm);
    assert_eq!(world.host.vm(vm).unwrap().operation, None);
    freeze(&world.host, vm);
}

#[test]
fn a_vm_that_is_off_merges_too() {
    let world = World::new();
    let vm = world.vm();
    let checkpoint = freeze(&world.host, vm);
    world.host.set_state(vm, VmState::Off).unwrap();
    convert(&world.host, vm, checkpoint);
    assert_eq!(world.host.vm(vm).unwrap().disks[0].chain_depth, 0);
}

#[test]
fn the_guest_cannot_write_while_its_disk_is_read() {
    let world = World::new();
    let vm = world.vm();
    let live = world.host.open_live_disk(vm, 0).unwrap();
    let again = world.host.open_live_disk(vm, 0).unwrap();
    let refused = world.host.write(vm, 0, 0, &[1; 512]).unwrap_err();
    assert_eq!(refused.kind(), HypervErrorKind::InUse);
    drop((live, again));
    world.host.write(vm, 0, 0, &[1; 512]).unwrap();
}

#[test]
fn what_is_used_stays_and_what_is_deleted_goes() {
    let world = World::new();
    let vm = world.vm();
    let checkpoint = freeze(&world.host, vm);
    let disk = open(&world.host, vm, checkpoint, 0);
    assert_eq!(
        world.host.delete_vm(vm, false).unwrap_err().kind(),
        HypervErrorKind::InUse
    );
    drop(disk);
    world.host.delete_vm(vm, false).unwrap();
    assert_eq!(
        files(&world.host.folder().join("vms")),
        Vec::<String>::new()
    );
    let kept = world.vm();
    world.host.delete_vm(kept, true).unwrap();
    assert_eq!(files(&world.host.folder().join("vms")), ["dc01/dc01.vhdx"]);
}

#[test]
fn disks_come_and_go_between_backups() {
    let world = World::new();
    let vm = world.vm();
    let number = world.host.add_disk(vm, &SimDisk::new(4 * MIB)).unwrap();
    assert_eq!(number, 1);
    let checkpoint = freeze(&world.host, vm);
    assert!(
        world.host.remove_disk(vm, 1).is_err(),
        "a VM with checkpoints keeps its disks"
    );
    assert!(world.host.resize_disk(vm, 1, 8 * MIB).is_err());
    convert(&world.host, vm, checkpoint);
    world.host.resize_disk(vm, 1, 8 * MIB).unwrap();
    assert!(world.host.resize_disk(vm, 1, 8 * MIB + 100).is_err());
    assert_eq!(world.host.vm(vm).unwrap().disks[1].virtual_bytes, 8 * MIB);
    world.host.write(vm, 1, 8 * MIB - 512, &[4; 512]).unwrap();
    world.host.remove_disk(vm, 1).unwrap();
    assert_eq!(world.host.vm(vm).unwrap().disks.len(), 1);
    world.host.remove_disk(vm, 0).unwrap();
    world.host.set_state(vm, VmState::Off).unwrap();
    assert!(
        world.host.start(vm).is_err(),
        "a VM without disks does not start"
    );
}

#[test]
fn the_view_shows_everything_as_json() {
    let world = World::new();
    let vm = world.vm();
    base(&world.host, vm);
    world.host.checkpoint(vm, "mine").unwrap();
    let fault = hyperv::sim::SimFault::parse(&["busy"]).unwrap();
    world.host.add_fault(vm, fault, Some(2)).unwrap();
    let view = world.host.show().unwrap();
    assert_eq!(view.vms[0].checkpoints[0].kind, CheckpointKind::User);
    assert_eq!(view.vms[0].merge, "idle");
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["vms"][0]["name"], "dc01");
    assert_eq!(json["vms"][0]["faults"][0]["times_left"], 2);
    assert!(json["vms"][0]["reference_points"][0]["change_ids"][0].is_string());
    assert_eq!(world.host.show().unwrap(), view, "looking changes nothing");
}

#[test]
fn a_dump_has_the_disks_length() {
    let world = World::new();
    let vm = world.vm();
    let raw = world.outside("dump.raw");
    std::fs::write(&raw, vec![1; 9 << 20]).unwrap();
    world.host.dump(vm, 0, &raw).unwrap();
    let bytes = std::fs::read(&raw).unwrap();
    assert_eq!(
        bytes.len() as u64,
        world.host.open_live_disk(vm, 0).unwrap().size_bytes()
    );
    assert!(bytes.iter().all(|&byte| byte == 0));
}

#[test]
fn a_damaged_state_is_an_error_and_removes_nothing_outside() {
    let world = World::new();
    world.vm();
    let state = world.host.folder().join("host.json");
    let good = std::fs::read_to_string(&state).unwrap();
    let precious = world.outside("precious");
    std::fs::write(&precious, "x").unwrap();
    let evil = good.replace(
        "\"doomed\": []",
        &format!(
            "\"doomed\": [\"../precious\", {:?}]",
            precious.to_str().unwrap()
        ),
    );
    assert_ne!(evil, good);
    std::fs::write(&state, evil).unwrap();
    world.reopen(3);
    assert!(precious.exists());
    for cut in (0..good.len() - 1).step_by(97) {
        std::fs::write(&state, &good[..cut]).unwrap();
        assert!(world.host.vms().is_err(), "cut at {cut}");
    }
    std::fs::write(&state, good.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert_eq!(
        world.host.vms().unwrap_err().kind(),
        HypervErrorKind::Unsupported
    );
    std::fs::write(&state, good).unwrap();
    assert_eq!(world.host.vms().unwrap().len(), 1);
}
