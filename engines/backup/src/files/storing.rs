//! Reading a file or link and storing it; storing a folder whose entries are stored.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kopia::compression::CompressionAlgorithm;
use kopia::content_id::prefix;
use kopia::directory::{Directory, DirectoryEntry, DirectorySummary, EntryType};
use kopia::object_id::ObjectId;
use kopia::snapshot::INCOMPLETE_CHECKPOINT;
use kopia::splitter::Splitter;
use repo::{Encoder, ObjectWriter, RepoErrorKind, Segments};
use time_and_chance::Timestamp;

use super::big_file::BigFile;
use super::file_reader::{FileReader, Piece, end_of, tick_of};
use super::folder_policy::FolderPolicy;
use super::node::{FileJob, Node, Role, Whole};
use super::os::{self, Facts, FolderHandle, Kind, OpenFile};
use super::tally::add;
use super::walk::{Hand, Walk};
use crate::error::{BackupError, BackupErrorKind, repo_error, stopped};

/// Zeros that stand for holes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Progress of a long file is told this often.
const TELL_BYTES: u64 = 16 << 20;

/// Why a file was not stored.
enum Trouble {
    /// It could not be read; others can.
    Source(io::Error),
    /// Nothing can be stored any more.
    Fatal(BackupError),
}

impl From<BackupError> for Trouble {
    fn from(error: BackupError) -> Self {
        Self::Fatal(error)
    }
}

impl Hand<'_, '_> {
    /// Stores a file or link.
    pub fn store(&mut self, job: FileJob) -> Result<(), BackupError> {
        if self.walk.is_estimate {
            return self.estimate(&job);
        }
        if job.facts.kind == Kind::Symlink {
            return self.store_link(job);
        }
        if let Some(object) = self.walk.links.find(&job.facts) {
            let bytes = job.facts.bytes;
            self.dealt_bytes += bytes;
            return self.add_file(&job, &job.facts, object, bytes);
        }
        let open = match folder_of(&job).and_then(|folder| folder.open_file(disk_name(&job))) {
            Ok(open) if open.facts.kind == Kind::File => open,
            Ok(_) => {
                let reason = "it was replaced by something that is no file while the backup ran";
                return self.fail_file(&job, &io::Error::other(reason));
            }
            Err(error) => return self.fail_file(&job, &error),
        };
        self.wait_for_next_tick(open.facts.mtime)?;
        let end = end_of(&open.facts, self.walk.options.growth_bytes_max);
        let policy = self.walk.policy_of(&job.parent, &job.name);
        if let Some((parts, part_bytes)) = policy.parts(open.facts.bytes) {
            let file = Arc::new(BigFile::new(job, open, end, parts, part_bytes));
            self.walk.note_open_file(&file);
            self.walk
                .queue
                .add(|waiting| waiting.add_parts(&file, parts));
            return Ok(());
        }
        match self.store_range(&job.name, &open, 0..end, &policy) {
            Ok(segments) => self.finish_file(&job, &open, segments),
            Err(Trouble::Source(error)) => self.fail_file(&job, &error),
            Err(Trouble::Fatal(error)) => Err(error),
        }
    }

    /// Waits until a file that is written again gets another time than it has. Whoever reads it
    /// earlier may miss a change that no later run sees, for its time stays the same.
    fn wait_for_next_tick(&self, mtime: Timestamp) -> Result<(), BackupError> {
        let clock = self.walk.repo().clock();
        let age = clock.now().duration_since(mtime);
        let tick = tick_of(mtime);
        match Duration::try_from(age) {
            Ok(age) if age < tick => clock
                .sleep(tick - age, &self.walk.progress.stop)
                .map_err(stopped),
            // A time in the future is none that the file system's clock gave.
            _ => Ok(()),
        }
    }

    /// Counts a file or link that would be read.
    fn estimate(&mut self, job: &FileJob) -> Result<(), BackupError> {
        let tally = &self.walk.tally;
        if job.facts.kind == Kind::Symlink {
            add(&tally.symlinks, 1);
        } else {
            add(&tally.files, 1);
            add(&tally.bytes, job.facts.bytes);
            add(&tally.read_files, 1);
            add(&tally.read_bytes, job.facts.bytes);
        }
        self.one_done(Arc::clone(&job.parent))
    }

    /// Stores a part of a long file, and the file with its last part.
    pub fn store_part(&mut self, file: &BigFile, part: u64) -> Result<(), BackupError> {
        let job = &file.job;
        if file.has_failed() {
            return self.part_done(file, part, None);
        }
        let policy = self.walk.policy_of(&job.parent, &job.name);
        let (stored, error) =
            match self.store_range(&job.name, &file.open, file.place(part), &policy) {
                Ok(segments) => (Some(segments), None),
                Err(Trouble::Source(error)) => (None, Some(error)),
                Err(Trouble::Fatal(error)) => return Err(error),
            };
        if let Some(error) = error
            && file.fail()
        {
            self.note_failure(job, &error)?;
        }
        self.part_done(file, part, stored)
    }

    fn part_done(
        &mut self,
        file: &BigFile,
        part: u64,
        stored: Option<Segments>,
    ) -> Result<(), BackupError> {
        if !file.part_done(part, stored) {
            return Ok(());
        }
        match file.whole() {
            Some(segments) => self.finish_file(&file.job, &file.open, segments),
            None => self.one_done(Arc::clone(&file.job.parent)),
        }
    }

    /// Reads a range of a file, or what there is of it, and stores its contents.
    fn store_range(
        &mut self,
        name: &str,
        open: &OpenFile,
        range: Range<u64>,
        policy: &FolderPolicy,
    ) -> Result<Segments, Trouble> {
        let of_policy = || policy.compression_of(name, open.facts.bytes);
        let compression = self.walk.options.compression.unwrap_or_else(of_policy);
        let doing = || repo_error("store a file's content");
        let Self {
            walk,
            encoders,
            read,
            segment,
            ..
        } = self;
        let encoder = encoder(encoders, compression);
        let mut object =
            ObjectWriter::begin(walk.writer, encoder, None, policy.splitter(), segment);
        let mut reader = FileReader::new(open, range, read);
        let (mut untold, mut told) = (0, 0);
        loop {
            walk.progress.stop.check().map_err(stopped)?;
            match reader.next().map_err(Trouble::Source)? {
                Piece::End => break,
                Piece::Data(bytes) => {
                    if is_zeros(bytes) {
                        write_zeros(&mut object, walk, policy, bytes.len() as u64)?;
                    } else {
                        object.write(bytes).map_err(doing())?;
                    }
                    add(&walk.tally.read_bytes, bytes.len() as u64);
                    untold += bytes.len() as u64;
                }
                Piece::Hole(bytes) => {
                    write_zeros(&mut object, walk, policy, bytes)?;
                    untold += bytes;
                }
            }
            if untold >= TELL_BYTES {
                walk.progress.disk_advances(0, untold, 0);
                told += untold;
                untold = 0;
            }
        }
        let segments = object.finish().map_err(doing())?;
        self.dealt_bytes += segments.bytes - told;
        self.packed_bytes += segments.packed_bytes;
        self.contents.extend(segments.contents());
        Ok(segments)
    }

    fn finish_file(
        &mut self,
        job: &FileJob,
        open: &OpenFile,
        segments: Segments,
    ) -> Result<(), BackupError> {
        let facts = &open.facts;
        let is_as_it_was = open
            .facts_now()
            .is_ok_and(|now| (now.bytes, now.mtime) == (facts.bytes, facts.mtime));
        if !is_as_it_was || segments.bytes != facts.bytes {
            self.walk.tally.warn(format!(
                "{} changed while it was read; the snapshot may hold parts of several states",
                job.parent.path_of(&job.name)
            ));
        }
        let object = self.store_list(&job.parent, &segments)?;
        if is_as_it_was {
            self.walk.links.remember(facts, object);
        }
        add(&self.walk.tally.read_files, 1);
        self.add_file(job, facts, object, segments.bytes)
    }

    fn add_file(
        &mut self,
        job: &FileJob,
        facts: &Facts,
        object: ObjectId,
        bytes: u64,
    ) -> Result<(), BackupError> {
        let mut entry = entry_of(&job.name, EntryType::File, facts, object, bytes);
        if job.parent.role == Role::AboveRoot {
            entry.summary = Some(DirectorySummary {
                size: bytes,
                files: 1,
                max_time: entry.mtime,
                ..DirectorySummary::default()
            });
        }
        add(&self.walk.tally.files, 1);
        add(&self.walk.tally.bytes, bytes);
        job.parent.add(entry, false);
        self.one_done(Arc::clone(&job.parent))
    }

    fn store_link(&mut self, job: FileJob) -> Result<(), BackupError> {
        let target = folder_of(&job).and_then(|folder| folder.read_link(disk_name(&job)));
        let target = match target {
            Ok(target) => target,
            Err(error) => return self.fail_file(&job, &error),
        };
        let splitter = self.walk.list_splitter.clone();
        let object = self.store_bytes(None, None, &target, &splitter)?;
        let bytes = target.len() as u64;
        let entry = entry_of(&job.name, EntryType::Symlink, &job.facts, object, bytes);
        add(&self.walk.tally.symlinks, 1);
        job.parent.add(entry, false);
        self.one_done(job.parent)
    }

    /// Stores a folder and returns its entry.
    pub fn store_folder(&mut self, node: &Node) -> Result<DirectoryEntry, BackupError> {
        match node.whole(|object| self.may_reuse(object))? {
            Whole::Same(object, summary) => Ok(node.entry(object, summary)),
            Whole::New(directory) => self.store_directory(node, directory),
        }
    }

    /// Stores what there is of a folder so far.
    pub fn store_partial_folder(
        &mut self,
        node: &Node,
        entries: Vec<DirectoryEntry>,
    ) -> Result<DirectoryEntry, BackupError> {
        let mut summary = DirectorySummary::of(&entries, node.mtime);
        INCOMPLETE_CHECKPOINT.clone_into(&mut summary.incomplete);
        let summary = Some(summary);
        self.store_directory(node, Directory { entries, summary })
    }

    /// Stores what there is of a long file so far, under a name that is no other file's.
    pub fn store_partial_file(
        &mut self,
        file: &BigFile,
    ) -> Result<Option<DirectoryEntry>, BackupError> {
        let Some(segments) = file.so_far() else {
            return Ok(None);
        };
        let bytes = segments.bytes;
        let object = self.store_list(&file.job.parent, &segments)?;
        let name = format!(".checkpointed.{}.{object}", file.job.name);
        let facts = &file.open.facts;
        let entry = entry_of(&name, EntryType::File, facts, object, bytes);
        Ok(Some(entry))
    }

    fn store_directory(
        &mut self,
        node: &Node,
        directory: Directory,
    ) -> Result<DirectoryEntry, BackupError> {
        let json = directory.encode().map_err(|error| {
            let doing = format!("store the folder {}", node.path_of(""));
            BackupError::new(BackupErrorKind::Repo(RepoErrorKind::Invalid), doing).caused_by(error)
        })?;
        let algorithm = node.policy.metadata_compression;
        let splitter = self.walk.list_splitter.clone();
        let object = self.store_bytes(Some(prefix::DIRECTORY), algorithm, &json, &splitter)?;
        Ok(node.entry(object, directory.summary.unwrap_or_default()))
    }

    /// Makes one object of the contents of a file.
    fn store_list(&mut self, parent: &Node, segments: &Segments) -> Result<ObjectId, BackupError> {
        let algorithm = parent.policy.metadata_compression;
        let encoder = encoder(&mut self.encoders, algorithm);
        let splitter = &self.walk.list_splitter;
        let written = self
            .walk
            .writer
            .write_segments(encoder, None, segments, splitter)
            .map_err(repo_error("store a file's list of contents"))?;
        self.packed_bytes += written.packed_bytes;
        self.contents.extend(written.lists);
        Ok(written.object)
    }

    fn store_bytes(
        &mut self,
        prefix: Option<u8>,
        compression: Option<CompressionAlgorithm>,
        bytes: &[u8],
        splitter: &Splitter,
    ) -> Result<ObjectId, BackupError> {
        let doing = || repo_error("store a folder or link");
        let writer = self.walk.writer;
        let encoder = encoder(&mut self.encoders, compression);
        let mut object =
            ObjectWriter::begin(writer, encoder, prefix, splitter.clone(), &mut self.segment);
        object.write(bytes).map_err(doing())?;
        let segments = object.finish().map_err(doing())?;
        let written = writer
            .write_segments(encoder, prefix, &segments, splitter)
            .map_err(doing())?;
        self.packed_bytes += segments.packed_bytes + written.packed_bytes;
        self.contents.extend(segments.contents());
        self.contents.extend(written.lists);
        Ok(written.object)
    }

    /// Notes that a file or link cannot be read, and that it is dealt with.
    fn fail_file(&mut self, job: &FileJob, error: &io::Error) -> Result<(), BackupError> {
        self.note_failure(job, error)?;
        self.one_done(Arc::clone(&job.parent))
    }

    fn note_failure(&self, job: &FileJob, error: &io::Error) -> Result<(), BackupError> {
        if error.kind() == io::ErrorKind::NotFound {
            self.walk.vanished(&job.parent, &job.name);
            return Ok(());
        }
        let is_ignored = job.parent.policy.ignores_file_errors();
        let reason = os::reason(error);
        self.walk.fail(&job.parent, &job.name, reason, is_ignored)
    }
}

fn is_zeros(bytes: &[u8]) -> bool {
    let mut pieces = bytes.chunks(ZEROS.len());
    pieces.all(|piece| *piece == ZEROS[..piece.len()])
}

/// Takes in zeros: whole segments of them are known without being hashed.
fn write_zeros(
    object: &mut ObjectWriter<'_>,
    walk: &Walk<'_>,
    policy: &FolderPolicy,
    mut bytes: u64,
) -> Result<(), BackupError> {
    let doing = || repo_error("store a hole of a file");
    while bytes > 0 {
        if object.is_between_segments() && bytes >= policy.zero_bytes() {
            let zeros = policy.zero_segment(walk.writer).map_err(doing())?;
            while bytes >= zeros.bytes {
                object.take_over(zeros.content, zeros.bytes);
                bytes -= zeros.bytes;
            }
            continue;
        }
        let turn = bytes.min(ZEROS.len() as u64);
        object.write(&ZEROS[..turn as usize]).map_err(doing())?;
        bytes -= turn;
    }
    Ok(())
}

fn encoder(
    encoders: &mut Vec<(Option<CompressionAlgorithm>, Encoder)>,
    algorithm: Option<CompressionAlgorithm>,
) -> &mut Encoder {
    let place = encoders.iter().position(|(of, _)| *of == algorithm);
    let place = place.unwrap_or_else(|| {
        encoders.push((algorithm, Encoder::new(algorithm)));
        encoders.len() - 1
    });
    &mut encoders[place].1
}

fn folder_of(job: &FileJob) -> io::Result<&FolderHandle> {
    let folder = job.folder.as_deref().or(job.parent.folder.as_ref());
    folder.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn disk_name(job: &FileJob) -> &std::ffi::OsStr {
    match &job.disk_name {
        Some(name) => name,
        None => job.name.as_ref(),
    }
}

fn entry_of(
    name: &str,
    entry_type: EntryType,
    facts: &Facts,
    object: ObjectId,
    bytes: u64,
) -> DirectoryEntry {
    DirectoryEntry {
        name: name.to_owned(),
        entry_type,
        mode: facts.mode,
        size: bytes,
        mtime: facts.mtime,
        uid: facts.uid,
        gid: facts.gid,
        object,
        summary: None,
        other: BTreeMap::new(),
    }
}
