//! Writing VHDX files of the simulated host: by guests, by merges, by restores.

use std::error::Error as _;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use disk::{BlockWrite, DiskError, DiskErrorKind};
use time_and_chance::Chance;
use vhdx::{LiveDisk, ReadAt, ThinWriter, Vhdx, VhdxError, WriteAt, WriteGuids};

use super::SimHost;
use super::container::{
    create_locked, create_options, disk_error, open_alone, open_shared, vhdx_error,
};
use super::fuse::Fuse;
use crate::{HypervError, HypervErrorKind, NewDisk};

/// A file that a killed process stops writing to.
#[derive(Debug)]
pub(super) struct FusedFile {
    file: File,
    fuse: Arc<Fuse>,
    /// Whether to wait for the storage: what guests write need not survive a power loss.
    durable: bool,
}

impl FusedFile {
    fn burn(&self) -> io::Result<()> {
        self.fuse.burn().map_err(io::Error::other)
    }
}

impl ReadAt for FusedFile {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.file)
    }
}

impl WriteAt for FusedFile {
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.burn()?;
        self.file.write_all_at(offset, data)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.burn()?;
        WriteAt::set_len(&self.file, len_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        match self.durable {
            true => self.file.sync(),
            false => Ok(()),
        }
    }
}

/// Returns the host's error for one of writing: dying stays dying.
fn write_error(verb: &str, path: &Path, error: VhdxError) -> HypervError {
    let killed = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<HypervError>())
        .is_some_and(|inner| inner.kind() == HypervErrorKind::Unavailable);
    if killed {
        return HypervError::new(
            HypervErrorKind::Unavailable,
            format!("{verb} {}", path.display()),
        )
        .caused_by(error);
    }
    vhdx_error(verb, path, error)
}

fn guids(chance: &Chance) -> WriteGuids {
    WriteGuids {
        file_write_guid: chance.uuid(),
        data_write_guid: chance.uuid(),
    }
}

impl SimHost {
    fn fused(&self, file: File) -> FusedFile {
        FusedFile {
            file,
            fuse: Arc::clone(&self.fuse),
            durable: false,
        }
    }

    /// Opens the last file of a chain (root first) for a program that writes to it.
    pub(super) fn open_for_writing(
        &self,
        chain: &[PathBuf],
    ) -> Result<LiveDisk<FusedFile>, HypervError> {
        self.open_live(chain, true)
    }

    fn open_live(
        &self,
        chain: &[PathBuf],
        durable: bool,
    ) -> Result<LiveDisk<FusedFile>, HypervError> {
        let (leaf, parents) = match chain.split_last() {
            Some((leaf, parents)) => (leaf.as_path(), parents),
            None => (Path::new(""), &[] as &[PathBuf]),
        };
        let file = FusedFile {
            durable,
            ..self.fused(open_alone(leaf)?)
        };
        let mut files = Vec::new();
        for parent in parents.iter().rev() {
            files.push(self.fused(open_shared(parent)?));
        }
        LiveDisk::open(file, files, guids(&self.chance))
            .map_err(|error| write_error("open", leaf, error))
    }

    /// Opens a chain, root first, as its guest does.
    pub(super) fn open_for_guest(&self, chain: &[PathBuf]) -> Result<GuestDisk, HypervError> {
        Ok(GuestDisk {
            path: chain.last().cloned().unwrap_or_default(),
            disk: self.open_live(chain, false)?,
        })
    }

    /// Brings the content of `child` into the last file of `below` (root first), which is then
    /// what the child was. A merge that was killed is done again, or found done.
    pub(super) fn merge_files(&self, below: &[PathBuf], child: &Path) -> Result<(), HypervError> {
        let file = open_alone(child)?;
        let child_file = Vhdx::open(file).map_err(|error| vhdx_error("open", child, error))?;
        let parent = self.open_live(below, false)?;
        parent
            .merge_child(&child_file)
            .and_then(|()| parent.close())
            .map(drop)
            .map_err(|error| write_error("merge", child, error))
    }

    /// Makes a disk larger.
    pub(super) fn resize_file(&self, path: &Path, virtual_bytes: u64) -> Result<(), HypervError> {
        let disk = self.open_live(&[path.to_path_buf()], false)?;
        disk.resize(virtual_bytes)
            .and_then(|()| disk.close())
            .map(drop)
            .map_err(|error| write_error("resize", path, error))
    }

    /// Makes a disk for a restore.
    pub(super) fn new_disk_writer(
        &self,
        path: &Path,
        new: &NewDisk,
    ) -> Result<NewDiskWriter, HypervError> {
        let chance = &self.chance;
        let options = create_options(new.geometry, new.block_bytes, new.virtual_disk_id, chance);
        let file = FusedFile {
            durable: true,
            ..self.fused(create_locked(path)?)
        };
        let writer =
            ThinWriter::create(file, &options).map_err(|error| write_error("make", path, error))?;
        Ok(NewDiskWriter {
            size_bytes: new.geometry.virtual_bytes,
            guids: guids(chance),
            state: RwLock::new(Writing::Thin(writer)),
        })
    }
}

/// A disk that its guest writes to.
#[derive(Debug)]
pub(super) struct GuestDisk {
    disk: LiveDisk<FusedFile>,
    path: PathBuf,
}

impl GuestDisk {
    /// Writes; zeros take no new room.
    pub(super) fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), HypervError> {
        let written = if data.iter().all(|&byte| byte == 0) {
            self.disk.zero(offset, data.len() as u64)
        } else {
            self.disk.write_at(offset, data)
        };
        written.map_err(|error| write_error("write", &self.path, error))
    }

    /// Closes the disk.
    pub(super) fn finish(self) -> Result<(), HypervError> {
        let path = self.path;
        self.disk
            .close()
            .map(drop)
            .map_err(|error| write_error("close", &path, error))
    }
}

/// A new disk being written by a restore: appended to until it is first flushed, a disk in use
/// from then on. Nobody else can open it until it is dropped, and then it is a whole VHDX file.
pub(super) struct NewDiskWriter {
    size_bytes: u64,
    guids: WriteGuids,
    state: RwLock<Writing>,
}

enum Writing {
    Thin(ThinWriter<FusedFile>),
    Live(LiveDisk<FusedFile>),
    Broken,
}

impl NewDiskWriter {
    fn settle(&self) -> Result<(), DiskError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, Writing::Broken) {
            Writing::Thin(writer) => {
                let file = writer.finish().map_err(disk_error)?;
                let live = LiveDisk::open(file, Vec::new(), self.guids).map_err(disk_error)?;
                *state = Writing::Live(live);
                Ok(())
            }
            Writing::Live(live) => {
                let flushed = live.flush().map_err(disk_error);
                *state = Writing::Live(live);
                flushed
            }
            Writing::Broken => Err(broken()),
        }
    }
}

impl BlockWrite for NewDiskWriter {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            Writing::Thin(writer) => writer.write_at(offset, data).map_err(disk_error),
            Writing::Live(live) => live.write_at(offset, data).map_err(disk_error),
            Writing::Broken => Err(broken()),
        }
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.settle()
    }
}

impl Drop for NewDiskWriter {
    fn drop(&mut self) {
        // Who cared whether it arrived has flushed and seen the error.
        let _ = self.settle();
    }
}

impl fmt::Debug for NewDiskWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewDiskWriter")
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

fn broken() -> DiskError {
    DiskError::new(
        DiskErrorKind::Refused,
        "write a disk that could not be finished before",
    )
}
