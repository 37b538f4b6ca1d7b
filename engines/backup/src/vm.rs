//! Backing up whole virtual machines from their host.

mod base;
mod leftovers;
mod many;
mod plan;
mod run;
mod state;
mod watch;

pub use base::{Base, BaseDisk};
pub use leftovers::{Leftovers, MARK, clean};
pub use many::{VmOutcome, run_all};
pub use run::{ConsistencyPolicy, Options, PointReport, Step, VmBackup};
pub use state::{BaseFile, JournalEntry, StateFolder, VmLock};
