//! A table of damages: each is told, none is believed.

use std::slice::from_ref;

use vhdx::fuzzing::renew_checksum;
use vhdx::memory::MemoryFile;
use vhdx::{ReadAt, Vhdx, VhdxErrorKind, WriteAt, create_dynamic};

use crate::live::{child_of, live};
use crate::sample::{MIB, content_of, options};
use VhdxErrorKind::{Damaged, NotVhdx, Unsupported};

const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const TABLES: [u64; 2] = [192 << 10, 256 << 10];
const METADATA: u64 = 2 * MIB;
const ITEMS: u64 = METADATA + (64 << 10);
const BAT: u64 = 3 * MIB;

/// A dynamic disk of 4 MiB whose first two blocks are present, at 4 and 5 MiB.
fn sound() -> MemoryFile {
    let file = create_dynamic(MemoryFile::new(), &options(4 * MIB, 1, 512)).unwrap();
    let disk = live(from_ref(&file), 1);
    disk.write_at(0, &vec![1; 2 << 20]).unwrap();
    disk.close().unwrap();
    file
}

/// Its child, whose first block is partly present at 5 MiB, with the bitmap at 4 MiB.
fn sound_child() -> MemoryFile {
    let base = sound();
    let child = child_of(&base, 2);
    let disk = live(&[child.clone(), base], 2);
    disk.write_at(0, &[1; 512]).unwrap();
    disk.close().unwrap();
    child
}

/// Writes to both copies of a structure and makes their checksums right.
fn both(file: &MemoryFile, copies: [u64; 2], bytes: usize, at: u64, value: &[u8]) {
    for offset in copies {
        file.write_all_at(offset + at, value).unwrap();
        renew_checksum(file, offset, bytes);
    }
}

fn header(file: &MemoryFile, at: u64, value: &[u8]) {
    both(file, HEADERS, 4096, at, value);
}

fn table(file: &MemoryFile, at: u64, value: &[u8]) {
    both(file, TABLES, 64 << 10, at, value);
}

fn put(file: &MemoryFile, offset: u64, value: &[u8]) {
    file.write_all_at(offset, value).unwrap();
}

fn entry(file: &MemoryFile, index: u64, value: u64) {
    put(file, BAT + index * 8, &value.to_le_bytes());
}

type Damage = (&'static str, VhdxErrorKind, fn(&MemoryFile));

#[test]
fn damaged_files_are_refused_with_the_right_kind() {
    let damages: [Damage; 44] = [
        ("empty", NotVhdx, |file| file.set_len(0).unwrap()),
        ("another format", NotVhdx, |file| put(file, 0, b"conectix")),
        ("cut in the identifier", NotVhdx, |file| {
            file.set_len(7).unwrap()
        }),
        ("cut in the headers", Damaged, |file| {
            file.set_len(70 << 10).unwrap()
        }),
        ("cut before the log", Damaged, |file| {
            file.set_len(MIB).unwrap()
        }),
        ("cut in the table", Damaged, |file| {
            file.set_len(4 * MIB - 1).unwrap()
        }),
        ("cut in a block", Damaged, |file| {
            file.set_len(6 * MIB - 1).unwrap()
        }),
        ("endless", Damaged, |file| file.set_len(1 << 62).unwrap()),
        ("both headers flipped", Damaged, |file| {
            HEADERS.iter().for_each(|at| put(file, at + 20, &[9]))
        }),
        ("headers of one number", Damaged, |file| {
            header(file, 8, &[5; 8]);
            put(file, HEADERS[1] + 16, &[9]);
            renew_checksum(file, HEADERS[1], 4096);
        }),
        ("version 2", Unsupported, |file| header(file, 66, &[2])),
        ("log of another version", Unsupported, |file| {
            header(file, 64, &[1]);
            header(file, 48, &[1]);
        }),
        ("log at no MiB", Damaged, |file| {
            header(file, 72, &4096_u64.to_le_bytes())
        }),
        ("log of odd length", Damaged, |file| {
            header(file, 68, &4096_u32.to_le_bytes())
        }),
        ("log past the end", Damaged, |file| {
            header(file, 72, &(1_u64 << 40).to_le_bytes())
        }),
        ("log past every end", Damaged, |file| {
            header(file, 72, &(u64::MAX << 20).to_le_bytes())
        }),
        ("log on the metadata", Damaged, |file| {
            header(file, 72, &METADATA.to_le_bytes())
        }),
        ("log in use and empty", Damaged, |file| {
            header(file, 48, &[1])
        }),
        ("log in use and huge", Unsupported, |file| {
            header(file, 48, &[1]);
            header(file, 68, &0xfff0_0000_u32.to_le_bytes());
        }),
        ("both region tables flipped", Damaged, |file| {
            TABLES.iter().for_each(|at| put(file, at + 20, &[9]))
        }),
        ("too many regions", Damaged, |file| {
            table(file, 8, &2048_u32.to_le_bytes())
        }),
        ("no regions", Damaged, |file| {
            table(file, 8, &0_u32.to_le_bytes())
        }),
        ("one region", Damaged, |file| {
            table(file, 8, &1_u32.to_le_bytes())
        }),
        (
            "a region it requires and nobody knows",
            Unsupported,
            |file| table(file, 16, &[9]),
        ),
        ("a region twice", Damaged, |file| {
            let mut first = [0; 16];
            file.read_exact_at(TABLES[0] + 16, &mut first).unwrap();
            table(file, 48, &first);
        }),
        ("a region past the end", Damaged, |file| {
            table(file, 32, &(1_u64 << 40).to_le_bytes())
        }),
        ("a region past every end", Damaged, |file| {
            table(file, 32, &(u64::MAX << 20).to_le_bytes())
        }),
        ("a region at no MiB", Damaged, |file| {
            table(file, 32, &(BAT + 512).to_le_bytes())
        }),
        ("a region without length", Damaged, |file| {
            table(file, 40, &0_u32.to_le_bytes())
        }),
        ("table on the metadata", Damaged, |file| {
            table(file, 32, &METADATA.to_le_bytes())
        }),
        ("no metadata", Damaged, |file| put(file, METADATA, &[0; 8])),
        ("too many items", Damaged, |file| {
            put(file, METADATA + 10, &[255, 255])
        }),
        ("an item missing", Damaged, |file| {
            put(file, METADATA + 10, &[4])
        }),
        (
            "an item it requires and nobody knows",
            Unsupported,
            |file| put(file, METADATA + 32, &[9]),
        ),
        ("an item outside", Damaged, |file| {
            put(file, METADATA + 48, &(MIB as u32).to_le_bytes())
        }),
        ("an item on another", Damaged, |file| {
            put(file, METADATA + 80, &(64_u32 << 10).to_le_bytes())
        }),
        ("an item of endless length", Damaged, |file| {
            put(file, METADATA + 52, &u32::MAX.to_le_bytes())
        }),
        ("blocks of 3 MiB", Damaged, |file| {
            put(file, ITEMS, &(3_u32 << 20).to_le_bytes())
        }),
        ("blocks of 0 bytes", Damaged, |file| {
            put(file, ITEMS, &[0; 4])
        }),
        ("a disk of 0 bytes", Damaged, |file| {
            put(file, ITEMS + 8, &[0; 8])
        }),
        ("a disk of half a sector", Damaged, |file| {
            put(file, ITEMS + 8, &[1])
        }),
        ("a disk larger than the table", Damaged, |file| {
            put(file, ITEMS + 8, &(1_u64 << 45).to_le_bytes())
        }),
        ("a disk larger than can be", Damaged, |file| {
            put(file, ITEMS + 8, &(1_u64 << 50).to_le_bytes())
        }),
        ("sectors of 1024 bytes", Damaged, |file| {
            put(file, ITEMS + 32, &1024_u32.to_le_bytes())
        }),
    ];
    check(sound, &damages);
}

#[test]
fn damaged_block_tables_are_refused() {
    let damages: [Damage; 10] = [
        ("a state that isn't", Damaged, |file| {
            entry(file, 0, 4 * MIB + 5)
        }),
        ("reserved bits", Damaged, |file| {
            entry(file, 0, 4 * MIB + 8 + 6)
        }),
        ("a block past the end", Damaged, |file| {
            entry(file, 0, 6 * MIB + 6)
        }),
        ("a block past every end", Damaged, |file| {
            entry(file, 0, (u64::MAX << 20) + 6)
        }),
        ("two blocks in one place", Damaged, |file| {
            entry(file, 0, 5 * MIB + 6)
        }),
        ("a block on the headers", Damaged, |file| entry(file, 0, 6)),
        ("a block on the log", Damaged, |file| {
            entry(file, 0, MIB + 6)
        }),
        ("a block on the metadata", Damaged, |file| {
            entry(file, 0, METADATA + 6)
        }),
        ("a block on the table", Damaged, |file| {
            entry(file, 0, BAT + 6)
        }),
        ("a block partly present without a parent", Damaged, |file| {
            entry(file, 0, 4 * MIB + 7)
        }),
    ];
    check(sound, &damages);
}

#[test]
fn damaged_children_are_refused() {
    // 4096 blocks share a bitmap, whose entry stands behind theirs.
    let damages: [Damage; 9] = [
        ("no bitmap", Damaged, |file| entry(file, 4096, 0)),
        ("a bitmap in an impossible state", Damaged, |file| {
            entry(file, 4096, 4 * MIB + 7)
        }),
        ("a bitmap past the end", Damaged, |file| {
            entry(file, 4096, 6 * MIB + 6)
        }),
        ("a bitmap on a block", Damaged, |file| {
            entry(file, 4096, 5 * MIB + 6)
        }),
        ("no locator", Damaged, |file| put(file, METADATA + 10, &[5])),
        ("a locator of another type", Unsupported, |file| {
            put(file, ITEMS + 40, &[9])
        }),
        ("a locator with too many entries", Damaged, |file| {
            put(file, ITEMS + 40 + 18, &[255, 255])
        }),
        ("a path outside the locator", Damaged, |file| {
            put(file, ITEMS + 40 + 20 + 4, &u32::MAX.to_le_bytes())
        }),
        ("a linkage that is no GUID", Damaged, |file| {
            put(file, ITEMS + 40 + 20 + 36 + 30, b"x")
        }),
    ];
    check(sound_child, &damages);
}

#[track_caller]
fn check(sound: fn() -> MemoryFile, damages: &[Damage]) {
    Vhdx::open(sound()).expect("undamaged, the file opens");
    for (name, kind, damage) in damages {
        let file = sound();
        damage(&file);
        let error = Vhdx::open(file).map(drop).expect_err(name);
        assert_eq!(error.kind(), *kind, "{name}: {error}");
    }
}

#[test]
fn one_copy_of_headers_and_tables_is_enough() {
    let wanted = content_of(&[sound()]);
    for offset in HEADERS.into_iter().chain(TABLES) {
        let file = sound();
        put(&file, offset + 20, &[0xee; 100]);
        assert!(
            content_of(&[file]) == wanted,
            "without the copy at {offset}"
        );
    }
}

#[test]
fn what_a_reader_may_ignore_is_ignored() {
    let file = sound();
    // A region at 6 MiB and a metadata item, neither required.
    file.set_len(7 * MIB).unwrap();
    let mut region = vec![0x77; 16];
    region.extend((6 * MIB).to_le_bytes());
    region.extend((MIB as u32).to_le_bytes());
    region.extend([0; 4]);
    table(&file, 16 + 2 * 32, &region);
    table(&file, 8, &3_u32.to_le_bytes());
    let mut item = vec![0x66; 16];
    item.extend((70_u32 << 10).to_le_bytes());
    item.extend(100_u32.to_le_bytes());
    put(&file, METADATA + 32 + 5 * 32, &item);
    put(&file, METADATA + 10, &[6]);
    assert!(content_of(from_ref(&file)) == content_of(&[sound()]));

    let disk = live(from_ref(&file), 3);
    disk.write_at(3 * MIB, &[1]).unwrap();
    disk.close().unwrap();
    let piece = Vhdx::open(file).unwrap();
    let piece = piece.resolve(3 * MIB, 1).unwrap().next().unwrap().unwrap();
    let wanted = vhdx::Extent::File {
        file_offset: 7 * MIB,
    };
    assert_eq!(piece.extent, wanted, "new blocks keep off the region");
}

#[test]
fn a_table_of_half_a_gib_is_read_through_a_window() {
    // 64 TiB in blocks of 1 MiB; the file is a hole but for its front.
    let file = create_dynamic(MemoryFile::new(), &options(4 << 40, 1, 512)).unwrap();
    let disk = live(from_ref(&file), 1);
    disk.resize(64 << 40).unwrap();
    disk.write_at((64 << 40) - 1, &[1]).unwrap();
    disk.close().unwrap();
    let chain = vhdx::Chain::open(vec![file.clone()]).unwrap();
    let ranges: Vec<_> = chain.allocated_ranges().map(Result::unwrap).collect();
    assert_eq!(ranges, [((64 << 40) - MIB, MIB)]);
    assert!(file.held_bytes() < 4 * MIB);
}
