//! The process's side of a service: called by the service manager, told to stop by it.
//!
//! ```text
//! run ─ StartServiceCtrlDispatcher ─► service_main (a thread of Windows') ─► the work, with a StopSignal
//!                                      control (the dispatcher's thread) ─► throws the signal
//! ```
//!
//! Unsafe code is run by: `a_service_is_installed_runs_and_stops`.

#![expect(unsafe_code, reason = "Windows calls us back")]

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};

use time_and_chance::StopSignal;
use windows::Win32::Foundation::{
    ERROR_CALL_NOT_IMPLEMENTED, ERROR_SERVICE_SPECIFIC_ERROR, NO_ERROR,
};
use windows::Win32::System::Services::{
    RegisterServiceCtrlHandlerExW, SERVICE_ACCEPT_PRESHUTDOWN, SERVICE_ACCEPT_SHUTDOWN,
    SERVICE_ACCEPT_STOP, SERVICE_CONTROL_INTERROGATE, SERVICE_CONTROL_PRESHUTDOWN,
    SERVICE_CONTROL_SHUTDOWN, SERVICE_CONTROL_STOP, SERVICE_RUNNING, SERVICE_STATUS,
    SERVICE_STATUS_CURRENT_STATE, SERVICE_STATUS_HANDLE, SERVICE_STOP_PENDING, SERVICE_STOPPED,
    SERVICE_TABLE_ENTRYW, SERVICE_WIN32_OWN_PROCESS, SetServiceStatus, StartServiceCtrlDispatcherW,
};
use windows::core::{HSTRING, PWSTR};

use crate::calls;
use crate::win32_error::Win32Error;

/// How long stopping may take, as Windows is told: what it takes to give up a checkpoint.
const STOP_MS: u32 = 3 * 60_000;
/// What a service ends with whose work panicked.
const PANICKED: u32 = 101;

/// The one service of this process.
struct Service {
    name: String,
    stop: StopSignal,
    work: Mutex<Option<Work>>,
    /// Set by `service_main` before anything is reported.
    handle: OnceLock<StatusHandle>,
}

type Work = Box<dyn FnOnce(StopSignal) -> u32 + Send>;

struct StatusHandle(SERVICE_STATUS_HANDLE);

// SAFETY: the handle is a number for the service manager; statuses may be set by any thread.
unsafe impl Send for StatusHandle {}
// SAFETY: as above.
unsafe impl Sync for StatusHandle {}

static SERVICE: OnceLock<Service> = OnceLock::new();

/// Runs `work` as the service `name`, and returns when it is done. The work is handed a signal
/// that is thrown when the service is stopped or the machine goes down; what it returns is the
/// service's exit code, 0 if all is well.
///
/// # Errors
/// 1063 if this process was not started by the service manager.
///
/// # Panics
/// If this process has run a service before: Windows starts each in a process of its own.
pub fn run(
    name: &str,
    work: impl FnOnce(StopSignal) -> u32 + Send + 'static,
) -> Result<(), Win32Error> {
    calls::count("service.run");
    let service = Service {
        name: name.to_owned(),
        stop: StopSignal::new(),
        work: Mutex::new(Some(Box::new(work))),
        handle: OnceLock::new(),
    };
    assert!(
        SERVICE.set(service).is_ok(),
        "a process runs one service, once"
    );
    let mut wide: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let table = [
        SERVICE_TABLE_ENTRYW {
            lpServiceName: PWSTR(wide.as_mut_ptr()),
            lpServiceProc: Some(service_main),
        },
        SERVICE_TABLE_ENTRYW::default(),
    ];
    // SAFETY: the table ends with an empty entry, and it and the name live until the call
    // returns, which is when the service has stopped.
    unsafe { StartServiceCtrlDispatcherW(table.as_ptr()) }
        .map_err(|error| Win32Error::new(format!("run as the service {name}"), &error))
}

/// Called by Windows on a thread of its own.
///
/// # Safety
/// Only Windows calls it, after `run` has set the service; the arguments are not looked at.
unsafe extern "system" fn service_main(_: u32, _: *mut PWSTR) {
    let Some(service) = SERVICE.get() else {
        return;
    };
    // SAFETY: the name ends with 0 and lives through the call; `control` is what Windows will
    // call, and it takes no context.
    let handle = unsafe {
        RegisterServiceCtrlHandlerExW(&HSTRING::from(service.name.as_str()), Some(control), None)
    };
    // Without it nothing can be reported, and Windows gives up by itself.
    let Ok(handle) = handle else { return };
    if service.handle.set(StatusHandle(handle)).is_err() {
        return;
    }
    report(service, SERVICE_RUNNING, 0);
    let work = service
        .work
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let stop = service.stop.clone();
    // A panic must not leave through Windows' own frames.
    let result = work.map(|work| catch_unwind(AssertUnwindSafe(|| work(stop))));
    let code = match result {
        Some(Ok(code)) => code,
        Some(Err(_)) | None => PANICKED,
    };
    report(service, SERVICE_STOPPED, code);
}

/// Called by Windows when the service is told something.
///
/// # Safety
/// Only Windows calls it; event data and context are not looked at.
unsafe extern "system" fn control(control: u32, _: u32, _: *mut c_void, _: *mut c_void) -> u32 {
    let Some(service) = SERVICE.get() else {
        return ERROR_CALL_NOT_IMPLEMENTED.0;
    };
    match control {
        SERVICE_CONTROL_STOP | SERVICE_CONTROL_SHUTDOWN | SERVICE_CONTROL_PRESHUTDOWN => {
            report(service, SERVICE_STOP_PENDING, 0);
            service.stop.stop();
            NO_ERROR.0
        }
        // Windows knows what was reported last.
        SERVICE_CONTROL_INTERROGATE => NO_ERROR.0,
        _ => ERROR_CALL_NOT_IMPLEMENTED.0,
    }
}

/// Tells the service manager what the service does.
fn report(service: &Service, state: SERVICE_STATUS_CURRENT_STATE, code: u32) {
    calls::count("service.report");
    let Some(handle) = service.handle.get() else {
        return;
    };
    let status = SERVICE_STATUS {
        dwServiceType: SERVICE_WIN32_OWN_PROCESS,
        dwCurrentState: state,
        dwControlsAccepted: match state {
            SERVICE_RUNNING => {
                SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN | SERVICE_ACCEPT_PRESHUTDOWN
            }
            _ => 0,
        },
        dwWin32ExitCode: match code {
            0 => NO_ERROR.0,
            _ => ERROR_SERVICE_SPECIFIC_ERROR.0,
        },
        dwServiceSpecificExitCode: code,
        dwCheckPoint: 0,
        dwWaitHint: match state {
            SERVICE_STOP_PENDING => STOP_MS,
            _ => 0,
        },
    };
    // SAFETY: the handle is the one Windows gave for this service; the status lives through the
    // call. Should it fail, there is nobody left to tell.
    let _ = unsafe { SetServiceStatus(handle.0, &status) };
}
