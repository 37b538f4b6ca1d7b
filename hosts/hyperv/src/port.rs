//! The port: what a Hyper-V host must offer to be backed up and restored to.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{BlockWrite, DiskSource};
use time_and_chance::StopSignal;

use crate::{
    Checkpoint, CheckpointId, ConfigurationFile, DefinedVm, FrozenDisk, HypervError, MergeState,
    NewDisk, PlannedVm, ReferencePoint, ReferencePointId, RequestedConsistency, ValidationMessage,
    Vm, VmDefinition, VmId, VolumeSpace,
};

/// A host shared by everything that works on it.
pub type SharedHypervHost = Arc<dyn HypervHost>;

/// A Hyper-V host.
///
/// Implementers translate and decide nothing. They follow jobs to their end, with
/// [`HypervErrorKind::OutcomeUnknown`](crate::HypervErrorKind::OutcomeUnknown) when a job
/// vanished; they report what is there now, never what they remember. A checkpoint whose disk
/// is still open can be neither converted nor destroyed: that fails with `InUse`.
pub trait HypervHost: Send + Sync + Debug {
    /// Returns the host's name; in a failover cluster the cluster's.
    fn name(&self) -> Result<String, HypervError>;

    /// Returns all VMs of this host.
    fn vms(&self) -> Result<Vec<Vm>, HypervError>;

    /// Returns one VM as it is now.
    fn vm(&self, vm: VmId) -> Result<Vm, HypervError>;

    /// Takes a recovery checkpoint named `mark` and returns its GUID (Hyper-V spec 4.1).
    ///
    /// # Errors
    /// `GuestRefused` if the guest could not be quiesced; a checkpoint may be left behind all
    /// the same, and after `OutcomeUnknown` too: look with [`checkpoints`](Self::checkpoints).
    fn create_recovery_checkpoint(
        &self,
        vm: VmId,
        consistency: RequestedConsistency,
        mark: &str,
        stop: &StopSignal,
    ) -> Result<CheckpointId, HypervError>;

    /// Returns all checkpoints of a VM, of every kind.
    fn checkpoints(&self, vm: VmId) -> Result<Vec<Checkpoint>, HypervError>;

    /// Returns the disks as the checkpoint holds them, in the order of [`Vm::disks`].
    fn frozen_disks(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<Vec<FrozenDisk>, HypervError>;

    /// Opens a frozen disk for reading; dropping it closes it (Hyper-V spec 8).
    fn open_frozen_disk(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        disk: &FrozenDisk,
    ) -> Result<Box<dyn DiskSource>, HypervError>;

    /// Returns the configuration files as the checkpoint holds them (Hyper-V spec 9).
    fn configuration_files(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<Vec<ConfigurationFile>, HypervError>;

    /// Turns a recovery checkpoint into a reference point; the checkpoint goes away and its
    /// disks merge in the background (Hyper-V spec 5.2).
    fn convert_to_reference_point(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        stop: &StopSignal,
    ) -> Result<ReferencePoint, HypervError>;

    /// Removes a recovery checkpoint; its disks merge in the background.
    fn destroy_checkpoint(&self, vm: VmId, checkpoint: CheckpointId) -> Result<(), HypervError>;

    /// Returns all reference points of a VM, whoever made them.
    fn reference_points(&self, vm: VmId) -> Result<Vec<ReferencePoint>, HypervError>;

    /// Removes a reference point.
    fn destroy_reference_point(
        &self,
        vm: VmId,
        point: &ReferencePointId,
    ) -> Result<(), HypervError>;

    /// Tells whether disks of the VM are being merged.
    fn merge_state(&self, vm: VmId) -> Result<MergeState, HypervError>;

    /// Returns the room on every volume that holds files of the VM.
    fn volume_space(&self, vm: VmId) -> Result<Vec<VolumeSpace>, HypervError>;

    /// Returns the folder where a new VM's files would go by default, named after the VM.
    fn default_vm_folder(&self, name: &str) -> Result<PathBuf, HypervError>;

    /// Makes a VHDX file for a restore and opens it for writing; dropping it closes it.
    ///
    /// # Errors
    /// `Invalid` if a file is there already.
    fn create_disk(&self, path: &Path, disk: &NewDisk) -> Result<Box<dyn BlockWrite>, HypervError>;

    /// Removes a file that a failed restore left behind.
    fn remove_file(&self, path: &Path) -> Result<(), HypervError>;

    /// Imports a VM's configuration as a planned VM named `name` whose files go to `folder`
    /// (Hyper-V spec 10.1 steps 3 and 4).
    ///
    /// # Errors
    /// `Invalid` if the same id is asked for and a VM with it is there.
    fn import_planned(
        &self,
        configuration: &[ConfigurationFile],
        folder: &Path,
        name: &str,
        new_id: bool,
    ) -> Result<PlannedVm, HypervError>;

    /// Defines a planned VM from what was recorded of it, under a new id, for a VM whose
    /// configuration cannot be imported (Hyper-V spec 10.3). Its disks' files are there; its adapters
    /// hang on no switch yet. What `configuration` tells beyond the definition is taken over as far as
    /// it can be; the answer says what is not.
    fn define_planned(
        &self,
        definition: &VmDefinition,
        configuration: &[ConfigurationFile],
        folder: &Path,
    ) -> Result<DefinedVm, HypervError>;

    /// Points a planned VM's disks to files, in the order of [`PlannedVm::disks`]; `None` takes
    /// the disk away (step 5).
    fn set_planned_disks(
        &self,
        planned: VmId,
        paths: &[Option<PathBuf>],
    ) -> Result<(), HypervError>;

    /// Returns the names of this host's virtual switches.
    fn switches(&self) -> Result<Vec<String>, HypervError>;

    /// Connects a planned VM's network adapters, in the order of
    /// [`PlannedVm::network_adapters`], each to a switch or to none (step 6).
    fn set_planned_switches(
        &self,
        planned: VmId,
        switches: &[Option<String>],
    ) -> Result<(), HypervError>;

    /// Asks the host what stands against realising a planned VM (step 8).
    fn validate_planned(&self, planned: VmId) -> Result<Vec<ValidationMessage>, HypervError>;

    /// Makes a planned VM a real one (step 9).
    fn realise_planned(&self, planned: VmId) -> Result<VmId, HypervError>;

    /// Gives a planned VM up; its disk files stay.
    fn abort_planned(&self, planned: VmId) -> Result<(), HypervError>;

    /// Returns planned VMs, for finding restores that were never finished: GUID and name.
    fn planned_vms(&self) -> Result<Vec<(VmId, String)>, HypervError>;

    /// Returns the folder that a planned VM's configuration lies in: where it was imported from until
    /// it is told another (Hyper-V spec 10.1 steps 3 and 4; low). None if the host does not say.
    ///
    /// # Errors
    /// `NotFound` if there is no such planned VM.
    fn planned_folder(&self, planned: VmId) -> Result<Option<PathBuf>, HypervError>;

    /// Switches a VM on.
    fn start(&self, vm: VmId) -> Result<(), HypervError>;
}
