//! Backing up whole virtual machines from their host.

mod announced;
mod checkpoint;
mod conversion;
mod frozen_disks;
mod increment_base;
mod leftovers;
mod many;
mod memory;
mod options;
mod pass;
mod passes;
mod plan;
mod publication;
mod run;
mod state;
mod vm_backup;
mod vm_bases;
mod watch;

pub use announced::{Announced, is_one_being_made};
pub use increment_base::{Base, BaseDisk};
pub use leftovers::{Leftovers, MARK, SELF_TEST_VM, clean};
pub use many::{VmOutcome, run_all};
pub use memory::Threads;
pub use options::{ConsistencyPolicy, Options, Step};
pub use run::PointReport;
pub use state::{BaseFile, JournalEntry, StateFolder};
pub use vm_backup::VmBackup;
pub use vm_bases::{HeldBase, VmBases, next_is_full};
pub use watch::{CheckpointWatch, HoldLimits, check_space};
