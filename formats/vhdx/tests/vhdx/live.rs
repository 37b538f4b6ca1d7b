//! Disks in use, beside a model: a `Vec<u8>`.

use std::slice::from_ref;

use proptest::prelude::*;
use vhdx::memory::MemoryFile;
use vhdx::{
    Chain, ChildOptions, LiveDisk, ReadAt, Vhdx, VhdxErrorKind, WriteGuids, create_differencing,
    create_dynamic, create_fixed,
};

use crate::sample::{Draw, MIB, assert_same, content, content_of, guid, options};

pub fn guids(number: u128) -> WriteGuids {
    WriteGuids {
        file_write_guid: guid(1000 + number),
        data_write_guid: guid(2000 + number),
    }
}

pub fn child_of(parent: &MemoryFile, number: u128) -> MemoryFile {
    let options = ChildOptions {
        file_write_guid: guid(3000 + number),
        data_write_guid: guid(4000 + number),
        relative_path: Some(".\\parent.vhdx".to_owned()),
        absolute_win32_path: Some("C:\\disks\\parent.vhdx".to_owned()),
    };
    let parent = Vhdx::open(parent.clone()).unwrap();
    create_differencing(MemoryFile::new(), &parent, &options).unwrap()
}

pub fn live(files: &[MemoryFile], number: u128) -> LiveDisk<MemoryFile> {
    LiveDisk::open(files[0].clone(), files[1..].to_vec(), guids(number)).unwrap()
}

/// What a guest may do, in parts of the disk: places are cut to fit.
#[derive(Debug, Clone)]
enum Deed {
    Write {
        place: u64,
        len: usize,
        aligned: bool,
        seed: u64,
    },
    Zero {
        place: u64,
        len: u64,
        aligned: bool,
    },
    WriteBlock {
        block: u64,
        seed: u64,
    },
    Grow {
        bytes: u64,
    },
    Flush,
    Reopen,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (any::<u64>(), 1..200_000usize, any::<bool>(), any::<u64>())
            .prop_map(|(place, len, aligned, seed)| Deed::Write { place, len, aligned, seed }),
        2 => (any::<u64>(), 1..3 * MIB, any::<bool>())
            .prop_map(|(place, len, aligned)| Deed::Zero { place, len, aligned }),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(block, seed)| Deed::WriteBlock { block, seed }),
        1 => (0..2 * MIB).prop_map(|bytes| Deed::Grow { bytes }),
        1 => Just(Deed::Flush),
        1 => Just(Deed::Reopen),
    ]
}

/// Does deeds to the first of `files` and to the model.
fn act(files: &[MemoryFile], model: &mut Vec<u8>, deeds: &[Deed], number: u128) {
    let mut disk = live(files, number);
    let sector = u64::from(disk.metadata().logical_sector_bytes);
    for (step, deed) in deeds.iter().enumerate() {
        let size = model.len() as u64;
        let fit = |place: u64, len: u64, aligned: bool| {
            let start = place % size;
            let end = (start + len).min(size);
            match aligned {
                true => (
                    start / sector * sector,
                    end.next_multiple_of(sector).min(size),
                ),
                false => (start, end),
            }
        };
        match deed {
            Deed::Write {
                place,
                len,
                aligned,
                seed,
            } => {
                let (start, end) = fit(*place, *len as u64, *aligned);
                let bytes = Draw::new(*seed).bytes((end - start) as usize);
                disk.write_at(start, &bytes).unwrap();
                model[start as usize..end as usize].copy_from_slice(&bytes);
            }
            Deed::Zero {
                place,
                len,
                aligned,
            } => {
                let (start, end) = fit(*place, *len, *aligned);
                disk.zero(start, end - start).unwrap();
                model[start as usize..end as usize].fill(0);
            }
            Deed::WriteBlock { block, seed } => {
                let start = block % size.div_ceil(MIB) * MIB;
                let end = (start + MIB).min(size);
                let bytes = Draw::new(*seed).bytes((end - start) as usize);
                disk.write_at(start, &bytes).unwrap();
                model[start as usize..end as usize].copy_from_slice(&bytes);
            }
            Deed::Grow { bytes } => {
                let size = (size + bytes / sector * sector).min(9 * MIB);
                if size > model.len() as u64 {
                    disk.resize(size).unwrap();
                    model.resize(size as usize, 0);
                }
            }
            Deed::Flush => disk.flush().unwrap(),
            Deed::Reopen => {
                disk.close().unwrap();
                disk = live(files, number + 100 + step as u128);
            }
        }
    }
    let mut seen = vec![1; model.len()];
    disk.read_at(0, &mut seen).unwrap();
    assert_same(&seen, model);
    disk.close().unwrap();
    check_whole(files, model);
}

/// The files read as the model, and what they call absent is zeros.
fn check_whole(files: &[MemoryFile], model: &[u8]) {
    let chain = Chain::open(files.to_vec()).unwrap();
    assert_same(&content(&chain), model);
    let mut position = 0;
    let zeros = |from: u64, to: u64| {
        model[from as usize..to as usize]
            .iter()
            .all(|byte| *byte == 0)
    };
    for range in chain.allocated_ranges() {
        let (start, len) = range.unwrap();
        assert!(
            start > position || position == 0,
            "ranges touch or lie in disorder"
        );
        assert!(zeros(position, start), "something lies between the ranges");
        position = start + len;
    }
    assert!(zeros(position, model.len() as u64));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        rng_seed: proptest::test_runner::RngSeed::Fixed(41),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_disk_behaves_as_a_vector_does(
        deeds in prop::collection::vec(deed(), 1..25),
        is_fixed: bool,
        large_sectors: bool,
    ) {
        let options = options(5 * MIB + 8192, 1, if large_sectors { 4096 } else { 512 });
        let file = match is_fixed {
            true => create_fixed(MemoryFile::new(), &options).unwrap(),
            false => create_dynamic(MemoryFile::new(), &options).unwrap(),
        };
        let mut model = vec![0; options.virtual_size_bytes as usize];
        act(&[file], &mut model, &deeds, 1);
    }

    #[test]
    fn a_chain_behaves_as_a_vector_does_and_merges_into_one(
        first in prop::collection::vec(deed(), 1..10),
        second in prop::collection::vec(deed(), 1..15),
        third in prop::collection::vec(deed(), 1..15),
        from_the_top: bool,
        large_sectors: bool,
    ) {
        let options = options(4 * MIB + 4096, 1, if large_sectors { 4096 } else { 512 });
        let base = create_dynamic(MemoryFile::new(), &options).unwrap();
        let mut model = vec![0; options.virtual_size_bytes as usize];
        act(from_ref(&base), &mut model, &first, 1);
        let base_model = model.clone();
        let middle = child_of(&base, 2);
        act(&[middle.clone(), base.clone()], &mut model, &second, 2);
        let middle_model = model.clone();
        let top = child_of(&middle, 3);
        act(&[top.clone(), middle.clone(), base.clone()], &mut model, &third, 3);
        check_whole(from_ref(&base), &base_model);
        check_whole(&[middle.clone(), base.clone()], &middle_model);

        let merge = |child: &MemoryFile, into: &[MemoryFile], number| {
            let disk = live(into, number);
            disk.merge_child(&Vhdx::open(child.clone()).unwrap()).unwrap();
            disk.close().unwrap();
        };
        if from_the_top {
            merge(&top, &[middle.clone(), base.clone()], 4);
            check_whole(&[middle.clone(), base.clone()], &model);
            merge(&middle, from_ref(&base), 5);
        } else {
            merge(&middle, from_ref(&base), 4);
            check_whole(&[top.clone(), base.clone()], &model);
            merge(&top, from_ref(&base), 5);
        }
        check_whole(&[base], &model);
    }
}

#[test]
fn a_child_takes_its_parents_shape_and_names_it() {
    let parent = create_dynamic(MemoryFile::new(), &options(9 * MIB, 4, 4096)).unwrap();
    let child = Vhdx::open(child_of(&parent, 1)).unwrap();
    let metadata = child.metadata();
    assert_eq!(metadata.block_size_bytes, 4 << 20);
    assert_eq!(metadata.logical_sector_bytes, 4096);
    assert_eq!(metadata.virtual_disk_id, guid(1));
    let locator = metadata.parent.as_ref().unwrap();
    assert_eq!(locator.parent_linkage, guid(3));
    assert_eq!(locator.relative_path.as_deref(), Some(".\\parent.vhdx"));
    assert_eq!(
        locator.absolute_win32_path.as_deref(),
        Some("C:\\disks\\parent.vhdx")
    );
    assert_eq!(
        (&locator.volume_path, locator.parent_linkage2),
        (&None, None)
    );
}

#[test]
fn chains_that_do_not_belong_together_are_refused() {
    let base = create_dynamic(MemoryFile::new(), &options(4 * MIB, 1, 512)).unwrap();
    let child = child_of(&base, 1);
    let grandchild = child_of(&child, 2);
    let changed = base.duplicate();
    let disk = live(from_ref(&changed), 9);
    disk.write_at(0, &[1]).unwrap();
    disk.close().unwrap();
    let cases = [
        ("the parent is missing", vec![&child]),
        ("a parent too many", vec![&base, &base]),
        ("one left out", vec![&grandchild, &base]),
        ("upside down", vec![&base, &child]),
        ("the parent has changed since", vec![&child, &changed]),
        ("itself as parent", vec![&child, &child, &base]),
        ("no file at all", vec![]),
    ];
    for (name, files) in cases {
        let files = files.into_iter().cloned().collect();
        let error = Chain::open(files).expect_err(name);
        assert_eq!(error.kind(), VhdxErrorKind::ParentMismatch, "{name}");
    }
    let files = vec![base.clone(); 65];
    assert_eq!(
        Chain::open(files).unwrap_err().kind(),
        VhdxErrorKind::OutOfRange
    );
    let stranger = Vhdx::open(child).unwrap();
    let error = live(&[changed], 10).merge_child(&stranger).unwrap_err();
    assert_eq!(error.kind(), VhdxErrorKind::ParentMismatch);
}

#[test]
fn guids_change_with_the_first_write_and_not_before() {
    let file = create_dynamic(MemoryFile::new(), &options(4 * MIB, 1, 512)).unwrap();
    let disk = live(from_ref(&file), 5);
    disk.read_at(0, &mut [0; 10]).unwrap();
    disk.close().unwrap();
    let metadata = Vhdx::open(file.clone()).unwrap().metadata().clone();
    assert_eq!(
        (metadata.file_write_guid, metadata.data_write_guid),
        (guid(2), guid(3))
    );
    let disk = live(from_ref(&file), 5);
    disk.write_at(0, &[1]).unwrap();
    // Seen before anything was flushed: a child of the former state must not fit.
    let metadata = Vhdx::open(file.duplicate()).unwrap().metadata().clone();
    assert_eq!(
        (metadata.file_write_guid, metadata.data_write_guid),
        (guid(1005), guid(2005))
    );
    disk.close().unwrap();
}

#[test]
fn a_merge_cut_short_can_be_done_again() {
    let base = create_dynamic(MemoryFile::new(), &options(4 * MIB, 1, 512)).unwrap();
    let disk = live(from_ref(&base), 1);
    disk.write_at(0, &Draw::new(1).bytes(3 << 20)).unwrap();
    disk.close().unwrap();
    let child = child_of(&base, 2);
    let disk = live(&[child.clone(), base.clone()], 2);
    disk.write_at(700_000, &Draw::new(2).bytes(2 << 20))
        .unwrap();
    disk.close().unwrap();
    let wanted = content_of(&[child.clone(), base.clone()]);

    let child_disk = || Vhdx::open(child.clone()).unwrap();
    let mut whole = 0;
    for writes in 0..30 {
        let half = FailsAfter::new(base.duplicate(), writes);
        let merged = LiveDisk::open(half.clone(), Vec::new(), guids(3))
            .unwrap()
            .merge_child(&child_disk());
        let half = half.file;
        let guid = |file: &MemoryFile| {
            let disk = Vhdx::open(file.clone()).unwrap();
            disk.metadata().data_write_guid
        };
        let took_the_place = guid(&half) == guid(&child);
        assert!(took_the_place || merged.is_err(), "after {writes} writes");
        whole += u32::from(merged.is_ok());
        if !took_the_place {
            assert_same(&content_of(&[child.clone(), half.clone()]), &wanted);
        }
        let disk = live(from_ref(&half), 4);
        disk.merge_child(&child_disk()).unwrap();
        disk.close().unwrap();
        assert_same(&content_of(from_ref(&half)), &wanted);
    }
    assert!(
        (1..29).contains(&whole),
        "some were cut short and some were not"
    );
}

#[test]
fn a_disk_grows_past_its_tables_room_and_stays_what_it_was() {
    for (is_fixed, sector) in [(false, 512), (false, 4096), (true, 512)] {
        let old = options(3 * MIB + 4096, 1, sector);
        let file = match is_fixed {
            true => create_fixed(MemoryFile::new(), &old).unwrap(),
            false => create_dynamic(MemoryFile::new(), &old).unwrap(),
        };
        let data = Draw::new(3).bytes(old.virtual_size_bytes as usize);
        let disk = live(from_ref(&file), 1);
        disk.write_at(0, &data).unwrap();
        // More than 131,072 entries: the table of 1 MiB must move.
        let size = 200_000 * MIB;
        assert_eq!(
            disk.resize(MIB).unwrap_err().kind(),
            VhdxErrorKind::Unsupported
        );
        assert_eq!(
            disk.resize(u64::MAX).unwrap_err().kind(),
            VhdxErrorKind::OutOfRange
        );
        disk.resize(size).unwrap();
        disk.write_at(size - 5, b"at it").unwrap();
        disk.close().unwrap();
        let chain = Chain::open(vec![file.clone()]).unwrap();
        assert_eq!(chain.size_bytes(), size);
        let mut seen = vec![0; data.len() + 1];
        chain.read_at(0, &mut seen).unwrap();
        assert_same(&seen[..data.len()], &data);
        assert_eq!(seen.last(), Some(&0));
        let mut end = [0; 6];
        chain.read_at(size - 6, &mut end).unwrap();
        assert_eq!(&end, b"\0at it");
        let expected = if is_fixed { 1 } else { 2 };
        assert_eq!(chain.allocated_ranges().count(), expected);
        assert!(file.held_bytes() < 16 * MIB);
    }
}

#[test]
fn a_zeroed_block_of_a_child_hides_the_parents() {
    let base = create_dynamic(MemoryFile::new(), &options(4 * MIB, 1, 512)).unwrap();
    let disk = live(from_ref(&base), 1);
    disk.write_at(0, &vec![1; 4 << 20]).unwrap();
    disk.close().unwrap();
    let child = child_of(&base, 2);
    let disk = live(&[child.clone(), base.clone()], 2);
    disk.zero(MIB, MIB).unwrap();
    disk.close().unwrap();
    assert!(child.len().unwrap() < 5 * MIB, "no payload for zeros");
    let ranges: Vec<_> = Chain::open(vec![child, base])
        .unwrap()
        .allocated_ranges()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ranges, [(0, MIB), (2 * MIB, 2 * MIB)]);
}

#[test]
fn ranges_outside_the_disk_are_refused() {
    let file = create_dynamic(MemoryFile::new(), &options(4 * MIB, 1, 512)).unwrap();
    let disk = live(&[file], 1);
    for offset in [4 * MIB - 3, 4 * MIB, u64::MAX - 1] {
        let kinds = [
            disk.write_at(offset, &[1; 4]).unwrap_err().kind(),
            disk.read_at(offset, &mut [1; 4]).unwrap_err().kind(),
            disk.zero(offset, 4).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [VhdxErrorKind::OutOfRange; 3]);
    }
}

/// A file whose writes fail after a number of them.
#[derive(Debug, Clone)]
struct FailsAfter {
    file: MemoryFile,
    left: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

impl FailsAfter {
    fn new(file: MemoryFile, writes: i64) -> Self {
        let left = std::sync::Arc::new(writes.into());
        Self { file, left }
    }

    fn spend(&self) -> std::io::Result<()> {
        match self.left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            ..=0 => Err(std::io::Error::other("no more writes")),
            _ => Ok(()),
        }
    }
}

impl ReadAt for FailsAfter {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(offset, buf)
    }

    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
}

impl vhdx::WriteAt for FailsAfter {
    fn write_all_at(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.spend()?;
        self.file.write_all_at(offset, data)
    }

    fn set_len(&self, len_bytes: u64) -> std::io::Result<()> {
        self.spend()?;
        self.file.set_len(len_bytes)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.file.sync()
    }
}
