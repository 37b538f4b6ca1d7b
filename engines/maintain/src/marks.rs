//! The contents in use, as sorted runs on disk: memory holds one run, however many there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use kopia::content_id::{ContentId, KEY_BYTES_MAX};

use crate::error::{MaintainError, MaintainErrorKind, local_error};

/// So many marks are sorted in memory, 36 MiB of them.
const RUN_MARKS: usize = 1 << 20;
const DOING: &str = "keep the contents in use in the cache folder";

/// Takes marks in any order.
#[derive(Debug)]
pub(crate) struct Marks {
    folder: PathBuf,
    run_marks: usize,
    newest: Vec<ContentId>,
    runs: Vec<File>,
}

impl Marks {
    /// Returns an empty set that keeps its files in `folder`; they have no names.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::with_runs_of(RUN_MARKS, folder)
    }

    fn with_runs_of(run_marks: usize, folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            run_marks,
            newest: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Marks a content.
    pub(crate) fn add(&mut self, id: ContentId) -> Result<(), MaintainError> {
        self.newest.push(id);
        match self.newest.len() >= self.run_marks {
            true => self.write_run(),
            false => Ok(()),
        }
    }

    fn write_run(&mut self) -> Result<(), MaintainError> {
        self.newest.sort_unstable();
        self.newest.dedup();
        let file = tempfile::tempfile_in(&self.folder).map_err(local_error(DOING))?;
        let mut writer = BufWriter::new(file);
        for id in self.newest.drain(..) {
            let (key, bytes) = id.key_bytes();
            writer
                .write_all(&[bytes as u8])
                .and_then(|()| writer.write_all(&key[..bytes]))
                .map_err(local_error(DOING))?;
        }
        let file = writer
            .into_inner()
            .map_err(|error| local_error(DOING)(error.into_error()))?;
        self.runs.push(file);
        Ok(())
    }

    /// Returns all marks, each once, in order.
    pub(crate) fn sorted(&mut self) -> Result<SortedMarks, MaintainError> {
        if !self.newest.is_empty() {
            self.write_run()?;
        }
        let mut sorted = SortedMarks {
            runs: Vec::new(),
            heads: BinaryHeap::new(),
        };
        for file in &mut self.runs {
            file.rewind().map_err(local_error(DOING))?;
            let file = file.try_clone().map_err(local_error(DOING))?;
            let mut run = BufReader::new(file);
            if let Some(id) = read_mark(&mut run)? {
                sorted.heads.push(Reverse((id, sorted.runs.len())));
            }
            sorted.runs.push(run);
        }
        Ok(sorted)
    }
}

/// All marks in order.
#[derive(Debug)]
pub(crate) struct SortedMarks {
    runs: Vec<BufReader<File>>,
    heads: BinaryHeap<Reverse<(ContentId, usize)>>,
}

impl SortedMarks {
    /// Returns the next mark without going on.
    pub(crate) fn peek(&self) -> Option<ContentId> {
        self.heads.peek().map(|Reverse((id, _))| *id)
    }

    /// Goes on behind the next mark.
    pub(crate) fn pass(&mut self) -> Result<(), MaintainError> {
        let Some(passed) = self.peek() else {
            return Ok(());
        };
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((id, place)) = *head;
            if id != passed {
                break;
            }
            match read_mark(&mut self.runs[place])? {
                Some(next) => *head = Reverse((next, place)),
                None => drop(PeekMut::pop(head)),
            }
        }
        Ok(())
    }
}

fn read_mark(run: &mut BufReader<File>) -> Result<Option<ContentId>, MaintainError> {
    let mut bytes = [0];
    match run.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(local_error(DOING)(error)),
    }
    let mut key = [0; KEY_BYTES_MAX];
    let key = &mut key[..usize::from(bytes[0]).min(KEY_BYTES_MAX)];
    run.read_exact(key).map_err(local_error(DOING))?;
    let id = ContentId::from_key_bytes(key).map_err(|error| {
        let kind = MaintainErrorKind::Repo(repo::RepoErrorKind::Local);
        MaintainError::new(kind, DOING).caused_by(error)
    })?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kopia::hash::HashOutput;
    use time_and_chance::Chance;

    use super::*;

    #[test]
    fn marks_come_out_sorted_and_once_however_they_went_in() {
        let folder = tempfile::tempdir().unwrap();
        for (seed, count) in [(1, 0), (2, 1), (3, 7), (4, 8), (5, 9), (6, 500)] {
            let chance = Chance::from_seed(seed);
            let mut marks = Marks::with_runs_of(8, folder.path());
            let mut model = BTreeSet::new();
            for _ in 0..count {
                let prefix = [None, Some(b'k'), Some(b'x')][chance.below(3) as usize];
                let hash = HashOutput::new(&[chance.below(60) as u8; 16]).unwrap();
                let id = ContentId::new(prefix, hash);
                marks.add(id).unwrap();
                model.insert(id);
            }
            for _ in 0..2 {
                let mut sorted = marks.sorted().unwrap();
                let mut seen = Vec::new();
                while let Some(id) = sorted.peek() {
                    seen.push(id);
                    sorted.pass().unwrap();
                }
                assert_eq!(seen, Vec::from_iter(model.iter().copied()), "seed {seed}");
            }
        }
    }
}
