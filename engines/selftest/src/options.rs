//! What a self-test works with.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use backup::vm::HoldLimits;
use hyperv::{HypervError, SharedHypervHost};
use windows_host::hyperv::{Beliefs, Probing};

/// A host that was opened.
#[derive(Debug, Clone)]
pub struct Connected {
    /// The host behind its port.
    pub host: SharedHypervHost,
    /// What can be asked of it beside the port; none of a simulated host.
    pub probing: Option<Arc<dyn Probing>>,
}

/// Opens the host, which is asked with one belief and with another.
pub trait Connect: Debug {
    /// Opens the host with what is believed of it.
    fn connect(&self, beliefs: &Beliefs) -> Result<Connected, HypervError>;
}

/// How thorough it is, and how patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How much is read of each disk, spread over all of it.
    pub sample_bytes_max: u64,
    /// How long a frozen disk is left alone between two readings (RH-11).
    pub settle: Duration,
    /// How long a merge is waited for.
    pub merge_wait: Duration,
    /// How long a checkpoint is held at most, and the room that every volume of the VM has to have
    /// before each and beside it.
    pub hold_limits: HoldLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sample_bytes_max: 256 << 20,
            settle: Duration::from_secs(15),
            merge_wait: Duration::from_mins(30),
            hold_limits: backup::vm::Options::default().hold_limits(),
        }
    }
}
