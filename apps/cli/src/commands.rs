//! The commands, one file each.

pub mod backup;
pub mod completions;
pub mod enroll;
pub mod host;
pub mod hyperv;
pub mod points;
pub mod policy;
pub mod repo;
pub mod restore;
pub mod run;
pub mod service;
pub mod sim;
pub mod status;
