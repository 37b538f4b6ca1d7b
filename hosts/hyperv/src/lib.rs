//! Hyper-V hosts: the port, the simulated host and the contract suite.
//!
//! The port speaks of recovery checkpoints, frozen disks and reference points, as Hyper-V's own
//! WMI classes do (Hyper-V spec 4 to 10). It knows nothing of repositories.

pub mod codes;
pub mod contract;
mod error;
mod port;
pub mod query_loop;
pub mod sim;
mod vm;
pub mod vm_folder;

pub use error::{HypervError, HypervErrorKind};
pub use port::{HypervHost, SharedHypervHost};
pub use vm::{
    Checkpoint, CheckpointId, CheckpointKind, ConfigurationFile, Consistency, Controller,
    DefinedDisk, DefinedVm, FrozenDisk, Generation, GuestSystem, MergeProgress, MergeState,
    NetworkAdapter, NewDisk, OmittedDisk, OperationInProgress, PlannedVm, ReferencePoint,
    ReferencePointDisk, ReferencePointId, RequestedConsistency, SECURE_BOOT, ValidationMessage,
    VirtualDisk, Vm, VmDefinition, VmId, VmState, VolumeSpace,
};
