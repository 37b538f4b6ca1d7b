//! qemu as judge, both ways: it reads what we write, we read what it writes (512-byte sectors).

use std::fs::File;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use vhdx::canonical::{Layout, SLOT_BYTES};
use vhdx::memory::MemoryFile;
use vhdx::{Chain, LiveDisk, ThinWriter, Vhdx, WriteAt, create_dynamic, create_fixed};

use crate::live::{child_of, guids, live};
use crate::sample::{Draw, MIB, assert_same, content, guid, options};

/// Runs a program of qemu's; `./check` installs them.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{errors}"
    );
    text
}

pub fn new_file(path: &Path) -> File {
    let mut how = File::options();
    how.read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap()
}

/// A disk with data, zeros inside of blocks, and blocks of zeros.
pub fn patchy(size: u64, seed: u64) -> Vec<u8> {
    let mut draw = Draw::new(seed);
    let mut bytes = vec![0; size as usize];
    for _ in 0..12 {
        let len = draw.below(700_000) as usize + 1;
        let start = draw.below(size - len as u64) as usize;
        bytes[start..start + len].copy_from_slice(&draw.bytes(len));
    }
    bytes
}

/// Asserts that qemu finds nothing wrong with a file and reads `wanted` from it.
#[track_caller]
pub fn assert_qemu_reads(folder: &TempDir, path: &Path, wanted: &[u8]) {
    let path = path.to_str().unwrap();
    run("qemu-img", &["check", "-f", "vhdx", path]);
    let raw = folder.path().join("wanted.raw");
    std::fs::write(&raw, wanted).unwrap();
    run(
        "qemu-img",
        &[
            "compare",
            "-f",
            "vhdx",
            "-F",
            "raw",
            path,
            raw.to_str().unwrap(),
        ],
    );
}

#[test]
fn qemu_reads_canonical_files() {
    for size in [100 * MIB + 512, 64 * MIB, 512] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("canonical.vhdx");
        let mut wanted = vec![0; size as usize];
        if size > SLOT_BYTES {
            wanted[..32 * MIB as usize].copy_from_slice(&patchy(SLOT_BYTES, 1));
        }
        *wanted.last_mut().unwrap() = 7;
        let layout = Layout::new(size, 512, 4096).unwrap();
        let slots: Vec<_> = wanted.chunks(SLOT_BYTES as usize).collect();
        let present = |slot: u64| slots[slot as usize].iter().any(|byte| *byte != 0);
        let file = new_file(&path);
        file.write_all_at(0, &layout.front(guid(1), guid(2), guid(3), present))
            .unwrap();
        for (slot, bytes) in slots
            .iter()
            .enumerate()
            .filter(|(slot, _)| present(*slot as u64))
        {
            file.write_all_at(layout.slot_offset(slot as u64), bytes)
                .unwrap();
        }
        WriteAt::set_len(&file, layout.file_bytes()).unwrap();
        assert_qemu_reads(&folder, &path, &wanted);
        assert_same(&content(&Chain::open(vec![file]).unwrap()), &wanted);
    }
}

#[test]
fn qemu_reads_thin_and_fixed_files() {
    for block_mib in [1, 2, 32, 256] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("thin.vhdx");
        let size = 40 * MIB + 1024;
        let wanted = patchy(size, block_mib);
        let writer = ThinWriter::create(new_file(&path), &options(size, block_mib, 512)).unwrap();
        for (number, piece) in wanted.chunks(100_000).enumerate() {
            if piece.iter().any(|byte| *byte != 0) {
                writer.write_at(number as u64 * 100_000, piece).unwrap();
            }
        }
        writer.finish().unwrap();
        assert_qemu_reads(&folder, &path, &wanted);

        create_fixed(new_file(&path), &options(size, block_mib, 512)).unwrap();
        assert_qemu_reads(&folder, &path, &vec![0; size as usize]);
    }
}

#[test]
fn what_qemu_writes_reads_back() {
    let folder = TempDir::new().unwrap();
    let size = 37 * MIB + 512 * 3;
    let wanted = patchy(size, 9);
    let raw = folder.path().join("disk.raw");
    std::fs::write(&raw, &wanted).unwrap();
    let kinds = [
        "subformat=dynamic,block_size=1M",
        "subformat=dynamic,block_size=32M",
        "subformat=dynamic",
        "subformat=fixed,block_size=8M",
        "subformat=fixed,log_size=3M",
    ];
    for kind in kinds {
        let path = folder.path().join("qemu.vhdx");
        let (raw, path_text) = (raw.to_str().unwrap(), path.to_str().unwrap());
        run(
            "qemu-img",
            &[
                "convert", "-f", "raw", "-O", "vhdx", "-o", kind, raw, path_text,
            ],
        );
        let disk = Vhdx::open(File::open(&path).unwrap()).unwrap();
        assert_eq!(disk.size_bytes(), size, "{kind}");
        let chain = Chain::new(vec![disk]).unwrap();
        assert_same(&content(&chain), &wanted);
        let mut held = vec![false; size as usize];
        for range in chain.allocated_ranges() {
            let (start, len) = range.unwrap();
            held[start as usize..(start + len) as usize].fill(true);
        }
        assert!(
            wanted
                .iter()
                .zip(&held)
                .all(|(byte, held)| *held || *byte == 0),
            "{kind}"
        );
    }
}

#[test]
fn qemu_reads_what_was_written_in_place_merged_and_grown() {
    let folder = TempDir::new().unwrap();
    let size = 20 * MIB + 512;
    for is_fixed in [false, true] {
        let base = match is_fixed {
            true => create_fixed(MemoryFile::new(), &options(size, 2, 512)).unwrap(),
            false => create_dynamic(MemoryFile::new(), &options(size, 2, 512)).unwrap(),
        };
        let mut draw = Draw::new(8);
        let mut files = vec![base];
        let mut model = vec![0; size as usize];
        for number in 1..3 {
            let disk = live(&files, number);
            for _ in 0..10 {
                let len = draw.below(1_500_000) + 1;
                let offset = draw.below(size - len);
                let bytes = draw.bytes(len as usize);
                disk.write_at(offset, &bytes).unwrap();
                model[offset as usize..(offset + len) as usize].copy_from_slice(&bytes);
            }
            disk.zero(5 * MIB + 7, 6 * MIB).unwrap();
            model[(5 << 20) + 7..(11 << 20) + 7].fill(0);
            disk.close().unwrap();
            if number == 1 {
                files.insert(0, child_of(&files[0], number));
            }
        }
        let child = Vhdx::open(files.remove(0)).unwrap();
        let disk = live(&files, 9);
        disk.merge_child(&child).unwrap();
        disk.resize(31 * MIB).unwrap();
        model.resize(31 << 20, 0);
        disk.close().unwrap();
        let path = folder.path().join("in_place.vhdx");
        new_file(&path)
            .write_all_at(0, &files[0].to_bytes())
            .unwrap();
        assert_qemu_reads(&folder, &path, &model);
    }
}

#[test]
fn a_table_that_was_moved_is_found_by_qemu() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("grown.vhdx");
    let file = create_dynamic(new_file(&path), &options(3 * MIB, 1, 512)).unwrap();
    let disk = LiveDisk::open(file, Vec::new(), guids(1)).unwrap();
    disk.write_at(MIB, b"stays").unwrap();
    disk.resize(200_000 * MIB).unwrap();
    disk.close().unwrap();
    let text = path.to_str().unwrap();
    run("qemu-img", &["check", "-f", "vhdx", text]);
    assert!(run("qemu-img", &["info", "-f", "vhdx", text]).contains("(209715200000 bytes)"));
    let dump = folder.path().join("part.raw");
    let (block, from) = ("bs=1M", format!("if={text}"));
    let to = format!("of={}", dump.to_str().unwrap());
    run(
        "qemu-img",
        &[
            "dd", "-f", "vhdx", "-O", "raw", block, "count=2", &from, &to,
        ],
    );
    assert_eq!(&std::fs::read(&dump).unwrap()[1 << 20..][..5], b"stays");
}

#[test]
fn files_of_qemus_are_written_in_place_and_grown() {
    let folder = TempDir::new().unwrap();
    // The last block of qemu's fixed files is cut off where the disk ends.
    let size = 9 * MIB + 512;
    for kind in [
        "subformat=dynamic,block_size=2M",
        "subformat=fixed,block_size=2M",
    ] {
        let path = folder.path().join("theirs.vhdx");
        let text = path.to_str().unwrap();
        let raw = folder.path().join("disk.raw");
        let mut model = patchy(size, 3);
        std::fs::write(&raw, &model).unwrap();
        run(
            "qemu-img",
            &[
                "convert",
                "-f",
                "raw",
                "-O",
                "vhdx",
                "-o",
                kind,
                raw.to_str().unwrap(),
                text,
            ],
        );
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let disk = LiveDisk::open(file, Vec::new(), guids(1)).unwrap();
        disk.write_at(size - 700, &[9; 700]).unwrap();
        disk.write_at(3, &[8; 3 << 20]).unwrap();
        disk.resize(14 * MIB).unwrap();
        disk.write_at(14 * MIB - 1, &[7]).unwrap();
        disk.close().unwrap();
        model[size as usize - 700..].fill(9);
        model[3..3 + (3 << 20)].fill(8);
        model.resize(14 << 20, 0);
        *model.last_mut().unwrap() = 7;
        assert_qemu_reads(&folder, &path, &model);
        let chain = Chain::open(vec![File::open(&path).unwrap()]).unwrap();
        assert_same(&content(&chain), &model);
    }
}
