//! The traits and what their calls carry.

use std::fmt::Debug;
use std::time::Duration;

use time_and_chance::StopSignal;
use uuid::Uuid;

use super::VssError;

/// VSS of a machine.
pub trait Vss: Send + Sync + Debug {
    /// Makes a requester and initialises it for a backup.
    ///
    /// # Errors
    /// 0x80004001 where there is no VSS.
    fn begin(&self) -> Result<Box<dyn Requester>, VssError>;
}

/// What shadows are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// `VSS_CTX_BACKUP`: writers take part; shadows go with the requester.
    Backup,
    /// `VSS_CTX_FILE_SHARE_BACKUP`: the same without writers.
    BackupWithoutWriters,
    /// `VSS_CTX_ALL`: to look at all shadows there are.
    All,
}

/// How long to wait for what takes its time.
#[derive(Debug, Clone, Copy)]
pub struct Wait<'a> {
    /// At most so long.
    pub limit: Duration,
    /// And only until this is thrown.
    pub stop: &'a StopSignal,
}

/// A part of what a writer looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterComponent {
    /// Where it stands among the writer's parts; may be empty.
    pub logical_path: String,
    /// Its name.
    pub name: String,
}

/// What a writer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterMetadata {
    /// What kind of writer it is.
    pub id: Uuid,
    /// Which of that kind.
    pub instance: Uuid,
    /// Its name.
    pub name: String,
    /// What it looks after.
    pub components: Vec<WriterComponent>,
}

/// Where a writer stands (`VSS_WRITER_STATE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterState {
    /// It waits for the next step, or is done.
    Fine(i32),
    /// It failed at one.
    Failed(i32),
    /// VSS does not know, or we do not know the number.
    Unknown(i32),
}

impl WriterState {
    /// Reads VSS's number.
    pub fn of(number: i32) -> Self {
        match number {
            1..=5 => Self::Fine(number),
            6..=15 => Self::Failed(number),
            other => Self::Unknown(other),
        }
    }

    /// Returns at which step it failed.
    pub fn failed_at(self) -> Option<&'static str> {
        match self {
            Self::Failed(6) => Some("saying what it has"),
            Self::Failed(7) => Some("preparing the backup"),
            Self::Failed(8) => Some("preparing the snapshot"),
            Self::Failed(9) => Some("freezing"),
            Self::Failed(10) => Some("thawing"),
            Self::Failed(11) => Some("tidying up the snapshot"),
            Self::Failed(12) => Some("ending the backup"),
            Self::Failed(_) => Some("another step"),
            Self::Fine(_) | Self::Unknown(_) => None,
        }
    }
}

/// How a writer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterStatus {
    /// What kind of writer it is.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: WriterState,
    /// What it failed with; 0 if it did not.
    pub failure: u32,
}

impl WriterStatus {
    /// Tells whether it failed, in whichever way it says so.
    pub fn has_failed(&self) -> bool {
        self.failure.cast_signed() < 0 || self.state.failed_at().is_some()
    }
}

/// A shadow as VSS describes it (`VSS_SNAPSHOT_PROP`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotProperties {
    /// Its name.
    pub id: Uuid,
    /// The name of its set.
    pub set: Uuid,
    /// What is opened to read it, such as `\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy7`.
    pub device: String,
    /// The volume's name, `\\?\Volume{GUID}\`.
    pub volume: String,
    /// When it was made, in steps of 100 ns since 1601.
    pub created: i64,
}

/// A requester: one backup or one query. Dropping it releases it, and with it its shadows.
///
/// Its calls are VSS's, as is their order; calls out of order fail with 0x80042301.
pub trait Requester: Send + Sync + Debug {
    /// `SetContext`: once, before most other calls.
    fn set_context(&self, context: Context) -> Result<(), VssError>;

    /// `SetBackupState`: whole volumes, with what the system needs to start, as a copy: the next
    /// backup of whoever truncates logs is not disturbed.
    fn set_backup_state(&self) -> Result<(), VssError>;

    /// `DisableWriterClasses`: before the metadata is gathered.
    fn disable_writer_classes(&self, classes: &[Uuid]) -> Result<(), VssError>;

    /// `GatherWriterMetadata`, and what each writer says.
    fn gather_writer_metadata(&self, wait: Wait<'_>) -> Result<Vec<WriterMetadata>, VssError>;

    /// `IsVolumeSupported`, by any provider.
    fn is_volume_supported(&self, volume: &str) -> Result<bool, VssError>;

    /// `StartSnapshotSet`: returns the name of the set.
    fn start_snapshot_set(&self) -> Result<Uuid, VssError>;

    /// `AddToSnapshotSet`: returns the name of the shadow that there will be. The volume's name
    /// ends with a separator.
    fn add_to_snapshot_set(&self, volume: &str) -> Result<Uuid, VssError>;

    /// `PrepareForBackup`.
    fn prepare_for_backup(&self, wait: Wait<'_>) -> Result<(), VssError>;

    /// `DoSnapshotSet`.
    fn do_snapshot_set(&self, wait: Wait<'_>) -> Result<(), VssError>;

    /// `GatherWriterStatus`, and how each writer does.
    fn gather_writer_status(&self, wait: Wait<'_>) -> Result<Vec<WriterStatus>, VssError>;

    /// `GetSnapshotProperties`.
    fn snapshot_properties(&self, id: Uuid) -> Result<SnapshotProperties, VssError>;

    /// `BackupComplete`.
    fn backup_complete(&self, wait: Wait<'_>) -> Result<(), VssError>;

    /// `AbortBackup`.
    fn abort_backup(&self) -> Result<(), VssError>;

    /// `DeleteSnapshots` of a set, whoever looks at them.
    fn delete_snapshot_set(&self, set: Uuid) -> Result<(), VssError>;

    /// `Query` for all shadows.
    fn query_snapshots(&self) -> Result<Vec<SnapshotProperties>, VssError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: i32, failure: u32) -> WriterStatus {
        WriterStatus {
            id: Uuid::nil(),
            name: "Writer".to_owned(),
            state: WriterState::of(state),
            failure,
        }
    }

    #[test]
    fn a_writer_has_failed_by_its_state_or_by_its_code() {
        assert!(!status(1, 0).has_failed());
        assert!(!status(5, 0).has_failed());
        // A code of success says nothing of a failure.
        assert!(!status(5, 0x0004_230A).has_failed());
        assert!(status(9, 0).has_failed());
        assert!(status(1, 0x8004_23F2).has_failed());
        assert_eq!(WriterState::of(99), WriterState::Unknown(99));
        assert!(!status(99, 0).has_failed());
    }
}
