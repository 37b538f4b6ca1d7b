//! New dynamic and fixed files.

use vhdx::memory::MemoryFile;
use vhdx::{
    Chain, ThinWriter, Vhdx, VhdxErrorKind, create_dynamic, create_fixed,
    suggested_block_size_bytes,
};

use crate::sample::{Draw, MIB, assert_same, content_of, options};

#[test]
fn pieces_in_any_order_from_several_threads_read_back() {
    let size = 23 * MIB + 512;
    let file = MemoryFile::new();
    let writer = ThinWriter::create(file.clone(), &options(size, 2, 512)).unwrap();
    let wanted = Draw::new(5).bytes(size as usize);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (writer, wanted) = (&writer, &wanted);
            scope.spawn(move || {
                let mut pieces: Vec<_> = wanted
                    .chunks(300_000)
                    .enumerate()
                    .skip(thread)
                    .step_by(4)
                    .collect();
                pieces.reverse();
                for (number, piece) in pieces {
                    writer.write_at(number as u64 * 300_000, piece).unwrap();
                }
            });
        }
    });
    writer.finish().unwrap();
    assert_same(&content_of(&[file]), &wanted);
}

#[test]
fn an_unfinished_file_is_no_vhdx_file() {
    let file = MemoryFile::new();
    let writer = ThinWriter::create(file.clone(), &options(8 * MIB, 1, 512)).unwrap();
    writer.write_at(0, &[1; 4096]).unwrap();
    let kind = Vhdx::open(file.clone()).unwrap_err().kind();
    assert_eq!(kind, VhdxErrorKind::NotVhdx);
    drop(writer);
    assert_eq!(Vhdx::open(file).unwrap_err().kind(), VhdxErrorKind::NotVhdx);
}

#[test]
fn only_blocks_that_were_written_take_space() {
    let file = MemoryFile::new();
    let writer = ThinWriter::create(file.clone(), &options(1 << 40, 2, 4096)).unwrap();
    writer.write_at((1 << 40) - 10, b"0123456789").unwrap();
    writer.write_at(5, b"start").unwrap();
    assert_eq!(
        writer
            .write_at((1 << 40) - 9, b"0123456789")
            .unwrap_err()
            .kind(),
        VhdxErrorKind::OutOfRange
    );
    assert_eq!(
        writer.write_at(u64::MAX, b"01").unwrap_err().kind(),
        VhdxErrorKind::OutOfRange
    );
    writer.finish().unwrap();
    let chain = Chain::open(vec![file.clone()]).unwrap();
    let ranges: Vec<_> = chain.allocated_ranges().map(Result::unwrap).collect();
    assert_eq!(ranges, [(0, 2 * MIB), ((1 << 40) - 2 * MIB, 2 * MIB)]);
    assert!(vhdx::ReadAt::len(&file).unwrap() < 16 * MIB);
}

#[test]
fn a_former_content_does_not_show_through() {
    let file = MemoryFile::from_bytes(&vec![0x55; 20 * MIB as usize]);
    let writer = ThinWriter::create(file.clone(), &options(4 * MIB, 4, 512)).unwrap();
    writer.write_at(100, &[9]).unwrap();
    writer.finish().unwrap();
    let mut wanted = vec![0; 4 * MIB as usize];
    wanted[100] = 9;
    assert_same(&content_of(&[file]), &wanted);
}

#[test]
fn fixed_disks_hold_all_blocks_one_behind_the_other() {
    let file = create_fixed(MemoryFile::new(), &options(300 * MIB + 4096, 1, 4096)).unwrap();
    let disk = Vhdx::open(file.clone()).unwrap();
    assert!(disk.metadata().leave_blocks_allocated);
    let pieces: Vec<_> = disk
        .resolve(0, disk.size_bytes())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(pieces.len(), 1, "{pieces:?}");
    assert_eq!(vhdx::ReadAt::len(&file).unwrap(), 4 * MIB + 301 * MIB);
}

#[test]
fn the_largest_disks_can_be_made_at_any_block_size_that_is_suggested() {
    for size in [512, 4 << 30, 4 << 40, 64 << 40] {
        let block = suggested_block_size_bytes(size);
        assert!(size.div_ceil(u64::from(block)) * 8 <= 16 * MIB);
        let file = MemoryFile::new();
        create_dynamic(file.clone(), &options(size, u64::from(block) / MIB, 512)).unwrap();
        assert_eq!(
            Chain::open(vec![file]).unwrap().allocated_ranges().count(),
            0
        );
    }
    let error = create_dynamic(MemoryFile::new(), &options(64 << 40, 1, 512)).unwrap_err();
    assert_eq!(error.kind(), VhdxErrorKind::OutOfRange);
}
