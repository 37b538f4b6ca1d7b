//! Directory trees: written from the leaves up, read from the root down.

use std::collections::BTreeMap;
use std::sync::Arc;

use kopia::content_id::{ContentId, prefix};
use kopia::directory::{Directory, DirectoryEntry, DirectorySummary, EntryType};
use kopia::object_id::ObjectId;
use repo::{Encoder, RepoError, RepoErrorKind, Repository, Writer};
use time_and_chance::Timestamp;

/// A directory object is cut into pieces of this length.
const PIECE_BYTES: usize = 4 << 20;
/// A directory of millions of files has a few hundred MiB.
const DIRECTORY_BYTES_MAX: u64 = 1 << 30;
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// Writes files and folders with one time for all of them.
#[derive(Debug)]
pub struct TreeWriter<'a> {
    writer: &'a Writer,
    encoder: Encoder,
    time: Timestamp,
    contents: Vec<ContentId>,
}

impl<'a> TreeWriter<'a> {
    /// Returns a writer whose entries all carry `time`.
    pub fn new(writer: &'a Writer, time: Timestamp) -> Self {
        Self {
            writer,
            encoder: Encoder::metadata(),
            time,
            contents: Vec::new(),
        }
    }

    /// Stores a small file.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<DirectoryEntry, RepoError> {
        let object = self
            .writer
            .write_object(&mut self.encoder, None, bytes, PIECE_BYTES)?;
        self.note(object, bytes, None);
        Ok(self.entry(
            name,
            EntryType::File,
            FILE_MODE,
            bytes.len() as u64,
            object,
            None,
        ))
    }

    /// Names an object that was stored elsewhere as a file.
    pub fn stored_file(&self, name: &str, object: ObjectId, bytes: u64) -> DirectoryEntry {
        self.entry(name, EntryType::File, FILE_MODE, bytes, object, None)
    }

    /// Stores a folder.
    pub fn folder(
        &mut self,
        name: &str,
        entries: Vec<DirectoryEntry>,
    ) -> Result<DirectoryEntry, RepoError> {
        let summary = DirectorySummary::of(&entries, self.time);
        let bytes = Directory {
            entries,
            summary: Some(summary.clone()),
        }
        .encode()
        .map_err(|error| {
            RepoError::new(RepoErrorKind::Invalid, format!("store folder {name}")).caused_by(error)
        })?;
        let object = self.writer.write_object(
            &mut self.encoder,
            Some(prefix::DIRECTORY),
            &bytes,
            PIECE_BYTES,
        )?;
        self.note(object, &bytes, Some(prefix::DIRECTORY));
        Ok(self.entry(
            name,
            EntryType::Directory,
            FOLDER_MODE,
            0,
            object,
            Some(summary),
        ))
    }

    /// Returns the contents of everything stored here: to be looked up again before publishing.
    pub fn into_contents(self) -> Vec<ContentId> {
        self.contents
    }

    fn note(&mut self, object: ObjectId, bytes: &[u8], prefix: Option<u8>) {
        self.contents.push(object.content);
        if object.indirection > 0 {
            let repo = self.writer.repository();
            self.contents.extend(
                bytes
                    .chunks(PIECE_BYTES)
                    .map(|piece| repo.content_id(prefix, piece)),
            );
        }
    }

    fn entry(
        &self,
        name: &str,
        entry_type: EntryType,
        mode: u32,
        size: u64,
        object: ObjectId,
        summary: Option<DirectorySummary>,
    ) -> DirectoryEntry {
        DirectoryEntry {
            name: name.to_owned(),
            entry_type,
            mode,
            size,
            mtime: self.time,
            uid: 0,
            gid: 0,
            object,
            summary,
            other: BTreeMap::new(),
        }
    }
}

/// Reads a directory object.
pub fn read_directory(repo: &Arc<Repository>, object: &ObjectId) -> Result<Directory, RepoError> {
    let bytes = repo.read_object(object, DIRECTORY_BYTES_MAX)?;
    Directory::parse(&bytes).map_err(|error| {
        RepoError::new(RepoErrorKind::Damaged, format!("read directory {object}")).caused_by(error)
    })
}

/// Finds the entry at `path` (names separated by `/`) below `root`; the empty path is the root.
pub fn find_entry(
    repo: &Arc<Repository>,
    root: &DirectoryEntry,
    path: &str,
) -> Result<DirectoryEntry, RepoError> {
    let mut entry = root.clone();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let not_found = || {
            RepoError::new(
                RepoErrorKind::NotFound,
                format!("find {path} in the snapshot: there is no {name}"),
            )
        };
        if entry.entry_type != EntryType::Directory {
            return Err(not_found());
        }
        let directory = read_directory(repo, &entry.object)?;
        entry = directory
            .entries
            .into_iter()
            .find(|entry| entry.name == name)
            .ok_or_else(not_found)?;
    }
    Ok(entry)
}
