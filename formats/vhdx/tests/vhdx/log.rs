//! Logs left behind: what is replayed, what is not, and what is refused.

use vhdx::fuzzing::{LogChange, LogEntry, renew_checksum};
use vhdx::memory::MemoryFile;
use vhdx::{Chain, LiveDisk, ReadAt, Vhdx, VhdxErrorKind, WriteAt, create_fixed};

use crate::live::guids;
use crate::sample::{MIB, guid, options};

const SECTOR: u64 = 4096;
/// Where the first block of the test's disk lies in its file.
const PAYLOAD: u64 = 4 * MIB;

/// Returns a fixed disk of 2 MiB whose header says that its log is in use.
fn disk() -> MemoryFile {
    let file = create_fixed(MemoryFile::new(), &options(2 * MIB, 1, 512)).unwrap();
    for offset in [64 << 10, 128 << 10] {
        file.write_all_at(offset + 48, &guid(70).to_bytes_le())
            .unwrap();
        renew_checksum(&file, offset, 4096);
    }
    file
}

fn entry(number: u64, tail: u64, changes: Vec<LogChange>) -> LogEntry {
    LogEntry {
        log_guid: guid(70),
        number,
        tail: tail as u32,
        flushed_bytes: MIB,
        last_bytes: 6 * MIB,
        changes,
    }
}

/// Sets a sector of the payload to a byte.
fn set(sector: u64, byte: u8) -> LogChange {
    LogChange::Sector(PAYLOAD + sector * SECTOR, vec![byte; SECTOR as usize])
}

fn put(file: &MemoryFile, place: u64, entry: &LogEntry) {
    let bytes = entry.encode();
    let first = bytes.len().min((MIB - place) as usize);
    file.write_all_at(MIB + place, &bytes[..first]).unwrap();
    file.write_all_at(MIB, &bytes[first..]).unwrap_or_default();
}

/// Returns the first byte of each of the first sectors, as the guest sees them.
fn sectors(file: &MemoryFile) -> [u8; 4] {
    let chain = Chain::open(vec![file.clone()]).unwrap();
    [0, 1, 2, 3].map(|sector| {
        let mut bytes = vec![0; SECTOR as usize];
        chain.read_at(sector * SECTOR, &mut bytes).unwrap();
        assert!(
            bytes.iter().all(|byte| *byte == bytes[0]),
            "sector {sector} is torn"
        );
        bytes[0]
    })
}

#[test]
fn entries_are_replayed_in_order_and_the_file_stays_untouched() {
    let file = disk();
    put(&file, 0, &entry(5, 0, vec![set(0, 1), set(1, 1)]));
    put(&file, 3 * SECTOR, &entry(6, 0, vec![set(1, 2), set(2, 2)]));
    put(
        &file,
        6 * SECTOR,
        &entry(
            7,
            0,
            vec![LogChange::Zeros(PAYLOAD + 2 * SECTOR, SECTOR), set(3, 3)],
        ),
    );
    let before = file.to_bytes();
    assert_eq!(sectors(&file), [1, 2, 0, 3]);
    assert!(Vhdx::open(file.clone()).unwrap().has_log());
    assert!(file.to_bytes() == before);
}

#[test]
fn a_sector_keeps_all_its_bytes() {
    let file = disk();
    let content: Vec<u8> = (0..SECTOR).map(|number| (number % 251) as u8).collect();
    put(
        &file,
        0,
        &entry(1, 0, vec![LogChange::Sector(PAYLOAD, content.clone())]),
    );
    let mut seen = vec![0; SECTOR as usize];
    Chain::open(vec![file])
        .unwrap()
        .read_at(0, &mut seen)
        .unwrap();
    assert_eq!(seen, content);
}

#[test]
fn a_sequence_may_go_round_the_logs_end() {
    let file = disk();
    put(
        &file,
        MIB - SECTOR,
        &entry(8, MIB - SECTOR, vec![set(0, 4)]),
    );
    put(&file, SECTOR, &entry(9, MIB - SECTOR, vec![set(1, 5)]));
    assert_eq!(sectors(&file), [4, 5, 0, 0]);
}

#[test]
fn only_the_part_from_the_last_entrys_tail_on_is_replayed() {
    let file = disk();
    put(&file, 0, &entry(5, 0, vec![set(0, 1)]));
    put(&file, 2 * SECTOR, &entry(6, 2 * SECTOR, vec![set(1, 2)]));
    assert_eq!(sectors(&file), [0, 2, 0, 0]);
}

#[test]
fn a_torn_last_entry_and_strangers_do_not_count() {
    type Damage = (&'static str, fn(&MemoryFile));
    let damages: [Damage; 4] = [
        ("data sector torn", |file| {
            file.write_all_at(MIB + 3 * SECTOR + 100, &[99]).unwrap()
        }),
        ("head torn", |file| {
            file.write_all_at(MIB + 2 * SECTOR, &[0; 64]).unwrap()
        }),
        ("a number left out", |file| {
            put(file, 2 * SECTOR, &entry(7, 0, vec![set(0, 9)]))
        }),
        ("another log's", |file| {
            let stranger = LogEntry {
                log_guid: guid(71),
                ..entry(6, 0, vec![set(0, 9)])
            };
            put(file, 2 * SECTOR, &stranger);
        }),
    ];
    for (name, damage) in damages {
        let file = disk();
        put(&file, 0, &entry(5, 0, vec![set(0, 1)]));
        put(&file, 2 * SECTOR, &entry(6, 0, vec![set(0, 2)]));
        assert_eq!(sectors(&file)[0], 2, "{name}: undamaged");
        damage(&file);
        assert_eq!(sectors(&file)[0], 1, "{name}");
    }
}

#[test]
fn of_two_sequences_the_newer_one_counts() {
    let file = disk();
    put(&file, 0, &entry(20, 0, vec![set(0, 1)]));
    put(&file, 10 * SECTOR, &entry(30, 10 * SECTOR, vec![set(0, 2)]));
    assert_eq!(sectors(&file)[0], 2);
    let file = disk();
    put(&file, 0, &entry(40, 0, vec![set(0, 1)]));
    put(&file, 10 * SECTOR, &entry(30, 10 * SECTOR, vec![set(0, 2)]));
    assert_eq!(sectors(&file)[0], 1);
}

#[test]
fn zeros_and_sectors_may_overlap_in_any_order() {
    let file = disk();
    let zeros =
        |sector: u64, count: u64| LogChange::Zeros(PAYLOAD + sector * SECTOR, count * SECTOR);
    file.write_all_at(PAYLOAD, &vec![8; 4 * SECTOR as usize])
        .unwrap();
    put(
        &file,
        0,
        &entry(
            5,
            0,
            vec![
                zeros(0, 4),
                set(1, 1),
                zeros(1, 1),
                set(2, 2),
                set(2, 3),
                zeros(3, 9),
            ],
        ),
    );
    assert_eq!(sectors(&file), [0, 0, 3, 0]);
}

#[test]
fn a_file_longer_by_its_log_reads_zeros_there() {
    let file = disk();
    put(&file, 0, &entry(5, 0, vec![set(0, 1)]));
    file.set_len(5 * MIB).unwrap();
    assert_eq!(sectors(&file), [1, 0, 0, 0]);
    let mut end = [7; 5];
    Chain::open(vec![file.clone()])
        .unwrap()
        .read_at(2 * MIB - 5, &mut end)
        .unwrap();
    assert_eq!(end, [0; 5]);
}

#[test]
fn a_log_that_cannot_be_replayed_is_refused() {
    let long = |changes| LogEntry {
        flushed_bytes: 100 * MIB,
        ..entry(5, 0, changes)
    };
    let cases = [
        ("no entry at all", None),
        (
            "the tail is missing",
            Some(entry(5, 8 * SECTOR, vec![set(0, 1)])),
        ),
        ("the file was cut", Some(long(vec![set(0, 1)]))),
        (
            "it writes over a header",
            Some(entry(5, 0, vec![LogChange::Zeros(64 << 10, SECTOR)])),
        ),
        (
            "it writes over itself",
            Some(entry(5, 0, vec![LogChange::Zeros(MIB + SECTOR, SECTOR)])),
        ),
        (
            "it writes past every end",
            Some(entry(
                5,
                0,
                vec![LogChange::Zeros(u64::MAX - 4095, 2 * SECTOR)],
            )),
        ),
        (
            "it makes the file endless",
            Some(LogEntry {
                last_bytes: 1 << 60,
                ..entry(5, 0, vec![])
            }),
        ),
        (
            "it is not aligned",
            Some(entry(5, 0, vec![LogChange::Zeros(PAYLOAD + 512, SECTOR)])),
        ),
    ];
    for (name, entry) in cases {
        let file = disk();
        if let Some(entry) = entry {
            put(&file, 0, &entry);
        }
        let error = Vhdx::open(file).expect_err(name);
        assert_eq!(error.kind(), VhdxErrorKind::Damaged, "{name}: {error}");
    }
}

#[test]
fn a_writer_settles_the_log_and_empties_it() {
    let file = disk();
    file.write_all_at(PAYLOAD + SECTOR, &[6; SECTOR as usize])
        .unwrap();
    put(
        &file,
        0,
        &entry(
            5,
            0,
            vec![set(0, 1), LogChange::Zeros(PAYLOAD + SECTOR, SECTOR)],
        ),
    );
    let live = LiveDisk::open(file.clone(), Vec::new(), guids(1)).unwrap();
    live.close().unwrap();
    assert!(!Vhdx::open(file.clone()).unwrap().has_log());
    assert_eq!(sectors(&file), [1, 0, 0, 0]);
    let mut bytes = [0; 4];
    file.read_exact_at(PAYLOAD, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 4], "in the file itself");
}
