//! `IVssBackupComponents` over the model.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `calls_out_of_order_are_refused`, `an_operation_that_hangs_is_given_up`.

#![expect(unsafe_code, reason = "COM calls by pointer")]

use std::ffi::c_void;
use std::sync::{Mutex, OnceLock, PoisonError};

use uuid::Uuid;
use windows::Win32::Foundation::{E_INVALIDARG, E_NOTIMPL, E_POINTER, S_OK};
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssEnumObject, VSS_BT_COPY, VSS_CTX_ALL, VSS_CTX_BACKUP, VSS_CTX_FILE_SHARE_BACKUP,
    VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, VSS_OBJECT_NONE, VSS_OBJECT_SNAPSHOT,
    VSS_OBJECT_SNAPSHOT_SET, VSS_SNAPSHOT_CONTEXT, VSS_SNAPSHOT_PROP,
};
use windows_core::{BOOL, BSTR, GUID, HRESULT, PCWSTR, implement};
use windows_host::vss::com::{
    IVssBackupComponents, IVssBackupComponents_Impl, IVssExamineWriterMetadata,
};
use windows_host::vss::{Context, WriterMetadata, WriterState, WriterStatus};

use crate::descriptions::describe;
use crate::metadata::Metadata;
use crate::model::{FakeRequester, FakeVss};
use crate::operation::Operation;
use crate::rows::Rows;

/// A requester's backup.
#[implement(IVssBackupComponents)]
pub struct Components {
    vss: FakeVss,
    /// There once it is initialised.
    model: OnceLock<FakeRequester>,
    metadata: Mutex<Option<Vec<WriterMetadata>>>,
    status: Mutex<Option<Vec<WriterStatus>>>,
}

fn uuid(id: GUID) -> Uuid {
    Uuid::from_u128(id.to_u128())
}

fn hresult(code: u32) -> HRESULT {
    HRESULT(code.cast_signed())
}

fn told(result: Result<(), u32>) -> HRESULT {
    result.err().map_or(S_OK, hresult)
}

/// Returns the caller's text; none if it is null.
///
/// # Safety
/// It is null or points to UTF-16 that ends with a zero.
unsafe fn text(pointer: PCWSTR) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller promises it.
    Some(String::from_utf16_lossy(unsafe { pointer.as_wide() }))
}

/// Puts something where the caller wants it.
///
/// # Safety
/// The pointer is null or points to a place for it, whose content is of no meaning yet.
unsafe fn put<T>(place: *mut T, value: T) -> HRESULT {
    if place.is_null() {
        return E_POINTER;
    }
    // SAFETY: the caller promises it.
    unsafe { place.write(value) };
    S_OK
}

impl Components {
    /// Returns one that is not initialised.
    pub fn new(vss: FakeVss) -> Self {
        Self {
            vss,
            model: OnceLock::new(),
            metadata: Mutex::default(),
            status: Mutex::default(),
        }
    }

    fn model(&self) -> Result<&FakeRequester, u32> {
        self.model.get().ok_or(VSS_E_BAD_STATE.0.cast_unsigned())
    }

    /// Does what an operation does and hands the operation over. What is out of order, or not
    /// allowed, fails at once.
    ///
    /// # Safety
    /// The pointer is null or points to a place for an interface.
    unsafe fn operate(
        &self,
        place: *mut Option<IVssAsync>,
        work: impl FnOnce(&FakeRequester) -> Result<(), u32>,
    ) -> HRESULT {
        let done = match self.model() {
            Ok(model) => work(model),
            Err(code) => Err(code),
        };
        /// What the pages say comes from the call itself.
        const AT_ONCE: [u32; 2] = [0x8004_2301, 0x8007_0005];
        match done {
            Err(code) if AT_ONCE.contains(&code) => hresult(code),
            // SAFETY: the caller promises it.
            done => unsafe { put(place, Some(Operation::ended(done).into())) },
        }
    }
}

fn count<T>(gathered: &Mutex<Option<Vec<T>>>) -> Result<u32, HRESULT> {
    let gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
    let gathered = gathered.as_ref().ok_or(VSS_E_BAD_STATE)?;
    Ok(gathered.len() as u32)
}

fn one<T: Clone>(gathered: &Mutex<Option<Vec<T>>>, index: u32) -> Result<T, HRESULT> {
    let gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
    let gathered = gathered.as_ref().ok_or(VSS_E_BAD_STATE)?;
    let found = gathered.get(index as usize).cloned();
    found.ok_or(VSS_E_OBJECT_NOT_FOUND)
}

fn free<T>(gathered: &Mutex<Option<Vec<T>>>) -> HRESULT {
    let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
    match gathered.take() {
        Some(_) => S_OK,
        None => VSS_E_BAD_STATE,
    }
}

/// Methods over the model; and those that nothing here calls, which answer that they are not
/// there.
macro_rules! methods {
    (not here: $($name:ident($($of:ty),*);)*) => {
        $(methods!(@$name ($($of),*));)*
    };
    (@$name:ident ($a:ty)) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(&self, _: $a) -> HRESULT { E_NOTIMPL }
    };
    (@$name:ident ($a:ty, $b:ty)) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(&self, _: $a, _: $b) -> HRESULT { E_NOTIMPL }
    };
    (@$name:ident ($a:ty, $b:ty, $c:ty, $d:ty, $e:ty)) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(&self, _: $a, _: $b, _: $c, _: $d, _: $e) -> HRESULT { E_NOTIMPL }
    };
    (@$name:ident ($a:ty, $b:ty, $c:ty, $d:ty, $e:ty, $f:ty)) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(&self, _: $a, _: $b, _: $c, _: $d, _: $e, _: $f) -> HRESULT { E_NOTIMPL }
    };
    (@$name:ident ($a:ty, $b:ty, $c:ty, $d:ty, $e:ty, $f:ty, $g:ty)) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(
            &self, _: $a, _: $b, _: $c, _: $d, _: $e, _: $f, _: $g,
        ) -> HRESULT { E_NOTIMPL }
    };
    (@$name:ident ($a:ty, $b:ty, $c:ty, $d:ty, $e:ty, $f:ty, $g:ty, $h:ty)) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(
            &self, _: $a, _: $b, _: $c, _: $d, _: $e, _: $f, _: $g, _: $h,
        ) -> HRESULT { E_NOTIMPL }
    };
    ($(fn $name:ident(&$this:ident $(, $argument:ident: $type:ty)*) $body:block)*) => {
        $(
            /// # Safety
            /// Pointers are null or point to what vsbackup.h says, alive through the call.
            unsafe fn $name(&$this $(, $argument: $type)*) -> HRESULT $body
        )*
    };
}

impl IVssBackupComponents_Impl for Components_Impl {
    methods! {
        fn InitializeForBackup(&self, document: *const u16) {
            if !document.is_null() {
                return E_INVALIDARG;
            }
            match self.vss.requester() {
                Err(code) => hresult(code),
                Ok(model) => match self.model.set(model) {
                    Ok(()) => S_OK,
                    Err(_) => VSS_E_BAD_STATE,
                },
            }
        }

        fn SetBackupState(&self, select: u8, bootable: u8, kind: i32, partial: u8) {
            // The model knows backups of whole volumes alone.
            if (select, bootable, kind, partial) != (0, 1, VSS_BT_COPY.0, 0) {
                return E_NOTIMPL;
            }
            told(self.model().and_then(FakeRequester::backup_state))
        }

        fn SetContext(&self, context: i32) {
            let context = match VSS_SNAPSHOT_CONTEXT(context) {
                VSS_CTX_BACKUP => Context::Backup,
                VSS_CTX_FILE_SHARE_BACKUP => Context::BackupWithoutWriters,
                VSS_CTX_ALL => Context::All,
                _ => return E_NOTIMPL,
            };
            told(self.model().and_then(|model| model.context(context)))
        }

        fn DisableWriterClasses(&self, classes: *const GUID, count: u32) {
            if classes.is_null() || count == 0 {
                return E_INVALIDARG;
            }
            // SAFETY: the caller promises an array of that length.
            let classes = unsafe { std::slice::from_raw_parts(classes, count as usize) };
            let classes: Vec<Uuid> = classes.iter().map(|&class| uuid(class)).collect();
            told(self.model().and_then(|model| model.disable(&classes)))
        }

        fn GatherWriterMetadata(&self, place: *mut Option<IVssAsync>) {
            // SAFETY: the caller promises it.
            unsafe {
                self.operate(place, |model| {
                    let found = model.gather_metadata()?;
                    *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                    Ok(())
                })
            }
        }

        fn GetWriterMetadataCount(&self, place: *mut u32) {
            // SAFETY: the caller promises it.
            count(&self.metadata).map_or_else(|code| code, |count| unsafe { put(place, count) })
        }

        fn GetWriterMetadata(
            &self, index: u32, instance: *mut GUID, place: *mut Option<IVssExamineWriterMetadata>
        ) {
            if instance.is_null() || place.is_null() {
                return E_POINTER;
            }
            match one(&self.metadata, index) {
                Err(code) => code,
                // SAFETY: the caller promises both places.
                Ok(found) => unsafe {
                    instance.write(GUID::from_u128(found.instance.as_u128()));
                    put(place, Some(Metadata(found).into()))
                },
            }
        }

        fn FreeWriterMetadata(&self) {
            free(&self.metadata)
        }

        fn StartSnapshotSet(&self, place: *mut GUID) {
            match self.model().and_then(FakeRequester::start_set) {
                Err(code) => hresult(code),
                // SAFETY: the caller promises it.
                Ok(set) => unsafe { put(place, GUID::from_u128(set.as_u128())) },
            }
        }

        fn AddToSnapshotSet(&self, volume: PCWSTR, provider: GUID, place: *mut GUID) {
            // SAFETY: the caller promises text.
            let (Some(volume), true) = (unsafe { text(volume) }, provider == GUID::zeroed()) else {
                return E_INVALIDARG;
            };
            match self.model().and_then(|model| model.add(&volume)) {
                Err(code) => hresult(code),
                // SAFETY: the caller promises it.
                Ok(id) => unsafe { put(place, GUID::from_u128(id.as_u128())) },
            }
        }

        fn IsVolumeSupported(&self, _provider: GUID, volume: PCWSTR, place: *mut BOOL) {
            // SAFETY: the caller promises text.
            let Some(volume) = (unsafe { text(volume) }) else {
                return E_INVALIDARG;
            };
            match self.model().and_then(|model| model.supports(&volume)) {
                Err(code) => hresult(code),
                // SAFETY: the caller promises it.
                Ok(yes) => unsafe { put(place, yes.into()) },
            }
        }

        fn PrepareForBackup(&self, place: *mut Option<IVssAsync>) {
            // SAFETY: the caller promises it.
            unsafe { self.operate(place, FakeRequester::prepare) }
        }

        fn DoSnapshotSet(&self, place: *mut Option<IVssAsync>) {
            // SAFETY: the caller promises it.
            unsafe { self.operate(place, FakeRequester::freeze) }
        }

        fn BackupComplete(&self, place: *mut Option<IVssAsync>) {
            // SAFETY: the caller promises it.
            unsafe { self.operate(place, FakeRequester::complete) }
        }

        fn AbortBackup(&self) {
            told(self.model().and_then(FakeRequester::abort))
        }

        fn GatherWriterStatus(&self, place: *mut Option<IVssAsync>) {
            // SAFETY: the caller promises it.
            unsafe {
                self.operate(place, |model| {
                    let found = model.gather_status()?;
                    *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                    Ok(())
                })
            }
        }

        fn GetWriterStatusCount(&self, place: *mut u32) {
            // SAFETY: the caller promises it.
            count(&self.status).map_or_else(|code| code, |count| unsafe { put(place, count) })
        }

        fn GetWriterStatus(
            &self, index: u32, instance: *mut GUID, writer: *mut GUID, name: *mut BSTR,
            state: *mut i32, failure: *mut HRESULT
        ) {
            let null = [instance.is_null(), writer.is_null(), name.is_null()].contains(&true);
            if null || state.is_null() || failure.is_null() {
                return E_POINTER;
            }
            let found = match one(&self.status, index) {
                Ok(found) => found,
                Err(code) => return code,
            };
            let (WriterState::Fine(number)
            | WriterState::Failed(number)
            | WriterState::Unknown(number)) = found.state;
            // SAFETY: the caller promises all places.
            unsafe {
                instance.write(GUID::zeroed());
                writer.write(GUID::from_u128(found.id.as_u128()));
                name.write(BSTR::from(&found.name));
                state.write(number);
                put(failure, hresult(found.failure))
            }
        }

        fn FreeWriterStatus(&self) {
            free(&self.status)
        }

        fn GetSnapshotProperties(&self, shadow: GUID, place: *mut VSS_SNAPSHOT_PROP) {
            if place.is_null() {
                return E_POINTER;
            }
            match self.model().and_then(|model| model.properties(uuid(shadow))) {
                Err(code) => hresult(code),
                // SAFETY: the caller promises it.
                Ok(found) => unsafe { put(place, describe(&found, 1)) },
            }
        }

        fn DeleteSnapshots(
            &self, source: GUID, kind: i32, _force: BOOL, deleted: *mut i32, not_deleted: *mut GUID
        ) {
            if kind != VSS_OBJECT_SNAPSHOT_SET.0 {
                return E_NOTIMPL;
            }
            if deleted.is_null() || not_deleted.is_null() {
                return E_POINTER;
            }
            match self.model().and_then(|model| model.delete(uuid(source))) {
                Err(code) => hresult(code),
                // SAFETY: the caller promises both places.
                Ok(count) => unsafe {
                    not_deleted.write(GUID::zeroed());
                    put(deleted, count as i32)
                },
            }
        }

        fn Query(
            &self, queried: GUID, queried_type: i32, returned_type: i32,
            place: *mut Option<IVssEnumObject>
        ) {
            let all = queried == GUID::zeroed() && queried_type == VSS_OBJECT_NONE.0;
            if !all || returned_type != VSS_OBJECT_SNAPSHOT.0 {
                return E_INVALIDARG;
            }
            let (model, found) = match self.model().and_then(|it| Ok((it, it.query()?))) {
                Ok(found) => found,
                Err(code) => return hresult(code),
            };
            let nothing = found.is_empty() && model.gives_no_list_of_nothing();
            let list = (!nothing).then(|| Rows::new(found).into());
            // SAFETY: the caller promises it.
            unsafe { put(place, list) }
        }
    }

    methods! {
        not here:
        GetWriterComponentsCount(*mut u32);
        GetWriterComponents(u32, *mut *mut c_void);
        InitializeForRestore(*const u16);
        SetRestoreState(i32);
        AddComponent(GUID, GUID, i32, PCWSTR, PCWSTR);
        SetBackupSucceeded(GUID, GUID, i32, PCWSTR, PCWSTR, u8);
        SetBackupOptions(GUID, i32, PCWSTR, PCWSTR, PCWSTR);
        SetSelectedForRestore(GUID, i32, PCWSTR, PCWSTR, u8);
        SetRestoreOptions(GUID, i32, PCWSTR, PCWSTR, PCWSTR);
        SetAdditionalRestores(GUID, i32, PCWSTR, PCWSTR, u8);
        SetPreviousBackupStamp(GUID, i32, PCWSTR, PCWSTR, PCWSTR);
        SaveAsXML(*mut BSTR);
        AddAlternativeLocationMapping(GUID, i32, PCWSTR, PCWSTR, PCWSTR, PCWSTR, u8, PCWSTR);
        AddRestoreSubcomponent(GUID, i32, PCWSTR, PCWSTR, PCWSTR, PCWSTR, u8);
        SetFileRestoreStatus(GUID, i32, PCWSTR, PCWSTR, i32);
        AddNewTarget(GUID, i32, PCWSTR, PCWSTR, PCWSTR, PCWSTR, u8, PCWSTR);
        SetRangesFilePath(GUID, i32, PCWSTR, PCWSTR, u32, PCWSTR);
        PreRestore(*mut Option<IVssAsync>);
        PostRestore(*mut Option<IVssAsync>);
        ImportSnapshots(*mut Option<IVssAsync>);
        BreakSnapshotSet(GUID);
        EnableWriterClasses(*const GUID, u32);
        DisableWriterInstances(*const GUID, u32);
        ExposeSnapshot(GUID, PCWSTR, i32, PCWSTR, *mut *mut u16);
        RevertToSnapshot(GUID, BOOL);
        QueryRevertStatus(PCWSTR, *mut Option<IVssAsync>);
    }
}
