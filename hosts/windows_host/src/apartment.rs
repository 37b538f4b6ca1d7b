//! A thread's membership in the multithreaded apartment, and the process's COM security.
//!
//! Unsafe code is run by: `a_query_gives_objects_with_typed_properties_class_and_path`, `calls_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "COM is entered and left by calls")]

use std::marker::PhantomData;
use std::sync::Once;

use windows::Win32::Foundation::{E_NOINTERFACE, RPC_E_TOO_LATE};
use windows::Win32::System::Com::{
    COINIT_MULTITHREADED, CoInitializeEx, CoInitializeSecurity, CoSetProxyBlanket, CoUninitialize,
    EOAC_NONE, RPC_C_AUTHN_LEVEL_PKT_PRIVACY, RPC_C_IMP_LEVEL_IMPERSONATE,
};
use windows::Win32::System::Rpc::{RPC_C_AUTHN_WINNT, RPC_C_AUTHZ_NONE};
use windows::core::{IUnknown, Interface, PCWSTR, Result};

use crate::calls;

/// While it lives, its thread may call COM.
pub struct Apartment {
    /// Whoever entered must leave on the same thread.
    not_send: PhantomData<*const ()>,
}

impl Apartment {
    /// Enters the multithreaded apartment (Hyper-V spec 2.1), and sets the process's security the
    /// first time.
    pub fn enter() -> Result<Self> {
        calls::count("com.enter_apartment");
        // SAFETY: no pointer is handed over; `drop` undoes it on this thread, since the value
        // cannot leave it.
        unsafe { CoInitializeEx(None, COINIT_MULTITHREADED) }.ok()?;
        let apartment = Self {
            not_send: PhantomData,
        };
        initialize_security()?;
        Ok(apartment)
    }
}

impl Drop for Apartment {
    fn drop(&mut self) {
        // SAFETY: `enter` succeeded on this thread, and whoever holds interfaces drops them first.
        unsafe { CoUninitialize() };
    }
}

/// Sets what every proxy of this process starts with. Somebody else may have done so before, or
/// COM on its first use: then each proxy's own settings must do.
fn initialize_security() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        calls::count("com.initialize_security");
        // SAFETY: this thread is in an apartment, and every pointer is null, which the call
        // documents as its defaults.
        result = unsafe {
            CoInitializeSecurity(
                None,
                -1,
                None,
                None,
                RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
                RPC_C_IMP_LEVEL_IMPERSONATE,
                None,
                EOAC_NONE,
                None,
            )
        };
    });
    match result {
        Err(error) if error.code() == RPC_E_TOO_LATE => Ok(()),
        other => other,
    }
}

/// Sets a proxy's security (Hyper-V spec 2.1). An object in this process has none to set.
pub fn secure(proxy: &impl Interface) -> Result<()> {
    calls::count("com.set_proxy_blanket");
    let proxy: IUnknown = proxy.cast()?;
    // SAFETY: the proxy lives through the call; the null pointers stand for no name and no
    // identity of its own, as the call documents.
    let result = unsafe {
        CoSetProxyBlanket(
            &proxy,
            RPC_C_AUTHN_WINNT,
            RPC_C_AUTHZ_NONE,
            PCWSTR::null(),
            RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
            RPC_C_IMP_LEVEL_IMPERSONATE,
            None,
            EOAC_NONE,
        )
    };
    match result {
        Err(error) if error.code() == E_NOINTERFACE => Ok(()),
        other => other,
    }
}
