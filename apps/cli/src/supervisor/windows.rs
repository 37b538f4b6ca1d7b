//! Windows' service manager, which starts this program as its service, and its event log.

use std::sync::Arc;

use time_and_chance::StopSignal;
use windows_host::event_log::{EventLog, Severity};
use windows_host::{priority, service};

use super::Supervisor;
use crate::service_manager::NAME;

/// Windows has it that this process was not started by the service manager.
const NOT_A_SERVICE: u32 = 1063;

/// What kinds of entries there are in the event log.
const STARTED: u32 = 1;
const STOPPED: u32 = 2;
const FAILED: u32 = 3;
const PANICKED: u32 = 4;

/// Windows' service manager.
#[derive(Debug)]
pub struct ServiceManager {
    reporter: service::Reporter,
}

/// The event log; entries that cannot be written are not worth a service.
#[derive(Debug)]
struct Log(Option<EventLog>);

impl Log {
    fn report(&self, severity: Severity, event: u32, text: &str) {
        if let Some(log) = &self.0 {
            let _ = log.report(severity, event, text);
        }
    }
}

impl ServiceManager {
    /// Returns what is thrown when the service is to stop or the machine goes down.
    pub fn stop(&self) -> &StopSignal {
        self.reporter.stop()
    }

    /// Tells that the service does what it is there for.
    pub fn running(&self) {
        self.reporter.running();
    }
}

/// Runs `work` as the service if Windows started this process as that, and returns its exit status;
/// none if this process is a program like others, for which `work` has not been begun.
///
/// What `work` returns is its exit status and, if it failed, what there is to say about it.
pub fn run_as_service(
    work: impl FnOnce(Supervisor) -> (u8, Option<String>) + Send + 'static,
) -> Option<u8> {
    let outcome = service::run(NAME, move |reporter| {
        let log = Arc::new(Log(EventLog::open(NAME).ok()));
        let version = env!("CARGO_PKG_VERSION");
        log.report(
            Severity::Information,
            STARTED,
            &format!("{NAME} {version} was started"),
        );
        report_panics(&log);
        if let Err(error) = priority::let_others_go_first() {
            let text = format!("failed to {error}; it goes on with the priority of others");
            log.report(Severity::Warning, STARTED, &text);
        }
        let manager = ServiceManager { reporter };
        let (status, failure) = work(Supervisor::Windows(manager));
        match failure {
            Some(failure) => log.report(Severity::Error, FAILED, &failure),
            None => log.report(
                Severity::Information,
                STOPPED,
                &format!("{NAME} has stopped"),
            ),
        }
        u32::from(status)
    });
    match outcome {
        Err(error) if error.code() == NOT_A_SERVICE => None,
        Err(_) => Some(crate::failure::FAILED),
        Ok(()) => Some(0),
    }
}

/// Has panics of any thread told in the event log: a service has no other place to tell them.
fn report_panics(log: &Arc<Log>) {
    let (log, usual) = (Arc::clone(log), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        log.report(Severity::Error, PANICKED, &format!("{NAME}: {panic}"));
        usual(panic);
    }));
}
