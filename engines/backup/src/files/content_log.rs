//! Which contents a run wrote or deduplicated, in a temporary file.
//!
//! Before a point is published every one of them is looked up again (DESIGN section 3, reuse
//! rule). A million files take 17 MB here and no memory.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Mutex;

use kopia::content_id::{ContentId, KEY_BYTES_MAX};
use repo::Repository;
use time_and_chance::StopSignal;

use crate::error::{BackupError, BackupErrorKind, repo_error, stopped};

const DOING: &str = "keep the list of written contents in a temporary file";
/// So many are looked up in the order of their ids, which is the order of an index.
const LOOKED_UP_AT_ONCE: usize = 1 << 16;

/// Appends ids; looks all of them up.
#[derive(Debug)]
pub(super) struct ContentLog {
    file: Mutex<BufWriter<File>>,
}

impl ContentLog {
    /// Returns an empty log.
    pub fn new() -> Result<Self, BackupError> {
        let file = tempfile::tempfile().map_err(log_error)?;
        Ok(Self {
            file: Mutex::new(BufWriter::with_capacity(64 << 10, file)),
        })
    }

    /// Appends ids and empties the vector.
    pub fn append(&self, ids: &mut Vec<ContentId>) -> Result<(), BackupError> {
        let mut file = self.file.lock().expect("no thread panics while it appends");
        for id in ids.drain(..) {
            let (key, key_bytes) = id.key_bytes();
            file.write_all(&[key_bytes as u8]).map_err(log_error)?;
            file.write_all(&key[..key_bytes]).map_err(log_error)?;
        }
        Ok(())
    }

    /// Returns whether any of them is not live in the index as it was last read.
    pub fn is_any_missing(
        &self,
        repo: &Repository,
        stop: &StopSignal,
    ) -> Result<bool, BackupError> {
        let mut out = self.file.lock().expect("no thread panics while it appends");
        out.flush().map_err(log_error)?;
        let mut file = out.get_ref();
        file.seek(SeekFrom::Start(0)).map_err(log_error)?;
        let mut input = BufReader::with_capacity(64 << 10, file);
        let mut ids = Vec::new();
        loop {
            ids.clear();
            while ids.len() < LOOKED_UP_AT_ONCE
                && let Some(id) = next_id(&mut input)?
            {
                ids.push(id);
            }
            if ids.is_empty() {
                break;
            }
            stop.check().map_err(stopped)?;
            ids.sort_unstable();
            ids.dedup();
            for id in &ids {
                let is_live = repo.is_live(id).map_err(repo_error("look up a content"))?;
                if !is_live {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Returns the next id, or `None` at the end.
fn next_id(input: &mut impl Read) -> Result<Option<ContentId>, BackupError> {
    let mut length = [0; 1];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(log_error)?,
    }
    let mut key = [0; KEY_BYTES_MAX];
    let key = key
        .get_mut(..usize::from(length[0]))
        .ok_or_else(|| BackupError::new(BackupErrorKind::State, DOING))?;
    input.read_exact(key).map_err(log_error)?;
    ContentId::from_key_bytes(key)
        .map(Some)
        .map_err(|error| BackupError::new(BackupErrorKind::State, DOING).caused_by(error))
}

fn log_error(error: std::io::Error) -> BackupError {
    BackupError::new(BackupErrorKind::State, DOING).caused_by(error)
}
