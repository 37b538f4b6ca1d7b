//! Waiting for an operation of VSS: not longer than a limit, and not after a stop.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `an_operation_that_hangs_is_given_up`.

#![expect(unsafe_code, reason = "COM calls")]

use std::time::Duration;

use time_and_chance::StopSignal;
use windows::Win32::Storage::Vss::{
    IVssAsync, VSS_S_ASYNC_CANCELLED, VSS_S_ASYNC_FINISHED, VSS_S_ASYNC_PENDING,
};
use windows_core::HRESULT;

use crate::calls;
use crate::vss::VssError;

/// So often it is looked whether it is over or to be stopped.
const SLICE: Duration = Duration::from_millis(200);
/// So long an operation that is given up may take to end.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// Waits until an operation is over; cancels it where that takes too long.
///
/// VSS's own waiting is what is counted: it ends at once when the operation does.
pub(super) fn finish(
    doing: &str,
    operation: &IVssAsync,
    limit: Duration,
    stop: &StopSignal,
) -> Result<(), VssError> {
    let failed = |code: HRESULT| VssError::code(doing, code.0.cast_unsigned());
    let doing_text = || doing.to_owned();
    let mut waited = Duration::ZERO;
    loop {
        match status(operation) {
            VSS_S_ASYNC_PENDING => {}
            VSS_S_ASYNC_FINISHED => return Ok(()),
            VSS_S_ASYNC_CANCELLED => {
                return Err(VssError::Stopped {
                    doing: doing_text(),
                });
            }
            code if code.is_err() => return Err(failed(code)),
            _ => return Ok(()),
        }
        if stop.is_stopped() {
            cancel(operation);
            return Err(VssError::Stopped {
                doing: doing_text(),
            });
        }
        if waited >= limit {
            cancel(operation);
            return Err(VssError::TimedOut {
                doing: doing_text(),
                limit_s: limit.as_secs(),
            });
        }
        wait(operation).map_err(failed)?;
        waited += SLICE;
    }
}

/// Cancels an operation and waits a while for its end: what comes after it must not meet it.
fn cancel(operation: &IVssAsync) {
    calls::count("vss.async_cancel");
    // SAFETY: the interface is alive. If it cannot be cancelled, it ends by itself or not at all.
    let _ = unsafe { operation.Cancel() };
    let mut waited = Duration::ZERO;
    while waited < GRACE && status(operation) == VSS_S_ASYNC_PENDING && wait(operation).is_ok() {
        waited += SLICE;
    }
}

fn wait(operation: &IVssAsync) -> Result<(), HRESULT> {
    calls::count("vss.async_wait");
    // SAFETY: the interface is alive.
    unsafe { operation.Wait(SLICE.as_millis() as u32) }.map_err(|error| error.code())
}

/// Returns what became of an operation; the code of the question itself if that failed.
fn status(operation: &IVssAsync) -> HRESULT {
    calls::count("vss.async_query_status");
    let mut result = HRESULT::default();
    // SAFETY: the interface is alive; the place is ours, and the other pointer is null, as VSS
    // asks for.
    match unsafe { operation.QueryStatus(&mut result, std::ptr::null_mut()) } {
        Ok(()) => result,
        Err(error) => error.code(),
    }
}
