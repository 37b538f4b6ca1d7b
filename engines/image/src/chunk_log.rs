//! Which contents a run wrote or deduplicated, slot by slot, in a temporary file.
//!
//! Before a point is published every one of them is looked up again (DESIGN section 3, reuse
//! rule). A terabyte takes 70 MB here and no memory.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Mutex;

use kopia::content_id::ContentId;

use crate::error::{ImageError, ImageErrorKind, local_error};

const DOING: &str = "keep the list of written contents in a temporary file";

/// The place of all notes, later ones too.
pub(crate) const EVERYWHERE: Range<u64> = 0..u64::MAX;

/// What a slot needs, and where in the log that stands.
#[derive(Debug)]
pub(crate) struct Note<'a> {
    pub(crate) place: Range<u64>,
    pub(crate) slot: u64,
    pub(crate) contents: &'a [ContentId],
}

type TakesNote<'a> = &'a mut dyn FnMut(&Note<'_>) -> Result<(), ImageError>;

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
        self.for_each_in(&[EVERYWHERE], each).map(|_| ())
    }

    /// Hands the notes in `places` to `each`, which begin and end where notes do or reach past
    /// the log's end; returns that end. Whoever appends meanwhile waits.
    pub(crate) fn for_each_in(
        &self,
        places: &[Range<u64>],
        each: TakesNote<'_>,
    ) -> Result<u64, ImageError> {
        let mut out = self.file.lock().expect("no thread panics while it appends");
        out.flush().map_err(local_error(DOING))?;
        let mut file = out.get_ref().try_clone().map_err(local_error(DOING))?;
        let end = file.seek(SeekFrom::End(0)).map_err(local_error(DOING))?;
        let walked = places
            .iter()
            .try_for_each(|place| walk(&file, place.start..place.end.min(end), each));
        // A file handle and its clone share their place: the next note goes to the end again.
        out.seek(SeekFrom::End(0)).map_err(local_error(DOING))?;
        walked.map(|()| end)
    }
}

fn walk(mut file: &File, place: Range<u64>, each: TakesNote<'_>) -> Result<(), ImageError> {
    file.seek(SeekFrom::Start(place.start))
        .map_err(local_error(DOING))?;
    let bytes = place.end.saturating_sub(place.start);
    let mut input = BufReader::with_capacity(bytes.min(64 << 10) as usize, file).take(bytes);
    let mut contents = Vec::new();
    let mut at = place.start;
    while at < place.end {
        let start = at;
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
            let id = ContentId::from_key_bytes(&key)
                .map_err(|error| ImageError::new(ImageErrorKind::Local, DOING).caused_by(error))?;
            contents.push(id);
        }
        each(&Note {
            place: start..at,
            slot: u64::from_le_bytes(slot.try_into().expect("8 bytes")),
            contents: &contents,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ContentId {
        ContentId::new(None, kopia::hash::HashOutput::new(&[byte; 16]).unwrap())
    }

    fn notes(log: &ChunkLog, places: &[Range<u64>]) -> (Vec<(u64, Range<u64>)>, u64) {
        let mut notes = Vec::new();
        let end = log
            .for_each_in(places, &mut |note| {
                notes.push((note.slot, note.place.clone()));
                Ok(())
            })
            .unwrap();
        (notes, end)
    }

    fn slots(log: &ChunkLog, places: &[Range<u64>]) -> Vec<u64> {
        notes(log, places)
            .0
            .into_iter()
            .map(|note| note.0)
            .collect()
    }

    #[test]
    fn notes_are_read_again_by_their_places_and_later_ones_from_the_end_on() {
        let log = ChunkLog::new().unwrap();
        log.append(1, &[id(1), id(2)]).unwrap();
        log.append(2, &[id(3)]).unwrap();
        log.append(3, &[]).unwrap();
        let (first, end) = notes(&log, &[EVERYWHERE]);
        log.append(4, &[id(4)]).unwrap();
        let places = [first[1].1.clone(), end..u64::MAX];
        assert_eq!(slots(&log, &places), [2, 4]);
        assert_eq!(slots(&log, &[EVERYWHERE]), [1, 2, 3, 4]);
    }

    #[test]
    fn a_reading_that_fails_leaves_the_log_as_it_was() {
        let log = ChunkLog::new().unwrap();
        for slot in 0..3 {
            log.append(slot, &[id(7)]).unwrap();
        }
        let refuse = || ImageError::new(ImageErrorKind::Local, "stop at the first note");
        log.for_each(&mut |_| Err(refuse())).unwrap_err();
        log.append(3, &[id(8)]).unwrap();
        assert_eq!(slots(&log, &[EVERYWHERE]), [0, 1, 2, 3]);
    }
}
