//! Files of this machine: reads and writes at offsets, on every system, and past the page cache
//! for data that flows through once; small ones that are replaced as a whole.
//!
//! A backup reads a disk once and writes packs once. In the page cache such data drives out what
//! the guests need, and copying it there costs more than hashing it (`docs/performance.md`). Knows
//! nothing of what files hold.

mod aligned_buffer;
mod replaced;
mod uncached_file;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use aligned_buffer::{ALIGNMENT_BYTES, AlignedBuffer};
pub use replaced::{create_private_folders, replace, replace_fleeting, replace_protected};
pub use uncached_file::UncachedFile;

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Left for whoever asks.
    pub free_bytes: u64,
    /// All there is, in use or not.
    pub total_bytes: u64,
}

/// Returns the room on the file system that holds `path`.
pub fn room(path: &Path) -> io::Result<Room> {
    system::room(path)
}

/// Returns what a path leads to, with no links in it, in the form that people write: on Windows
/// without `\\?\`, which it needs only for names that are otherwise read as others.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().map(system::as_written)
}

/// Gives a file the name of another, which is gone then.
///
/// Where others replace or look at the same file at this moment, Windows denies it: so it is tried
/// again, far longer than they need.
pub fn take_the_name_of(from: &Path, to: &Path) -> io::Result<()> {
    system::rename_over(from, to)
}

/// Makes sure that the names in a folder survive a loss of power.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    system::sync_folder(path)
}

/// Fills `buf` with what stands at `offset`, or fails.
pub fn read_exact_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    system::read_exact_at(file, offset, buf)
}

/// Writes all of `data` at `offset`, making the file longer if need be.
pub fn write_all_at(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    system::write_all_at(file, offset, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_room_and_no_more_than_its_file_system() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let found = room(folder.path()).expect("the system tells");
        assert!(found.total_bytes > 0);
        assert!(found.free_bytes <= found.total_bytes, "{found:?}");
    }

    #[test]
    fn a_real_path_is_written_as_people_do() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let real = real_path(folder.path()).expect("it is there");
        assert!(!real.as_os_str().as_encoded_bytes().starts_with(b"\\\\"));
        let same = real.canonicalize().expect("it is there");
        assert_eq!(same, folder.path().canonicalize().expect("it is there"));
    }

    #[test]
    fn what_is_written_at_an_offset_is_read_there() {
        let file = tempfile::tempfile().expect("a file can be made");
        write_all_at(&file, 5, b"later").expect("it can be written");
        write_all_at(&file, 0, b"first").expect("it can be written");
        let mut read = [0; 7];
        read_exact_at(&file, 3, &mut read).expect("it is there");
        assert_eq!(&read, b"stlater");
        let past_the_end = read_exact_at(&file, 8, &mut read).map_err(|error| error.kind());
        assert_eq!(past_the_end, Err(io::ErrorKind::UnexpectedEof));
    }
}
