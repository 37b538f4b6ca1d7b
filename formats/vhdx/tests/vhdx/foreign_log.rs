//! Logs that qemu wrote. It keeps its log in use only for instants, so the tests put such an
//! instant back: the header names the last entry's log, and what the entry changed is undone.

use std::fs::File;

use tempfile::TempDir;
use vhdx::{Chain, ReadAt, Vhdx, WriteAt};

use crate::qemu::{new_file, run};
use crate::sample::{MIB, assert_same, content};

#[test]
fn a_log_that_qemu_left_replays_as_qemu_replays_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crashed.vhdx");
    let text = path.to_str().unwrap();
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "vhdx",
            "-o",
            "block_size=1M",
            text,
            "40M",
        ],
    );
    let writes = ["-c", "write -P 170 3M 1M", "-c", "write -P 187 20M 64k"];
    let mut arguments = vec!["-f", "vhdx"];
    arguments.extend(writes);
    arguments.push(text);
    run("qemu-io", &arguments);
    let wanted = content(&Chain::open(vec![File::open(&path).unwrap()]).unwrap());
    assert_eq!((wanted[3 << 20], wanted[20 << 20]), (170, 187));

    let file = File::options().read(true).write(true).open(&path).unwrap();
    let log_guid = last_log_guid(&file);
    for offset in [64 << 10, 128 << 10] {
        let mut header = vec![0; 4096];
        file.read_exact_at(offset, &mut header).unwrap();
        header[48..64].copy_from_slice(&log_guid);
        header[4..8].fill(0);
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &header) as u32;
        header[4..8].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(offset, &header).unwrap();
    }
    let (table, block) = (table_offset(&file), 20);
    let mut entry = [0; 8];
    file.read_exact_at(table + block * 8, &mut entry).unwrap();
    assert_ne!(entry, [0; 8]);
    file.write_all_at(table + block * 8, &[0; 8]).unwrap();
    WriteAt::sync(&file).unwrap();

    let ours = Vhdx::open(File::open(&path).unwrap()).unwrap();
    assert!(ours.has_log());
    let ours = content(&Chain::new(vec![ours]).unwrap());
    assert_same(&ours, &wanted);
    let copy = folder.path().join("replayed.vhdx");
    let mut bytes = std::fs::read(&path).unwrap();
    new_file(&copy).write_all_at(0, &bytes).unwrap();
    run(
        "qemu-img",
        &[
            "check",
            "-q",
            "-r",
            "all",
            "-f",
            "vhdx",
            copy.to_str().unwrap(),
        ],
    );
    let theirs = content(&Chain::open(vec![File::open(&copy).unwrap()]).unwrap());
    assert_same(&theirs, &wanted);

    // Without the log, the block would be gone: the test can fail.
    for offset in [64 << 10, 128 << 10] {
        bytes[offset + 48..offset + 64].fill(0);
        let header = &mut bytes[offset..offset + 4096];
        header[4..8].fill(0);
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, header) as u32;
        header[4..8].copy_from_slice(&sum.to_le_bytes());
    }
    new_file(&copy).write_all_at(0, &bytes).unwrap();
    let without = content(&Chain::open(vec![File::open(&copy).unwrap()]).unwrap());
    assert_eq!(without[20 << 20], 0);
}

/// Returns the log GUID of the entry that stands last in the log, which begins at 1 MiB.
fn last_log_guid(file: &File) -> [u8; 16] {
    let mut log = vec![0; MIB as usize];
    file.read_exact_at(MIB, &mut log).unwrap();
    let mut entries = log
        .chunks(4096)
        .filter(|sector| sector.starts_with(b"loge"));
    entries.next_back().unwrap()[32..48].try_into().unwrap()
}

fn table_offset(file: &File) -> u64 {
    let mut table = vec![0; 4096];
    file.read_exact_at(192 << 10, &mut table).unwrap();
    let id = 0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08_u128;
    let id = uuid::Uuid::from_u128(id).to_bytes_le();
    let entry = table[16..]
        .chunks(32)
        .find(|entry| entry.starts_with(&id))
        .unwrap();
    u64::from_le_bytes(entry[16..24].try_into().unwrap())
}
