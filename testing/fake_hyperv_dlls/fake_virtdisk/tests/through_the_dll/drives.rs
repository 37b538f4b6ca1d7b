//! Disks on a host that attaches none without showing a drive.

use std::fs::File;
use std::os::windows::io::AsRawHandle as _;
use std::path::{Path, PathBuf};

use windows::Win32::Foundation::{ERROR_SUCCESS, HANDLE};
use windows::Win32::Storage::FileSystem::WriteFile;
use windows::Win32::Storage::Vhd::{
    ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER, AttachVirtualDisk, GetVirtualDiskPhysicalPath,
    OPEN_VIRTUAL_DISK_FLAG_NONE, OPEN_VIRTUAL_DISK_PARAMETERS, OPEN_VIRTUAL_DISK_VERSION_2,
    OpenVirtualDisk, VIRTUAL_DISK_ACCESS_NONE, VIRTUAL_STORAGE_TYPE,
};
use windows::Win32::System::IO::{DeviceIoControl, OVERLAPPED};
use windows::Win32::System::Ioctl::{
    DISK_ATTRIBUTE_OFFLINE, IOCTL_DISK_SET_DISK_ATTRIBUTES, SET_DISK_ATTRIBUTES,
};
use windows::core::{HSTRING, PWSTR};
use windows_host::calls;
use windows_host::virtdisk::{Access, VirtualDisks as _};

use crate::world::{DISK_BYTES, World};
use crate::{apart, assert_same, code_of_opening, content, flushes_and_dies, new_disk};

const MIB: u64 = 1 << 20;

/// The first sector of a disk with one partition, from 1 MiB to the end but one MiB.
fn table() -> [u8; 512] {
    let mut table = [0; 512];
    let sectors = |bytes: u64| (bytes / 512) as u32;
    table[450] = 7;
    table[454..458].copy_from_slice(&sectors(MIB).to_le_bytes());
    table[458..462].copy_from_slice(&sectors(DISK_BYTES - 2 * MIB).to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xAA]);
    table
}

/// Returns how often a call was made in this process.
fn called(name: &str) -> u64 {
    let called = calls::counted();
    let mut called = called.iter().filter(|(call, _)| *call == name);
    called.next().map_or(0, |(_, times)| *times)
}

fn reads_as_a_drive() {
    let world = World::new();
    world.write(1 << 20, &vec![3; 3 << 20]);
    let (checkpoint, path) = world.freeze();
    let real = world.real.open(&path, Access::Read).unwrap();
    let model = world.model.open(&path, Access::Read).unwrap();
    assert!(!real.is_unseen());
    assert!(content(real.as_ref()) == content(model.as_ref()));
    drop((real, model));
    world.convert(checkpoint).unwrap();
    assert_eq!(called("virtdisk.open_drive"), 1);
}

#[test]
fn a_host_that_does_not_know_the_flag_shows_a_drive() {
    let test = "drives::a_host_that_does_not_know_the_flag_shows_a_drive";
    apart(test, "no-local-host-refused=87", reads_as_a_drive);
}

#[test]
fn a_host_that_does_not_support_the_flag_shows_a_drive() {
    let test = "drives::a_host_that_does_not_support_the_flag_shows_a_drive";
    apart(test, "no-local-host-refused=50", reads_as_a_drive);
}

/// Writes a disk as restores do: its table first, then what lies in its partition.
fn writes_as_a_drive() {
    let world = World::new();
    let path = world.new_folder().join("new.vhdx");
    world.real.create(&path, &new_disk()).unwrap();
    let disk = world.real.open(&path, Access::Write).unwrap();
    assert!(!disk.is_unseen());
    let mut expected = vec![0; DISK_BYTES as usize];
    let mut write = |offset: u64, data: &[u8]| {
        disk.write_at(offset, data).unwrap();
        expected[offset as usize..][..data.len()].copy_from_slice(data);
    };
    write(0, &table());
    for n in 0..5 {
        write(MIB + n * 3 * MIB, &vec![n as u8 + 1; 3 << 19]);
    }
    write(DISK_BYTES - 512, &[9; 512]);
    disk.flush().unwrap();
    assert!(content(disk.as_ref()) == expected);
    assert_eq!(code_of_opening(&world.real, &path, Access::Read), 32);
    drop(disk);
    let real = world.real.open(&path, Access::Read).unwrap();
    let model = world.model.open(&path, Access::Read).unwrap();
    assert_same(real.as_ref(), model.as_ref());
    assert!(content(model.as_ref()) == expected);
    for call in ["virtdisk.set_attributes", "virtdisk.get_attributes"] {
        assert_eq!(called(call), 1, "{call}");
    }
}

#[test]
fn a_disk_is_written_as_a_drive_that_is_offline() {
    let test = "drives::a_disk_is_written_as_a_drive_that_is_offline";
    apart(test, "no-local-host-refused=50", writes_as_a_drive);
}

#[test]
fn a_disk_is_written_where_drives_come_offline_and_read_only() {
    let test = "drives::a_disk_is_written_where_drives_come_offline_and_read_only";
    let manners = "no-local-host-refused=87,drives-come-offline";
    apart(test, manners, writes_as_a_drive);
}

#[test]
fn what_a_program_flushed_to_a_drive_before_it_died_is_there() {
    let test = "drives::what_a_program_flushed_to_a_drive_before_it_died_is_there";
    apart(test, "no-local-host-refused=50", || flushes_and_dies(test));
}

/// Opens a disk whose drive does not go offline.
fn is_not_written(expected: u32) {
    let world = World::new();
    let path = world.new_folder().join("new.vhdx");
    world.real.create(&path, &new_disk()).unwrap();
    assert_eq!(code_of_opening(&world.real, &path, Access::Write), expected);
    // It is not attached any more, and nothing is in it.
    let disk = world.real.open(&path, Access::Read).unwrap();
    assert!(content(disk.as_ref()).iter().all(|&byte| byte == 0));
}

#[test]
fn a_drive_that_does_not_go_offline_is_not_written() {
    let test = "drives::a_drive_that_does_not_go_offline_is_not_written";
    let manners = "no-local-host-refused=50,offline-refused=5";
    apart(test, manners, || is_not_written(5));
}

#[test]
fn a_drive_that_only_says_that_it_goes_offline_is_not_written() {
    const INVALID_STATE: u32 = 5023;
    let test = "drives::a_drive_that_only_says_that_it_goes_offline_is_not_written";
    let manners = "no-local-host-refused=50,offline-refused=0";
    apart(test, manners, || is_not_written(INVALID_STATE));
}

/// Attaches a file for writing as a drive; returns the drive's name, and the handle that keeps it.
fn attach(path: &Path) -> (PathBuf, HANDLE) {
    let parameters = OPEN_VIRTUAL_DISK_PARAMETERS {
        Version: OPEN_VIRTUAL_DISK_VERSION_2,
        ..Default::default()
    };
    let any_type = VIRTUAL_STORAGE_TYPE::default();
    let mut disk = HANDLE::default();
    let mut name = [0; 260];
    let mut name_bytes = size_of_val(&name) as u32;
    // SAFETY: every pointer is to a value of ours that lives through the call; the parameters of
    // version 2 are zeros.
    let codes = unsafe {
        [
            OpenVirtualDisk(
                &any_type,
                &HSTRING::from(path.as_os_str()),
                VIRTUAL_DISK_ACCESS_NONE,
                OPEN_VIRTUAL_DISK_FLAG_NONE,
                Some(&parameters),
                &mut disk,
            ),
            AttachVirtualDisk(
                disk,
                None,
                ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER,
                0,
                None,
                None,
            ),
            GetVirtualDiskPhysicalPath(disk, &mut name_bytes, PWSTR(name.as_mut_ptr())),
        ]
    };
    assert_eq!(codes, [ERROR_SUCCESS; 3]);
    let units = name_bytes as usize / 2 - 1;
    (String::from_utf16(&name[..units]).unwrap().into(), disk)
}

#[test]
fn a_drive_that_is_online_refuses_writes_into_its_volumes() {
    let test = "drives::a_drive_that_is_online_refuses_writes_into_its_volumes";
    apart(test, "", || {
        const ACCESS_DENIED: Option<i32> = Some(5);
        let world = World::new();
        let path = world.new_folder().join("new.vhdx");
        world.real.create(&path, &new_disk()).unwrap();
        let (name, _) = attach(&path);
        let drive = File::options().read(true).write(true).open(name).unwrap();
        let handle = HANDLE(drive.as_raw_handle());
        let write = |offset: u64, data: &[u8]| {
            let mut at = OVERLAPPED::default();
            at.Anonymous.Anonymous.Offset = offset as u32;
            let mut written = 0;
            // SAFETY: the handle is open, and all pointers are to values that live through the
            // call, which ends when it returns.
            let done = unsafe { WriteFile(handle, Some(data), Some(&mut written), Some(&mut at)) };
            done.err().map(|error| error.code().0 & 0xFFFF)
        };
        assert_eq!(write(MIB, &[1; 512]), None);
        assert_eq!(write(0, &table()), None);
        assert_eq!(write(MIB, &[2; 512]), ACCESS_DENIED);
        assert_eq!(write(DISK_BYTES - 512, &[3; 512]), None);
        let wanted = SET_DISK_ATTRIBUTES {
            Version: size_of::<SET_DISK_ATTRIBUTES>() as u32,
            Attributes: DISK_ATTRIBUTE_OFFLINE,
            AttributesMask: DISK_ATTRIBUTE_OFFLINE,
            ..Default::default()
        };
        let mut returned = 0;
        // SAFETY: the handle is open, and what is handed in is as long as is said.
        let set = unsafe {
            DeviceIoControl(
                handle,
                IOCTL_DISK_SET_DISK_ATTRIBUTES,
                Some((&raw const wanted).cast()),
                size_of_val(&wanted) as u32,
                None,
                0,
                Some(&mut returned),
                None,
            )
        };
        set.unwrap();
        assert_eq!(write(MIB, &[2; 512]), None);
        assert_eq!(write(MIB, &[2; 100]), Some(87));
    });
}
