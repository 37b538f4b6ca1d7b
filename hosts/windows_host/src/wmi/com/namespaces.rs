//! Connects to namespaces of this machine.

use std::sync::Arc;
use std::time::Duration;

use super::session::ComSession;
use crate::wmi::{Namespaces, WmiError, WmiSession};

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// For a connection to a namespace. WMI itself gives up after two minutes.
    pub connect: Duration,
    /// For the next rows of a query.
    pub rows: Duration,
    /// For a call as a whole.
    pub call: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(150),
            rows: Duration::from_secs(60),
            call: Duration::from_secs(300),
        }
    }
}

/// WMI of this machine, by COM.
#[derive(Debug, Default)]
pub struct ComNamespaces {
    limits: TimeLimits,
}

impl ComNamespaces {
    /// Returns WMI with these time limits.
    pub fn with_limits(limits: TimeLimits) -> Self {
        Self { limits }
    }
}

impl Namespaces for ComNamespaces {
    fn connect(&self, namespace: &str) -> Result<Arc<dyn WmiSession>, WmiError> {
        Ok(Arc::new(ComSession::connect(namespace, self.limits)?))
    }
}
