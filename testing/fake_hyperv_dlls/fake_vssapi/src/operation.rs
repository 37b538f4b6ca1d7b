//! `IVssAsync`: an operation that is over before anybody asks, or one that never ends.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `an_operation_that_hangs_is_given_up`.

#![expect(unsafe_code, reason = "COM calls by pointer")]

use std::sync::atomic::{AtomicBool, Ordering};

use windows::Win32::Foundation::E_POINTER;
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssAsync_Impl, VSS_S_ASYNC_CANCELLED, VSS_S_ASYNC_FINISHED, VSS_S_ASYNC_PENDING,
};
use windows_core::{HRESULT, Result, implement};

/// An operation and what became of it.
#[implement(IVssAsync)]
pub struct Operation {
    result: HRESULT,
    cancelled: AtomicBool,
}

impl Operation {
    /// Returns an operation that ended so, or that never ends where the code says "pending".
    pub fn ended(result: std::result::Result<(), u32>) -> Self {
        Self {
            result: match result {
                Ok(()) => VSS_S_ASYNC_FINISHED,
                Err(code) => HRESULT(code.cast_signed()),
            },
            cancelled: AtomicBool::new(false),
        }
    }
}

impl IVssAsync_Impl for Operation_Impl {
    fn Cancel(&self) -> Result<()> {
        self.cancelled.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn Wait(&self, _: u32) -> Result<()> {
        // Nobody has to wait for what has ended; who waits for what never does is spared the time.
        Ok(())
    }

    fn QueryStatus(&self, result: *mut HRESULT, _: *mut i32) -> Result<()> {
        let pending = self.result == VSS_S_ASYNC_PENDING;
        let status = match pending && self.cancelled.load(Ordering::SeqCst) {
            true => VSS_S_ASYNC_CANCELLED,
            false => self.result,
        };
        if result.is_null() {
            return Err(E_POINTER.into());
        }
        // SAFETY: the pointer is the caller's and not null.
        unsafe { result.write(status) };
        Ok(())
    }
}
