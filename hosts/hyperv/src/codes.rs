//! The host's own numbers that decisions or messages rest on (Hyper-V spec 2.5, 7.4 and 16).

/// A method is not supported for this VM.
pub const NOT_SUPPORTED: u32 = 32770;
/// A method or a job failed.
pub const FAILED: u32 = 32768;
/// The VM is in the wrong state for the operation, often because another one runs.
pub const INVALID_STATE: u32 = 32775;
/// A parameter makes no sense.
pub const INVALID_PARAMETER: u32 = 32773;
/// Files are in use: on import, a VM with that id is registered.
pub const FILE_IN_USE: u32 = 32779;

/// A file or folder of the VM is missing.
pub const FILE_NOT_FOUND: u32 = 0x8007_0002;
/// A folder on the way to a file is missing.
pub const PATH_NOT_FOUND: u32 = 0x8007_0003;
/// Access is denied.
pub const ACCESS_DENIED: u32 = 0x8007_0005;
/// A file is held open by another process.
pub const SHARING_VIOLATION: u32 = 0x8007_0020;
/// A file of that name is there already.
pub const FILE_EXISTS: u32 = 0x8007_0050;
/// A file or folder of that name is there already, in other words.
pub const ALREADY_EXISTS: u32 = 0x8007_00B7;
/// The volume is full.
pub const DISK_FULL: u32 = 0x8007_0070;
/// A guest's VSS writer failed and will fail again.
pub const GUEST_WRITER_FAILED: u32 = 0x8004_23F4;

/// The virtual disk is damaged.
pub const VHD_CORRUPT: u32 = 0xC03A_0002;
/// A differencing disk's parent is missing.
pub const VHD_PARENT_NOT_FOUND: u32 = 0xC03A_000D;
/// A differencing disk's parent is not the one it was made from.
pub const VHD_CHILD_PARENT_ID_MISMATCH: u32 = 0xC03A_000E;
/// The size of the virtual disk is not supported.
pub const VHD_INVALID_SIZE: u32 = 0xC03A_0012;
/// The file lies on storage, or has an attribute, that virtual disks may not have: sparse.
pub const VHD_LIMITATION: u32 = 0xC03A_001A;
/// The kind of virtual disk does not support this.
pub const VHD_INVALID_TYPE: u32 = 0xC03A_001B;
/// The disk was changed while the host did not look.
pub const TRACKING_CHANGED_OFFLINE: u32 = 0xC03A_0022;
/// The tracking of the disk is in a state that cannot be used.
pub const TRACKING_INVALID_STATE: u32 = 0xC03A_0023;
/// The tracking file is damaged or does not fit.
pub const TRACKING_INCONSISTENT_FILE: u32 = 0xC03A_0024;
/// The tracking id is not known for this disk.
pub const TRACKING_INVALID_ID: u32 = 0xC03A_0029;
/// Change tracking is off.
pub const TRACKING_DISABLED: u32 = 0xC03A_002A;
/// The tracking files were lost.
pub const TRACKING_MISSING: u32 = 0xC03A_0030;

/// Returns whether an import that failed with this code met a VM with the same id: its files are in
/// use, or there already (Hyper-V spec 16).
pub fn is_of_another_vm(code: u32) -> bool {
    [FILE_IN_USE, FILE_EXISTS, ALREADY_EXISTS].contains(&code)
}

/// Returns what a code of change tracking means, for the operator.
pub fn tracking_text(code: u32) -> &'static str {
    match code {
        TRACKING_CHANGED_OFFLINE => "the disk was changed while change tracking did not look",
        TRACKING_INVALID_STATE => "change tracking is in a state that cannot be used",
        TRACKING_INCONSISTENT_FILE => "the change tracking file is damaged or does not fit",
        TRACKING_INVALID_ID => "the change tracking id is not known for this disk",
        TRACKING_DISABLED => "change tracking is off for this disk",
        TRACKING_MISSING => "the change tracking file is missing",
        VHD_INVALID_TYPE => "disks of this kind are not tracked",
        _ => "change tracking could not answer",
    }
}
