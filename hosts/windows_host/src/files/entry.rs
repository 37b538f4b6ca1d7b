//! What an open file or folder is, and where its data lies.
//!
//! Unsafe code is run by: `two_names_of_one_file_have_one_id`, `what_is_no_reparse_point_leads_nowhere`, `without_an_answer_about_holes_everything_is_data`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "Windows answers into structures and buffers")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::windows::io::AsRawHandle as _;

use windows::Win32::Foundation::{ERROR_MORE_DATA, HANDLE, WIN32_ERROR};
use windows::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_TAG_INFO, FILE_BASIC_INFO, FILE_ID_INFO,
    FILE_INFO_BY_HANDLE_CLASS, FILE_STANDARD_INFO, FileAttributeTagInfo, FileBasicInfo, FileIdInfo,
    FileStandardInfo, GetFileInformationByHandle, GetFileInformationByHandleEx,
};
use windows::Win32::System::IO::DeviceIoControl;
use windows::Win32::System::Ioctl::{FSCTL_GET_REPARSE_POINT, FSCTL_QUERY_ALLOCATED_RANGES};

use super::{Attributes, ReparseTag, Target};
use crate::calls;

/// `MAXIMUM_REPARSE_DATA_BUFFER_SIZE`.
const REPARSE_BYTES_MAX: usize = 16 << 10;
/// An allocated range as Windows writes it: where it starts and how long it is.
const RANGE_BYTES: usize = 16;

/// Which file it is, whatever names it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The volume's serial number.
    pub volume: u64,
    /// Its number there; 128 bits where the file system has so many.
    pub number: u128,
}

/// What Windows says of an open file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which one it is.
    pub id: FileId,
    /// Its attributes.
    pub attributes: Attributes,
    /// Of a reparse point, whose.
    pub reparse_tag: Option<ReparseTag>,
    /// Its length.
    pub bytes: u64,
    /// How many names it has.
    pub names: u32,
    /// When its content changed last, in units of 100 ns since 1601.
    pub written_ticks: i64,
    /// When anything about it changed last, names and attributes included; 0 where the file system
    /// does not keep that.
    pub changed_ticks: i64,
}

impl Entry {
    /// Asks what an open file is.
    ///
    /// # Errors
    /// What Windows says.
    pub fn of(file: &File) -> io::Result<Self> {
        let basic: FILE_BASIC_INFO = ask(file)?;
        let standard: FILE_STANDARD_INFO = ask(file)?;
        let attributes = Attributes(basic.FileAttributes);
        let reparse_tag = match attributes.has(Attributes::REPARSE_POINT) {
            true => Some(ReparseTag(ask::<FILE_ATTRIBUTE_TAG_INFO>(file)?.ReparseTag)),
            false => None,
        };
        Ok(Self {
            id: id_of(file)?,
            attributes,
            reparse_tag,
            bytes: u64::try_from(standard.EndOfFile).unwrap_or(0),
            names: standard.NumberOfLinks,
            written_ticks: basic.LastWriteTime,
            changed_ticks: basic.ChangeTime,
        })
    }
}

fn id_of(file: &File) -> io::Result<FileId> {
    match ask::<FILE_ID_INFO>(file) {
        Ok(found) => Ok(FileId {
            volume: found.VolumeSerialNumber,
            number: u128::from_le_bytes(found.FileId.Identifier),
        }),
        Err(_) => id_by_index(file),
    }
}

/// Asks the older question, of file systems that know no other (FAT).
fn id_by_index(file: &File) -> io::Result<FileId> {
    calls::count("files.information");
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the file is open through the call, and the structure to be filled is ours.
    unsafe { GetFileInformationByHandle(handle(file), &mut found) }.map_err(as_io)?;
    let number = u64::from(found.nFileIndexHigh) << 32 | u64::from(found.nFileIndexLow);
    Ok(FileId {
        volume: found.dwVolumeSerialNumber.into(),
        number: number.into(),
    })
}

/// A structure of plain numbers that Windows fills for its class.
trait Answer: Copy + Default {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS;
}

impl Answer for FILE_BASIC_INFO {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS = FileBasicInfo;
}

impl Answer for FILE_STANDARD_INFO {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS = FileStandardInfo;
}

impl Answer for FILE_ATTRIBUTE_TAG_INFO {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS = FileAttributeTagInfo;
}

impl Answer for FILE_ID_INFO {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS = FileIdInfo;
}

fn ask<T: Answer>(file: &File) -> io::Result<T> {
    calls::count("files.information_ex");
    let mut answer = T::default();
    let bytes = size_of::<T>() as u32;
    // SAFETY: the file is open through the call; the structure is ours, of the class's own layout,
    // and its length is handed over with it. Windows writes numbers, and 0 or 1 into its bools.
    unsafe {
        GetFileInformationByHandleEx(handle(file), T::CLASS, (&raw mut answer).cast(), bytes)
    }
    .map_err(as_io)?;
    Ok(answer)
}

/// Returns where a link, junction or mount point leads that was opened itself.
///
/// # Errors
/// What Windows says, or `InvalidData` if it leads nowhere.
pub fn reparse_target(file: &File) -> io::Result<Target> {
    let mut buffer = vec![0; REPARSE_BYTES_MAX];
    let filled = control(file, FSCTL_GET_REPARSE_POINT, &[], &mut buffer)?;
    Target::parse(&buffer[..filled])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Returns where the next data at or behind `offset` stands, or `None` if a hole reaches to the
/// end. Where the file system does not tell, everything is data.
pub fn next_data(file: &File, offset: u64) -> Option<Range<u64>> {
    let rest = (i64::MAX as u64).saturating_sub(offset);
    let mut question = [0; RANGE_BYTES];
    question[..8].copy_from_slice(&offset.to_le_bytes());
    question[8..].copy_from_slice(&rest.to_le_bytes());
    let mut answer = [0; RANGE_BYTES];
    let filled = control(file, FSCTL_QUERY_ALLOCATED_RANGES, &question, &mut answer);
    let (start, bytes) = match (filled, answer.split_first_chunk(), answer.last_chunk()) {
        (Ok(0), ..) => return None,
        (Ok(RANGE_BYTES), Some((start, _)), Some(bytes)) => {
            (u64::from_le_bytes(*start), u64::from_le_bytes(*bytes))
        }
        _ => return Some(offset..u64::MAX),
    };
    // A range may begin before what was asked for.
    let end = start.saturating_add(bytes);
    Some(start.max(offset)..end.max(offset))
}

/// Asks a file system what only it knows; returns how many bytes it answered. An answer that has
/// more to say than fits is an answer.
fn control(file: &File, code: u32, question: &[u8], answer: &mut [u8]) -> io::Result<usize> {
    calls::count("files.control");
    let mut filled = 0;
    // SAFETY: the file is open through the call and was opened for synchronous work, so that
    // nothing is written later; both buffers are ours and their lengths are handed over.
    let asked = unsafe {
        DeviceIoControl(
            handle(file),
            code,
            Some(question.as_ptr().cast()),
            question.len() as u32,
            Some(answer.as_mut_ptr().cast()),
            answer.len() as u32,
            Some(&mut filled),
            None,
        )
    };
    match asked {
        Err(error) if error.code() != ERROR_MORE_DATA.to_hresult() => Err(as_io(error)),
        _ => Ok((filled as usize).min(answer.len())),
    }
}

fn handle(file: &File) -> HANDLE {
    HANDLE(file.as_raw_handle())
}

/// Gives an error its number of Win32 back, by which the standard library knows its kind.
fn as_io(error: windows::core::Error) -> io::Error {
    match WIN32_ERROR::from_error(&error) {
        Some(code) => io::Error::from_raw_os_error(code.0 as i32),
        None => io::Error::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(name: &str) -> (tempfile::TempDir, File) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), b"content").unwrap();
        let file = File::open(folder.path().join(name)).unwrap();
        (folder, file)
    }

    #[test]
    fn two_names_of_one_file_have_one_id() {
        let (folder, file) = folder_with("one");
        std::fs::hard_link(folder.path().join("one"), folder.path().join("two")).unwrap();
        std::fs::write(folder.path().join("other"), b"content").unwrap();
        let one = Entry::of(&file).unwrap();
        let two = Entry::of(&File::open(folder.path().join("two")).unwrap()).unwrap();
        let other = Entry::of(&File::open(folder.path().join("other")).unwrap()).unwrap();
        assert_eq!(one.id, two.id);
        assert_ne!(one.id, other.id);
        let by_index = |name| id_by_index(&File::open(folder.path().join(name)).unwrap()).unwrap();
        assert_eq!(by_index("one"), by_index("two"));
        assert_ne!(by_index("one"), by_index("other"));
        assert_eq!(one.id.volume, other.id.volume);
        assert_eq!((one.names, two.names, other.names), (2, 2, 1));
        assert_eq!((one.bytes, one.reparse_tag), (7, None));
        assert!(!one.attributes.has(Attributes::FOLDER));
        assert!(one.written_ticks > 0);
    }

    #[test]
    fn what_is_no_reparse_point_leads_nowhere() {
        let (_folder, file) = folder_with("plain");
        assert!(reparse_target(&file).is_err());
    }

    #[test]
    fn without_an_answer_about_holes_everything_is_data() {
        let (_folder, file) = folder_with("plain");
        let found = next_data(&file, 0).unwrap();
        assert_eq!(found.start, 0);
        assert!(found.end >= 7, "{found:?}");
    }
}
