//! One requester: strict about the order of its calls.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use time_and_chance::Timestamp;
use uuid::Uuid;
use volume::ShadowSetId;
use volume::sim::{SimShadow, SimWriter, SimWriterStep};
use windows_host::vss::{
    Context, Requester, SnapshotProperties, VssError, Wait, WriterComponent, WriterMetadata,
    WriterState, WriterStatus,
};

use super::{FakeVss, faults};

/// VSS's codes, as vsserror.h names them.
mod code {
    pub(super) const BAD_STATE: u32 = 0x8004_2301;
    pub(super) const OBJECT_NOT_FOUND: u32 = 0x8004_2308;
    pub(super) const OBJECT_ALREADY_EXISTS: u32 = 0x8004_230D;
    pub(super) const MAXIMUM_NUMBER_OF_VOLUMES_REACHED: u32 = 0x8004_2312;
    pub(super) const SNAPSHOT_SET_IN_PROGRESS: u32 = 0x8004_2316;
    pub(super) const INVALID_ARGUMENT: u32 = 0x8007_0057;
    pub(super) const UNEXPECTED: u32 = 0x8004_2302;
    pub(super) const PENDING: u32 = 0x0004_2309;
}

const VOLUMES_MAX: usize = 64;

/// What has been done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Begun,
    Gathered,
    SetStarted,
    Prepared,
    Frozen,
    Over,
}

#[derive(Debug)]
struct State {
    context: Option<Context>,
    backup_state: bool,
    stage: Stage,
    left_out: Vec<Uuid>,
    set: Option<Uuid>,
    /// Shadows to be, and their volumes.
    volumes: Vec<(Uuid, String)>,
    /// What writers failed with, and at which step.
    failures: Vec<(Uuid, SimWriterStep, u32)>,
}

/// A requester; dropping it releases its shadows.
#[derive(Debug)]
pub(crate) struct FakeRequester {
    vss: FakeVss,
    state: Mutex<State>,
}

fn of_files(_: io::Error) -> u32 {
    code::UNEXPECTED
}

/// The number of `VSS_WRITER_STATE` that says where a writer failed.
fn failed_state(step: SimWriterStep) -> i32 {
    match step {
        SimWriterStep::PrepareBackup => 7,
        SimWriterStep::PrepareSnapshot => 8,
        SimWriterStep::Freeze => 9,
        SimWriterStep::Thaw => 10,
        SimWriterStep::PostSnapshot => 11,
    }
}

impl FakeRequester {
    pub(super) fn new(vss: FakeVss) -> Self {
        let state = State {
            context: None,
            backup_state: false,
            stage: Stage::Begun,
            left_out: Vec::new(),
            set: None,
            volumes: Vec::new(),
            failures: Vec::new(),
        };
        Self {
            vss,
            state: Mutex::new(state),
        }
    }

    /// Tells whether a query that finds nothing gives no list.
    #[cfg(windows)]
    pub(crate) fn gives_no_list_of_nothing(&self) -> bool {
        self.vss.manners.no_list_of_nothing
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self, call: &str) -> Result<(), u32> {
        faults::strike(&self.vss.folder, call)
    }

    pub(crate) fn context(&self, context: Context) -> Result<(), u32> {
        self.strike("SetContext")?;
        let mut state = self.lock();
        if state.context.is_some() || state.stage != Stage::Begun {
            return Err(code::BAD_STATE);
        }
        state.context = Some(context);
        Ok(())
    }

    pub(crate) fn backup_state(&self) -> Result<(), u32> {
        self.strike("SetBackupState")?;
        let mut state = self.lock();
        if state.stage > Stage::Gathered {
            return Err(code::BAD_STATE);
        }
        state.backup_state = true;
        Ok(())
    }

    pub(crate) fn disable(&self, classes: &[Uuid]) -> Result<(), u32> {
        self.strike("DisableWriterClasses")?;
        let mut state = self.lock();
        // Afterwards it is without effect.
        if state.stage == Stage::Begun {
            state.left_out.extend(classes);
        }
        Ok(())
    }

    fn writers(&self, left_out: &[Uuid]) -> Result<Vec<SimWriter>, u32> {
        let mut writers = self.vss.host.writers().map_err(of_files)?;
        writers.retain(|writer| !left_out.contains(&writer.id));
        Ok(writers)
    }

    pub(crate) fn gather_metadata(&self) -> Result<Vec<WriterMetadata>, u32> {
        self.strike("GatherWriterMetadata")?;
        let mut state = self.lock();
        let with_writers = state.context.unwrap_or(Context::Backup) == Context::Backup;
        if !with_writers || state.stage != Stage::Begun {
            return Err(code::BAD_STATE);
        }
        state.stage = Stage::Gathered;
        let writers = self.writers(&state.left_out)?;
        let metadata = |writer: SimWriter| WriterMetadata {
            id: writer.id,
            instance: writer.instance,
            components: vec![WriterComponent {
                logical_path: String::new(),
                name: format!("files of {}", writer.name),
            }],
            name: writer.name,
        };
        Ok(writers.into_iter().map(metadata).collect())
    }

    pub(crate) fn supports(&self, volume: &str) -> Result<bool, u32> {
        self.strike("IsVolumeSupported")?;
        let found = self.vss.host.find(volume).map_err(of_files)?;
        found.map(|_| true).ok_or(code::OBJECT_NOT_FOUND)
    }

    pub(crate) fn start_set(&self) -> Result<Uuid, u32> {
        self.strike("StartSnapshotSet")?;
        let mut state = self.lock();
        let needed = match state.context.unwrap_or(Context::Backup) {
            Context::Backup => Stage::Gathered,
            Context::BackupWithoutWriters => Stage::Begun,
            Context::All => return Err(code::BAD_STATE),
        };
        if state.stage != needed {
            return Err(code::BAD_STATE);
        }
        let mut making = self
            .vss
            .making
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if making.is_some() {
            return Err(code::SNAPSHOT_SET_IN_PROGRESS);
        }
        let set = self.vss.chance.uuid();
        *making = Some(set);
        state.set = Some(set);
        state.stage = Stage::SetStarted;
        Ok(set)
    }

    pub(crate) fn add(&self, volume: &str) -> Result<Uuid, u32> {
        self.strike("AddToSnapshotSet")?;
        let mut state = self.lock();
        if state.stage != Stage::SetStarted {
            return Err(code::BAD_STATE);
        }
        if !volume.ends_with('\\') {
            return Err(code::INVALID_ARGUMENT);
        }
        let found = self.vss.host.find(volume).map_err(of_files)?;
        let name = found.ok_or(code::OBJECT_NOT_FOUND)?.name;
        if state.volumes.iter().any(|(_, known)| *known == name) {
            return Err(code::OBJECT_ALREADY_EXISTS);
        }
        if state.volumes.len() == VOLUMES_MAX {
            return Err(code::MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
        }
        let id = self.vss.chance.uuid();
        state.volumes.push((id, name));
        Ok(id)
    }

    /// Has every writer do a step, but those that failed before; returns the first new failure.
    fn step(&self, state: &mut State, step: SimWriterStep) -> Result<Option<u32>, u32> {
        let mut first = None;
        for writer in self.writers(&state.left_out)? {
            if state.failures.iter().any(|(id, ..)| *id == writer.id) {
                continue;
            }
            let failed = self.vss.host.step(writer.id, step).map_err(of_files)?;
            if let Some(code) = failed {
                state.failures.push((writer.id, step, code));
                first = first.or(failed);
            }
        }
        Ok(first)
    }

    pub(crate) fn prepare(&self) -> Result<(), u32> {
        self.strike("PrepareForBackup")?;
        let mut state = self.lock();
        let with_writers = state.context.unwrap_or(Context::Backup) == Context::Backup;
        let in_order = state.stage == Stage::SetStarted && state.backup_state;
        if !with_writers || !in_order || state.volumes.is_empty() {
            return Err(code::BAD_STATE);
        }
        self.step(&mut state, SimWriterStep::PrepareBackup)?;
        state.stage = Stage::Prepared;
        Ok(())
    }

    pub(crate) fn freeze(&self) -> Result<(), u32> {
        self.strike("DoSnapshotSet")?;
        let mut state = self.lock();
        let with_writers = state.context.unwrap_or(Context::Backup) == Context::Backup;
        let needed = match with_writers {
            true => Stage::Prepared,
            false => Stage::SetStarted,
        };
        let Some(set) = state.set.filter(|_| state.stage == needed) else {
            return Err(code::BAD_STATE);
        };
        if state.volumes.is_empty() {
            return Err(code::BAD_STATE);
        }
        let mut failed = None;
        if with_writers {
            for step in [SimWriterStep::PrepareSnapshot, SimWriterStep::Freeze] {
                failed = failed.or(self.step(&mut state, step)?);
            }
        }
        let taken = self.vss.host.take(ShadowSetId(set), &state.volumes);
        taken.map_err(of_files)?;
        if with_writers {
            for step in [SimWriterStep::Thaw, SimWriterStep::PostSnapshot] {
                failed = failed.or(self.step(&mut state, step)?);
            }
        }
        state.stage = Stage::Frozen;
        self.made();
        match failed {
            Some(code) if self.vss.manners.the_freeze_tells_of_writers => Err(code),
            _ => Ok(()),
        }
    }

    /// Lets others make sets.
    fn made(&self) {
        *self
            .vss
            .making
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn gather_status(&self) -> Result<Vec<WriterStatus>, u32> {
        self.strike("GatherWriterStatus")?;
        let state = self.lock();
        if state.context == Some(Context::BackupWithoutWriters) || state.stage < Stage::Gathered {
            return Err(code::BAD_STATE);
        }
        /// `VSS_WS_STABLE`, `VSS_WS_WAITING_FOR_BACKUP_COMPLETE`.
        const STABLE: i32 = 1;
        const WAITING: i32 = 5;
        let fine = match state.stage {
            Stage::Frozen => WAITING,
            _ => STABLE,
        };
        let writers = self.writers(&state.left_out)?;
        let status = |writer: SimWriter| {
            let mut failures = state.failures.iter();
            let failure = failures.find(|(id, ..)| *id == writer.id);
            WriterStatus {
                id: writer.id,
                name: writer.name,
                state: WriterState::of(failure.map_or(fine, |(_, step, _)| failed_state(*step))),
                failure: failure.map_or(0, |(.., code)| *code),
            }
        };
        Ok(writers.into_iter().map(status).collect())
    }

    pub(crate) fn properties(&self, id: Uuid) -> Result<SnapshotProperties, u32> {
        self.strike("GetSnapshotProperties")?;
        let shadows = self.all()?;
        let found = shadows.into_iter().find(|shadow| shadow.id == id);
        found.ok_or(code::OBJECT_NOT_FOUND)
    }

    fn all(&self) -> Result<Vec<SnapshotProperties>, u32> {
        let shadows = self.vss.host.shadows().map_err(of_files)?;
        let described = |shadow: SimShadow| SnapshotProperties {
            device: self.vss.host.shadow_path(shadow.id).display().to_string(),
            id: shadow.id,
            set: shadow.set,
            volume: shadow.volume,
            created: windows_time(shadow.frozen_at),
        };
        Ok(shadows.into_iter().map(described).collect())
    }

    pub(crate) fn complete(&self) -> Result<(), u32> {
        self.strike("BackupComplete")?;
        let mut state = self.lock();
        if state.context == Some(Context::BackupWithoutWriters) || state.stage != Stage::Frozen {
            return Err(code::BAD_STATE);
        }
        state.stage = Stage::Over;
        Ok(())
    }

    pub(crate) fn abort(&self) -> Result<(), u32> {
        self.strike("AbortBackup")?;
        let mut state = self.lock();
        if !(Stage::SetStarted..=Stage::Frozen).contains(&state.stage) {
            return Err(code::BAD_STATE);
        }
        state.stage = Stage::Over;
        self.made();
        Ok(())
    }

    pub(crate) fn delete(&self, set: Uuid) -> Result<usize, u32> {
        self.strike("DeleteSnapshots")?;
        let removed = self.vss.host.remove(ShadowSetId(set)).map_err(of_files)?;
        match removed {
            0 => Err(code::OBJECT_NOT_FOUND),
            count => Ok(count),
        }
    }

    pub(crate) fn query(&self) -> Result<Vec<SnapshotProperties>, u32> {
        self.strike("Query")?;
        if self.lock().context != Some(Context::All) {
            return Err(code::BAD_STATE);
        }
        self.all()
    }
}

impl Drop for FakeRequester {
    fn drop(&mut self) {
        let set = self.lock().set;
        let Some(set) = set else { return };
        let mut making = self
            .vss
            .making
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *making == Some(set) {
            *making = None;
        }
        drop(making);
        // A folder that is gone has no shadows.
        let _ = self.vss.host.remove(ShadowSetId(set));
    }
}

/// Returns a time as Windows counts it: in steps of 100 ns since 1601.
fn windows_time(time: Timestamp) -> i64 {
    const TO_UNIX: i64 = 116_444_736_000_000_000;
    i64::try_from(time.as_nanosecond() / 100).map_or(0, |steps| steps.saturating_add(TO_UNIX))
}

/// Waits for an operation as a client does: one that never ends is given up.
fn waited<T>(doing: &str, wait: Wait<'_>, result: Result<T, u32>) -> Result<T, VssError> {
    let doing = doing.to_owned();
    match result {
        _ if wait.stop.is_stopped() => Err(VssError::Stopped { doing }),
        Err(code::PENDING) => Err(VssError::TimedOut {
            doing,
            limit_s: wait.limit.as_secs(),
        }),
        result => told(&doing, result),
    }
}

fn told<T>(doing: &str, result: Result<T, u32>) -> Result<T, VssError> {
    result.map_err(|code| VssError::code(doing, code))
}

impl Requester for FakeRequester {
    fn set_context(&self, context: Context) -> Result<(), VssError> {
        told("SetContext", self.context(context))
    }

    fn set_backup_state(&self) -> Result<(), VssError> {
        told("SetBackupState", self.backup_state())
    }

    fn disable_writer_classes(&self, classes: &[Uuid]) -> Result<(), VssError> {
        told("DisableWriterClasses", self.disable(classes))
    }

    fn gather_writer_metadata(&self, wait: Wait<'_>) -> Result<Vec<WriterMetadata>, VssError> {
        waited("GatherWriterMetadata", wait, self.gather_metadata())
    }

    fn is_volume_supported(&self, volume: &str) -> Result<bool, VssError> {
        told(&format!("freeze {volume}"), self.supports(volume))
    }

    fn start_snapshot_set(&self) -> Result<Uuid, VssError> {
        told("StartSnapshotSet", self.start_set())
    }

    fn add_to_snapshot_set(&self, volume: &str) -> Result<Uuid, VssError> {
        told(&format!("freeze {volume}"), self.add(volume))
    }

    fn prepare_for_backup(&self, wait: Wait<'_>) -> Result<(), VssError> {
        waited("PrepareForBackup", wait, self.prepare())
    }

    fn do_snapshot_set(&self, wait: Wait<'_>) -> Result<(), VssError> {
        waited("DoSnapshotSet", wait, self.freeze())
    }

    fn gather_writer_status(&self, wait: Wait<'_>) -> Result<Vec<WriterStatus>, VssError> {
        waited("GatherWriterStatus", wait, self.gather_status())
    }

    fn snapshot_properties(&self, id: Uuid) -> Result<SnapshotProperties, VssError> {
        told("GetSnapshotProperties", self.properties(id))
    }

    fn backup_complete(&self, wait: Wait<'_>) -> Result<(), VssError> {
        waited("BackupComplete", wait, self.complete())
    }

    fn abort_backup(&self) -> Result<(), VssError> {
        told("AbortBackup", self.abort())
    }

    fn delete_snapshot_set(&self, set: Uuid) -> Result<(), VssError> {
        told("DeleteSnapshots", self.delete(set).map(drop))
    }

    fn query_snapshots(&self) -> Result<Vec<SnapshotProperties>, VssError> {
        told("Query", self.query())
    }
}
