//! What `vsbackup.h` declares and the `windows` crate lacks: three interfaces and a structure.
//!
//! The order of the methods is the order in the table of pointers, so all are here. A test holds
//! order and lengths against independent headers (`tests/layout`). Whatever `bool` and `boolean`
//! are there is a byte here.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `tables_of_methods_agree_with_the_table`.

#![expect(
    clippy::too_many_arguments,
    reason = "methods have the parameters that vsbackup.h gives them"
)]
#![expect(
    non_snake_case,
    reason = "methods have the names that vsbackup.h gives them"
)]
#![expect(missing_docs, reason = "methods are documented where they come from")]

use std::ffi::c_void;
use std::mem::ManuallyDrop;

use windows::Win32::Storage::Vss::{IVssAsync, IVssEnumObject, VSS_SNAPSHOT_PROP};
use windows_core::{BOOL, BSTR, GUID, HRESULT, IUnknown, IUnknown_Vtbl, PCWSTR, interface};

// SAFETY: identity and methods, with their order and types, are those of vsbackup.h.
#[interface("665c1d5f-c218-414d-a05d-7fef5f9d5c86")]
/// A requester's backup.
pub unsafe trait IVssBackupComponents: IUnknown {
    pub fn GetWriterComponentsCount(&self, count: *mut u32) -> HRESULT;
    pub fn GetWriterComponents(&self, index: u32, components: *mut *mut c_void) -> HRESULT;
    pub fn InitializeForBackup(&self, document: *const u16) -> HRESULT;
    pub fn SetBackupState(
        &self,
        select_components: u8,
        bootable_system_state: u8,
        backup_type: i32,
        partial_files: u8,
    ) -> HRESULT;
    pub fn InitializeForRestore(&self, document: *const u16) -> HRESULT;
    pub fn SetRestoreState(&self, restore_type: i32) -> HRESULT;
    pub fn GatherWriterMetadata(&self, operation: *mut Option<IVssAsync>) -> HRESULT;
    pub fn GetWriterMetadataCount(&self, count: *mut u32) -> HRESULT;
    pub fn GetWriterMetadata(
        &self,
        index: u32,
        instance: *mut GUID,
        metadata: *mut Option<IVssExamineWriterMetadata>,
    ) -> HRESULT;
    pub fn FreeWriterMetadata(&self) -> HRESULT;
    pub fn AddComponent(
        &self,
        instance: GUID,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
    ) -> HRESULT;
    pub fn PrepareForBackup(&self, operation: *mut Option<IVssAsync>) -> HRESULT;
    pub fn AbortBackup(&self) -> HRESULT;
    pub fn GatherWriterStatus(&self, operation: *mut Option<IVssAsync>) -> HRESULT;
    pub fn GetWriterStatusCount(&self, count: *mut u32) -> HRESULT;
    pub fn FreeWriterStatus(&self) -> HRESULT;
    pub fn GetWriterStatus(
        &self,
        index: u32,
        instance: *mut GUID,
        writer: *mut GUID,
        name: *mut BSTR,
        state: *mut i32,
        failure: *mut HRESULT,
    ) -> HRESULT;
    pub fn SetBackupSucceeded(
        &self,
        instance: GUID,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        succeeded: u8,
    ) -> HRESULT;
    pub fn SetBackupOptions(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        options: PCWSTR,
    ) -> HRESULT;
    pub fn SetSelectedForRestore(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        selected: u8,
    ) -> HRESULT;
    pub fn SetRestoreOptions(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        options: PCWSTR,
    ) -> HRESULT;
    pub fn SetAdditionalRestores(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        additional: u8,
    ) -> HRESULT;
    pub fn SetPreviousBackupStamp(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        stamp: PCWSTR,
    ) -> HRESULT;
    pub fn SaveAsXML(&self, document: *mut BSTR) -> HRESULT;
    pub fn BackupComplete(&self, operation: *mut Option<IVssAsync>) -> HRESULT;
    pub fn AddAlternativeLocationMapping(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        path: PCWSTR,
        files: PCWSTR,
        recursive: u8,
        destination: PCWSTR,
    ) -> HRESULT;
    pub fn AddRestoreSubcomponent(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        part_logical_path: PCWSTR,
        part_name: PCWSTR,
        repair: u8,
    ) -> HRESULT;
    pub fn SetFileRestoreStatus(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        status: i32,
    ) -> HRESULT;
    pub fn AddNewTarget(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        path: PCWSTR,
        file: PCWSTR,
        recursive: u8,
        alternate_path: PCWSTR,
    ) -> HRESULT;
    pub fn SetRangesFilePath(
        &self,
        writer: GUID,
        kind: i32,
        logical_path: PCWSTR,
        name: PCWSTR,
        index: u32,
        ranges_file: PCWSTR,
    ) -> HRESULT;
    pub fn PreRestore(&self, operation: *mut Option<IVssAsync>) -> HRESULT;
    pub fn PostRestore(&self, operation: *mut Option<IVssAsync>) -> HRESULT;
    pub fn SetContext(&self, context: i32) -> HRESULT;
    pub fn StartSnapshotSet(&self, set: *mut GUID) -> HRESULT;
    pub fn AddToSnapshotSet(&self, volume: PCWSTR, provider: GUID, shadow: *mut GUID) -> HRESULT;
    pub fn DoSnapshotSet(&self, operation: *mut Option<IVssAsync>) -> HRESULT;
    pub fn DeleteSnapshots(
        &self,
        source: GUID,
        source_type: i32,
        force: BOOL,
        deleted: *mut i32,
        not_deleted: *mut GUID,
    ) -> HRESULT;
    pub fn ImportSnapshots(&self, operation: *mut Option<IVssAsync>) -> HRESULT;
    pub fn BreakSnapshotSet(&self, set: GUID) -> HRESULT;
    pub fn GetSnapshotProperties(&self, shadow: GUID, found: *mut VSS_SNAPSHOT_PROP) -> HRESULT;
    pub fn Query(
        &self,
        queried: GUID,
        queried_type: i32,
        returned_type: i32,
        found: *mut Option<IVssEnumObject>,
    ) -> HRESULT;
    pub fn IsVolumeSupported(&self, provider: GUID, volume: PCWSTR, yes: *mut BOOL) -> HRESULT;
    pub fn DisableWriterClasses(&self, classes: *const GUID, count: u32) -> HRESULT;
    pub fn EnableWriterClasses(&self, classes: *const GUID, count: u32) -> HRESULT;
    pub fn DisableWriterInstances(&self, instances: *const GUID, count: u32) -> HRESULT;
    pub fn ExposeSnapshot(
        &self,
        shadow: GUID,
        path_from_root: PCWSTR,
        attributes: i32,
        expose: PCWSTR,
        exposed: *mut *mut u16,
    ) -> HRESULT;
    pub fn RevertToSnapshot(&self, shadow: GUID, force_dismount: BOOL) -> HRESULT;
    pub fn QueryRevertStatus(&self, volume: PCWSTR, operation: *mut Option<IVssAsync>) -> HRESULT;
}

// SAFETY: as above.
#[interface("902fcf7f-b7fd-42f8-81f1-b2e400b1e5bd")]
/// What a writer says of itself.
pub unsafe trait IVssExamineWriterMetadata: IUnknown {
    pub fn GetIdentity(
        &self,
        instance: *mut GUID,
        writer: *mut GUID,
        name: *mut BSTR,
        usage: *mut i32,
        source: *mut i32,
    ) -> HRESULT;
    pub fn GetFileCounts(
        &self,
        included: *mut u32,
        excluded: *mut u32,
        components: *mut u32,
    ) -> HRESULT;
    pub fn GetIncludeFile(&self, index: u32, file: *mut *mut c_void) -> HRESULT;
    pub fn GetExcludeFile(&self, index: u32, file: *mut *mut c_void) -> HRESULT;
    pub fn GetComponent(&self, index: u32, component: *mut Option<IVssWMComponent>) -> HRESULT;
    pub fn GetRestoreMethod(
        &self,
        method: *mut i32,
        service: *mut BSTR,
        procedure: *mut BSTR,
        writer_restore: *mut i32,
        reboot_required: *mut u8,
        mappings: *mut u32,
    ) -> HRESULT;
    pub fn GetAlternateLocationMapping(&self, index: u32, file: *mut *mut c_void) -> HRESULT;
    pub fn GetBackupSchema(&self, schema: *mut u32) -> HRESULT;
    pub fn GetDocument(&self, document: *mut *mut c_void) -> HRESULT;
    pub fn SaveAsXML(&self, document: *mut BSTR) -> HRESULT;
    pub fn LoadFromXML(&self, document: *const u16) -> HRESULT;
}

// SAFETY: as above; it has no identity of its own and is never asked for by one.
#[interface("00000000-0000-0000-0000-000000000000")]
/// A part of what a writer looks after.
pub unsafe trait IVssWMComponent: IUnknown {
    pub fn GetComponentInfo(&self, info: *mut *const ComponentInfo) -> HRESULT;
    pub fn FreeComponentInfo(&self, info: *const ComponentInfo) -> HRESULT;
    pub fn GetFile(&self, index: u32, file: *mut *mut c_void) -> HRESULT;
    pub fn GetDatabaseFile(&self, index: u32, file: *mut *mut c_void) -> HRESULT;
    pub fn GetDatabaseLogFile(&self, index: u32, file: *mut *mut c_void) -> HRESULT;
    pub fn GetDependency(&self, index: u32, dependency: *mut *mut c_void) -> HRESULT;
}

/// `VSS_COMPONENTINFO`. Its strings are its component's.
#[repr(C)]
#[derive(Debug)]
pub struct ComponentInfo {
    pub kind: i32,
    pub logical_path: ManuallyDrop<BSTR>,
    pub name: ManuallyDrop<BSTR>,
    pub caption: ManuallyDrop<BSTR>,
    pub icon: *const u8,
    pub icon_bytes: u32,
    pub restore_metadata: u8,
    pub notify_on_backup_complete: u8,
    pub selectable: u8,
    pub selectable_for_restore: u8,
    pub flags: u32,
    pub files: u32,
    pub databases: u32,
    pub log_files: u32,
    pub dependencies: u32,
}
