//! virtdisk.dll as plain values: virtual disk files opened, attached, read, written, asked.
//!
//! It knows files, never VMs.

mod error;
mod file;
#[cfg(windows)]
pub mod win32;

pub use error::VirtualDiskError;
pub use file::{
    Access, ChangeTracking, Container, NewVirtualDisk, Subtype, VirtualDiskFile, VirtualDiskSize,
    VirtualDisks,
};
