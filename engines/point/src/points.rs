//! Finding points again.

use std::sync::Arc;

use hyperv::VmId;
use kopia::directory::DirectoryEntry;
use kopia::object_id::ObjectId;
use kopia::snapshot::SnapshotSource;
use repo::{Repository, Writer};
use snapshot::{Remembered, Snapshot, Snapshots, find_entry, read_directory};
use uuid::Uuid;

use crate::descriptor::{
    CONFIGURATION_FOLDER, DESCRIPTOR_NAME, DESCRIPTOR_VERSION, DISKS_FOLDER, VmDescriptor,
};
use crate::error::{PointError, PointErrorKind, repo_error};

const DESCRIPTOR_BYTES_MAX: u64 = 16 << 20;
const CONFIGURATION_BYTES_MAX: u64 = 256 << 20;

/// Everything a repository lists that can be restored from.
#[derive(Debug)]
pub struct Points {
    snapshots: Snapshots,
}

/// A snapshot, seen as something to restore from: a point of ours, or anyone's snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    snapshot: &'a Snapshot,
}

/// A point of a VM, opened.
#[derive(Debug)]
pub struct OpenPoint {
    descriptor: VmDescriptor,
    disks: Vec<DirectoryEntry>,
    configuration: Vec<DirectoryEntry>,
}

/// Returns where a VM's points are filed.
pub(crate) fn source_of(host: &str, vm: VmId) -> SnapshotSource {
    SnapshotSource {
        host: host.to_lowercase(),
        user_name: "agent".to_owned(),
        path: format!("hyperv/{vm}"),
    }
}

impl Points {
    /// Reads what the repository lists now.
    pub fn load(repo: &Arc<Repository>) -> Result<Self, PointError> {
        Snapshots::load(repo)
            .map(|snapshots| Self { snapshots })
            .map_err(repo_error("list the restore points"))
    }

    /// Returns all complete snapshots, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Point<'_>> {
        self.snapshots
            .iter()
            .filter(|snapshot| snapshot.manifest.incomplete.is_empty())
            .map(|snapshot| Point { snapshot })
    }

    /// Returns the snapshots beneath.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Returns the point with this UUID of ours.
    pub fn by_point(&self, point: Uuid) -> Option<Point<'_>> {
        self.iter()
            .find(|candidate| candidate.point() == Some(point))
    }

    /// Finds a point by its manifest id, its UUID, or a unique beginning of either.
    ///
    /// # Errors
    /// `NotFound`, `Damaged` if it may be among manifests that cannot be read, or `Ambiguous`
    /// with the ids that begin so.
    pub fn find(&self, id: &str) -> Result<Point<'_>, PointError> {
        let wanted = id.to_lowercase();
        let found: Vec<Point<'_>> = self
            .iter()
            .filter(|point| {
                let uuid = point
                    .point()
                    .map(|point| point.to_string())
                    .unwrap_or_default();
                !wanted.is_empty() && (point.id().starts_with(&wanted) || uuid.starts_with(&wanted))
            })
            .collect();
        match found[..] {
            [only] => Ok(only),
            [] => Err(self.absent(id)),
            _ => {
                let ids: Vec<&str> = found.iter().map(Point::id).collect();
                Err(PointError::new(
                    PointErrorKind::Ambiguous,
                    format!(
                        "find the restore point {id}: several begin so ({}); give more of the id",
                        ids.join(", ")
                    ),
                ))
            }
        }
    }

    /// Tells what is not there from what may be there and cannot be read.
    fn absent(&self, id: &str) -> PointError {
        match self.snapshots.unreadable() {
            [] => PointError::new(
                PointErrorKind::NotFound,
                format!("find the restore point {id:?}: the repository has none"),
            ),
            [(lost, why), ..] => PointError::new(
                PointErrorKind::Damaged,
                format!(
                    "find the restore point {id:?}: it may be in the manifest {lost}, which cannot be read: {why}"
                ),
            ),
        }
    }

    /// Takes a point back that was published a moment ago.
    pub fn withdraw(writer: &Writer, id: &str) -> Result<(), PointError> {
        Snapshots::delete(writer, id).map_err(repo_error("withdraw the restore point"))
    }
}

impl<'a> Point<'a> {
    /// Returns a snapshot, complete or not, seen as a point.
    pub fn of(snapshot: &'a Snapshot) -> Self {
        Self { snapshot }
    }

    /// Returns the manifest's id.
    pub fn id(&self) -> &'a str {
        &self.snapshot.id
    }

    /// Returns the snapshot.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// Returns the value of one of our tags.
    pub fn tag(&self, key: &str) -> Option<&'a str> {
        self.snapshot
            .manifest
            .tags
            .get(&format!("tag:{key}"))
            .map(String::as_str)
    }

    /// Returns the point's UUID if it is one of ours.
    pub fn point(&self) -> Option<Uuid> {
        Uuid::parse_str(self.tag("point")?).ok()
    }

    /// Returns what verification found of it, as far as is remembered; `points` is where it is from.
    pub fn remembered<'p>(&self, points: &'p Points) -> Option<&'p Remembered> {
        let root = self.snapshot.manifest.root_entry.as_ref()?;
        points.snapshots.verified().of(&root.object)
    }

    /// Says whether verification found a file of it damaged, as far as is remembered.
    pub fn is_known_damaged(&self, points: &Points, path: &str) -> bool {
        let damage = self.remembered(points).and_then(|it| it.damage.as_ref());
        damage.is_some_and(|damage| damage.hurts(path))
    }

    /// Returns the entry at the root of the snapshot.
    ///
    /// # Errors
    /// `Damaged` if the manifest names none.
    pub fn root(&self) -> Result<&'a DirectoryEntry, PointError> {
        self.snapshot.manifest.root_entry.as_ref().ok_or_else(|| {
            PointError::new(
                PointErrorKind::Damaged,
                format!("open snapshot {}: its manifest names no root", self.id()),
            )
        })
    }

    /// Opens a point of a VM.
    ///
    /// # Errors
    /// `Damaged` if it is not one, or was made by a newer version of this program.
    pub fn open(&self, repo: &Arc<Repository>) -> Result<OpenPoint, PointError> {
        let damaged = |what: String| {
            PointError::new(
                PointErrorKind::Damaged,
                format!("open restore point {}: {what}", self.id()),
            )
        };
        let root = self.root()?;
        let doing = || repo_error(format!("open restore point {}", self.id()));
        let entry = find_entry(repo, root, DESCRIPTOR_NAME).map_err(doing())?;
        let bytes = repo
            .read_object(&entry.object, DESCRIPTOR_BYTES_MAX)
            .map_err(doing())?;
        let descriptor: VmDescriptor = serde_json::from_slice(&bytes).map_err(|error| {
            damaged(format!("{DESCRIPTOR_NAME} makes no sense")).caused_by(error)
        })?;
        if descriptor.descriptor_version > DESCRIPTOR_VERSION {
            return Err(damaged(
                "it was made by a newer version of this program; use that one".to_owned(),
            ));
        }
        let list = |name: &str| -> Result<Vec<DirectoryEntry>, PointError> {
            let folder = find_entry(repo, root, name).map_err(doing())?;
            Ok(read_directory(repo, &folder.object)
                .map_err(doing())?
                .entries)
        };
        Ok(OpenPoint {
            disks: list(DISKS_FOLDER)?,
            configuration: list(CONFIGURATION_FOLDER)?,
            descriptor,
        })
    }
}

impl OpenPoint {
    /// Returns what the VM was.
    pub fn descriptor(&self) -> &VmDescriptor {
        &self.descriptor
    }

    /// Returns the object that holds one of the descriptor's disks.
    pub fn disk_object(&self, disk: &crate::DiskDescriptor) -> Option<ObjectId> {
        self.disks
            .iter()
            .find(|entry| entry.name == disk.file)
            .map(|entry| entry.object)
    }

    /// Returns the entries of the configuration files.
    pub(crate) fn configuration_entries(&self) -> &[DirectoryEntry] {
        &self.configuration
    }

    /// Reads the configuration files: name and content.
    pub fn configuration(
        &self,
        repo: &Arc<Repository>,
    ) -> Result<Vec<(String, Vec<u8>)>, PointError> {
        self.configuration
            .iter()
            .map(|entry| {
                let bytes = repo
                    .read_object(&entry.object, CONFIGURATION_BYTES_MAX)
                    .map_err(repo_error(format!(
                        "read the configuration file {}",
                        entry.name
                    )))?;
                Ok((entry.name.clone(), bytes))
            })
            .collect()
    }
}
