//! A thread that holds a requester's backup and does one call after the other.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::calls::Components;
use crate::apartment::Apartment;
use crate::vss::VssError;

/// What a worker is given to do.
type Task = Box<dyn FnOnce(&Components) + Send>;

/// `RPC_S_CALL_FAILED`: the thread is gone, as if the service were.
const GONE: u32 = 0x8007_06BE;
/// Calls that start nothing long are over by then, or never.
pub(super) const SHORT: Duration = Duration::from_secs(120);

/// A thread with a requester. Dropping this releases the requester, and waits for it a while: its
/// shadows are gone then.
#[derive(Debug)]
pub(super) struct Worker {
    /// None while it is dropped.
    tasks: Option<Sender<Task>>,
    /// Breaks when the thread has let go of everything.
    ended: Mutex<Receiver<()>>,
}

impl Worker {
    /// Starts a thread and waits until it has made its requester.
    ///
    /// A thread that does not come to an end is left to itself: it drops what it has when it does.
    pub(super) fn start() -> Result<Self, VssError> {
        let (tasks, to_do) = channel::<Task>();
        let (ready, made) = sync_channel(1);
        let (ends, ended) = channel();
        thread::Builder::new()
            .name("vss".to_owned())
            .spawn(move || {
                // Dropped last.
                let _ends: Sender<()> = ends;
                let apartment = Apartment::enter().map_err(|error| {
                    VssError::code("enter COM's apartment", error.code().0.cast_unsigned())
                });
                let components = match apartment.as_ref().map_err(Clone::clone) {
                    Ok(_) => Components::make(),
                    Err(error) => Err(error),
                };
                let components = match components {
                    Ok(components) => components,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                if ready.send(Ok(())).is_ok() {
                    work(&components, &to_do);
                }
            })
            .map_err(|_| VssError::code("start a thread for VSS", GONE))?;
        match made.recv_timeout(SHORT) {
            Ok(made) => made?,
            Err(_) => return Err(late("begin with VSS", SHORT)),
        }
        Ok(Self {
            tasks: Some(tasks),
            ended: Mutex::new(ended),
        })
    }

    /// Has the thread do something, and waits for it no longer than `limit`.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        doing: &str,
        limit: Duration,
        work: impl FnOnce(&Components) -> Result<T, VssError> + Send + 'static,
    ) -> Result<T, VssError> {
        let (answer, answered) = sync_channel(1);
        let task: Task = Box::new(move |components| {
            // Nobody may be left to hear it.
            let _ = answer.send(work(components));
        });
        let given = self.tasks.as_ref().is_some_and(|it| it.send(task).is_ok());
        if !given {
            return Err(VssError::code(doing, GONE));
        }
        match answered.recv_timeout(limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(late(doing, limit)),
            Err(RecvTimeoutError::Disconnected) => Err(VssError::code(doing, GONE)),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.tasks.take());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: it breaks, or it takes too long.
        let _ = ended.recv_timeout(SHORT);
    }
}

fn late(doing: &str, limit: Duration) -> VssError {
    VssError::TimedOut {
        doing: doing.to_owned(),
        limit_s: limit.as_secs(),
    }
}

fn work(components: &Components, to_do: &Receiver<Task>) {
    while let Ok(task) = to_do.recv() {
        task(components);
    }
}
