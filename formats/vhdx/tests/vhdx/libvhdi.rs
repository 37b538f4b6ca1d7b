//! libvhdi as judge of what qemu can't read: sectors of 4096 bytes, and differencing chains.

use std::path::Path;
use std::process::Command;
use std::slice::from_ref;

use tempfile::TempDir;
use vhdx::canonical::{Layout, SLOT_BYTES};
use vhdx::memory::MemoryFile;
use vhdx::{WriteAt, create_dynamic, create_fixed};

use crate::live::{child_of, live};
use crate::qemu::patchy;
use crate::sample::{Draw, MIB, assert_same, content_of, guid, options};

/// Opens a chain, nearest first, and copies the disk to a raw file.
const DUMP: &str = "
import sys, pyvhdi
raw, paths = sys.argv[1], sys.argv[2:]
files = []
for path in paths:
    file = pyvhdi.file()
    file.open(path)
    files.append(file)
for child, parent in zip(files, files[1:]):
    child.set_parent(parent)
top = files[0]
with open(raw, 'wb') as out:
    left = top.get_media_size()
    while left:
        part = top.read_buffer(min(left, 1 << 20))
        assert part, 'libvhdi ends early'
        out.write(part)
        left -= len(part)
";

/// Returns what libvhdi reads from a chain; Debian's Python has it (`./check` installs it).
#[track_caller]
fn dump(folder: &TempDir, files: &[MemoryFile]) -> Vec<u8> {
    let raw = folder.path().join("dump.raw");
    let paths: Vec<_> = (0..files.len())
        .map(|number| folder.path().join(format!("{number}.vhdx")))
        .collect();
    for (path, file) in paths.iter().zip(files) {
        std::fs::write(path, file.to_bytes()).unwrap();
    }
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", DUMP]).arg(&raw).args(&paths);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "libvhdi fails: {errors}");
    read(&raw)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn libvhdi_reads_canonical_files_of_both_sector_sizes() {
    for sector in [512, 4096] {
        let size = 66 * MIB + 4096;
        let mut wanted = vec![0; size as usize];
        wanted[..SLOT_BYTES as usize].copy_from_slice(&patchy(SLOT_BYTES, 4));
        wanted[66 << 20..].fill(3);
        let layout = Layout::new(size, sector, 4096).unwrap();
        let file =
            MemoryFile::from_bytes(&layout.front(guid(1), guid(2), guid(3), |slot| slot != 1));
        for slot in [0, 2] {
            let start = (slot * SLOT_BYTES) as usize;
            let end = wanted.len().min(start + SLOT_BYTES as usize);
            file.write_all_at(layout.slot_offset(slot), &wanted[start..end])
                .unwrap();
        }
        file.set_len(layout.file_bytes()).unwrap();
        let folder = TempDir::new().unwrap();
        assert_same(&dump(&folder, &[file]), &wanted);
    }
}

#[test]
fn libvhdi_reads_what_was_written_in_place() {
    for (sector, is_fixed) in [(4096, false), (4096, true), (512, false)] {
        let options = options(6 * MIB + 4096, 2, sector);
        let file = match is_fixed {
            true => create_fixed(MemoryFile::new(), &options).unwrap(),
            false => create_dynamic(MemoryFile::new(), &options).unwrap(),
        };
        let disk = live(from_ref(&file), 1);
        disk.write_at(3 * MIB - 77, &Draw::new(6).bytes(500_000))
            .unwrap();
        disk.write_at(6 * MIB + 4000, &[5; 96]).unwrap();
        disk.close().unwrap();
        let folder = TempDir::new().unwrap();
        assert_same(&dump(&folder, from_ref(&file)), &content_of(&[file]));
    }
}

#[test]
fn libvhdi_reads_chains() {
    for sector in [512, 4096] {
        let size = 6 * MIB;
        let base = create_dynamic(MemoryFile::new(), &options(size, 1, sector)).unwrap();
        let disk = live(from_ref(&base), 1);
        disk.write_at(0, &Draw::new(1).bytes(size as usize - 70_000))
            .unwrap();
        disk.close().unwrap();
        let mut files = vec![base];
        for number in 2..4 {
            let child = child_of(&files[0], number);
            files.insert(0, child);
            let disk = live(&files, number);
            let mut draw = Draw::new(number as u64);
            for _ in 0..8 {
                let len = draw.below(60_000) + 1;
                let offset = draw.below(size - len) / 4096 * 4096;
                disk.write_at(offset, &draw.bytes(len as usize)).unwrap();
            }
            disk.write_at(2 * MIB, &draw.bytes(MIB as usize)).unwrap();
            disk.close().unwrap();
        }
        let folder = TempDir::new().unwrap();
        for depth in 1..=files.len() {
            let chain = &files[files.len() - depth..];
            assert_same(&dump(&folder, chain), &content_of(chain));
        }
    }
}
