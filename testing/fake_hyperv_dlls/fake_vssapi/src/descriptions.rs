//! `VSS_SNAPSHOT_PROP`: filled with text that COM's allocator holds, freed by it.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `calls_gain_neither_handles_nor_memory_of_vss`.

#![expect(unsafe_code, reason = "text is handed over by pointers")]

use windows::Win32::Storage::Vss::{VSS_SNAPSHOT_PROP, VSS_SS_CREATED};
use windows::Win32::System::Com::{CoTaskMemAlloc, CoTaskMemFree};
use windows_core::GUID;
use windows_host::vss::SnapshotProperties;

/// Describes a shadow.
pub fn describe(shadow: &SnapshotProperties, count: usize) -> VSS_SNAPSHOT_PROP {
    VSS_SNAPSHOT_PROP {
        m_SnapshotId: GUID::from_u128(shadow.id.as_u128()),
        m_SnapshotSetId: GUID::from_u128(shadow.set.as_u128()),
        m_lSnapshotsCount: count as i32,
        m_pwszSnapshotDeviceObject: text(&shadow.device),
        m_pwszOriginalVolumeName: text(&shadow.volume),
        m_pwszOriginatingMachine: text("simulated"),
        m_pwszServiceMachine: text("simulated"),
        m_tsCreationTimestamp: shadow.created,
        m_eStatus: VSS_SS_CREATED,
        ..VSS_SNAPSHOT_PROP::default()
    }
}

fn text(text: &str) -> *mut u16 {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    // SAFETY: the size is that of the text; what is returned is null or as long as that, and
    // aligned for anything.
    unsafe {
        let place: *mut u16 = CoTaskMemAlloc(size_of_val(units.as_slice())).cast();
        if !place.is_null() {
            place.copy_from_nonoverlapping(units.as_ptr(), units.len());
        }
        place
    }
}

/// Frees what a description of ours points to.
pub fn free(found: &mut VSS_SNAPSHOT_PROP) {
    for place in [
        &mut found.m_pwszSnapshotDeviceObject,
        &mut found.m_pwszOriginalVolumeName,
        &mut found.m_pwszOriginatingMachine,
        &mut found.m_pwszServiceMachine,
    ] {
        // SAFETY: null or from COM's allocator; it is not freed again, since null stays.
        unsafe { CoTaskMemFree(Some(place.cast_const().cast())) };
        *place = std::ptr::null_mut();
    }
}
