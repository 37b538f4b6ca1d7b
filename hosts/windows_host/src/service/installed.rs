//! A service as the service manager has it: installed, removed, started, stopped, asked how it is.
//!
//! Unsafe code is run by: `a_service_is_installed_runs_and_stops`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "the service manager is calls")]

use std::ffi::c_void;
use std::path::Path;

use windows::Win32::Foundation::{
    ERROR_INVALID_LEVEL, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_NOT_ACTIVE,
};
use windows::Win32::Storage::FileSystem::DELETE;
use windows::Win32::System::Services::{
    ChangeServiceConfig2W, CloseServiceHandle, ControlService, CreateServiceW, DeleteService,
    OpenSCManagerW, OpenServiceW, QueryServiceStatusEx, SC_ACTION, SC_ACTION_RESTART, SC_HANDLE,
    SC_MANAGER_CONNECT, SC_MANAGER_CREATE_SERVICE, SC_STATUS_PROCESS_INFO, SERVICE_ALL_ACCESS,
    SERVICE_AUTO_START, SERVICE_CONFIG, SERVICE_CONFIG_DELAYED_AUTO_START_INFO,
    SERVICE_CONFIG_DESCRIPTION, SERVICE_CONFIG_FAILURE_ACTIONS,
    SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, SERVICE_CONFIG_PRESHUTDOWN_INFO, SERVICE_CONTINUE_PENDING,
    SERVICE_CONTROL_STOP, SERVICE_DELAYED_AUTO_START_INFO, SERVICE_DESCRIPTIONW,
    SERVICE_ERROR_NORMAL, SERVICE_FAILURE_ACTIONS_FLAG, SERVICE_FAILURE_ACTIONSW,
    SERVICE_PAUSE_PENDING, SERVICE_PAUSED, SERVICE_PRESHUTDOWN_INFO, SERVICE_QUERY_STATUS,
    SERVICE_RUNNING, SERVICE_START, SERVICE_START_PENDING, SERVICE_STATUS,
    SERVICE_STATUS_CURRENT_STATE, SERVICE_STATUS_PROCESS, SERVICE_STOP, SERVICE_STOP_PENDING,
    SERVICE_STOPPED, SERVICE_WIN32_OWN_PROCESS, StartServiceW,
};
use windows::core::{BOOL, Error, HSTRING, PCWSTR, PWSTR, Result as CallResult};

use super::command_line::command_line;
use crate::calls;
use crate::win32_error::Win32Error;

/// When a service that fails is started again: after the first, second and each further time. The
/// first is soon: that is also how a service begins anew when it is told to.
const RESTART_AFTER_MS: [u32; 3] = [10_000, 60_000, 5 * 60_000];
/// After so long without a failure the next counts as the first.
const FAILURES_FORGOTTEN_S: u32 = 3600;
/// How long Windows waits for the service when the machine goes down: enough to give up a
/// checkpoint.
const PRESHUTDOWN_MS: u32 = 3 * 60_000;

/// A service as it is to be installed.
#[derive(Debug, Clone, Copy)]
pub struct ServiceToInstall<'a> {
    /// The name that commands use.
    pub name: &'a str,
    /// The name that lists show.
    pub display_name: &'a str,
    /// What lists say about it.
    pub description: &'a str,
    /// The program, by its whole path.
    pub program: &'a Path,
    /// The program's arguments.
    pub arguments: &'a [&'a str],
}

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// It does not run.
    Stopped,
    /// It is about to run.
    StartPending,
    /// It is about to stop.
    StopPending,
    /// It runs.
    Running,
    /// It is paused, or about to be or to go on.
    Paused,
    /// Something that Windows has learnt since.
    Other(u32),
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceStatus {
    /// What it does.
    pub state: ServiceState,
    /// Its process, if it has one.
    pub process: Option<u32>,
    /// What it ended with last: 0 if all was well, 1066 if `own_exit_code` says more.
    pub exit_code: u32,
    /// What it said itself when it ended.
    pub own_exit_code: u32,
    /// Goes up while it starts or stops, for as long as it does anything.
    pub check_point: u32,
}

/// Installs a service: run by the system's account, started a while after Windows, and started
/// again when it fails.
///
/// # Errors
/// 1073 if there is one of that name, 5 if rights are missing.
pub fn install(service: &ServiceToInstall<'_>) -> Result<(), Win32Error> {
    calls::count("service.install");
    let name = service.name;
    let failed = |error: Error| Win32Error::new(format!("install the service {name}"), &error);
    let manager = manager(SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE).map_err(failed)?;
    let line = HSTRING::from(command_line(service.program, service.arguments));
    // SAFETY: the manager is open; all texts end with 0 and live through the call. Null stands
    // for no group, no dependencies and the system's own account.
    let created = unsafe {
        CreateServiceW(
            manager.0,
            &HSTRING::from(name),
            &HSTRING::from(service.display_name),
            SERVICE_ALL_ACCESS,
            SERVICE_WIN32_OWN_PROCESS,
            SERVICE_AUTO_START,
            SERVICE_ERROR_NORMAL,
            &line,
            PCWSTR::null(),
            None,
            PCWSTR::null(),
            PCWSTR::null(),
            PCWSTR::null(),
        )
    };
    let created = Handle(created.map_err(failed)?);
    configure(&created, service.description).map_err(|error| {
        // Half a service is none; the error that counts is the first.
        // SAFETY: the service is open, with the right to delete it.
        let _ = unsafe { DeleteService(created.0) };
        failed(error)
    })
}

/// Sets what a service is not created with.
fn configure(service: &Handle, description: &str) -> CallResult<()> {
    let mut text: Vec<u16> = description.encode_utf16().chain([0]).collect();
    let description = SERVICE_DESCRIPTIONW {
        lpDescription: PWSTR(text.as_mut_ptr()),
    };
    set(service, SERVICE_CONFIG_DESCRIPTION, &description)?;
    let mut actions = RESTART_AFTER_MS.map(|delay| SC_ACTION {
        Type: SC_ACTION_RESTART,
        Delay: delay,
    });
    let failures = SERVICE_FAILURE_ACTIONSW {
        dwResetPeriod: FAILURES_FORGOTTEN_S,
        cActions: u32::try_from(actions.len()).expect("they are few"),
        lpsaActions: actions.as_mut_ptr(),
        ..SERVICE_FAILURE_ACTIONSW::default()
    };
    set(service, SERVICE_CONFIG_FAILURE_ACTIONS, &failures)?;
    let on_exit_codes_too = SERVICE_FAILURE_ACTIONS_FLAG {
        fFailureActionsOnNonCrashFailures: BOOL(1),
    };
    set(
        service,
        SERVICE_CONFIG_FAILURE_ACTIONS_FLAG,
        &on_exit_codes_too,
    )?;
    let delayed = SERVICE_DELAYED_AUTO_START_INFO {
        fDelayedAutostart: BOOL(1),
    };
    set(service, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &delayed)?;
    let preshutdown = SERVICE_PRESHUTDOWN_INFO {
        dwPreshutdownTimeout: PRESHUTDOWN_MS,
    };
    set(service, SERVICE_CONFIG_PRESHUTDOWN_INFO, &preshutdown)
}

/// Sets one thing about a service; `value` must be of the type that `what` goes with.
fn set<T>(service: &Handle, what: SERVICE_CONFIG, value: &T) -> CallResult<()> {
    let value: *const c_void = (&raw const *value).cast();
    // SAFETY: the service is open; callers pair value and kind, and keep alive what it points to.
    match unsafe { ChangeServiceConfig2W(service.0, what, Some(value)) } {
        // Every Windows that we support knows all of them; Wine does not.
        Err(error) if error.code() == ERROR_INVALID_LEVEL.to_hresult() => Ok(()),
        other => other,
    }
}

/// Removes a service. One that runs goes when it stops.
///
/// # Errors
/// 1060 if there is none of that name, 5 if rights are missing.
pub fn uninstall(name: &str) -> Result<(), Win32Error> {
    calls::count("service.uninstall");
    let failed = |error: Error| Win32Error::new(format!("remove the service {name}"), &error);
    let service = open(name, DELETE.0).map_err(failed)?;
    // SAFETY: the service is open, with the right to delete it.
    unsafe { DeleteService(service.0) }.map_err(failed)
}

/// Starts a service, and does not wait until it runs.
///
/// # Errors
/// 1060 if there is none of that name, 1056 if it runs, 5 if rights are missing.
pub fn start(name: &str) -> Result<(), Win32Error> {
    calls::count("service.start");
    let failed = |error: Error| Win32Error::new(format!("start the service {name}"), &error);
    let service = open(name, SERVICE_START).map_err(failed)?;
    // SAFETY: the service is open, with the right to start it; there are no arguments.
    unsafe { StartServiceW(service.0, None) }.map_err(failed)
}

/// Tells a service to stop, and does not wait until it has. One that does not run is no error.
///
/// # Errors
/// 1060 if there is none of that name, 1061 if it is about to start or stop, 5 if rights are missing.
pub fn stop(name: &str) -> Result<(), Win32Error> {
    calls::count("service.stop");
    let failed = |error: Error| Win32Error::new(format!("stop the service {name}"), &error);
    let service = open(name, SERVICE_STOP).map_err(failed)?;
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the service is open, with the right to stop it; the place is ours.
    match unsafe { ControlService(service.0, SERVICE_CONTROL_STOP, &mut status) } {
        Err(error) if error.code() == ERROR_SERVICE_NOT_ACTIVE.to_hresult() => Ok(()),
        other => other.map_err(failed),
    }
}

/// Returns how a service is; none if there is none of that name.
///
/// # Errors
/// If rights are missing.
pub fn status(name: &str) -> Result<Option<ServiceStatus>, Win32Error> {
    calls::count("service.status");
    let failed = |error: Error| Win32Error::new(format!("ask for the service {name}"), &error);
    let service = match open(name, SERVICE_QUERY_STATUS) {
        Err(error) if error.code() == ERROR_SERVICE_DOES_NOT_EXIST.to_hresult() => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut status = SERVICE_STATUS_PROCESS::default();
    let mut needed = 0;
    // SAFETY: the service is open. The bytes are those of a structure made of numbers alone, ours
    // and borrowed for the call, which writes such a structure.
    unsafe {
        let bytes = std::slice::from_raw_parts_mut(
            (&raw mut status).cast::<u8>(),
            size_of::<SERVICE_STATUS_PROCESS>(),
        );
        QueryServiceStatusEx(service.0, SC_STATUS_PROCESS_INFO, Some(bytes), &mut needed)
    }
    .map_err(failed)?;
    Ok(Some(ServiceStatus {
        state: state_of(status.dwCurrentState),
        process: (status.dwProcessId != 0).then_some(status.dwProcessId),
        exit_code: status.dwWin32ExitCode,
        own_exit_code: status.dwServiceSpecificExitCode,
        check_point: status.dwCheckPoint,
    }))
}

fn state_of(state: SERVICE_STATUS_CURRENT_STATE) -> ServiceState {
    match state {
        SERVICE_STOPPED => ServiceState::Stopped,
        SERVICE_START_PENDING => ServiceState::StartPending,
        SERVICE_STOP_PENDING => ServiceState::StopPending,
        SERVICE_RUNNING => ServiceState::Running,
        SERVICE_PAUSED | SERVICE_PAUSE_PENDING | SERVICE_CONTINUE_PENDING => ServiceState::Paused,
        other => ServiceState::Other(other.0),
    }
}

/// A handle of the service manager's, closed on drop.
struct Handle(SC_HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is ours and open, and not used again. It could only fail if it were not.
        let _ = unsafe { CloseServiceHandle(self.0) };
    }
}

fn manager(rights: u32) -> CallResult<Handle> {
    // SAFETY: null stands for this machine and the services that are active.
    unsafe { OpenSCManagerW(PCWSTR::null(), PCWSTR::null(), rights) }.map(Handle)
}

fn open(name: &str, rights: u32) -> CallResult<Handle> {
    let manager = manager(SC_MANAGER_CONNECT)?;
    // SAFETY: the manager is open; the name ends with 0 and lives through the call.
    unsafe { OpenServiceW(manager.0, &HSTRING::from(name), rights) }.map(Handle)
}
