//! The calls of a requester's backup, on the thread that made it.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `calls_gain_neither_handles_nor_memory_of_vss`.

#![expect(unsafe_code, reason = "COM calls")]

use std::time::Duration;

use time_and_chance::StopSignal;
use uuid::Uuid;
use windows::Win32::Storage::Vss::{
    IVssAsync, VSS_BT_COPY, VSS_CTX_ALL, VSS_CTX_BACKUP, VSS_CTX_FILE_SHARE_BACKUP,
    VSS_E_OBJECT_NOT_FOUND, VSS_OBJECT_NONE, VSS_OBJECT_PROP, VSS_OBJECT_SNAPSHOT,
    VSS_OBJECT_SNAPSHOT_SET, VSS_SNAPSHOT_PROP,
};
use windows_core::{BOOL, GUID, HRESULT, HSTRING, PCWSTR};

use super::interfaces::IVssBackupComponents;
use super::library::Library;
use super::properties::Properties;
use super::waiting::finish;
use crate::calls;
use crate::vss::{Context, SnapshotProperties, VssError};

/// `E_POINTER`, for a success that gave nothing.
const NOTHING: HRESULT = HRESULT(0x8000_4003_u32.cast_signed());

/// A requester's backup; it stays on its thread, which is in an apartment.
pub(super) struct Components {
    pub(super) raw: IVssBackupComponents,
    library: &'static Library,
}

/// Returns the error of a call that failed.
pub(super) fn check(doing: &str, code: HRESULT) -> Result<(), VssError> {
    match code.is_err() {
        true => Err(VssError::code(doing, code.0.cast_unsigned())),
        false => Ok(()),
    }
}

/// Returns a GUID as Windows takes it.
fn guid(id: Uuid) -> GUID {
    GUID::from_u128(id.as_u128())
}

/// Returns a GUID of Windows.
pub(super) fn uuid(id: GUID) -> Uuid {
    Uuid::from_u128(id.to_u128())
}

impl Components {
    /// Makes one and initialises it for a backup.
    pub(super) fn make() -> Result<Self, VssError> {
        let library = Library::get()?;
        let raw = library
            .create()
            .map_err(|code| VssError::code("begin with VSS", code))?;
        calls::count("vss.initialize_for_backup");
        // SAFETY: null stands for a new document.
        let code = unsafe { raw.InitializeForBackup(std::ptr::null()) };
        check("initialise VSS for a backup", code)?;
        Ok(Self { raw, library })
    }

    pub(super) fn set_context(&self, context: Context) -> Result<(), VssError> {
        calls::count("vss.set_context");
        let context = match context {
            Context::Backup => VSS_CTX_BACKUP,
            Context::BackupWithoutWriters => VSS_CTX_FILE_SHARE_BACKUP,
            Context::All => VSS_CTX_ALL,
        };
        // SAFETY: no pointer is handed over.
        check("set VSS's context", unsafe {
            self.raw.SetContext(context.0)
        })
    }

    pub(super) fn set_backup_state(&self) -> Result<(), VssError> {
        calls::count("vss.set_backup_state");
        // SAFETY: no pointer is handed over.
        let code = unsafe { self.raw.SetBackupState(0, 1, VSS_BT_COPY.0, 0) };
        check("tell VSS what kind of backup it is", code)
    }

    pub(super) fn disable_writer_classes(&self, classes: &[Uuid]) -> Result<(), VssError> {
        calls::count("vss.disable_writer_classes");
        let classes: Vec<GUID> = classes.iter().map(|&class| guid(class)).collect();
        // SAFETY: the array lives through the call and is as long as is said.
        let code = unsafe {
            self.raw
                .DisableWriterClasses(classes.as_ptr(), classes.len() as u32)
        };
        check("leave writers out", code)
    }

    pub(super) fn is_volume_supported(&self, volume: &str) -> Result<bool, VssError> {
        calls::count("vss.is_volume_supported");
        let name = HSTRING::from(volume);
        let mut yes = BOOL(0);
        // SAFETY: the name ends with 0 and lives through the call; the place is ours.
        let code = unsafe {
            self.raw
                .IsVolumeSupported(GUID::zeroed(), PCWSTR(name.as_ptr()), &mut yes)
        };
        check(&format!("ask whether VSS can freeze {volume}"), code)?;
        Ok(yes.as_bool())
    }

    pub(super) fn start_snapshot_set(&self) -> Result<Uuid, VssError> {
        calls::count("vss.start_snapshot_set");
        let mut set = GUID::zeroed();
        // SAFETY: the place is ours.
        check("begin a shadow set", unsafe {
            self.raw.StartSnapshotSet(&mut set)
        })?;
        Ok(uuid(set))
    }

    pub(super) fn add_to_snapshot_set(&self, volume: &str) -> Result<Uuid, VssError> {
        calls::count("vss.add_to_snapshot_set");
        let name = HSTRING::from(volume);
        let mut shadow = GUID::zeroed();
        // SAFETY: the name ends with 0 and lives through the call; the place is ours.
        let code = unsafe {
            self.raw
                .AddToSnapshotSet(PCWSTR(name.as_ptr()), GUID::zeroed(), &mut shadow)
        };
        check(&format!("take {volume} into the shadow set"), code)?;
        Ok(uuid(shadow))
    }

    pub(super) fn snapshot_properties(&self, id: Uuid) -> Result<SnapshotProperties, VssError> {
        calls::count("vss.get_snapshot_properties");
        let mut found = VSS_SNAPSHOT_PROP::default();
        // SAFETY: the place is ours; what VSS allocates for it is freed with `Properties`.
        let code = unsafe { self.raw.GetSnapshotProperties(guid(id), &mut found) };
        check("ask VSS for a shadow's device", code)?;
        Ok(Properties::new(found, self.library).values())
    }

    pub(super) fn abort_backup(&self) -> Result<(), VssError> {
        calls::count("vss.abort_backup");
        // SAFETY: no pointer is handed over.
        check("abort a backup", unsafe { self.raw.AbortBackup() })
    }

    pub(super) fn delete_snapshot_set(&self, set: Uuid) -> Result<(), VssError> {
        calls::count("vss.delete_snapshots");
        let (mut deleted, mut stays) = (0, GUID::zeroed());
        // SAFETY: the places are ours.
        let code = unsafe {
            self.raw.DeleteSnapshots(
                guid(set),
                VSS_OBJECT_SNAPSHOT_SET.0,
                true.into(),
                &mut deleted,
                &mut stays,
            )
        };
        let doing = "remove a shadow set";
        check(doing, code)?;
        match deleted {
            0 => check(doing, VSS_E_OBJECT_NOT_FOUND),
            _ => Ok(()),
        }
    }

    pub(super) fn query_snapshots(&self) -> Result<Vec<SnapshotProperties>, VssError> {
        let doing = "list shadow sets";
        calls::count("vss.query");
        let mut rows = None;
        // SAFETY: the place is ours, and holds what was made with a reference of its own.
        let code = unsafe {
            self.raw.Query(
                GUID::zeroed(),
                VSS_OBJECT_NONE.0,
                VSS_OBJECT_SNAPSHOT.0,
                &mut rows,
            )
        };
        check(doing, code)?;
        let mut found = Vec::new();
        // Where there is none, some versions give no list at all.
        let Some(rows) = rows else { return Ok(found) };
        loop {
            let mut row = [VSS_OBJECT_PROP::default()];
            let mut count = 0;
            calls::count("vss.enum_next");
            // SAFETY: the array is ours and has one place; what VSS allocates for what it puts
            // there is freed with `Properties`.
            let next = unsafe { rows.Next(&mut row, &mut count) };
            next.map_err(|error| VssError::code(doing, error.code().0.cast_unsigned()))?;
            if count == 0 {
                return Ok(found);
            }
            if row[0].Type == VSS_OBJECT_SNAPSHOT {
                // SAFETY: the type says that the union holds a shadow's description.
                let raw = unsafe { row[0].Obj.Snap };
                found.push(Properties::new(raw, self.library).values());
            }
        }
    }

    /// Starts an operation and waits until it is over.
    pub(super) fn operate(
        &self,
        doing: &str,
        limit: Duration,
        stop: &StopSignal,
        start: impl FnOnce(&IVssBackupComponents, &mut Option<IVssAsync>) -> HRESULT,
    ) -> Result<(), VssError> {
        let mut operation = None;
        check(doing, start(&self.raw, &mut operation))?;
        match operation {
            Some(operation) => finish(doing, &operation, limit, stop),
            None => check(doing, NOTHING),
        }
    }
}
