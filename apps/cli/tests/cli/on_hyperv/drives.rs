//! A host that attaches no disk without showing a drive: such a drive refuses writes into its
//! volumes unless it is offline.

use serde_json::Value;

use super::machine::{MIB, Machine};
use super::selftest::{report_in, verdict, vms_and_folders};

const DISK_BYTES: u64 = 8 * MIB;

/// The first sector of a disk with one partition, from 1 MiB to its end.
fn table() -> [u8; 512] {
    let sectors = |bytes: u64| u32::try_from(bytes / 512).unwrap().to_le_bytes();
    let mut table = [0; 512];
    table[450] = 7;
    table[454..458].copy_from_slice(&sectors(MIB));
    table[458..462].copy_from_slice(&sectors(DISK_BYTES - MIB));
    table[510..].copy_from_slice(&[0x55, 0xAA]);
    table
}

#[test]
fn where_disks_are_drives_alone_a_vm_is_backed_up_and_comes_back() {
    let machine = Machine::new().in_manners("job-states=4,no-local-host-refused=50");
    let vm = machine.add_vm("web", DISK_BYTES, 2 * MIB);
    machine.host.write(vm, 0, 0, &table()).unwrap();
    let full = machine.backup_one(vm);
    machine.guest_writes(vm, MIB);
    machine.host.write(vm, 0, 0, &table()).unwrap();
    let disk = machine.disk(vm, 0);
    let increment = machine.backup_one(vm);
    assert_eq!(
        (&full["type"], &increment["type"]),
        (&"full".into(), &"incremental".into())
    );
    machine.assert_clean(vm);
    machine.assert_restores(&increment, 0, &disk);

    let id = increment["point_id"].as_str().unwrap();
    let to_host = ["restore", "vm", id, "--repo", "repo", "--host", "hyperv:"];
    let beside = ["--new-id", "--name", "beside", "--power-on"];
    let restored = machine.agent.json(0, &[&to_host[..], &beside].concat());
    assert_eq!(restored["warnings"], Value::Array(Vec::new()));
    let restored = restored["guid"].as_str().unwrap().parse().unwrap();
    assert!(machine.disk(restored, 0) == disk);
    assert_eq!(machine.host.show().unwrap().planned, []);
}

#[test]
fn where_disks_are_drives_alone_a_self_test_is_whole() {
    let machine = Machine::new();
    let before = vms_and_folders(&machine);
    let report = report_in("no-jobs,no-local-host-refused=50", &machine, &[]);
    for (id, expected) in [
        ("RH-14", "refuted"),
        ("RH-11", "confirmed"),
        ("RH-25b", "confirmed"),
        ("C2", "confirmed"),
    ] {
        assert_eq!(verdict(&report, id), expected, "{id}: {report}");
    }
    assert_eq!(vms_and_folders(&machine), before);
}
