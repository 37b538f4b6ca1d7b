//! A service that is this very test program: installed, started, stopped, removed.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time_and_chance::{StopSignal, SystemClock};
use windows_host::service::{
    ServiceState, ServiceStatus, ServiceToInstall, install, run, start, status, stop, uninstall,
};

const WAITS: &str = "e3-test-waits";
const FAILS: &str = "e3-test-fails";
const SLOW: &str = "e3-test-slow";

/// What Windows answers: no such service; not started by the service manager; the service's own
/// code says more; there is one already.
const NOT_THERE: u32 = 1060;
const NOT_A_SERVICE: u32 = 1063;
const OWN_CODE: u32 = 1066;
const ALREADY_THERE: u32 = 1073;

/// One test at a time: under Wine whoever says that it is a service takes the place of the one that
/// is just being started.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slow service starts when this is there, and stops when it is gone.
fn slow_file() -> PathBuf {
    // Beside this program: services have temporary folders of their own.
    let program = std::env::current_exe().expect("we are a program");
    program.with_extension(SLOW)
}

/// Waits until a service is as wanted.
fn wait(name: &str, wanted: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
    for _ in 0..300 {
        let found = status(name).expect("it can be asked").expect("it is there");
        if wanted(&found) {
            return found;
        }
        pause();
    }
    panic!("{name} is still {:?}", status(name));
}

fn wait_for(name: &str, state: ServiceState) -> ServiceStatus {
    wait(name, |found| found.state == state)
}

/// A service that is removed at the end.
struct Installed {
    name: &'static str,
    program: PathBuf,
    arguments: [&'static str; 3],
}

impl Installed {
    fn new(name: &'static str) -> Self {
        // Left by a run that was killed.
        let _ = uninstall(name);
        let service = Self {
            name,
            program: std::env::current_exe().expect("we are a program"),
            arguments: ["--exact", "service::the_service_itself", name],
        };
        install(&service.as_asked()).expect("it can be installed");
        service
    }

    fn as_asked(&self) -> ServiceToInstall<'_> {
        ServiceToInstall {
            name: self.name,
            display_name: "A test of \"e3\"",
            description: "Stays for a moment.",
            program: &self.program,
            arguments: &self.arguments,
        }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = stop(self.name);
        let _ = uninstall(self.name);
    }
}

/// What the services run. Arguments say which; run as a test of its own, it is none.
#[test]
fn the_service_itself() {
    let _alone = alone();
    let is = |name: &str| std::env::args().any(|argument| argument == name);
    let name = [WAITS, SLOW].into_iter().find(|name| is(name));
    let is_service = name.is_some() || is(FAILS);
    let name = name.unwrap_or(FAILS);
    let result = run(name, move |reporter| match name {
        WAITS => {
            reporter.running();
            let stopped = SystemClock::new().sleep(Duration::from_secs(60), reporter.stop());
            if stopped.is_err() { 0 } else { 9 }
        }
        SLOW => {
            wait_until(|| slow_file().exists());
            reporter.running();
            let stopped = SystemClock::new().sleep(Duration::from_secs(60), reporter.stop());
            wait_until(|| !slow_file().exists());
            if stopped.is_err() { 0 } else { 9 }
        }
        _ => 7,
    });
    match is_service {
        true => assert_eq!(result, Ok(())),
        false => assert_eq!(result.unwrap_err().code(), NOT_A_SERVICE),
    }
}

/// Waits as long as nobody would in a test that passes.
fn wait_until(wanted: impl Fn() -> bool) {
    for _ in 0..600 {
        if wanted() {
            return;
        }
        pause();
    }
}

fn pause() {
    let nobody = StopSignal::new();
    let pause = Duration::from_millis(100);
    SystemClock::new()
        .sleep(pause, &nobody)
        .expect("nobody stops it");
}

#[test]
fn a_slow_service_shows_that_it_goes_on() {
    let _alone = alone();
    let _ = std::fs::remove_file(slow_file());
    let _service = Installed::new(SLOW);
    start(SLOW).expect("it can be started");
    let goes_on = |state| wait(SLOW, move |it| it.state == state && it.check_point > 1);
    goes_on(ServiceState::StartPending);
    std::fs::write(slow_file(), "").expect("a file can be made");
    let running = wait_for(SLOW, ServiceState::Running);
    assert_eq!(running.check_point, 0);
    stop(SLOW).expect("it can be stopped");
    goes_on(ServiceState::StopPending);
    std::fs::remove_file(slow_file()).expect("the file can be removed");
    let stopped = wait_for(SLOW, ServiceState::Stopped);
    assert_eq!((stopped.exit_code, stopped.own_exit_code), (0, 0));
}

#[test]
fn a_service_is_installed_runs_and_stops() {
    let _alone = alone();
    let service = Installed::new(WAITS);
    let again = install(&service.as_asked()).unwrap_err();
    assert_eq!(again.code(), ALREADY_THERE, "{again}");
    assert_eq!(wait_for(WAITS, ServiceState::Stopped).process, None);
    stop(WAITS).expect("one that does not run is no error");
    for _ in 0..2 {
        start(WAITS).expect("it can be started");
        let running = wait_for(WAITS, ServiceState::Running);
        assert!(running.process.is_some(), "{running:?}");
        stop(WAITS).expect("it can be stopped");
        let stopped = wait_for(WAITS, ServiceState::Stopped);
        assert_eq!((stopped.exit_code, stopped.own_exit_code), (0, 0));
    }
    drop(service);
    assert_eq!(status(WAITS), Ok(None));
}

#[test]
fn what_a_service_ends_with_is_told() {
    let _alone = alone();
    let _service = Installed::new(FAILS);
    start(FAILS).expect("it can be started");
    let ended = wait(FAILS, |it| it.own_exit_code != 0);
    assert_eq!(ended.state, ServiceState::Stopped);
    assert_eq!((ended.exit_code, ended.own_exit_code), (OWN_CODE, 7));
}

#[test]
fn a_service_that_is_not_there_has_its_code() {
    let _alone = alone();
    const NAME: &str = "e3-test-none";
    assert_eq!(status(NAME), Ok(None));
    for result in [start(NAME), stop(NAME), uninstall(NAME)] {
        assert_eq!(result.unwrap_err().code(), NOT_THERE);
    }
}
