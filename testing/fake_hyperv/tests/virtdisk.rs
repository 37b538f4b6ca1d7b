//! virtdisk as the model shows it: strict where Windows is, and the same disk as the port's.
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

use std::path::{Path, PathBuf};

use fake_hyperv::Manners;
use fake_hyperv::virtdisk::FakeVirtualDisks;
use hyperv::query_loop::query_loop;
use hyperv::sim::{SimDisk, SimFault, SimHost, SimOptions, SimVm};
use hyperv::{CheckpointId, HypervHost, RequestedConsistency, VmId};
use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, StopSignal, Timestamp};
use uuid::Uuid;
use windows_host::virtdisk::{Access, NewVirtualDisk, Subtype, VirtualDiskFile, VirtualDisks};

const DISK_BYTES: u64 = 8 << 20;

struct World {
    host: SimHost,
    vm: VmId,
    disks: FakeVirtualDisks,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Manners::default())
    }

    fn with(manners: Manners) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = SimHost::create(
            &folder.path().join("host"),
            SimOptions::default(),
            ManualClock::at(Timestamp::UNIX_EPOCH),
            Chance::from_seed(1),
        )
        .unwrap();
        let vm = SimVm::new("dc01", vec![SimDisk::new(DISK_BYTES)]);
        let vm = host.add_vm(&vm).unwrap();
        Self {
            disks: FakeVirtualDisks::new(host.clone(), manners),
            host,
            vm,
            _folder: folder,
        }
    }

    fn freeze(&self) -> (CheckpointId, PathBuf) {
        let stop = StopSignal::new();
        let crash = RequestedConsistency::Crash;
        let checkpoint = self
            .host
            .create_recovery_checkpoint(self.vm, crash, "ours", &stop)
            .unwrap();
        let disks = self.host.frozen_disks(self.vm, checkpoint).unwrap();
        (checkpoint, disks[0].path.clone())
    }

    fn convert(&self, checkpoint: CheckpointId) -> Result<(), Option<u32>> {
        let stop = StopSignal::new();
        self.host
            .convert_to_reference_point(self.vm, checkpoint, &stop)
            .map(drop)
            .map_err(|error| error.code())
    }

    fn settle(&self) {
        for _ in 0..10 {
            self.host.merge_state(self.vm).unwrap();
        }
    }

    fn leaf(&self) -> PathBuf {
        self.host.vm(self.vm).unwrap().disks[0].path.clone()
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.host.write(self.vm, 0, offset, data).unwrap();
    }

    fn fault(&self, fault: SimFault) {
        self.host.add_fault(self.vm, fault, Some(1)).unwrap();
    }
}

fn code(disks: &FakeVirtualDisks, path: &Path, access: Access) -> u32 {
    disks.open(path, access).unwrap_err().code
}

fn changed(disk: &dyn VirtualDiskFile, base: &str) -> Result<Vec<(u64, u64)>, u32> {
    let size = disk.size().unwrap().virtual_bytes;
    let ranges = query_loop(size, |offset, bytes| {
        disk.query_changes(base, offset, bytes)
    });
    match ranges {
        Ok(ranges) => Ok(ranges.iter().map(|r| (r.start(), r.end())).collect()),
        Err(hyperv::query_loop::QueryError::Host(error)) => Err(error.code),
        Err(error) => panic!("{error}"),
    }
}

fn new_disk() -> NewVirtualDisk {
    NewVirtualDisk {
        virtual_bytes: DISK_BYTES,
        block_bytes: None,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        virtual_disk_id: Uuid::from_u128(7),
    }
}

#[test]
fn a_frozen_file_reads_as_the_guest_left_it() {
    let world = World::new();
    world.write(4096, &[7; 8192]);
    let (_, path) = world.freeze();
    world.write(4096, &[8; 8192]);
    let disk = world.disks.open(&path, Access::Read).unwrap();
    let mut seen = vec![1; 12288];
    disk.read_at(0, &mut seen).unwrap();
    assert_eq!(seen, [vec![0; 4096], vec![7; 8192]].concat());
    assert_eq!(disk.size().unwrap().virtual_bytes, DISK_BYTES);
    assert_eq!(disk.subtype().unwrap(), Subtype::Dynamic);
}

#[test]
fn readers_share_a_file_and_writers_do_not() {
    let world = World::new();
    let path = world.host.default_vm_folder("new").unwrap().join("a.vhdx");
    assert_eq!(world.disks.create(&path, &new_disk()).unwrap_err().code, 3);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    world.disks.create(&path, &new_disk()).unwrap();
    assert_eq!(world.disks.create(&path, &new_disk()).unwrap_err().code, 80);

    let one = world.disks.open(&path, Access::Read).unwrap();
    let two = world.disks.open(&path, Access::Read).unwrap();
    assert_eq!(code(&world.disks, &path, Access::Write), 32);
    drop((one, two));
    let writer = world.disks.open(&path, Access::Write).unwrap();
    assert_eq!(code(&world.disks, &path, Access::Read), 32);
    drop(writer);
    drop(world.disks.open(&path, Access::Read).unwrap());
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again() {
    let world = World::new();
    let folder = world.host.default_vm_folder("new").unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a.vhdx");
    world.disks.create(&path, &new_disk()).unwrap();
    let disk = world.disks.open(&path, Access::Write).unwrap();
    disk.write_at(1 << 20, &[9; 4096]).unwrap();
    disk.flush().unwrap();
    drop(disk);
    let disk = world.disks.open(&path, Access::Read).unwrap();
    let mut seen = [0; 4096];
    disk.read_at(1 << 20, &mut seen).unwrap();
    assert_eq!(seen, [9; 4096]);
    assert_eq!(disk.virtual_disk_id().unwrap(), Uuid::from_u128(7));
    assert_eq!(disk.write_at(0, &[1; 512]).unwrap_err().code, 5);
}

#[test]
fn a_running_vm_lets_nobody_at_what_it_writes_to() {
    let world = World::new();
    let (_, frozen) = world.freeze();
    let leaf = world.leaf();
    assert_ne!(leaf, frozen);
    assert_eq!(code(&world.disks, &leaf, Access::Read), 32);
    assert_eq!(code(&world.disks, &leaf, Access::Write), 32);
    assert_eq!(code(&world.disks, &frozen, Access::Write), 32);
    let disk = world.disks.open(&leaf, Access::Information).unwrap();
    assert_eq!(disk.subtype().unwrap(), Subtype::Differencing);
    assert_eq!(disk.parent().unwrap(), Some(frozen));
    assert_eq!(disk.read_at(0, &mut [0; 512]).unwrap_err().code, 5);
}

#[test]
fn an_open_frozen_disk_holds_its_checkpoint() {
    let world = World::new();
    let (checkpoint, path) = world.freeze();
    let disk = world.disks.open(&path, Access::Read).unwrap();
    assert_eq!(world.convert(checkpoint), Err(Some(0x8007_0020)));
    drop(disk);
    world.convert(checkpoint).unwrap();
}

#[test]
fn files_that_windows_refuses_are_refused() {
    let world = World::new();
    let (_, path) = world.freeze();
    let missing = path.with_file_name("missing.vhdx");
    assert_eq!(code(&world.disks, &missing, Access::Read), 2);
    let damaged = path.with_file_name("damaged.vhdx");
    std::fs::write(&damaged, [1; 4096]).unwrap();
    assert_eq!(code(&world.disks, &damaged, Access::Read), 0xC03A_0002);
    world.host.set_sparse_attribute(&path, true).unwrap();
    assert_eq!(code(&world.disks, &path, Access::Read), 0xC03A_001A);
    assert_eq!(
        code(&world.disks, Path::new("/etc/passwd"), Access::Read),
        5
    );
}

#[test]
fn transfers_are_whole_sectors_inside_the_disk() {
    let world = World::new();
    let (_, path) = world.freeze();
    let disk = world.disks.open(&path, Access::Read).unwrap();
    let read = |offset, bytes| disk.read_at(offset, &mut vec![0; bytes]);
    assert_eq!(read(1, 512).unwrap_err().code, 87);
    assert_eq!(read(0, 100).unwrap_err().code, 87);
    assert_eq!(read(DISK_BYTES - 512, 1024).unwrap_err().code, 38);
    read(DISK_BYTES - 512, 512).unwrap();
}

#[test]
fn tracking_tells_what_was_written_since_the_base() {
    let world = World::new();
    let (checkpoint, path) = world.freeze();
    let first = world.disks.open(&path, Access::Read).unwrap();
    let base = first.change_tracking().unwrap();
    assert!(base.enabled && !base.newer_changes);
    drop(first);
    world.convert(checkpoint).unwrap();
    world.settle();

    world.write(1 << 20, &[1; 512]);
    let live = world
        .disks
        .open(&world.leaf(), Access::Information)
        .unwrap();
    let seen = live.change_tracking().unwrap();
    assert!(seen.enabled && seen.newer_changes);
    assert_eq!(seen.most_recent_id, base.most_recent_id);
    let expected = vec![(1 << 20, (1 << 20) + (64 << 10))];
    assert_eq!(
        changed(live.as_ref(), &base.most_recent_id),
        Ok(expected.clone())
    );

    let (_, path) = world.freeze();
    let second = world.disks.open(&path, Access::Read).unwrap();
    world.write(5 << 20, &[1; 512]);
    assert_eq!(changed(second.as_ref(), &base.most_recent_id), Ok(expected));
    assert_eq!(changed(second.as_ref(), "rctX:nobody"), Err(0xC03A_0029));
    let past_the_end = second.query_changes(&base.most_recent_id, 0, DISK_BYTES + 1);
    assert_eq!(past_the_end.unwrap_err().code, 87);
}

#[test]
fn lost_tracking_has_its_code_and_crumbs_add_up() {
    let world = World::new();
    let (checkpoint, path) = world.freeze();
    let first = world.disks.open(&path, Access::Read).unwrap();
    let base = first.change_tracking().unwrap().most_recent_id;
    drop(first);
    world.convert(checkpoint).unwrap();
    world.settle();
    for n in 0..8 {
        world.write(n << 20, &[1; 512]);
    }
    let (_, path) = world.freeze();
    let disk = world.disks.open(&path, Access::Read).unwrap();
    let whole = changed(disk.as_ref(), &base).unwrap();
    assert_eq!(whole.len(), 8);
    world.fault(SimFault::PartialAnswers);
    let crumb = disk.query_changes(&base, 0, DISK_BYTES).unwrap();
    assert!(crumb.processed_bytes < DISK_BYTES);
    world.fault(SimFault::PartialAnswers);
    assert_eq!(changed(disk.as_ref(), &base).unwrap(), whole);
    world.fault(SimFault::LoseTracking { code: 0xC03A_0030 });
    assert_eq!(changed(disk.as_ref(), &base), Err(0xC03A_0030));
    assert_eq!(changed(disk.as_ref(), &base), Err(0xC03A_0029));
}

#[test]
fn an_unreadable_place_is_an_error_and_nothing_else() {
    let world = World::new();
    world.fault(SimFault::Unreadable {
        start: 4096,
        end: 8192,
        disk: None,
    });
    let (_, path) = world.freeze();
    let disk = world.disks.open(&path, Access::Read).unwrap();
    assert_eq!(disk.read_at(4096, &mut [0; 512]).unwrap_err().code, 23);
    disk.read_at(0, &mut [0; 512]).unwrap();
}

#[test]
fn a_frozen_disk_may_be_made_to_tell_of_newer_changes() {
    let world = World::with(Manners {
        newer_changes_on_frozen_disks: true,
        ..Manners::default()
    });
    let (_, path) = world.freeze();
    let disk = world.disks.open(&path, Access::Read).unwrap();
    assert!(disk.change_tracking().unwrap().newer_changes);
}

#[test]
fn asking_may_be_made_to_need_what_reading_needs() {
    let world = World::with(Manners {
        information_is_like_reading: true,
        ..Manners::default()
    });
    assert_eq!(code(&world.disks, &world.leaf(), Access::Information), 32);
}
