//! VHDX files of the simulated host: opened with locks, made, frozen, merged.
//!
//! Whoever reads a disk holds a shared lock on every file of its chain, whoever writes holds the
//! leaf alone: so a writable open beside a read-only one fails, as on the real host, whichever
//! process it is in. It knows paths and chains, nothing of VMs.

use std::error::Error as _;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use disk::{BlockRead, ByteRange, DiskError, DiskErrorKind, Geometry};
use local_file::UncachedFile;
use serde::{Deserialize, Serialize};
use time_and_chance::Chance;
use uuid::Uuid;
use vhdx::{Chain, ChildOptions, CreateOptions, Vhdx, VhdxError, VhdxErrorKind};

use super::io_error::io_error;
use crate::{HypervError, HypervErrorKind, codes};

/// How the file of a disk is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subformat {
    /// All blocks are there from the beginning.
    Fixed,
    /// Blocks come as they are written.
    Dynamic,
}

/// How a file looks: if it looks different, someone wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileMark {
    file_bytes: u64,
    modified_ns: u64,
    data_write_guid: Uuid,
}

/// What a VHDX file says of its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub virtual_disk_id: Uuid,
    pub virtual_bytes: u64,
    pub block_bytes: u32,
    pub logical_sector_bytes: u32,
    pub physical_sector_bytes: u32,
    pub differencing: bool,
    pub fixed: bool,
}

impl Facts {
    fn of(metadata: &vhdx::Metadata) -> Self {
        Self {
            virtual_disk_id: metadata.virtual_disk_id,
            virtual_bytes: metadata.virtual_size_bytes,
            block_bytes: metadata.block_size_bytes,
            logical_sector_bytes: metadata.logical_sector_bytes,
            physical_sector_bytes: metadata.physical_sector_bytes,
            differencing: metadata.has_parent(),
            fixed: metadata.leave_blocks_allocated,
        }
    }

    /// Returns size and sectors.
    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            virtual_bytes: self.virtual_bytes,
            logical_sector_bytes: self.logical_sector_bytes,
            physical_sector_bytes: self.physical_sector_bytes,
        }
    }
}

/// Reads what a file says of its disk; takes no lock.
pub(super) fn facts(path: &Path) -> Result<Facts, HypervError> {
    Ok(Facts::of(parse(path)?.metadata()))
}

fn parse(path: &Path) -> Result<Vhdx<File>, HypervError> {
    let file = File::open(path).map_err(|error| io_error("open", path, error))?;
    Vhdx::open(file).map_err(|error| vhdx_error("open", path, error))
}

/// Notes how a file looks now.
pub(super) fn mark(path: &Path) -> Result<FileMark, HypervError> {
    let (file_bytes, modified_ns) = stat(path)?;
    Ok(FileMark {
        file_bytes,
        modified_ns,
        data_write_guid: parse(path)?.metadata().data_write_guid,
    })
}

/// Returns whether length and time of a file are those noted: a cheap hint.
pub(super) fn seems_untouched(path: &Path, mark: &FileMark) -> bool {
    stat(path).is_ok_and(|seen| seen == (mark.file_bytes, mark.modified_ns))
}

fn stat(path: &Path) -> Result<(u64, u64), HypervError> {
    let metadata = path
        .metadata()
        .map_err(|error| io_error("look at", path, error))?;
    let modified = metadata
        .modified()
        .map_err(|error| io_error("look at", path, error))?;
    // A time before 1970 is as good a mark as any.
    let since_1970 = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), since_1970.as_nanos() as u64))
}

/// Makes an empty disk; a folder that is missing is made too.
pub(super) fn create(
    path: &Path,
    options: &CreateOptions,
    subformat: Subformat,
) -> Result<(), HypervError> {
    let file = create_locked(path)?;
    let made = match subformat {
        Subformat::Fixed => vhdx::create_fixed(file, options),
        Subformat::Dynamic => vhdx::create_dynamic(file, options),
    };
    made.map(drop)
        .map_err(|error| vhdx_error("make", path, error))
}

/// Returns how to make a new disk.
pub(super) fn create_options(
    geometry: Geometry,
    block_bytes: Option<u32>,
    virtual_disk_id: Uuid,
    chance: &Chance,
) -> CreateOptions {
    CreateOptions {
        virtual_size_bytes: geometry.virtual_bytes,
        block_size_bytes: block_bytes
            .unwrap_or_else(|| vhdx::suggested_block_size_bytes(geometry.virtual_bytes)),
        logical_sector_bytes: geometry.logical_sector_bytes,
        physical_sector_bytes: geometry.physical_sector_bytes,
        virtual_disk_id,
        file_write_guid: chance.uuid(),
        data_write_guid: chance.uuid(),
    }
}

/// Makes a new file that nobody else can open until it is dropped.
pub(super) fn create_locked(path: &Path) -> Result<File, HypervError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| io_error("make", folder, error))?;
    }
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| io_error("make", path, error))?;
    lock_alone(&file, path)?;
    Ok(file)
}

/// Makes an empty child of the last file of `chain` (root first), in the same folder.
pub(super) fn create_child(
    path: &Path,
    chain: &[PathBuf],
    chance: &Chance,
) -> Result<(), HypervError> {
    let parent = chain.last().map_or(Path::new(""), PathBuf::as_path);
    let file = create_locked(path)?;
    let name = parent
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let options = ChildOptions {
        file_write_guid: chance.uuid(),
        data_write_guid: chance.uuid(),
        relative_path: Some(format!(".\\{name}")),
        absolute_win32_path: parent.to_str().map(str::to_owned),
    };
    vhdx::create_differencing(file, &parse(parent)?, &options)
        .map(drop)
        .map_err(|error| vhdx_error("make", path, error))
}

/// A disk open for reading.
#[derive(Debug)]
pub(super) struct ChainReader {
    chain: Chain<UncachedFile>,
}

impl ChainReader {
    /// Opens a chain, root first, and keeps everyone from writing to it.
    pub(super) fn open(chain: &[PathBuf]) -> Result<Self, HypervError> {
        let mut files = Vec::new();
        for path in chain.iter().rev() {
            files.push(UncachedFile::for_reading(open_shared(path)?, path));
        }
        let leaf = chain.last().map_or(Path::new(""), PathBuf::as_path);
        let chain = Chain::open(files).map_err(|error| vhdx_error("open", leaf, error))?;
        Ok(Self { chain })
    }
}

impl BlockRead for ChainReader {
    fn size_bytes(&self) -> u64 {
        self.chain.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.chain.read_at(offset, buf).map_err(disk_error)
    }

    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        let next = self.chain.allocated_ranges_from(from).next();
        let next = next.transpose().map_err(disk_error)?;
        Ok(next.and_then(|(offset, bytes)| ByteRange::at(offset, bytes)))
    }
}

/// Checks that nobody has a file open.
pub(super) fn check_closed(path: &Path) -> Result<(), HypervError> {
    match File::open(path) {
        Ok(file) => lock_alone(&file, path),
        // What is not there is not open either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("open", path, error)),
    }
}

pub(super) fn open_shared(path: &Path) -> Result<File, HypervError> {
    let file = File::open(path).map_err(|error| io_error("open", path, error))?;
    locked(|| file.try_lock_shared(), path)?;
    Ok(file)
}

pub(super) fn open_alone(path: &Path) -> Result<File, HypervError> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| io_error("open", path, error))?;
    lock_alone(&file, path)?;
    Ok(file)
}

fn lock_alone(file: &File, path: &Path) -> Result<(), HypervError> {
    locked(|| file.try_lock(), path)
}

/// Takes a lock that nobody else should hold.
///
/// A process that is being started holds copies of our handles until it becomes the other
/// program, so a lock we have just given up may seem taken for an instant: hence the few tries.
fn locked(lock: impl Fn() -> Result<(), TryLockError>, path: &Path) -> Result<(), HypervError> {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        match lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", path, error)),
        }
    }
    Err(HypervError::new(
        HypervErrorKind::InUse,
        format!("open {}: it is in use by another process", path.display()),
    )
    .with_code(codes::SHARING_VIOLATION))
}

/// Returns a VHDX error as the host's.
pub(super) fn vhdx_error(verb: &str, path: &Path, error: VhdxError) -> HypervError {
    let (kind, code) = match error.kind() {
        VhdxErrorKind::NotVhdx | VhdxErrorKind::Damaged => {
            (HypervErrorKind::Failed, Some(codes::VHD_CORRUPT))
        }
        VhdxErrorKind::ParentMismatch => (
            HypervErrorKind::Failed,
            Some(codes::VHD_CHILD_PARENT_ID_MISMATCH),
        ),
        VhdxErrorKind::Unsupported => (HypervErrorKind::Unsupported, None),
        VhdxErrorKind::OutOfRange => (HypervErrorKind::Invalid, Some(codes::VHD_INVALID_SIZE)),
        VhdxErrorKind::Io if is_full(&error) => (HypervErrorKind::Full, Some(codes::DISK_FULL)),
        VhdxErrorKind::Io => (HypervErrorKind::Failed, None),
    };
    let fault = HypervError::new(kind, format!("{verb} {}", path.display())).caused_by(error);
    match code {
        Some(code) => fault.with_code(code),
        None => fault,
    }
}

/// Returns a VHDX error as a disk's.
pub(super) fn disk_error(error: VhdxError) -> DiskError {
    let kind = match error.kind() {
        VhdxErrorKind::OutOfRange => DiskErrorKind::OutOfRange,
        VhdxErrorKind::Io if is_full(&error) => DiskErrorKind::Full,
        VhdxErrorKind::Io => DiskErrorKind::Unreadable,
        VhdxErrorKind::NotVhdx | VhdxErrorKind::Damaged | VhdxErrorKind::ParentMismatch => {
            DiskErrorKind::Damaged
        }
        VhdxErrorKind::Unsupported => DiskErrorKind::Refused,
    };
    DiskError::new(kind, "reach the disk").caused_by(error)
}

fn is_full(error: &VhdxError) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::StorageFull)
}
