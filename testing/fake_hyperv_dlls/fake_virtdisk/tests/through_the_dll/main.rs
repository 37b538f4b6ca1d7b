//! The calls of windows_host, through this DLL, against the model in process: the same answers,
//! byte for byte.
//!
//! A program takes the virtdisk.dll that lies beside it. So each test runs in a copy of this
//! program in a folder of its own, beside a copy of the DLL.
#![cfg(windows)]
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

#[expect(unsafe_code, reason = "virtdisk takes raw pointers")]
mod drives;
#[path = "../../../../../hosts/windows_host/tests/held/process.rs"]
#[expect(
    unsafe_code,
    reason = "what a process holds is asked for by raw pointers"
)]
mod held;
mod leaks;
mod world;

use std::path::Path;
use std::process::Command;

use disk::ByteRange;
use fake_hyperv::apart::Dll;
use hyperv::HypervHost as _;
use hyperv::query_loop::query_loop;
use hyperv::sim::SimFault;
use time_and_chance::Chance;
use uuid::Uuid;
use windows_host::virtdisk::win32::Win32VirtualDisks;
use windows_host::virtdisk::{
    Access, Container, NewVirtualDisk, Subtype, VirtualDiskFile, VirtualDisks,
};

use world::{DISK_BYTES, World};

const DLL: Dll = Dll {
    built: "fake_virtdisk.dll",
    wanted: "virtdisk.dll",
};

fn new_disk() -> NewVirtualDisk {
    NewVirtualDisk {
        virtual_bytes: DISK_BYTES,
        block_bytes: Some(1 << 20),
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        virtual_disk_id: Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0),
    }
}

fn content(disk: &dyn VirtualDiskFile) -> Vec<u8> {
    let mut content = vec![0; disk.size().unwrap().virtual_bytes as usize];
    disk.read_at(0, &mut content).unwrap();
    content
}

fn changed(disk: &dyn VirtualDiskFile, base: &str) -> Vec<ByteRange> {
    let size = disk.size().unwrap().virtual_bytes;
    let ranges = query_loop(size, |offset, bytes| {
        disk.query_changes(base, offset, bytes)
    });
    ranges.unwrap().iter().collect()
}

/// Compares everything that two open files say of themselves.
fn assert_same(one: &dyn VirtualDiskFile, other: &dyn VirtualDiskFile) {
    assert_eq!(one.size(), other.size());
    assert_eq!(one.physical_sector_bytes(), other.physical_sector_bytes());
    assert_eq!(one.container(), other.container());
    assert_eq!(one.subtype(), other.subtype());
    assert_eq!(one.parent(), other.parent());
    assert_eq!(one.virtual_disk_id(), other.virtual_disk_id());
    assert_eq!(one.change_tracking(), other.change_tracking());
}

fn code_of_opening(disks: &dyn VirtualDisks, path: &Path, access: Access) -> u32 {
    disks.open(path, access).unwrap_err().code
}

/// Runs a test beside the DLL, in a process of its own.
fn apart(test: &str, manners: &str, work: impl FnOnce()) {
    fake_hyperv::apart::apart(DLL, test, manners, work);
}

#[test]
fn a_frozen_disk_says_and_holds_the_same() {
    apart("a_frozen_disk_says_and_holds_the_same", "", || {
        let world = World::new();
        world.write(0, &[1; 512]);
        world.write(5 << 20, &vec![7; 3 << 20]);
        world.host.checkpoint(world.vm, "a user's").unwrap();
        let base = world.base();
        world.write(1 << 20, &[2; 8192]);
        let (_, path) = world.freeze();
        let model = world.model.open(&path, Access::Read).unwrap();
        let real = world.real.open(&path, Access::Read).unwrap();
        assert_same(real.as_ref(), model.as_ref());
        assert_eq!(real.subtype().unwrap(), Subtype::Differencing);
        assert_eq!(real.container().unwrap(), Container::Vhdx);
        assert!(real.change_tracking().unwrap().enabled);
        assert!(content(real.as_ref()) == content(model.as_ref()));
        let since = changed(real.as_ref(), &base);
        assert_eq!(since, changed(model.as_ref(), &base));
        assert!(!since.is_empty());
        let unknown = real.query_changes("rctX:nobody", 0, DISK_BYTES);
        assert_eq!(unknown.unwrap_err().code, 0xC03A_0029);
    });
}

#[test]
fn more_ranges_than_fit_come_in_parts() {
    apart("more_ranges_than_fit_come_in_parts", "", || {
        let world = World::new();
        let base = world.base();
        for n in 0..40 {
            world.write(n * 0x3_0000, &[1; 512]);
        }
        let (_, path) = world.freeze();
        let real = world.real.open(&path, Access::Read).unwrap();
        let whole = changed(real.as_ref(), &base);
        assert_eq!(whole.len(), 40);
        world.fault(SimFault::PartialAnswers);
        let part = real.query_changes(&base, 0, DISK_BYTES).unwrap();
        assert!(part.processed_bytes < DISK_BYTES);
        world.fault(SimFault::PartialAnswers);
        assert_eq!(changed(real.as_ref(), &base), whole);
    });
}

#[test]
fn several_threads_read_at_once() {
    apart("several_threads_read_at_once", "", || {
        let world = World::new();
        let mut expected = vec![0; DISK_BYTES as usize];
        for (n, sector) in expected.chunks_mut(512).enumerate() {
            sector.fill(n as u8);
        }
        world.write(0, &expected);
        let (_, path) = world.freeze();
        let disk = world.real.open(&path, Access::Read).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (disk, expected) = (&disk, &expected);
                scope.spawn(move || {
                    // Lengths on both sides of what goes through one call.
                    let bytes = (1 << 20) + thread * (1 << 19);
                    let mut seen = vec![0; bytes];
                    for start in (0..expected.len() - bytes).step_by(3 << 19) {
                        disk.read_at(start as u64, &mut seen).unwrap();
                        assert!(seen == expected[start..start + bytes]);
                    }
                });
            }
        });
    });
}

#[test]
fn a_disk_is_made_and_written_like_the_models() {
    apart("a_disk_is_made_and_written_like_the_models", "", || {
        let world = World::new();
        let folder = world.new_folder();
        let all: [(&dyn VirtualDisks, _); 2] = [
            (&world.real, folder.join("real.vhdx")),
            (&world.model, folder.join("model.vhdx")),
        ];
        for (disks, path) in &all {
            disks.create(path, &new_disk()).unwrap();
            assert_eq!(disks.create(path, &new_disk()).unwrap_err().code, 80);
            let disk = disks.open(path, Access::Write).unwrap();
            for n in 0..5u64 {
                let data = vec![n as u8 + 1; 3 << 19];
                disk.write_at(n * (3 << 20), &data).unwrap();
            }
            disk.write_at(DISK_BYTES - 512, &[9; 512]).unwrap();
            disk.flush().unwrap();
            assert_eq!(code_of_opening(*disks, path, Access::Read), 32);
        }
        let real = world.model.open(&all[0].1, Access::Read).unwrap();
        let model = world.model.open(&all[1].1, Access::Read).unwrap();
        assert_same(real.as_ref(), model.as_ref());
        assert!(content(real.as_ref()) == content(model.as_ref()));
        assert!(content(real.as_ref()).ends_with(&[9; 512]));
        let missing = folder.join("missing").join("a.vhdx");
        let made = world.real.create(&missing, &new_disk());
        assert_eq!(made.unwrap_err().code, 3);
    });
}

#[test]
fn an_attached_disk_holds_its_checkpoint_until_it_is_dropped() {
    apart(
        "an_attached_disk_holds_its_checkpoint_until_it_is_dropped",
        "",
        || {
            let world = World::new();
            let (checkpoint, path) = world.freeze();
            let disk = world.real.open(&path, Access::Read).unwrap();
            assert_eq!(world.convert(checkpoint), Err(Some(0x8007_0020)));
            let second = world.real.open(&path, Access::Read).unwrap();
            drop(disk);
            assert_eq!(world.convert(checkpoint), Err(Some(0x8007_0020)));
            drop(second);
            world.convert(checkpoint).unwrap();
        },
    );
}

#[test]
fn codes_come_through_as_they_are() {
    apart("codes_come_through_as_they_are", "", || {
        let world = World::new();
        let (_, path) = world.freeze();
        let leaf = world.host.vm(world.vm).unwrap().disks[0].path.clone();
        let damaged = path.with_file_name("damaged.vhdx");
        std::fs::write(&damaged, [1; 4096]).unwrap();
        let missing = path.with_file_name("missing.vhdx");
        let everything = [
            (&missing, Access::Read, 2),
            (&damaged, Access::Read, 0xC03A_0002),
            (&leaf, Access::Read, 32),
            (&path, Access::Write, 32),
        ];
        for (file, access, code) in everything {
            assert_eq!(code_of_opening(&world.real, file, access), code);
            assert_eq!(code_of_opening(&world.model, file, access), code);
        }
        let real = world.real.open(&leaf, Access::Information).unwrap();
        let model = world.model.open(&leaf, Access::Information).unwrap();
        assert_same(real.as_ref(), model.as_ref());
        drop((real, model));
        world.host.set_sparse_attribute(&path, true).unwrap();
        let sparse = code_of_opening(&world.real, &path, Access::Read);
        assert_eq!(sparse, 0xC03A_001A);
    });
}

#[test]
fn what_cannot_be_read_is_an_error() {
    apart("what_cannot_be_read_is_an_error", "", || {
        let world = World::new();
        world.write(0, &vec![5; 12 << 20]);
        world.fault(SimFault::Unreadable {
            start: 9 << 20,
            end: (9 << 20) + 512,
            disk: None,
        });
        let (_, path) = world.freeze();
        let disk = world.real.open(&path, Access::Read).unwrap();
        let mut seen = vec![0; 4096];
        disk.read_at(8 << 20, &mut seen).unwrap();
        assert_eq!(seen, [5; 4096]);
        assert_eq!(disk.read_at(9 << 20, &mut seen).unwrap_err().code, 38);
    });
}

#[test]
fn another_refusal_to_attach_is_an_error() {
    let test = "another_refusal_to_attach_is_an_error";
    apart(test, "no-local-host-refused=5", || {
        let world = World::new();
        let (checkpoint, path) = world.freeze();
        assert_eq!(code_of_opening(&world.real, &path, Access::Read), 5);
        world.convert(checkpoint).unwrap();
    });
}

#[test]
fn nothing_is_left_of_disks_that_were_open() {
    apart("nothing_is_left_of_disks_that_were_open", "", || {
        let world = World::new();
        let (_, path) = world.freeze();
        for _ in 0..20 {
            drop(world.real.open(&path, Access::Read).unwrap());
        }
        // The last one goes with the next call.
        assert!(world.images() <= 1);
    });
}

/// Writes in a process that dies, as test `test`, and looks what came of it.
fn flushes_and_dies(test: &str) {
    const DIES: &str = "E3_TEST_DIES_WRITING";
    if let Some(path) = std::env::var_os(DIES) {
        let disks = Win32VirtualDisks::new(Chance::from_seed(3));
        let disk = disks.open(Path::new(&path), Access::Write).unwrap();
        disk.write_at(1 << 20, &[8; 4096]).unwrap();
        disk.flush().unwrap();
        std::process::exit(0);
    }
    let world = World::new();
    let path = world.new_folder().join("new.vhdx");
    world.real.create(&path, &new_disk()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact"]).env(DIES, &path);
    let died = wine::begun(|| command.status());
    assert!(died.unwrap().success());
    let mut seen = [0; 4096];
    let disk = world.real.open(&path, Access::Read).unwrap();
    disk.read_at(1 << 20, &mut seen).unwrap();
    assert_eq!(seen, [8; 4096]);
}

#[test]
fn what_a_program_flushed_before_it_died_is_there() {
    let test = "what_a_program_flushed_before_it_died_is_there";
    apart(test, "", || flushes_and_dies(test));
}
