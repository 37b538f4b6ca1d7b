//! Failures as COM reports them: a code, and beside it an `__ExtendedStatus` with the text.
//!
//! Unsafe code is run by: `failures_bring_their_code_and_their_text`.

#![expect(unsafe_code, reason = "error objects are COM's")]

use windows::Win32::Foundation::E_FAIL;
use windows::Win32::System::Com::{IErrorInfo, SetErrorInfo};
use windows_core::{Error, HRESULT};
use windows_host::wmi::{WmiError, WmiObject};

use crate::class_object::ClassObject;

/// Returns an error as COM carries it, with its text left for this thread's caller.
pub fn of(error: &WmiError) -> Error {
    let mut status = WmiObject {
        class: "__ExtendedStatus".to_owned(),
        ..WmiObject::default()
    };
    status.set("Description", error.to_string());
    status.set("ProviderName", "VmmsWmiInstanceAndMethodProvider");
    let info: IErrorInfo = ClassObject::status(status).into();
    // SAFETY: the object lives through the call, which takes a reference of its own.
    let left = unsafe { SetErrorInfo(0, &info) };
    let code = error
        .code()
        .map_or(E_FAIL, |code| HRESULT(code.cast_signed()));
    // Without its text the error is still the error.
    drop(left);
    Error::from_hresult(code)
}

/// Returns the error of a bare code.
pub fn bare(code: u32) -> Error {
    Error::from_hresult(HRESULT(code.cast_signed()))
}
