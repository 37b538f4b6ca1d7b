//! What COM asks a DLL for: the factories of its classes.
//!
//! Unsafe code is run by: `the_client_gets_from_the_dll_what_the_model_answers`.

#![expect(unsafe_code, reason = "COM calls by pointer")]

use std::ffi::c_void;

use windows::Win32::Foundation::{
    CLASS_E_CLASSNOTAVAILABLE, CLASS_E_NOAGGREGATION, E_POINTER, S_FALSE,
};
use windows::Win32::System::Com::{IClassFactory, IClassFactory_Impl};
use windows::Win32::System::Wmi::{
    IWbemLocator, IWbemObjectTextSrc, WbemLocator, WbemObjectTextSrc,
};
use windows_core::{BOOL, GUID, HRESULT, IUnknown, Interface as _, Ref, Result, implement};

use crate::services::Locator;
use crate::text_source::TextSource;

/// What a factory makes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Locator,
    TextSource,
}

#[implement(IClassFactory)]
struct Factory(Kind);

impl IClassFactory_Impl for Factory_Impl {
    fn CreateInstance(
        &self,
        outer: Ref<IUnknown>,
        wanted: *const GUID,
        object: *mut *mut c_void,
    ) -> Result<()> {
        if !outer.is_null() {
            return Err(CLASS_E_NOAGGREGATION.into());
        }
        if wanted.is_null() || object.is_null() {
            return Err(E_POINTER.into());
        }
        let made: IUnknown = match self.0 {
            Kind::Locator => IWbemLocator::from(Locator).cast()?,
            Kind::TextSource => IWbemObjectTextSrc::from(TextSource).cast()?,
        };
        // SAFETY: both pointers are the caller's and were compared with null; what is put there
        // holds a reference of its own.
        unsafe { made.query(wanted, object) }.ok()
    }

    fn LockServer(&self, _: BOOL) -> Result<()> {
        Ok(())
    }
}

/// Returns the factory of one of our classes; all pointers are null or COM's own.
// SAFETY: nothing else in this DLL has the name, and COM looks for it in one DLL.
#[unsafe(no_mangle)]
pub extern "system" fn DllGetClassObject(
    class: *const GUID,
    wanted: *const GUID,
    object: *mut *mut c_void,
) -> HRESULT {
    if class.is_null() || wanted.is_null() || object.is_null() {
        return E_POINTER;
    }
    // SAFETY: the pointer is COM's and not null.
    let kind = match unsafe { *class } {
        class if class == WbemLocator => Kind::Locator,
        class if class == WbemObjectTextSrc => Kind::TextSource,
        _ => return CLASS_E_CLASSNOTAVAILABLE,
    };
    let factory = IClassFactory::from(Factory(kind));
    // SAFETY: as above; what is put there holds a reference of its own.
    unsafe { factory.query(wanted, object) }
}

/// Says that this DLL stays: the model's jobs live in it.
// SAFETY: nothing else in this DLL has the name, and COM looks for it in one DLL.
#[unsafe(no_mangle)]
pub extern "system" fn DllCanUnloadNow() -> HRESULT {
    S_FALSE
}
