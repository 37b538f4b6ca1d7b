//! A thread that holds a connection and does one call after the other.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use super::connection::Connection;
use super::failure::{NO_ANSWER, failed};
use super::namespaces::TimeLimits;
use crate::apartment::Apartment;
use crate::wmi::WmiError;

/// What a worker is given to do.
pub type Task = Box<dyn FnOnce(&Connection) + Send>;

/// A thread that is connected. It ends when this is dropped and its last task is done.
#[derive(Debug)]
pub struct Worker {
    tasks: Sender<Task>,
}

impl Worker {
    /// Starts a thread and waits until it is connected.
    ///
    /// A thread that does not come to an end is left to itself: it drops what it has when it does.
    pub fn start(namespace: &str, limits: TimeLimits) -> Result<Self, WmiError> {
        let (tasks, to_do) = channel();
        let (ready, connected) = sync_channel(1);
        let (name, rows_limit) = (namespace.to_owned(), limits.rows);
        thread::Builder::new()
            .name("wmi".to_owned())
            .spawn(move || {
                // Declared before the connection, so that it is left after it.
                let apartment =
                    Apartment::enter().map_err(|error| failed("enter COM's apartment", &error));
                let connection = match apartment
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|_| Connection::open(&name, rows_limit))
                {
                    Ok(connection) => connection,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                if ready.send(Ok(())).is_ok() {
                    work(&connection, &to_do);
                }
            })
            .map_err(|error| WmiError::shape(format!("start a thread for WMI: {error}")))?;
        match connected.recv_timeout(limits.connect) {
            Ok(connected) => connected.map(|()| Self { tasks }),
            Err(_) => Err(WmiError::call(
                format!("connect to WMI's namespace {namespace}: no answer came"),
                NO_ANSWER,
            )),
        }
    }

    /// Hands over a task; false if the thread is gone.
    pub fn give(&self, task: Task) -> bool {
        self.tasks.send(task).is_ok()
    }
}

fn work(connection: &Connection, to_do: &Receiver<Task>) {
    while let Ok(task) = to_do.recv() {
        task(connection);
    }
}
