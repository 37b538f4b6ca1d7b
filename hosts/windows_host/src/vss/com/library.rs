//! vssapi.dll, found when it is first needed.
//!
//! The names in its table are those of `vsbackup.h`, where `CreateVssBackupComponents` and
//! `VssFreeSnapshotProperties` are inline functions that call these.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `a_windows_without_vss_says_so`.

#![expect(unsafe_code, reason = "a DLL's functions are C's")]

use std::sync::OnceLock;

use windows::Win32::Foundation::FARPROC;
use windows::Win32::Storage::Vss::VSS_SNAPSHOT_PROP;
use windows::Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryW};
use windows_core::{Error, HRESULT, s, w};

use super::interfaces::IVssBackupComponents;
use super::properties::Properties;
use crate::calls;
use crate::vss::VssError;

/// `CreateVssBackupComponentsInternal`.
///
/// # Safety
/// The pointer leads to a place for an interface, in which there is none.
type Create = unsafe extern "system" fn(*mut Option<IVssBackupComponents>) -> HRESULT;
/// `VssFreeSnapshotPropertiesInternal`.
///
/// # Safety
/// The pointer leads to a description that VSS filled and that is not freed yet.
type FreeProperties = unsafe extern "system" fn(*mut VSS_SNAPSHOT_PROP);

/// What is used of the DLL, which stays loaded.
#[derive(Debug)]
pub(super) struct Library {
    create: Create,
    free_properties: FreeProperties,
}

impl Library {
    /// Returns the DLL, loaded the first time.
    pub(super) fn get() -> Result<&'static Self, VssError> {
        static LIBRARY: OnceLock<Result<Library, u32>> = OnceLock::new();
        LIBRARY
            .get_or_init(|| Self::load().map_err(|error| error.code().0.cast_unsigned()))
            .as_ref()
            .map_err(|code| VssError::code("load vssapi.dll", *code))
    }

    fn load() -> Result<Self, Error> {
        calls::count("vss.load_library");
        // SAFETY: the name is a literal that ends with 0. What the DLL does when it is loaded is
        // Windows' own business.
        let library = unsafe { LoadLibraryW(w!("vssapi.dll")) }?;
        // SAFETY: the DLL is loaded and never unloaded; the names are literals that end with 0.
        // vsbackup.h declares the functions of these names with these types.
        let (create, free_properties) = unsafe {
            let create = GetProcAddress(library, s!("CreateVssBackupComponentsInternal"));
            let free = GetProcAddress(library, s!("VssFreeSnapshotPropertiesInternal"));
            (
                std::mem::transmute::<FARPROC, Option<Create>>(create),
                std::mem::transmute::<FARPROC, Option<FreeProperties>>(free),
            )
        };
        Ok(Self {
            create: create.ok_or_else(Error::from_thread)?,
            free_properties: free_properties.ok_or_else(Error::from_thread)?,
        })
    }

    /// Makes a requester's backup; this thread is in an apartment.
    pub(super) fn create(&self) -> Result<IVssBackupComponents, u32> {
        calls::count("vss.create_backup_components");
        let mut made = None;
        // SAFETY: the place is ours, empty, and holds what was made with a reference of its own.
        let code = unsafe { (self.create)(&mut made) };
        /// `E_POINTER`, for a success that made nothing.
        const NOTHING: u32 = 0x8000_4003;
        match code.is_err() {
            true => Err(code.0.cast_unsigned()),
            false => made.ok_or(NOTHING),
        }
    }

    /// Frees what VSS allocated for a description of a shadow.
    pub(super) fn free(&self, properties: &mut Properties) {
        calls::count("vss.free_snapshot_properties");
        // SAFETY: VSS filled the structure, and it is freed once: by the drop of its only owner.
        unsafe { (self.free_properties)(properties.raw()) };
    }
}
