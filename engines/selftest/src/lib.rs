//! What only a real Hyper-V host can answer (Hyper-V spec 20), asked of one, and what follows.
//!
//! ```text
//! run ── texts, rounds ── probes   the host asked: checkpoints taken, read, converted, undone
//!  │                 │
//!  │              verdicts         from what was seen to answers: pure
//!  │                 │
//!  │              questions        every question, and what the agent does either way
//!  ├─ learned ── answers           what is believed from now on, kept by Windows' build
//!  ├─ report                       for people and for programs
//!  ├─ own_vm                       a VM that it makes for itself, and removes
//!  └─ journal ── cleaning          what is being done to the host, and how it is undone
//! ```
//!
//! It changes nothing that it does not undo, but for change tracking, which any backup of the VM
//! turns on. What would endanger the VM it does not try, and says why. It knows no repository.

mod answers;
mod cleaning;
mod error;
mod journal;
mod learned;
mod open_disk;
mod options;
mod own_vm;
mod probes;
mod questions;
mod report;
mod rounds;
mod run;
mod sample;
mod texts;
mod verdicts;

pub use answers::{Answers, Kept};
pub use cleaning::{Cleaned, clean};
pub use error::{SelfTestError, SelfTestErrorKind};
pub use learned::Learned;
pub use options::{Connect, Connected, Options};
pub use own_vm::{CleanedVms, clean_vms};
pub use questions::{QUESTIONS, Question};
pub use report::{HostFacts, Report};
pub use run::SelfTest;
pub use verdicts::{Answer, Verdict};
