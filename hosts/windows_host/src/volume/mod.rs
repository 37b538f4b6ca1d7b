//! This machine's volumes behind the port `volume::VolumeHost`: by VSS, and by WMI's storage
//! namespace.
//!
//! ```text
//! host              the port
//!   │
//! layout            MSFT_Disk, MSFT_Partition, MSFT_Volume to values
//! freezing ─ calls  one attempt: VSS's calls in their order
//! actions           what a code leads to: again, without a writer, or failure with words
//! device            opening what a shadow is read from
//! ```
//!
//! It has no unsafe code and runs everywhere over models of VSS and WMI.

mod actions;
mod attempt;
mod device;
mod host;
mod layout;

pub use actions::{Action, action};
pub use host::{VolumeLimits, VolumeParts, WindowsVolumeHost};
