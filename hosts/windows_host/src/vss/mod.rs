//! VSS as plain values: the calls of a requester, one to one.
//!
//! ```text
//! Vss              CreateVssBackupComponents
//!   └ Requester    one backup or one query: its calls in their order, then dropped
//! ```
//!
//! It knows no order and no policy: codes go to the caller as they are. `volume/` says what comes
//! after what, and what a code leads to.

#[cfg(windows)]
pub mod com;
mod error;
mod requester;

pub use error::VssError;
pub use requester::{
    Context, Requester, SnapshotProperties, Vss, Wait, WriterComponent, WriterMetadata,
    WriterState, WriterStatus,
};
