//! What a disk file says of itself and of the files beneath it (Hyper-V spec 7.1).

use std::path::{Path, PathBuf};

use disk::Geometry;
use uuid::Uuid;

use crate::virtdisk::{Access, Container, VirtualDiskError, VirtualDiskFile, VirtualDisks};

/// Hyper-V allows 50 checkpoints.
const FILES_MAX: usize = 64;
/// virtdisk: a chain of differencing disks leads back to itself.
const CYCLE: u32 = 0xC03A_0018;

/// What is known of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChainFacts {
    /// The files, the one that is written to first.
    pub files: Vec<PathBuf>,
    pub geometry: Geometry,
    /// The block size of the file at the root.
    pub block_bytes: u32,
    pub virtual_disk_id: Uuid,
    /// Whether tracking is on, where it can be told.
    pub tracked: Option<bool>,
    /// The format of the file that is written to.
    pub container: Container,
}

impl ChainFacts {
    /// Returns the file at the root.
    pub(super) fn root(&self) -> &Path {
        self.files
            .last()
            .expect("a chain has the file it was asked for")
    }

    /// Returns how many files lie above the root.
    pub(super) fn depth(&self) -> u32 {
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }
}

/// Asks a disk and all its parents.
pub(super) fn facts(
    virtual_disks: &dyn VirtualDisks,
    path: &Path,
) -> Result<ChainFacts, VirtualDiskError> {
    let leaf = virtual_disks.open(path, Access::Information)?;
    let files = files(virtual_disks, path, &*leaf)?;
    let block_bytes = match files.last().filter(|_| files.len() > 1) {
        Some(root) => {
            virtual_disks
                .open(root, Access::Information)?
                .size()?
                .block_bytes
        }
        None => leaf.size()?.block_bytes,
    };
    Ok(ChainFacts {
        geometry: geometry(&*leaf)?,
        block_bytes,
        virtual_disk_id: leaf.virtual_disk_id()?,
        tracked: leaf.change_tracking().ok().map(|tracking| tracking.enabled),
        container: leaf.container()?,
        files,
    })
}

/// Returns size and sectors of an open disk.
pub(super) fn geometry(file: &dyn VirtualDiskFile) -> Result<Geometry, VirtualDiskError> {
    let size = file.size()?;
    Ok(Geometry {
        virtual_bytes: size.virtual_bytes,
        logical_sector_bytes: size.sector_bytes,
        physical_sector_bytes: file.physical_sector_bytes()?,
    })
}

/// Returns the files of a chain, the given one first.
pub(super) fn files(
    virtual_disks: &dyn VirtualDisks,
    path: &Path,
    leaf: &dyn VirtualDiskFile,
) -> Result<Vec<PathBuf>, VirtualDiskError> {
    let mut files = vec![path.to_owned()];
    let mut parent = leaf.parent()?;
    while let Some(path) = parent {
        if files.len() >= FILES_MAX || files.contains(&path) {
            return Err(VirtualDiskError {
                doing: "follow to its parent",
                path,
                code: CYCLE,
            });
        }
        parent = virtual_disks.open(&path, Access::Information)?.parent()?;
        files.push(path);
    }
    Ok(files)
}
