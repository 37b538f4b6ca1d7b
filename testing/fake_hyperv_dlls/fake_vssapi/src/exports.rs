//! What vssapi.dll exports, as far as a requester uses it.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`.

#![expect(unsafe_code, reason = "C functions, exported by their names")]

use std::sync::OnceLock;

use fake_hyperv::{MANNERS_VARIABLE, machine_folder};
use time_and_chance::{Chance, SystemClock};
use volume::sim::SimVolumeHost;
use windows::Win32::Foundation::{E_POINTER, E_UNEXPECTED, S_OK};
use windows::Win32::Storage::Vss::VSS_SNAPSHOT_PROP;
use windows_core::HRESULT;
use windows_host::vss::com::IVssBackupComponents;

use crate::components::Components;
use crate::descriptions;
use crate::model::FakeVss;

/// Returns VSS of the machine that the environment names: one for the whole process.
fn vss() -> Option<&'static FakeVss> {
    static VSS: OnceLock<Option<FakeVss>> = OnceLock::new();
    VSS.get_or_init(|| {
        let folder = machine_folder()?;
        let manners = std::env::var(MANNERS_VARIABLE).unwrap_or_default();
        let chance = Chance::from_system();
        let host = SimVolumeHost::new(&folder, SystemClock::new(), chance.clone());
        Some(FakeVss::new(&folder, host, manners.parse().ok()?, chance))
    })
    .as_ref()
}

// SAFETY: nothing else in this DLL has the name, and the loader looks for it in one DLL.
#[unsafe(no_mangle)]
/// Makes a requester's backup.
///
/// # Safety
/// The pointer is null or points to a place for an interface.
pub unsafe extern "system" fn CreateVssBackupComponentsInternal(
    made: *mut Option<IVssBackupComponents>,
) -> HRESULT {
    if made.is_null() {
        return E_POINTER;
    }
    let Some(vss) = vss() else {
        return E_UNEXPECTED;
    };
    // SAFETY: the caller promises a place, whose content is of no meaning yet.
    unsafe { made.write(Some(Components::new(vss.clone()).into())) };
    S_OK
}

// SAFETY: as above.
#[unsafe(no_mangle)]
/// Frees what a description of a shadow points to.
///
/// # Safety
/// The pointer is null or points to a description that this DLL filled.
pub unsafe extern "system" fn VssFreeSnapshotPropertiesInternal(found: *mut VSS_SNAPSHOT_PROP) {
    // SAFETY: the caller promises it.
    if let Some(found) = unsafe { found.as_mut() } {
        descriptions::free(found);
    }
}
