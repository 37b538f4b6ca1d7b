//! virtdisk with a hand in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperv::query_loop::PartialAnswer;
use uuid::Uuid;
use windows_host::virtdisk::{
    Access, ChangeTracking, Container, NewVirtualDisk, Subtype, VirtualDiskError, VirtualDiskFile,
    VirtualDiskSize, VirtualDisks,
};

use super::{Meddler, Twist};

/// A virtdisk that a meddler has a hand in. Its calls are named "disk open Read of …", "disk
/// query_changes of …" and so on, after the methods.
#[derive(Debug)]
pub struct MeddledDisks<D> {
    inner: D,
    meddler: Arc<Meddler>,
}

impl<D> MeddledDisks<D> {
    /// Lets `meddler` have a hand in `inner`.
    pub fn new(inner: D, meddler: Arc<Meddler>) -> Self {
        Self { inner, meddler }
    }
}

fn note(meddler: &Meddler, doing: &'static str, path: &Path) -> Result<(), VirtualDiskError> {
    match meddler.note(format!("disk {doing} of {}", path.display())) {
        Some(Twist::Error(code)) => Err(VirtualDiskError {
            doing,
            path: path.to_owned(),
            code,
        }),
        _ => Ok(()),
    }
}

impl<D: VirtualDisks> VirtualDisks for MeddledDisks<D> {
    fn open(
        &self,
        path: &Path,
        access: Access,
    ) -> Result<Box<dyn VirtualDiskFile>, VirtualDiskError> {
        let doing = match access {
            Access::Information => "open Information",
            Access::Read => "open Read",
            Access::Write => "open Write",
        };
        note(&self.meddler, doing, path)?;
        Ok(Box::new(MeddledFile {
            inner: self.inner.open(path, access)?,
            path: path.to_owned(),
            meddler: Arc::clone(&self.meddler),
        }))
    }

    fn create(&self, path: &Path, disk: &NewVirtualDisk) -> Result<(), VirtualDiskError> {
        note(&self.meddler, "create", path)?;
        self.inner.create(path, disk)
    }
}

#[derive(Debug)]
struct MeddledFile {
    inner: Box<dyn VirtualDiskFile>,
    path: PathBuf,
    meddler: Arc<Meddler>,
}

impl MeddledFile {
    fn note(&self, doing: &'static str) -> Result<(), VirtualDiskError> {
        note(&self.meddler, doing, &self.path)
    }
}

impl VirtualDiskFile for MeddledFile {
    fn size(&self) -> Result<VirtualDiskSize, VirtualDiskError> {
        self.note("size")?;
        self.inner.size()
    }

    fn physical_sector_bytes(&self) -> Result<u32, VirtualDiskError> {
        self.note("physical_sector_bytes")?;
        self.inner.physical_sector_bytes()
    }

    fn container(&self) -> Result<Container, VirtualDiskError> {
        self.note("container")?;
        self.inner.container()
    }

    fn subtype(&self) -> Result<Subtype, VirtualDiskError> {
        self.note("subtype")?;
        self.inner.subtype()
    }

    fn parent(&self) -> Result<Option<PathBuf>, VirtualDiskError> {
        self.note("parent")?;
        self.inner.parent()
    }

    fn virtual_disk_id(&self) -> Result<Uuid, VirtualDiskError> {
        self.note("virtual_disk_id")?;
        self.inner.virtual_disk_id()
    }

    fn change_tracking(&self) -> Result<ChangeTracking, VirtualDiskError> {
        self.note("change_tracking")?;
        self.inner.change_tracking()
    }

    fn is_unseen(&self) -> bool {
        self.inner.is_unseen()
    }

    fn query_changes(
        &self,
        id: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<PartialAnswer, VirtualDiskError> {
        self.note("query_changes")?;
        self.inner.query_changes(id, offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), VirtualDiskError> {
        self.note("read_at")?;
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), VirtualDiskError> {
        self.note("write_at")?;
        self.inner.write_at(offset, data)
    }

    fn flush(&self) -> Result<(), VirtualDiskError> {
        self.note("flush")?;
        self.inner.flush()
    }
}
