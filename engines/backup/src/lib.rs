//! Backup engines: plan, then run.
//!
//! A plan is a function from facts to steps; a run carries them out. Neither knows a control
//! plane or a terminal.

mod error;
pub mod files;
pub mod pattern;
mod run_lock;
mod tidy_up;
pub mod vm;

pub use error::{BackupError, BackupErrorKind};
pub use run_lock::{LockWait, RunLock};
pub use tidy_up::tidy_up;
