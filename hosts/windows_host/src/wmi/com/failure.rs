//! Failures of COM calls as errors: the code that decides, and what text the provider added.
//!
//! Unsafe code is run by: `a_provider_explains_an_error_and_its_code_decides`, `calls_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "error objects are COM's")]

use windows::Win32::System::Variant::{VARIANT, VT_BSTR};
use windows::Win32::System::Wmi::IWbemClassObject;
use windows::core::{Error, HRESULT, IUnknown, Interface as _, w};

use crate::calls;
use crate::wmi::WmiError;

/// A call that took longer than its limit: a provider that does not answer (Hyper-V spec 16).
pub const NO_ANSWER: u32 = 0x8004_1013;

/// What says that the connection is gone, and with it all that came from it: the server or the
/// provider went away, the proxy was disconnected, WMI is shutting down.
const BROKEN: [u32; 10] = [
    0x8004_1015, // transport failure
    0x8004_1033, // shutting down
    0x8001_0007, // server died
    0x8001_0012, // server died before it was called
    0x8001_0105, // server fault
    0x8001_0108, // disconnected
    0x8001_FFFF, // unexpected, in RPC itself
    0x8007_06BA, // RPC server unavailable
    0x8007_06BE, // RPC call failed
    0x8007_06BF, // RPC call failed and was not made
];

/// Tells whether a call failed because its connection is of no use any more.
pub fn is_broken(error: &WmiError) -> bool {
    error.code().is_some_and(|code| BROKEN.contains(&code))
}

/// Returns the error of a call that failed; `doing` reads after "failed to".
pub fn failed(doing: &str, error: &Error) -> WmiError {
    let text = provider_text(error)
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| error.message());
    let text = text.trim();
    let message = match text.is_empty() {
        true => doing.to_owned(),
        false => format!("{doing}: {text}"),
    };
    WmiError::call(message, code_of(error.code()))
}

/// Returns the number of an HRESULT.
pub fn code_of(code: HRESULT) -> u32 {
    code.0.cast_unsigned()
}

/// Returns the description of the `__ExtendedStatus` that WMI adds to some errors.
fn provider_text(error: &Error) -> Option<String> {
    calls::count("wmi.extended_status");
    let raw = error.as_ptr();
    // SAFETY: the pointer is null or the error object that `error` holds a reference to and that
    // it outlives; it is only borrowed, and what is cast from it counts for itself.
    let info = unsafe { IUnknown::from_raw_borrowed(&raw) }?;
    let status: IWbemClassObject = info.cast().ok()?;
    let mut text = VARIANT::default();
    // SAFETY: the name is a literal that ends with 0 and the VARIANT an empty one of ours; what is
    // put into it is dropped with it. The tag says that it holds a string, which is copied.
    unsafe {
        status
            .Get(w!("Description"), 0, &mut text, None, None)
            .ok()?;
        let held = &text.Anonymous.Anonymous;
        (held.vt == VT_BSTR).then(|| held.Anonymous.bstrVal.to_string())
    }
}
