//! Reading a file piece by piece, and no holes.

use std::io;
use std::ops::Range;
use std::time::Duration;

use time_and_chance::Timestamp;

use super::os::{self, Facts, OpenFile};

/// So much is read at once.
const READ_BYTES: usize = 1 << 20;
/// So much at once of what is behind a file's end as the system told it.
const UNEXPECTED_BYTES: usize = 64 << 10;
/// Systems move the clock that files get their times from at least this often.
const FINE_TICK: Duration = Duration::from_millis(20);
/// File systems that know whole seconds only have this; FAT counts in twos.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Reads a range of a file piece by piece, and no holes.
pub(super) struct FileReader<'f> {
    open: &'f OpenFile,
    at: u64,
    end: u64,
    buffer: &'f mut Vec<u8>,
}

/// What comes next in a file.
pub(super) enum Piece<'b> {
    Data(&'b [u8]),
    Hole(u64),
    End,
}

impl<'f> FileReader<'f> {
    /// Returns what reads a range; `buffer` is room to be used again for the next one.
    pub fn new(open: &'f OpenFile, range: Range<u64>, buffer: &'f mut Vec<u8>) -> Self {
        Self {
            open,
            at: range.start,
            end: range.end,
            buffer,
        }
    }

    /// Returns the next piece.
    pub fn next(&mut self) -> io::Result<Piece<'_>> {
        let mut end = self.end;
        if self.open.facts.has_holes && self.at < self.end.min(self.open.facts.bytes) {
            let file_end = self.end.min(self.open.facts.bytes);
            let data = match os::next_data(&self.open.file, self.at) {
                Some(data) => data,
                // The file may be shorter by now: nothing is no hole.
                None => {
                    let now = self.open.facts_now()?.bytes;
                    now..now
                }
            };
            let data_start = data.start.min(file_end);
            if data_start > self.at {
                let hole = data_start - self.at;
                self.at = data_start;
                return Ok(Piece::Hole(hole));
            }
            end = end.min(data.end);
        }
        let wanted = end.saturating_sub(self.at).min(READ_BYTES as u64) as usize;
        // A small file is not worth a large buffer. One that goes on where it should end, as all
        // of those do that the system makes up, is not worth a call for each byte.
        let wanted = wanted.min(match self.open.facts.bytes.saturating_sub(self.at) {
            0 => UNEXPECTED_BYTES,
            expected => usize::try_from(expected)
                .unwrap_or(READ_BYTES)
                .saturating_add(1),
        });
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let bytes = os::read_at(&self.open.file, self.at, &mut self.buffer[..wanted])?;
        self.at += bytes as u64;
        if bytes < wanted {
            self.end = self.at;
        }
        Ok(match bytes {
            0 => Piece::End,
            _ => Piece::Data(&self.buffer[..bytes]),
        })
    }
}

/// Returns how far a file is read. Files without a length are read to their end: those that a system
/// makes up as they are read have none.
pub(super) fn end_of(facts: &Facts, growth_bytes_max: u64) -> u64 {
    match facts.bytes {
        0 => u64::MAX,
        bytes => bytes.saturating_add(growth_bytes_max),
    }
}

/// Returns how long the time of a file may stay the same although it is written.
pub(super) fn tick_of(mtime: Timestamp) -> Duration {
    match mtime.subsec_nanosecond() {
        0 => COARSE_TICK,
        _ => FINE_TICK,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Write as _;

    use super::super::os::FolderHandle;
    use super::*;

    /// Writes to a file that is open already, then reads it; returns how much that was.
    fn bytes_read_after_growth(before: &[u8], growth: usize, growth_bytes_max: u64) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, before).unwrap();
        let handle = FolderHandle::named(folder.path()).unwrap();
        let open = handle.open_file(OsStr::new("log")).unwrap();
        let mut writer = std::fs::File::options().append(true).open(&path).unwrap();
        writer.write_all(&vec![b'x'; growth]).unwrap();
        let mut buffer = Vec::new();
        let end = end_of(&open.facts, growth_bytes_max);
        let mut reader = FileReader::new(&open, 0..end, &mut buffer);
        let mut bytes = 0;
        loop {
            match reader.next().unwrap() {
                Piece::End => return bytes,
                Piece::Data(data) => bytes += data.len() as u64,
                Piece::Hole(hole) => bytes += hole,
            }
        }
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_comes_to_an_end() {
        let growth = 300_000;
        assert_eq!(bytes_read_after_growth(b"begun", growth, 1 << 20), 300_005);
        assert_eq!(bytes_read_after_growth(b"begun", growth, 70_000), 70_005);
        // What tells no length is read whole.
        assert_eq!(bytes_read_after_growth(b"", growth, 70_000), 300_000);
    }
}
