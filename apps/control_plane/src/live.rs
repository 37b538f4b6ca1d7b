//! Says what has changed to whoever watches, within one instance.
//!
//! Nothing depends on it being told: watchers read the store again, now and then, without being told too, for
//! another instance may have written.

use tokio::sync::{broadcast, watch};

/// How many changes a slow watcher may be behind before it has to read everything again.
const BACKLOG: usize = 256;

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The tenant whose thing it is.
    pub tenant_id: String,
    /// What kind of thing.
    pub what: What,
    /// Which one.
    pub id: String,
}

/// A kind of thing that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A run, its events included.
    Run,
    /// A command, or work on a repository, for a host; the id is the host's.
    HostWork,
    /// A command; the id is its own.
    Command,
    /// An alarm.
    Alarm,
    /// A host, its VMs and volumes included.
    Host,
}

/// Where changes are told and heard.
#[derive(Clone, Debug)]
pub struct Live {
    changes: broadcast::Sender<Change>,
    is_stopping: watch::Sender<bool>,
}

impl Live {
    /// Returns one that nobody listens to yet.
    #[expect(
        clippy::new_without_default,
        reason = "there is one for each instance, made where it is put together"
    )]
    pub fn new() -> Self {
        Self {
            changes: broadcast::channel(BACKLOG).0,
            is_stopping: watch::Sender::new(false),
        }
    }

    /// Tells a change.
    pub fn tell(&self, tenant_id: &str, what: What, id: impl ToString) {
        // Nobody may be listening; that is no trouble.
        let _nobody = self.changes.send(Change {
            tenant_id: tenant_id.to_owned(),
            what,
            id: id.to_string(),
        });
    }

    /// Tells everybody who waits that the server stops.
    pub fn stop(&self) {
        self.is_stopping.send_replace(true);
    }

    /// Waits until the server stops: whoever holds a call open ends it then.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut is_stopping = self.is_stopping.subscribe();
        async move {
            // It is gone together with the server, which is no less of an end.
            let _gone = is_stopping.wait_for(|stops| *stops).await;
        }
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
