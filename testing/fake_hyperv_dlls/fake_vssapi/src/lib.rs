//! VSS over the simulated machine in the folder that `E3_FAKE_HYPERV` names: as a model for tests
//! on every system, and as a vssapi.dll for unmodified programs under Wine.
//!
//! ```text
//! exports        what vssapi.dll exports                        unsafe, Windows only
//!   │
//! components     IVssBackupComponents                           unsafe, Windows only
//! operation      IVssAsync
//! metadata       IVssExamineWriterMetadata, IVssWMComponent
//! rows           IVssEnumObject
//! descriptions   VSS_SNAPSHOT_PROP
//!   │
//! model          one requester's order of calls, writers, shadows, faults     no unsafe
//! ```
//!
//! A volume is what the simulated machine has: a file, whose shadow is read as a device, or a
//! folder, whose shadow has files. So a shadow's device is a path under Wine that can be opened.
//!
//! | Behaviour | Source | Confidence |
//! |---|---|---|
//! | calls out of order: 0x80042301 | Microsoft's page on each call | high |
//! | `SetContext` once, before the others | its page | high |
//! | `DisableWriterClasses` after the metadata was gathered: no effect | its page | high |
//! | one set at a time is being made on a machine: 0x80042316 | `StartSnapshotSet` | high |
//! | names of volumes end with a separator, else 0x80070057 | `AddToSnapshotSet` | medium |
//! | no more than 64 volumes: 0x80042312; no such volume: 0x80042308 | `AddToSnapshotSet` | high |
//! | a volume twice: 0x8004230D | | low |
//! | writers need `SetBackupState`, the metadata and `PrepareForBackup` before the freeze | `DoSnapshotSet` | high |
//! | a writer that fails is told by its status; the freeze itself succeeds | | medium, switch |
//! | a query that finds nothing gives a list with nothing | | low, switch |
//! | shadows go with their requester | `VSS_CTX_BACKUP` | high |
//! | shadows of a process that died stay: nobody should rely on their going | | own |

#[cfg(windows)]
mod components;
#[cfg(windows)]
mod descriptions;
#[cfg(windows)]
mod exports;
#[cfg(windows)]
mod metadata;
mod model;
#[cfg(windows)]
mod operation;
#[cfg(windows)]
mod rows;

pub use model::{FakeVss, Fault, Manners};
