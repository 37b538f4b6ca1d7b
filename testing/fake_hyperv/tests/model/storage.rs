//! Disks and volumes as the storage management shows them.

use fake_hyperv::FakeStorage;
use time_and_chance::{Chance, ManualClock, Timestamp};
use volume::sim::SimVolumeHost;
use windows_host::wmi::{Namespaces as _, Value};

const NAMESPACE: &str = "root/Microsoft/Windows/Storage";
const MIB: u64 = 1 << 20;

#[test]
fn disks_partitions_and_volumes_lead_to_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let machine = SimVolumeHost::new(folder.path(), clock, Chance::from_seed(1));
    let name = machine.add_volume("V:\\", 8 * MIB).unwrap();
    let folders = machine.add_volume_of_files(r"C:\mounted\here").unwrap();
    let storage = FakeStorage::new(machine);
    let session = storage.connect(NAMESPACE).unwrap();

    let disks = session.query("SELECT * FROM MSFT_Disk").unwrap();
    assert_eq!(disks.len(), 1, "a volume of files lies nowhere");
    assert_eq!(disks[0].u32("Number").unwrap(), 0);
    assert_eq!(disks[0].value("Guid"), &Value::Null);
    let of_disk = "SELECT PartitionNumber, AccessPaths, DriveLetter, Size FROM MSFT_Partition \
        WHERE DiskNumber = 0";
    let partitions = session.query(of_disk).unwrap();
    let [partition] = partitions.as_slice() else {
        panic!("{partitions:?}");
    };
    assert_eq!(partition.texts("AccessPaths").unwrap(), ["V:\\", &name]);
    assert_eq!(partition.value("DriveLetter"), &Value::I16(0x56));
    assert_eq!(partition.value("Size"), &Value::decimal(8 * MIB));
    assert_eq!(partition.path, None, "its key was not asked for");
    let volumes = session.query("SELECT * FROM MSFT_Volume").unwrap();
    let paths = [&volumes[0], &volumes[1]].map(|it| it.text("Path").unwrap().to_owned());
    assert_eq!(paths, [name, folders]);
    assert_eq!(volumes[1].value("DriveLetter"), &Value::Null);
    for object in disks.iter().chain(&volumes) {
        assert_eq!(&session.get(object.path().unwrap()).unwrap(), object);
    }
}

#[test]
fn what_is_not_there_has_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let machine = SimVolumeHost::new(folder.path(), clock, Chance::from_seed(1));
    let storage = FakeStorage::new(machine);
    let elsewhere = storage.connect(r"root\virtualization\v2").unwrap_err();
    assert_eq!(elsewhere.code(), Some(0x8004_100E));
    let session = storage.connect(NAMESPACE).unwrap();
    for (query, code) in [
        ("SELECT * FROM MSFT_Tape", 0x8004_1010),
        ("SELECT Colour FROM MSFT_Disk WHERE Colour = 1", 0x8004_1017),
        ("SELECT FROM MSFT_Disk", 0x8004_1017),
    ] {
        let error = session.query(query).unwrap_err();
        assert_eq!(error.code(), Some(code), "{query}");
    }
    assert_eq!(session.query("SELECT * FROM MSFT_Disk").unwrap(), []);
}
