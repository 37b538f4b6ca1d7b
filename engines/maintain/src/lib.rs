//! Maintenance of a repository (Kopia spec 8): what is in no point any more goes, and the index stays
//! small.
//!
//! ```text
//! quick: compact settled epochs ─► begin the next epoch
//! full:  delete what earlier runs made unreferenced ─► collect ─► rewrite ─► forget tombstones
//!        ─► lengthen object locks ─► epochs ─► logs
//! ```
//!
//! `plan` decides, from times and figures alone; the rest does it. Each step may be interrupted
//! at any moment. A run deletes only what an earlier run made deletable: what this one collects,
//! later ones delete, after the format's intervals.

mod census;
mod collect;
mod error;
mod locks;
mod logs;
mod marks;
mod memory;
mod overview;
mod ownership;
mod packs;
mod plan;
mod removal;
mod report;
mod run;
mod upkeep;

pub use census::Census;
pub use error::{MaintainError, MaintainErrorKind};
pub use overview::{FailedTask, Overview};
pub use ownership::be_owner;
pub use plan::schedule_anew;
pub use report::{Collected, Deleted, Epochs, Freed, Locked, Report, Rewritten};
pub use run::{Maintenance, Options};
