//! What is in use, as sorted runs on disk: memory holds one run, however much there is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use kopia::content_id::{ContentId, KEY_BYTES_MAX};
use kopia::object_id::ObjectId;
use repo::RepoErrorKind;

use crate::error::{MaintainError, MaintainErrorKind, local_error};

/// So many marks are sorted in memory, 18 to 24 MiB of them.
const RUN_MARKS: usize = 1 << 19;
/// No mark is longer than this.
const MARK_BYTES_MAX: usize = KEY_BYTES_MAX + 8;
const DOING: &str = "keep what is in use in the cache folder";

/// Something that can be written down in few bytes.
pub(crate) trait Mark: Copy + Ord {
    /// Writes it down; less than 256 bytes.
    fn write(&self, bytes: &mut Vec<u8>);
    /// Reads what was written down, or says what is wrong.
    fn read(bytes: &[u8]) -> Result<Self, String>;
}

impl Mark for ContentId {
    fn write(&self, bytes: &mut Vec<u8>) {
        let (key, key_bytes) = self.key_bytes();
        bytes.extend_from_slice(&key[..key_bytes]);
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        Self::from_key_bytes(bytes).map_err(|error| error.to_string())
    }
}

/// Something that names others: it is opened once, whoever leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Opened {
    /// The list of an object.
    List(ObjectId),
    /// A folder.
    Directory(ObjectId),
}

impl Mark for Opened {
    fn write(&self, bytes: &mut Vec<u8>) {
        let (kind, object) = match self {
            Self::List(object) => (0, object),
            Self::Directory(object) => (1, object),
        };
        bytes.extend_from_slice(&[kind, u8::from(object.compressed)]);
        bytes.extend_from_slice(&object.indirection.to_be_bytes());
        object.content.write(bytes);
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let (head, content) = bytes.split_first_chunk::<6>().ok_or("it is too short")?;
        let [kind, compressed, indirection @ ..] = *head;
        let object = ObjectId {
            indirection: u32::from_be_bytes(indirection),
            compressed: compressed != 0,
            content: ContentId::read(content)?,
        };
        Ok(match kind {
            0 => Self::List(object),
            _ => Self::Directory(object),
        })
    }
}

/// Takes marks in any order.
#[derive(Debug)]
pub(crate) struct Marks<M> {
    folder: PathBuf,
    run_marks: usize,
    newest: Vec<M>,
    runs: Vec<File>,
}

impl<M: Mark> Marks<M> {
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

    /// Marks something.
    pub(crate) fn add(&mut self, mark: M) -> Result<(), MaintainError> {
        self.newest.push(mark);
        match self.newest.len() >= self.run_marks {
            true => self.write_run(),
            false => Ok(()),
        }
    }

    /// Adds the marks of another set.
    pub(crate) fn append(&mut self, mut other: Self) -> Result<(), MaintainError> {
        self.runs.append(&mut other.runs);
        other.newest.into_iter().try_for_each(|mark| self.add(mark))
    }

    fn write_run(&mut self) -> Result<(), MaintainError> {
        self.newest.sort_unstable();
        self.newest.dedup();
        let file = tempfile::tempfile_in(&self.folder).map_err(local_error(DOING))?;
        let mut writer = BufWriter::new(file);
        let mut bytes = Vec::new();
        for mark in self.newest.drain(..) {
            bytes.clear();
            bytes.push(0);
            mark.write(&mut bytes);
            bytes[0] = u8::try_from(bytes.len() - 1).expect("a mark has less than 256 bytes");
            writer.write_all(&bytes).map_err(local_error(DOING))?;
        }
        let file = writer
            .into_inner()
            .map_err(|error| local_error(DOING)(error.into_error()))?;
        self.runs.push(file);
        Ok(())
    }

    /// Returns all marks, each once, in order.
    pub(crate) fn sorted(&mut self) -> Result<SortedMarks<M>, MaintainError> {
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
            let mut run = Run::new(file);
            if let Some(mark) = run.next()? {
                sorted.heads.push(Reverse((mark, sorted.runs.len())));
            }
            sorted.runs.push(run);
        }
        Ok(sorted)
    }
}

/// All marks in order.
#[derive(Debug)]
pub(crate) struct SortedMarks<M> {
    runs: Vec<Run<M>>,
    heads: BinaryHeap<Reverse<(M, usize)>>,
}

impl<M: Mark> SortedMarks<M> {
    /// Returns the next mark without going on.
    pub(crate) fn peek(&self) -> Option<M> {
        self.heads.peek().map(|Reverse((mark, _))| *mark)
    }

    /// Goes on behind the next mark.
    pub(crate) fn pass(&mut self) -> Result<(), MaintainError> {
        let Some(passed) = self.peek() else {
            return Ok(());
        };
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((mark, place)) = *head;
            if mark != passed {
                break;
            }
            match self.runs[place].next()? {
                Some(next) => *head = Reverse((next, place)),
                None => drop(PeekMut::pop(head)),
            }
        }
        Ok(())
    }

    /// Passes every mark below `wanted`, each counted in `below`, and `wanted` itself; returns
    /// whether it is there.
    pub(crate) fn pass_to(&mut self, wanted: M, below: &mut u64) -> Result<bool, MaintainError> {
        while self.peek().is_some_and(|mark| mark < wanted) {
            *below += 1;
            self.pass()?;
        }
        let found = self.peek() == Some(wanted);
        if found {
            self.pass()?;
        }
        Ok(found)
    }
}

#[derive(Debug)]
struct Run<M> {
    file: BufReader<File>,
    marks: PhantomData<M>,
}

impl<M: Mark> Run<M> {
    fn new(file: File) -> Self {
        Self {
            file: BufReader::new(file),
            marks: PhantomData,
        }
    }

    fn next(&mut self) -> Result<Option<M>, MaintainError> {
        let mut length = [0];
        match self.file.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(local_error(DOING)(error)),
        }
        let mut bytes = [0; MARK_BYTES_MAX];
        let damaged = |what: &str| {
            let kind = MaintainErrorKind::Repo(RepoErrorKind::Local);
            MaintainError::new(kind, format!("{DOING}: {what}"))
        };
        let bytes = bytes.get_mut(..usize::from(length[0]));
        let bytes = bytes.ok_or_else(|| damaged("a mark is too long"))?;
        self.file.read_exact(bytes).map_err(local_error(DOING))?;
        M::read(bytes).map(Some).map_err(|what| damaged(&what))
    }
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
