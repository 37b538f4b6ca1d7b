//! The canonical file: where things lie, and that equal disks give equal bytes.

use std::slice::from_ref;

use vhdx::canonical::{Layout, SLOT_BYTES};
use vhdx::memory::MemoryFile;
use vhdx::{Chain, Extent, Vhdx, VhdxErrorKind, WriteAt};

use crate::sample::{MIB, assert_same, content_of, guid};

const TIB: u64 = 1 << 40;

#[test]
fn front_length_is_whole_mib_and_depends_on_size_and_logical_sector_alone() {
    let cases = [
        (512, 512, 4 * MIB),
        (SLOT_BYTES, 512, 4 * MIB),
        (4 * TIB, 512, 5 * MIB),
        (4 * TIB, 4096, 5 * MIB),
        (64 * TIB, 512, 20 * MIB),
        (64 * TIB, 4096, 20 * MIB),
    ];
    for (size, sector, front) in cases {
        for physical in [512, 4096] {
            let layout = Layout::new(size, sector, physical).unwrap();
            assert_eq!(layout.front_bytes(), front, "{size} {sector}");
            let bytes = layout.front(guid(1), guid(2), guid(3), |_| false);
            assert_eq!(bytes.len() as u64, front);
            assert_eq!(layout.slot_count(), size.div_ceil(SLOT_BYTES));
            assert_eq!(
                layout.file_bytes(),
                front + layout.slot_count() * SLOT_BYTES
            );
        }
    }
}

#[test]
fn equal_inputs_give_equal_bytes_and_others_do_not() {
    let layout = Layout::new(100 * MIB, 512, 4096).unwrap();
    let front = |number, present: fn(u64) -> bool| {
        layout.front(guid(1), guid(number), guid(number), present)
    };
    assert_eq!(front(2, |slot| slot == 1), front(2, |slot| slot == 1));
    assert_ne!(front(2, |slot| slot == 1), front(3, |slot| slot == 1));
    assert_ne!(front(2, |slot| slot == 1), front(2, |slot| slot == 2));
}

#[test]
fn table_entries_stand_where_the_design_says() {
    let layout = Layout::new(200 * SLOT_BYTES, 512, 512).unwrap();
    let front = layout.front(guid(1), guid(2), guid(3), |slot| slot % 2 == 0);
    let entry = |index: usize| {
        let at = 3 * MIB as usize + index * 8;
        u64::from_le_bytes(front[at..at + 8].try_into().unwrap())
    };
    for slot in 0..200 {
        let index = slot + slot / 128;
        let wanted = match slot % 2 {
            0 => (layout.front_bytes() + slot as u64 * SLOT_BYTES) | 6,
            _ => 2,
        };
        assert_eq!(entry(index), wanted, "slot {slot}");
    }
    assert_eq!(entry(128), 0, "the sector bitmap's entry");
    assert_eq!(entry(201), 0, "behind the last");
}

#[test]
fn a_canonical_file_reads_back() {
    for sector in [512, 4096] {
        let size = 70 * MIB + u64::from(sector);
        let layout = Layout::new(size, sector, 4096).unwrap();
        let file =
            MemoryFile::from_bytes(&layout.front(guid(1), guid(2), guid(3), |slot| slot != 1));
        file.set_len(layout.file_bytes()).unwrap();
        file.write_all_at(layout.slot_offset(0) + 5, b"first")
            .unwrap();
        file.write_all_at(layout.slot_offset(2) + 6 * MIB, b"last")
            .unwrap();

        let mut wanted = vec![0; size as usize];
        wanted[5..10].copy_from_slice(b"first");
        wanted[70 * MIB as usize..70 * MIB as usize + 4].copy_from_slice(b"last");
        assert_same(&content_of(from_ref(&file)), &wanted);

        let disk = Vhdx::open(file.clone()).unwrap();
        let metadata = disk.metadata();
        assert_eq!(metadata.virtual_disk_id, guid(1));
        assert_eq!(metadata.file_write_guid, guid(2));
        assert_eq!(metadata.data_write_guid, guid(3));
        assert_eq!(metadata.logical_sector_bytes, sector);
        assert!(!metadata.has_parent() && !metadata.leave_blocks_allocated && !disk.has_log());
        let pieces: Vec<_> = disk.resolve(0, size).unwrap().map(Result::unwrap).collect();
        let extents: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.offset, piece.extent))
            .collect();
        let at = |slot| Extent::File {
            file_offset: layout.slot_offset(slot),
        };
        assert_eq!(
            extents,
            [
                (0, at(0)),
                (SLOT_BYTES, Extent::Zero),
                (2 * SLOT_BYTES, at(2))
            ]
        );

        let chain = Chain::open(vec![file]).unwrap();
        let ranges: Vec<_> = chain.allocated_ranges().map(Result::unwrap).collect();
        assert_eq!(
            ranges,
            [(0, SLOT_BYTES), (2 * SLOT_BYTES, size - 2 * SLOT_BYTES)]
        );
        let from: Vec<_> = chain
            .allocated_ranges_from(SLOT_BYTES - 7)
            .map(Result::unwrap)
            .collect();
        assert_eq!(from[0], (SLOT_BYTES - 7, 7));
    }
}

#[test]
fn the_largest_disk_costs_its_table_and_no_more() {
    let layout = Layout::new(64 * TIB, 512, 512).unwrap();
    let last = layout.slot_count() - 1;
    let file =
        MemoryFile::from_bytes(&layout.front(guid(1), guid(2), guid(3), |slot| slot == last));
    file.set_len(layout.file_bytes()).unwrap();
    let chain = Chain::open(vec![file]).unwrap();
    let ranges: Vec<_> = chain.allocated_ranges().map(Result::unwrap).collect();
    assert_eq!(ranges, [(last * SLOT_BYTES, SLOT_BYTES)]);
    let mut bytes = [1; 8];
    chain.read_at(64 * TIB - 8, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 8]);
    let error = chain.read_at(64 * TIB - 7, &mut bytes).unwrap_err();
    assert_eq!(error.kind(), VhdxErrorKind::OutOfRange);
}

#[test]
fn impossible_disks_are_refused() {
    let cases = [
        (0, 512, 512),
        (511, 512, 512),
        (512, 4096, 4096),
        (64 * TIB + 512, 512, 512),
        (MIB, 1024, 4096),
        (MIB, 512, 1024),
    ];
    for (size, logical, physical) in cases {
        let error = Layout::new(size, logical, physical).unwrap_err();
        assert_eq!(
            error.kind(),
            VhdxErrorKind::OutOfRange,
            "{size} {logical} {physical}"
        );
    }
}
