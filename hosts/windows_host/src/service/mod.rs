//! The Windows service: put in place and asked about by an administrator, run by the service
//! manager.
//!
//! It does not know what the service does: it hands it a [`Reporter`] and waits.

mod command_line;
mod installed;
mod run;

pub use installed::{
    ServiceState, ServiceStatus, ServiceToInstall, install, start, status, stop, uninstall,
};
pub use run::{Reporter, run};
