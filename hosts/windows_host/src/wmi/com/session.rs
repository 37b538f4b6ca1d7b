//! A session: hands each call to a worker and waits for it, for so long and no longer.
//!
//! Calls from several threads run side by side, each on a worker of its own. A worker whose
//! call is late is abandoned, never waited for. One whose connection broke ends, and all idle ones with
//! it: they are connected to the same server. The call that met it fails as it is; the next connects anew.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection::Connection;
use super::failure::{NO_ANSWER, is_broken};
use super::namespaces::TimeLimits;
use super::worker::Worker;
use crate::wmi::{EmbeddedSource, TextForm, Value, WmiError, WmiObject, WmiSession};

/// Idle workers that are kept.
const IDLE_MAX: usize = 4;
/// Abandoned workers that have not come back. More would only fill the process with threads that
/// hang in a provider that does not answer.
const STUCK_MAX: usize = 32;

/// A connection to a namespace, by COM.
pub struct ComSession {
    namespace: String,
    limits: TimeLimits,
    idle: Mutex<Vec<Worker>>,
    stuck: Arc<AtomicUsize>,
}

impl ComSession {
    /// Connects to a namespace of this machine.
    pub fn connect(namespace: &str, limits: TimeLimits) -> Result<Self, WmiError> {
        let first = Worker::start(namespace, limits)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            limits,
            idle: Mutex::new(vec![first]),
            stuck: Arc::default(),
        })
    }

    /// Runs `work` on a worker; `doing` reads after "failed to".
    fn run<T: Send + 'static>(
        &self,
        doing: impl Fn() -> String,
        work: impl FnOnce(&Connection) -> Result<T, WmiError> + Send + 'static,
    ) -> Result<T, WmiError> {
        let worker = self.worker(&doing)?;
        let (answer, answered) = sync_channel(1);
        // Counted as stuck from the start, by whoever is last to know of the call: it or us.
        let call = Arc::new(Mutex::new(Some(())));
        let (last, stuck) = (Arc::clone(&call), Arc::clone(&self.stuck));
        let task = Box::new(move |connection: &Connection| {
            let result = work(connection);
            match lock(&last).take() {
                Some(()) => drop(answer.send(result)),
                None => drop(stuck.fetch_sub(1, Ordering::Relaxed)),
            }
        });
        if !worker.give(task) {
            return Err(WmiError::shape(format!("{}: its thread ended", doing())));
        }
        let result = match answered.recv_timeout(self.limits.call) {
            Err(RecvTimeoutError::Timeout) if lock(&call).take().is_some() => {
                self.stuck.fetch_add(1, Ordering::Relaxed);
                let message = format!("{}: no answer came in {:?}", doing(), self.limits.call);
                return Err(WmiError::call(message, NO_ANSWER));
            }
            // The answer came in the very moment we gave up.
            Err(RecvTimeoutError::Timeout) => answered.recv().ok(),
            Err(RecvTimeoutError::Disconnected) => None,
            Ok(result) => Some(result),
        };
        let result = result
            .unwrap_or_else(|| Err(WmiError::shape(format!("{}: its thread ended", doing()))));
        match &result {
            Err(error) if is_broken(error) => self.idle().clear(),
            _ => self.keep(worker),
        }
        result
    }

    /// Returns an idle worker, or a new one.
    fn worker(&self, doing: impl Fn() -> String) -> Result<Worker, WmiError> {
        let stuck = self.stuck.load(Ordering::Relaxed);
        if stuck >= STUCK_MAX {
            let message = format!("{}: {stuck} earlier calls still hang", doing());
            return Err(WmiError::call(message, NO_ANSWER));
        }
        let idle = self.idle().pop();
        idle.map_or_else(|| Worker::start(&self.namespace, self.limits), Ok)
    }

    fn keep(&self, worker: Worker) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(worker);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        lock(&self.idle)
    }
}

/// Locks what is whole between any two statements, so that a panic elsewhere does no harm to it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WmiSession for ComSession {
    fn query(&self, wql: &str) -> Result<Vec<WmiObject>, WmiError> {
        let text = wql.to_owned();
        self.run(
            || format!("run the query {wql}"),
            move |connection| connection.query(&text),
        )
    }

    fn get(&self, path: &str) -> Result<WmiObject, WmiError> {
        let of = path.to_owned();
        self.run(
            || format!("get {path}"),
            move |connection| connection.get(&of),
        )
    }

    fn class_properties(&self, class: &str) -> Result<Vec<String>, WmiError> {
        let of = class.to_owned();
        self.run(
            || format!("get the class {class}"),
            move |connection| connection.class_properties(&of),
        )
    }

    fn call(
        &self,
        path: &str,
        method: &str,
        parameters: &[(&str, Value)],
    ) -> Result<WmiObject, WmiError> {
        let (of, name, given) = (path.to_owned(), method.to_owned(), owned(parameters));
        self.run(
            || format!("call {method} of {path}"),
            move |connection| connection.call(&of, &name, &given),
        )
    }

    fn embedded_as(
        &self,
        form: TextForm,
        source: EmbeddedSource<'_>,
        changes: &[(&str, Value)],
    ) -> Result<String, WmiError> {
        let changes = owned(changes);
        match source {
            EmbeddedSource::Class(class) => {
                let of = class.to_owned();
                self.run(
                    || format!("put a new {class} into words"),
                    move |connection| connection.new_embedded(form, &of, &changes),
                )
            }
            EmbeddedSource::Instance(path) => {
                let of = path.to_owned();
                self.run(
                    || format!("put {path} into words"),
                    move |connection| connection.changed_embedded(form, &of, &changes),
                )
            }
        }
    }
}

fn owned(values: &[(&str, Value)]) -> Vec<(String, Value)> {
    let owned = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    owned.collect()
}

impl fmt::Debug for ComSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComSession({})", self.namespace)
    }
}
