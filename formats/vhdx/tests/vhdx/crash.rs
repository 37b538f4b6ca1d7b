//! Power cuts: of what was not yet made durable, any part may be missing.

use std::io;
use std::slice::from_ref;
use std::sync::{Arc, Mutex};

use vhdx::memory::MemoryFile;
use vhdx::{Chain, LiveDisk, ReadAt, Vhdx, WriteAt, create_dynamic, create_fixed};

use crate::live::{child_of, guids, live};
use crate::sample::{Draw, MIB, assert_same, content, content_of, options};

/// A file behind a cache that forgets, in a power cut, whatever was not synced, in any part.
#[derive(Clone)]
struct Cached {
    seen: MemoryFile,
    durable: MemoryFile,
    pending: Arc<Mutex<Vec<Change>>>,
}

enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Cached {
    fn new(file: &MemoryFile) -> Self {
        Self {
            seen: file.duplicate(),
            durable: file.duplicate(),
            pending: Arc::default(),
        }
    }

    fn apply(file: &MemoryFile, change: &Change) {
        match change {
            Change::Write(offset, data) => file.write_all_at(*offset, data).unwrap(),
            Change::Length(len) => file.set_len(*len).unwrap(),
        }
    }

    /// Returns what is left after a power cut.
    fn after_power_cut(&self, draw: &mut Draw) -> MemoryFile {
        let file = self.durable.duplicate();
        for change in self.pending.lock().unwrap().iter() {
            if draw.below(2) == 0 {
                Self::apply(&file, change);
            }
        }
        file
    }

    fn note(&self, change: Change) {
        Self::apply(&self.seen, &change);
        self.pending.lock().unwrap().push(change);
    }
}

impl ReadAt for Cached {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.seen.read_exact_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        self.seen.len()
    }
}

impl WriteAt for Cached {
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Change::Write(offset, data.to_vec()));
        Ok(())
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.note(Change::Length(len_bytes));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        for change in self.pending.lock().unwrap().drain(..) {
            Self::apply(&self.durable, &change);
        }
        Ok(())
    }
}

/// Writes at random and cuts the power after each step: what was flushed and not touched since is
/// there, and the file is sound.
fn survives_power_cuts(file: &MemoryFile, parents: &[MemoryFile], seed: u64) {
    let mut draw = Draw::new(seed);
    let cached = Cached::new(file);
    let parent_files = parents.iter().map(Cached::new).collect();
    let disk = LiveDisk::open(cached.clone(), parent_files, guids(50)).unwrap();
    let mut files = vec![file.clone()];
    files.extend_from_slice(parents);
    let mut flushed = content_of(&files);
    let mut touched = vec![false; flushed.len()];
    for _ in 0..20 {
        let size = disk.size_bytes();
        let longest = [2 * MIB, 5000, 5000, 5000][draw.below(4) as usize];
        let len = 1 + draw.below(longest);
        let offset = draw.below(size - len);
        match draw.below(8) {
            0 => {
                disk.flush().unwrap();
                flushed = vec![0; size as usize];
                disk.read_at(0, &mut flushed).unwrap();
                touched = vec![false; flushed.len()];
            }
            1 => disk.zero(offset, len).unwrap(),
            2 => disk
                .resize((size + 4096 * draw.below(200)).min(9 * MIB))
                .unwrap(),
            _ => disk.write_at(offset, &draw.bytes(len as usize)).unwrap(),
        }
        let end = ((offset + len) as usize).min(touched.len());
        touched[(offset as usize).min(end)..end].fill(true);

        files[0] = cached.after_power_cut(&mut draw);
        let left = content_of(&files);
        assert!(left.len() >= flushed.len());
        let lost = (0..flushed.len()).find(|at| !touched[*at] && left[*at] != flushed[*at]);
        assert_eq!(lost, None, "seed {seed}: flushed data is gone here");
    }
}

#[test]
fn what_was_flushed_survives_power_cuts() {
    for seed in 0..6 {
        let options = options(4 * MIB + 8192, 1, if seed % 2 == 0 { 512 } else { 4096 });
        let fixed = create_fixed(MemoryFile::new(), &options).unwrap();
        survives_power_cuts(&fixed, &[], seed);
        let base = create_dynamic(MemoryFile::new(), &options).unwrap();
        survives_power_cuts(&base, &[], seed);
        let disk = live(from_ref(&base), 1);
        disk.write_at(MIB / 2, &Draw::new(seed).bytes(3 << 20))
            .unwrap();
        disk.close().unwrap();
        let child = child_of(&base, 2);
        survives_power_cuts(&child, from_ref(&base), seed);
    }
}

#[test]
fn a_merge_survives_power_cuts() {
    let base = create_dynamic(MemoryFile::new(), &options(3 * MIB, 1, 512)).unwrap();
    let disk = live(from_ref(&base), 1);
    disk.write_at(MIB / 2, &Draw::new(1).bytes(1 << 20))
        .unwrap();
    disk.close().unwrap();
    let child = child_of(&base, 2);
    let disk = live(&[child.clone(), base.clone()], 2);
    disk.write_at(MIB, &Draw::new(2).bytes(1 << 20)).unwrap();
    disk.write_at(100, &[1; 700]).unwrap();
    disk.zero(2 * MIB, MIB).unwrap();
    disk.resize(5 * MIB).unwrap();
    disk.close().unwrap();
    let wanted = content_of(&[child.clone(), base.clone()]);

    let cached = Cached::new(&base);
    let watched = Watched {
        file: cached.clone(),
        after: Arc::default(),
    };
    let disk = LiveDisk::open(watched.clone(), Vec::new(), guids(3)).unwrap();
    disk.merge_child(&Vhdx::open(child.clone()).unwrap())
        .unwrap();
    let cuts = watched.after.lock().unwrap();
    assert!(cuts.len() > 24);
    for cut in cuts.iter() {
        match Chain::open(vec![child.clone(), cut.clone()]) {
            Ok(chain) => assert_same(&content(&chain), &wanted),
            Err(_) => assert_same(&content_of(from_ref(cut)), &wanted),
        }
        let disk = live(from_ref(cut), 4);
        disk.merge_child(&Vhdx::open(child.clone()).unwrap())
            .unwrap();
        disk.close().unwrap();
        assert_same(&content_of(from_ref(cut)), &wanted);
    }
}

/// Keeps what a power cut would leave after each change.
#[derive(Clone)]
struct Watched {
    file: Cached,
    after: Arc<Mutex<Vec<MemoryFile>>>,
}

impl Watched {
    fn keep(&self) {
        let mut after = self.after.lock().unwrap();
        for _ in 0..4 {
            let mut draw = Draw::new(after.len() as u64);
            after.push(self.file.after_power_cut(&mut draw));
        }
    }
}

impl ReadAt for Watched {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl WriteAt for Watched {
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(offset, data)?;
        self.keep();
        Ok(())
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.file.set_len(len_bytes)?;
        self.keep();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
