//! The ports: what a machine must offer so that its disks and volumes can be backed up.

use std::fmt::{self, Debug};
use std::io;
use std::path::PathBuf;

use disk::BlockRead;
use time_and_chance::{StopSignal, Timestamp};
use uuid::Uuid;

use crate::{Disk, Volume, VolumeError};

/// Tells what disks and volumes a machine has.
///
/// Implementers report what is there now. What the system does not tell is none or empty, never
/// made up.
pub trait StorageLayout: Send + Sync + Debug {
    /// Returns all volumes.
    fn volumes(&self) -> Result<Vec<Volume>, VolumeError>;

    /// Returns all disks.
    fn disks(&self) -> Result<Vec<Disk>, VolumeError>;
}

/// Names a shadow set: the host gives it, before there is anything of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShadowSetId(pub Uuid);

impl fmt::Display for ShadowSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What becomes of programs that can bring their files in order before volumes are frozen (VSS
/// says "writers": databases, directory services, the registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// None is asked: the volumes are frozen as after a crash.
    None,
    /// All are asked; those that fail are left out, and named.
    LeaveOutFailing,
    /// All are asked, and none may fail.
    Require,
}

/// What is to be frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Names of volumes, or mount points; at least one, none twice.
    pub volumes: Vec<String>,
    /// What becomes of programs that write to them.
    pub writers: Writers,
}

/// Takes the name of a set before anything of it is made, so that a journal holds it; nothing is
/// made if it fails. Several sets may be announced: each one that is tried.
pub type Announce<'a> = &'a mut dyn FnMut(ShadowSetId) -> io::Result<()>;

/// How a writer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterOutcome {
    /// What kind of writer it is: the same on every machine.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Why it took no part; none if it brought its files in order.
    pub left_out: Option<String>,
}

/// One frozen volume of a set (VSS says "shadow copy").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Its own name on the host.
    pub id: Uuid,
    /// The volume, as it was named in [`Freeze::volumes`].
    pub volume: String,
    /// What is opened to read it as a whole.
    pub device: PathBuf,
    /// The folder below which its files lie.
    pub files: PathBuf,
}

/// Volumes that are frozen at one instant. Dropping it releases them, and so does the end of this
/// process.
pub trait FrozenVolumes: Send + Sync + Debug {
    /// Returns the name of the set.
    fn id(&self) -> ShadowSetId;

    /// Returns the frozen volumes, in the order in which they were asked for.
    fn shadows(&self) -> &[Shadow];

    /// Returns the writers that had something to do with it, the failing ones with their reasons.
    fn writers(&self) -> &[WriterOutcome];

    /// Opens the content of a shadow from its first to its last byte.
    ///
    /// Unlike of a virtual disk, nothing is known of what is in use: all of it counts as
    /// allocated.
    fn open(&self, shadow: &Shadow) -> Result<Box<dyn BlockRead + '_>, VolumeError>;

    /// Releases the volumes and tells the writers that the backup is done.
    ///
    /// # Errors
    /// If something of the set may be left on the host.
    fn release(self: Box<Self>) -> Result<(), VolumeError>;
}

/// A shadow set that is there, ours or another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowSet {
    /// Its name.
    pub id: ShadowSetId,
    /// When it was frozen.
    pub frozen_at: Timestamp,
    /// The names of its volumes.
    pub volumes: Vec<String>,
}

/// A machine whose volumes can be frozen.
///
/// Implementers translate and decide nothing but how often what passes by itself is tried again.
/// A failed or stopped freeze leaves nothing behind; if it should all the same, the names that
/// were announced find it among [`shadow_sets`](Self::shadow_sets).
pub trait VolumeHost: StorageLayout {
    /// Freezes volumes, all at the same instant.
    ///
    /// # Errors
    /// `NotFound` and `Unsupported` name the volume; `WriterFailed` names the writers.
    fn freeze(
        &self,
        what: &Freeze,
        announce: Announce<'_>,
        stop: &StopSignal,
    ) -> Result<Box<dyn FrozenVolumes>, VolumeError>;

    /// Returns all shadow sets of this machine, whoever made them.
    fn shadow_sets(&self) -> Result<Vec<ShadowSet>, VolumeError>;

    /// Removes a set that a failed run left behind.
    fn remove_shadow_set(&self, id: ShadowSetId) -> Result<(), VolumeError>;
}
