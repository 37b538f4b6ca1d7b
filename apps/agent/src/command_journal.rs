//! Commands and repository operations that are delivered once: written down when they arrive, before
//! anything else is done with them, until their outcome is acknowledged, and remembered for a while after
//! that.
//!
//! ```text
//! arrived ─► done ─► acknowledged          what a crash leaves without outcome is done as failed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use protocol::WireId;
use protocol::repo_operations::RepoOperation;
use serde::{Deserialize, Serialize};
use time_and_chance::{SharedClock, Timestamp};

use crate::log::Log;
use crate::records;

/// So many commands that are over are remembered, so that one that comes twice runs once.
const REMEMBERED_MAX: usize = 500;

/// What a command is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it was done.
    pub is_done: bool,
    /// What to say about it.
    pub message: String,
}

/// Something that was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// A command.
    Command {
        /// Its number.
        id: u64,
    },
    /// An operation on a repository.
    Operation {
        /// Its number.
        id: u64,
        /// What proves that it was given to us.
        token: String,
    },
}

/// What is written down of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The order.
    pub order: Order,
    /// What kind it is of.
    pub kind: String,
    /// The restore's run, which has to be ended too.
    pub restore_run: Option<WireId>,
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// Whether the control plane knows.
    pub is_acknowledged: bool,
}

/// What to do with an order that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// It is new and is written down: carry it out.
    New,
    /// It is being carried out, or was and the control plane knows.
    Known,
    /// It is over, and the control plane may not know: tell again how it ended.
    Over(Outcome),
}

/// The journal.
#[derive(Debug)]
pub struct CommandJournal {
    folder: PathBuf,
    clock: SharedClock,
    log: Arc<Log>,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Orders whose outcome somebody is telling right now.
    telling: Mutex<BTreeSet<String>>,
}

/// Held while the outcome of an order is told, which nobody else does meanwhile.
#[derive(Debug)]
pub struct Telling<'j> {
    journal: &'j CommandJournal,
    name: String,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.journal.lock_telling().remove(&self.name);
    }
}

impl Order {
    /// Returns what is written down of an operation.
    pub fn of(operation: &RepoOperation) -> Self {
        Self::Operation {
            id: operation.operation_id.0,
            token: operation.operation_token.clone(),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Command { id } => format!("command-{id}"),
            Self::Operation { id, .. } => format!("operation-{id}"),
        }
    }
}

impl CommandJournal {
    /// Opens the journal in a folder.
    pub fn open(folder: PathBuf, clock: SharedClock, log: Arc<Log>) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        for (_, _, bytes) in records::read_all(&folder, &log)? {
            // What a full disk cut is a command that nobody knows of any more.
            if let Ok(entry) = serde_json::from_slice::<Entry>(&bytes) {
                entries.insert(entry.order.name(), entry);
            }
        }
        Ok(Self {
            folder,
            clock,
            log,
            entries: Mutex::new(entries),
            telling: Mutex::default(),
        })
    }

    /// Writes down that an order arrived.
    ///
    /// # Errors
    /// If it cannot be written: then it must not be carried out either, and fails. It is known all the same,
    /// so that this is told until the control plane knows.
    pub fn arrives(
        &self,
        order: Order,
        kind: &str,
        restore_run: Option<WireId>,
    ) -> io::Result<Arrival> {
        let name = order.name();
        let mut entries = self.lock();
        if let Some(known) = entries.get(&name).filter(|known| known.order == order) {
            return Ok(match &known.outcome {
                Some(outcome) if !known.is_acknowledged => Arrival::Over(outcome.clone()),
                _ => Arrival::Known,
            });
        }
        let entry = Entry {
            order,
            kind: kind.to_owned(),
            restore_run,
            arrived_at: self.clock.now(),
            outcome: None,
            is_acknowledged: false,
        };
        let written = self.write(&name, &entry);
        entries.insert(name, entry);
        written.map(|()| Arrival::New)
    }

    /// Notes how an order ended.
    pub fn finish(&self, order: &Order, outcome: Outcome) {
        self.change(order, |entry| entry.outcome = Some(outcome));
    }

    /// Notes how an order ended, of which the control plane knows already: in one step, so that
    /// nobody tells it meanwhile.
    pub fn finish_acknowledged(&self, order: &Order, outcome: Outcome) {
        self.change(order, |entry| {
            entry.outcome = Some(outcome);
            entry.is_acknowledged = true;
        });
        self.forget_old();
    }

    /// Begins to tell how an order ended; `None` if somebody does, or the control plane knows.
    pub fn tell(&self, order: &Order) -> Option<Telling<'_>> {
        let name = order.name();
        if !self.lock_telling().insert(name.clone()) {
            return None;
        }
        let telling = Telling {
            journal: self,
            name,
        };
        let entries = self.lock();
        let known = entries.get(&telling.name).filter(|it| it.order == *order);
        let is_known = known.is_some_and(|it| it.is_acknowledged);
        drop(entries);
        (!is_known).then_some(telling)
    }

    /// Notes that the control plane knows how an order ended.
    pub fn acknowledge(&self, order: &Order) {
        self.change(order, |entry| entry.is_acknowledged = true);
        self.forget_old();
    }

    /// Returns what a crash left begun.
    pub fn interrupted(&self) -> Vec<Entry> {
        let is_open = |entry: &&Entry| entry.outcome.is_none();
        self.lock().values().filter(is_open).cloned().collect()
    }

    /// Returns what is over without the control plane knowing.
    pub fn unacknowledged(&self) -> Vec<Entry> {
        let is_told = |entry: &&Entry| entry.outcome.is_some() && !entry.is_acknowledged;
        self.lock().values().filter(is_told).cloned().collect()
    }

    fn change(&self, order: &Order, change: impl FnOnce(&mut Entry)) {
        let name = order.name();
        let mut entries = self.lock();
        // Another token is another order, which has taken the place of this one.
        let entry = entries.get_mut(&name).filter(|it| it.order == *order);
        let Some(entry) = entry else { return };
        change(entry);
        if let Err(error) = self.write(&name, entry) {
            self.log
                .error(&format!("failed to write down how {name} ended: {error}"));
        }
    }

    fn forget_old(&self) {
        let mut entries = self.lock();
        let told = entries.iter().filter(|(_, entry)| entry.is_acknowledged);
        let mut told: Vec<_> = told
            .map(|(name, entry)| (entry.arrived_at, name.clone()))
            .collect();
        told.sort();
        let excess = told.len().saturating_sub(REMEMBERED_MAX);
        for (_, name) in told.into_iter().take(excess) {
            entries.remove(&name);
            // What stays is read again and forgotten later.
            let _ = fs::remove_file(self.path(&name));
        }
    }

    fn write(&self, name: &str, entry: &Entry) -> io::Result<()> {
        let bytes = serde_json::to_vec(entry).expect("texts and numbers have JSON");
        local_file::replace(&self.path(name), &bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        records::path(&self.folder, name)
    }

    fn lock_telling(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.telling
            .lock()
            .expect("nobody panics while he holds it")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries
            .lock()
            .expect("nobody panics while he holds it")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use time_and_chance::ManualClock;

    use super::*;
    use crate::log::Level;

    fn journal(folder: &Path) -> CommandJournal {
        let clock: SharedClock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let log = Log::nowhere(Level::Error, false, clock.clone());
        CommandJournal::open(folder.join("commands"), clock, Arc::new(log)).unwrap()
    }

    fn done() -> Outcome {
        Outcome {
            is_done: true,
            message: "restored".to_owned(),
        }
    }

    #[test]
    fn a_command_that_comes_twice_runs_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let order = Order::Command { id: 7 };
        let begin = || journal(folder.path()).arrives(order.clone(), "restore", None);
        assert_eq!(begin().unwrap(), Arrival::New);
        assert_eq!(begin().unwrap(), Arrival::Known);
        assert_eq!(journal(folder.path()).interrupted().len(), 1);
        journal(folder.path()).finish(&order, done());
        assert_eq!(begin().unwrap(), Arrival::Over(done()));
        assert!(journal(folder.path()).interrupted().is_empty());
        assert_eq!(journal(folder.path()).unacknowledged().len(), 1);
        journal(folder.path()).acknowledge(&order);
        assert!(journal(folder.path()).unacknowledged().is_empty());
        assert_eq!(begin().unwrap(), Arrival::Known);
    }

    #[test]
    fn what_the_control_plane_knows_already_is_never_told() {
        let folder = tempfile::tempdir().unwrap();
        let order = Order::Command { id: 7 };
        let journal = journal(folder.path());
        journal.arrives(order.clone(), "list_disks", None).unwrap();
        journal.finish_acknowledged(&order, done());
        assert!(journal.unacknowledged().is_empty() && journal.interrupted().is_empty());
        assert!(journal.tell(&order).is_none());
        let again = journal.arrives(order, "list_disks", None);
        assert_eq!(again.unwrap(), Arrival::Known);
    }

    #[test]
    fn an_operation_with_another_token_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let order = |token: &str| Order::Operation {
            id: 7,
            token: token.to_owned(),
        };
        let begin = |token: &str| journal.arrives(order(token), "retention_apply", None);
        assert_eq!(begin("a").unwrap(), Arrival::New);
        assert_eq!(begin("b").unwrap(), Arrival::New);
        assert_eq!(begin("b").unwrap(), Arrival::Known);
        // How the first one ends says nothing about the second.
        journal.finish_acknowledged(&order("a"), done());
        assert_eq!(journal.interrupted().len(), 1);
        assert!(journal.tell(&order("b")).is_some());
    }

    #[test]
    fn what_could_not_be_written_down_is_known_as_long_as_the_service_lives() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let order = Order::Command { id: 7 };
        // A folder in the place of the file: nothing can be written there.
        fs::create_dir(folder.path().join("commands/command-7.json")).unwrap();
        let arrives = || journal.arrives(order.clone(), "restore", None);
        assert!(arrives().is_err());
        assert_eq!(arrives().unwrap(), Arrival::Known);
        journal.finish(&order, done());
        assert_eq!(arrives().unwrap(), Arrival::Over(done()));
        assert_eq!(journal.unacknowledged().len(), 1);
    }

    #[test]
    fn not_everything_is_remembered_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("commands");
        fs::create_dir(&files).unwrap();
        for id in 1..REMEMBERED_MAX as u64 + 5 {
            let entry = Entry {
                order: Order::Command { id },
                kind: "list_disks".to_owned(),
                restore_run: None,
                arrived_at: Timestamp::UNIX_EPOCH,
                outcome: Some(done()),
                is_acknowledged: true,
            };
            let bytes = serde_json::to_vec(&entry).unwrap();
            fs::write(files.join(format!("command-{id}.json")), bytes).unwrap();
        }
        let journal = journal(folder.path());
        let order = Order::Command { id: 0 };
        journal.arrives(order.clone(), "list_disks", None).unwrap();
        journal.finish(&order, done());
        journal.acknowledge(&order);
        assert_eq!(fs::read_dir(files).unwrap().count(), REMEMBERED_MAX);
    }

    #[test]
    fn an_outcome_is_told_by_one_at_a_time_and_until_it_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let order = Order::Command { id: 7 };
        journal.arrives(order.clone(), "restore", None).unwrap();
        journal.finish(&order, done());
        let telling = journal.tell(&order);
        assert!(telling.is_some() && journal.tell(&order).is_none());
        drop(telling);
        assert!(journal.tell(&order).is_some());
        journal.acknowledge(&order);
        assert!(journal.tell(&order).is_none());
    }
}
