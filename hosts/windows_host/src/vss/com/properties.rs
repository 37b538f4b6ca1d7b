//! `VSS_SNAPSHOT_PROP`, filled by VSS and freed by VSS.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `calls_gain_neither_handles_nor_memory_of_vss`.

#![expect(unsafe_code, reason = "VSS returns pointers to text")]

use uuid::Uuid;
use windows::Win32::Storage::Vss::VSS_SNAPSHOT_PROP;
use windows_core::PCWSTR;

use super::library::Library;
use crate::vss::SnapshotProperties;

/// A description that VSS filled; freed on drop.
pub(super) struct Properties {
    raw: VSS_SNAPSHOT_PROP,
    library: &'static Library,
}

impl Properties {
    /// Takes what VSS has just filled.
    pub(super) fn new(raw: VSS_SNAPSHOT_PROP, library: &'static Library) -> Self {
        Self { raw, library }
    }

    /// Returns it for the call that frees it.
    pub(super) fn raw(&mut self) -> *mut VSS_SNAPSHOT_PROP {
        &raw mut self.raw
    }

    /// Copies what is used of it.
    pub(super) fn values(&self) -> SnapshotProperties {
        SnapshotProperties {
            id: Uuid::from_u128(self.raw.m_SnapshotId.to_u128()),
            set: Uuid::from_u128(self.raw.m_SnapshotSetId.to_u128()),
            device: text(self.raw.m_pwszSnapshotDeviceObject),
            volume: text(self.raw.m_pwszOriginalVolumeName),
            created: self.raw.m_tsCreationTimestamp,
        }
    }
}

impl Drop for Properties {
    fn drop(&mut self) {
        self.library.free(self);
    }
}

fn text(pointer: *mut u16) -> String {
    if pointer.is_null() {
        return String::new();
    }
    let text = PCWSTR(pointer);
    // SAFETY: VSS points to text that ends with 0, which is not freed before the description.
    String::from_utf16_lossy(unsafe { text.as_wide() })
}
