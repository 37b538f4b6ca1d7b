//! A stored image, read like a disk.

use std::fmt;
use std::io;
use std::sync::Arc;

use disk::{BlockRead, ByteRange, DiskError, DiskErrorKind, Geometry};
use kopia::object_id::ObjectId;
use repo::{ObjectReader, Repository};
use uuid::Uuid;
use vhdx::{Chain, ReadAt};

use crate::error::{ImageError, ImageErrorKind, repo_error};

/// Reads a disk from the VHDX file that a repository holds: a canonical one of ours, or a
/// container as the older agent stored it.
pub struct ImageReader {
    disk: Chain<ObjectFile>,
}

impl fmt::Debug for ImageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageReader").finish_non_exhaustive()
    }
}

/// An object, read like a file.
struct ObjectFile {
    object: ObjectReader,
}

impl ReadAt for ObjectFile {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.object.read_at(offset, buf).map_err(io::Error::other)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.object.len())
    }
}

impl ImageReader {
    /// Opens the image in `object`.
    ///
    /// # Errors
    /// `Damaged` if it is not a VHDX that stands for itself.
    pub fn open(repo: &Arc<Repository>, object: &ObjectId) -> Result<Self, ImageError> {
        let object = repo
            .open_object(object)
            .map_err(repo_error("open the stored disk"))?;
        let disk = Chain::open(vec![ObjectFile { object }]).map_err(|error| {
            ImageError::new(ImageErrorKind::Damaged, "open the stored disk").caused_by(error)
        })?;
        Ok(Self { disk })
    }

    /// Returns size and sectors of the disk.
    pub fn geometry(&self) -> Geometry {
        let metadata = self.disk.metadata();
        Geometry {
            virtual_bytes: metadata.virtual_size_bytes,
            logical_sector_bytes: metadata.logical_sector_bytes,
            physical_sector_bytes: metadata.physical_sector_bytes,
        }
    }

    /// Returns the disk's own identity.
    pub fn virtual_disk_id(&self) -> Uuid {
        self.disk.metadata().virtual_disk_id
    }
}

impl BlockRead for ImageReader {
    fn size_bytes(&self) -> u64 {
        self.disk.metadata().virtual_size_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, buf).map_err(|error| {
            DiskError::new(
                DiskErrorKind::Unreadable,
                format!("read the stored disk at {offset}"),
            )
            .caused_by(error)
        })
    }

    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        let next = self
            .disk
            .allocated_ranges_from(from)
            .next()
            .transpose()
            .map_err(|error| {
                DiskError::new(DiskErrorKind::Damaged, "find the stored disk's data")
                    .caused_by(error)
            })?;
        Ok(next.and_then(|(start, bytes)| ByteRange::at(start, bytes)))
    }
}
