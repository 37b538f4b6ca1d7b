//! Which contents a run wrote or deduplicated, slot by slot, in a temporary file.
//!
//! Before a point is published every one of them is looked up again (DESIGN section 3, reuse
//! rule). A terabyte takes 70 MB here and no memory.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Mutex;

use kopia::content_id::ContentId;

use crate::error::{ImageError, ImageErrorKind, local_error};

const DOING: &str = "keep the list of written contents in a temporary file";

/// Takes a note: the slot and the contents it needs.
type TakesNote<'a> = &'a mut dyn FnMut(u64, &[ContentId]) -> Result<(), ImageError>;

/// Appends what each slot needs; reads it back in the order of writing.
#[derive(Debug)]
pub(crate) struct ChunkLog {
    file: Mutex<BufWriter<File>>,
}

impl ChunkLog {
    /// Returns an empty log.
    pub(crate) fn new() -> Result<Self, ImageError> {
        let file = tempfile::tempfile().map_err(local_error(DOING))?;
        Ok(Self {
            file: Mutex::new(BufWriter::with_capacity(64 << 10, file)),
        })
    }

    /// Notes that `slot` needs `contents`.
    pub(crate) fn append(&self, slot: u64, contents: &[ContentId]) -> Result<(), ImageError> {
        let mut bytes = Vec::with_capacity(12 + contents.len() * 34);
        bytes.extend_from_slice(&slot.to_le_bytes());
        bytes.extend_from_slice(&(contents.len() as u32).to_le_bytes());
        for id in contents {
            let (key, key_bytes) = id.key_bytes();
            bytes.push(key_bytes as u8);
            bytes.extend_from_slice(&key[..key_bytes]);
        }
        let mut file = self.file.lock().expect("no thread panics while it appends");
        file.write_all(&bytes).map_err(local_error(DOING))
    }

    /// Hands every note to `each`.
    pub(crate) fn for_each(&self, each: TakesNote<'_>) -> Result<(), ImageError> {
        let mut out = self.file.lock().expect("no thread panics while it appends");
        out.flush().map_err(local_error(DOING))?;
        let mut file = out.get_ref().try_clone().map_err(local_error(DOING))?;
        let end = file.seek(SeekFrom::End(0)).map_err(local_error(DOING))?;
        file.seek(SeekFrom::Start(0)).map_err(local_error(DOING))?;
        let mut input = BufReader::with_capacity(64 << 10, file).take(end);
        let mut contents = Vec::new();
        let mut at = 0;
        while at < end {
            let mut head = [0; 12];
            input.read_exact(&mut head).map_err(local_error(DOING))?;
            at += 12;
            let (slot, count) = head.split_at(8);
            let count = u32::from_le_bytes(count.try_into().expect("4 bytes"));
            contents.clear();
            for _ in 0..count {
                let mut len = [0; 1];
                input.read_exact(&mut len).map_err(local_error(DOING))?;
                let mut key = vec![0; usize::from(len[0])];
                input.read_exact(&mut key).map_err(local_error(DOING))?;
                at += 1 + key.len() as u64;
                let id = ContentId::from_key_bytes(&key).map_err(|error| {
                    ImageError::new(ImageErrorKind::Local, DOING).caused_by(error)
                })?;
                contents.push(id);
            }
            each(
                u64::from_le_bytes(slot.try_into().expect("8 bytes")),
                &contents,
            )?;
        }
        // A file handle and its clone share their place: the next note goes to the end again.
        out.seek(SeekFrom::End(0)).map_err(local_error(DOING))?;
        Ok(())
    }
}
