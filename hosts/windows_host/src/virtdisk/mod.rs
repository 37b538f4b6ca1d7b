//! virtdisk.dll as plain values: virtual disk files opened, attached, read, written, asked.
//!
//! It knows files, never VMs.

mod error;
mod file;

pub use error::VirtualDiskError;
pub use file::{
    Access, ChangeTracking, Container, NewVirtualDisk, Subtype, VirtualDiskFile, VirtualDiskSize,
    VirtualDisks,
};
