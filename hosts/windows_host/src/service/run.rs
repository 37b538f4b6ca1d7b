//! The process's side of a service: called by the service manager, told to stop by it.
//!
//! ```text
//! run ─ StartServiceCtrlDispatcher ─► service_main (a thread of Windows') ─► the work, with a Reporter
//!                                      control (the dispatcher's thread) ─► throws its StopSignal
//!                                      reports (a thread of ours) ─► check points while it starts or stops
//! ```
//!
//! A service that does not end in the time that Windows gives is reported as ended, and its process
//! ends with it: what was under way is finished or undone by the next start.
//!
//! Unsafe code is run by: `a_service_is_installed_runs_and_stops`,
//! `a_slow_service_shows_that_it_goes_on`.

#![expect(unsafe_code, reason = "Windows calls us back")]

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use time_and_chance::StopSignal;
use windows::Win32::Foundation::{
    ERROR_CALL_NOT_IMPLEMENTED, ERROR_SERVICE_SPECIFIC_ERROR, ERROR_TIMEOUT, NO_ERROR,
};
use windows::Win32::System::Services::{
    RegisterServiceCtrlHandlerExW, SERVICE_ACCEPT_PRESHUTDOWN, SERVICE_ACCEPT_SHUTDOWN,
    SERVICE_ACCEPT_STOP, SERVICE_CONTROL_INTERROGATE, SERVICE_CONTROL_PRESHUTDOWN,
    SERVICE_CONTROL_SHUTDOWN, SERVICE_CONTROL_STOP, SERVICE_RUNNING, SERVICE_START_PENDING,
    SERVICE_STATUS, SERVICE_STATUS_CURRENT_STATE, SERVICE_STATUS_HANDLE, SERVICE_STOP_PENDING,
    SERVICE_STOPPED, SERVICE_TABLE_ENTRYW, SERVICE_WIN32_OWN_PROCESS, SetServiceStatus,
    StartServiceCtrlDispatcherW,
};
use windows::core::{HSTRING, PWSTR};

use crate::calls;
use crate::win32_error::Win32Error;

/// So often a check point is reported while the service starts or stops.
const CHECK_POINT: Duration = Duration::from_secs(1);
/// How long Windows is to wait for the next check point: a busy machine is slow.
const WAIT_HINT_MS: u32 = 20_000;
/// How long stopping may take: what it takes to give up a checkpoint of a VM, and a little less
/// than Windows waits when the machine goes down.
const STOP_MAX: Duration = Duration::from_secs(170);
/// What a service ends with whose work panicked.
const PANICKED: u32 = 101;

/// The one service of this process.
struct Service {
    name: String,
    stop: StopSignal,
    work: Mutex<Option<Work>>,
    /// Set by `service_main` before anything is reported.
    handle: OnceLock<StatusHandle>,
    told: Mutex<Told>,
    /// Thrown when the work has returned.
    done: StopSignal,
}

type Work = Box<dyn FnOnce(Reporter) -> u32 + Send>;

struct StatusHandle(SERVICE_STATUS_HANDLE);

// SAFETY: the handle is a number for the service manager; statuses may be set by any thread.
unsafe impl Send for StatusHandle {}
// SAFETY: as above.
unsafe impl Sync for StatusHandle {}

/// What the service manager was told last.
#[derive(Debug, Clone, Copy)]
struct Told {
    state: SERVICE_STATUS_CURRENT_STATE,
    check_point: u32,
}

static SERVICE: OnceLock<Service> = OnceLock::new();

/// What the work of a service hears from the service manager, and tells it.
#[derive(Clone, Copy)]
pub struct Reporter {
    service: &'static Service,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl Reporter {
    /// Returns what is thrown when the service is to stop or the machine goes down.
    pub fn stop(&self) -> &StopSignal {
        &self.service.stop
    }

    /// Tells that the service does what it is there for; until then it counts as starting.
    pub fn running(&self) {
        let mut told = self.service.told();
        if told.state == SERVICE_START_PENDING {
            report(self.service, &mut told, SERVICE_RUNNING, 0);
        }
    }
}

impl Service {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `work` as the service `name`, and returns when it is done, or has had its time to stop.
/// What it returns is the service's exit code, 0 if all is well.
///
/// # Errors
/// 1063 if this process was not started by the service manager; the work has not begun then.
///
/// # Panics
/// If this process has run a service before: Windows starts each in a process of its own.
pub fn run(
    name: &str,
    work: impl FnOnce(Reporter) -> u32 + Send + 'static,
) -> Result<(), Win32Error> {
    calls::count("service.run");
    let service = Service {
        name: name.to_owned(),
        stop: StopSignal::new(),
        work: Mutex::new(Some(Box::new(work))),
        handle: OnceLock::new(),
        told: Mutex::new(Told {
            state: SERVICE_STOPPED,
            check_point: 0,
        }),
        done: StopSignal::new(),
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
    report(service, &mut service.told(), SERVICE_START_PENDING, 0);
    let reports = std::thread::spawn(|| keep_reporting(service));
    let work = service
        .work
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // A panic must not leave through Windows' own frames.
    let result = work.map(|work| catch_unwind(AssertUnwindSafe(|| work(Reporter { service }))));
    let code = match result {
        Some(Ok(code)) => code,
        Some(Err(_)) | None => PANICKED,
    };
    service.done.stop();
    // It has no work of its own that could panic.
    let _ = reports.join();
    ended(service, code);
}

/// Reports check points while the service starts or stops, until its work is done or its time to
/// stop is over.
fn keep_reporting(service: &Service) {
    let mut stopping_for = Duration::ZERO;
    while service.done.wait_real_time(CHECK_POINT).is_ok() {
        let mut told = service.told();
        let state = told.state;
        if state == SERVICE_STOP_PENDING {
            stopping_for += CHECK_POINT;
        }
        if stopping_for >= STOP_MAX {
            drop(told);
            return ended(service, ERROR_TIMEOUT.0);
        }
        if state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING {
            report(service, &mut told, state, 0);
        }
    }
}

/// Reports the end, once.
fn ended(service: &Service, code: u32) {
    let mut told = service.told();
    if told.state != SERVICE_STOPPED {
        report(service, &mut told, SERVICE_STOPPED, code);
    }
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
            let mut told = service.told();
            if told.state != SERVICE_STOPPED {
                report(service, &mut told, SERVICE_STOP_PENDING, 0);
            }
            drop(told);
            service.stop.stop();
            NO_ERROR.0
        }
        // Windows knows what was reported last.
        SERVICE_CONTROL_INTERROGATE => NO_ERROR.0,
        _ => ERROR_CALL_NOT_IMPLEMENTED.0,
    }
}

/// Tells the service manager what the service does; the same once more is a check point.
fn report(service: &Service, told: &mut Told, state: SERVICE_STATUS_CURRENT_STATE, code: u32) {
    calls::count("service.report");
    let Some(handle) = service.handle.get() else {
        return;
    };
    let is_pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
    let check_point = match is_pending {
        true if told.state == state => told.check_point.saturating_add(1),
        true => 1,
        false => 0,
    };
    *told = Told { state, check_point };
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
        dwCheckPoint: check_point,
        dwWaitHint: if is_pending { WAIT_HINT_MS } else { 0 },
    };
    // SAFETY: the handle is the one Windows gave for this service; the status lives through the
    // call. Should it fail, there is nobody left to tell.
    let _ = unsafe { SetServiceStatus(handle.0, &status) };
}
