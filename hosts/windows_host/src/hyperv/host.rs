//! This machine's Hyper-V as the port.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{BlockWrite, DiskSource};
use hyperv::{
    Checkpoint, CheckpointId, ConfigurationFile, DefinedVm, FrozenDisk, HypervError,
    HypervErrorKind as Kind, HypervHost, MergeState, NewDisk, PlannedVm, ReferencePoint,
    ReferencePointId, RequestedConsistency, ValidationMessage, Vm, VmDefinition, VmId, VolumeSpace,
    vm_folder,
};
use time_and_chance::{SharedClock, StopSignal};

use super::beliefs::Beliefs;
use super::cluster::Cluster;
use super::errors::{file_error, wmi_error};
use super::events::EventChannels;
use super::frozen_disk::FrozenDiskSource;
use super::merges::MergeWatch;
use super::new_disk::NewDiskWriter;
use super::open_disks::OpenDisks;
use super::patience::patiently;
use super::provider::{COMPUTER_SYSTEM, Provider};
use super::volumes::{self, Volumes};
use super::{
    checkpoints, configuration_files, defined, discovery, frozen_disks, merges, planned,
    planned_parts, planned_system, power, reference_points, settings,
};
use crate::virtdisk::VirtualDisks;
use crate::wmi::Namespaces;

const VIRTUALIZATION: &str = r"root\virtualization\v2";
const SERVICE_SETTINGS: &str = "Msvm_VirtualSystemManagementServiceSettingData";

/// What of Windows the host is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// WMI.
    pub namespaces: Arc<dyn Namespaces>,
    /// virtdisk.
    pub virtual_disks: Arc<dyn VirtualDisks>,
    /// The machine's volumes.
    pub volumes: Arc<dyn Volumes>,
    /// The clock.
    pub clock: SharedClock,
    /// What is believed of Hyper-V.
    pub beliefs: Beliefs,
}

/// This machine's Hyper-V.
#[derive(Debug)]
pub struct WindowsHypervHost {
    pub(super) provider: Provider,
    pub(super) namespaces: Arc<dyn Namespaces>,
    pub(super) virtual_disks: Arc<dyn VirtualDisks>,
    volumes: Arc<dyn Volumes>,
    pub(super) open_disks: OpenDisks,
    pub(super) merge_watch: MergeWatch,
}

impl WindowsHypervHost {
    /// Connects to Hyper-V.
    ///
    /// # Errors
    /// `Unsupported` if its role is not installed, `Denied` if rights are missing.
    pub fn connect(parts: Parts) -> Result<Self, HypervError> {
        let limit = parts.beliefs.limits.unavailable;
        let session = patiently(&parts.clock, limit, || {
            parts.namespaces.connect(VIRTUALIZATION)
        })
        .map_err(|error| wmi_error("connect to Hyper-V", error))?;
        let cluster = Cluster::new(Arc::clone(&parts.namespaces));
        Ok(Self {
            namespaces: parts.namespaces,
            provider: Provider::new(session, cluster, parts.clock, parts.beliefs),
            virtual_disks: parts.virtual_disks,
            volumes: parts.volumes,
            open_disks: OpenDisks::default(),
            merge_watch: MergeWatch::default(),
        })
    }

    /// Has errors say what Hyper-V logged about their VM.
    pub fn with_events(mut self, events: Arc<dyn EventChannels>) -> Self {
        self.provider.events = Some(events);
        self
    }
}

impl HypervHost for WindowsHypervHost {
    fn name(&self) -> Result<String, HypervError> {
        if let Some(cluster) = self.provider.cluster.name()? {
            return Ok(cluster);
        }
        let systems = self.provider.all(COMPUTER_SYSTEM)?;
        self.provider.check_sight(&systems)?;
        let host = systems
            .iter()
            .find(|system| settings::vm_id(system).is_none());
        let host = host.ok_or_else(|| {
            HypervError::new(
                Kind::Failed,
                "ask for the host's name: it does not list itself",
            )
        })?;
        let name = host.text("ElementName").or_else(|_| host.text("Name"));
        Ok(name
            .map_err(|error| wmi_error("ask for the host's name", error))?
            .to_owned())
    }

    fn vms(&self) -> Result<Vec<Vm>, HypervError> {
        discovery::vms(&self.provider, &*self.virtual_disks)
    }

    fn vm(&self, vm: VmId) -> Result<Vm, HypervError> {
        discovery::vm(&self.provider, &*self.virtual_disks, vm)
    }

    fn create_recovery_checkpoint(
        &self,
        vm: VmId,
        consistency: RequestedConsistency,
        mark: &str,
        stop: &StopSignal,
    ) -> Result<CheckpointId, HypervError> {
        checkpoints::create(&self.provider, vm, consistency, mark, stop)
    }

    fn checkpoints(&self, vm: VmId) -> Result<Vec<Checkpoint>, HypervError> {
        checkpoints::list(&self.provider, vm)
    }

    fn frozen_disks(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<Vec<FrozenDisk>, HypervError> {
        frozen_disks::list(&self.provider, &*self.virtual_disks, vm, checkpoint)
    }

    fn open_frozen_disk(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        disk: &FrozenDisk,
    ) -> Result<Box<dyn DiskSource>, HypervError> {
        frozen_disks::check(&self.provider, vm, checkpoint, disk)?;
        let source = FrozenDiskSource::open(
            &*self.virtual_disks,
            &disk.path,
            self.provider.beliefs.block_tables_tell_allocation,
            self.open_disks.open(checkpoint),
        )?;
        Ok(Box::new(source))
    }

    fn configuration_files(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<Vec<ConfigurationFile>, HypervError> {
        configuration_files::of_checkpoint(&self.provider, vm, checkpoint)
    }

    fn convert_to_reference_point(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        stop: &StopSignal,
    ) -> Result<ReferencePoint, HypervError> {
        reference_points::convert(
            &self.provider,
            &*self.virtual_disks,
            &self.open_disks,
            vm,
            checkpoint,
            stop,
        )
    }

    fn destroy_checkpoint(&self, vm: VmId, checkpoint: CheckpointId) -> Result<(), HypervError> {
        checkpoints::destroy(&self.provider, &self.open_disks, vm, checkpoint)
    }

    fn reference_points(&self, vm: VmId) -> Result<Vec<ReferencePoint>, HypervError> {
        reference_points::list(&self.provider, &*self.virtual_disks, vm)
    }

    fn destroy_reference_point(
        &self,
        vm: VmId,
        point: &ReferencePointId,
    ) -> Result<(), HypervError> {
        reference_points::destroy(&self.provider, vm, point)
    }

    fn merge_state(&self, vm: VmId) -> Result<MergeState, HypervError> {
        merges::state(&self.provider, &*self.virtual_disks, &self.merge_watch, vm)
    }

    fn volume_space(&self, vm: VmId) -> Result<Vec<VolumeSpace>, HypervError> {
        volumes::of_vm(&self.provider, &*self.volumes, vm)
    }

    fn default_vm_folder(&self, name: &str) -> Result<PathBuf, HypervError> {
        let doing = "ask where VMs go by default";
        let found = self.provider.all(SERVICE_SETTINGS)?;
        let root = found
            .first()
            .map(|object| object.text("DefaultExternalDataRoot"));
        match root.transpose().map_err(|error| wmi_error(doing, error))? {
            Some(root) => Ok(vm_folder::fresh(Path::new(root), name)),
            None => Err(HypervError::new(
                Kind::Denied,
                format!("{doing}: Hyper-V does not tell this account; run as SYSTEM or elevated"),
            )),
        }
    }

    fn create_disk(&self, path: &Path, disk: &NewDisk) -> Result<Box<dyn BlockWrite>, HypervError> {
        Ok(Box::new(NewDiskWriter::create(
            &*self.virtual_disks,
            path,
            disk,
        )?))
    }

    fn remove_file(&self, path: &Path) -> Result<(), HypervError> {
        std::fs::remove_file(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => HypervError::new(
                Kind::NotFound,
                format!("remove {}: there is no such file", path.display()),
            ),
            _ => file_error("remove", path, error),
        })
    }

    fn import_planned(
        &self,
        configuration: &[ConfigurationFile],
        folder: &Path,
        name: &str,
        new_id: bool,
    ) -> Result<PlannedVm, HypervError> {
        planned::import(&self.provider, configuration, folder, name, new_id)
    }

    fn define_planned(
        &self,
        definition: &VmDefinition,
        configuration: &[ConfigurationFile],
        folder: &Path,
    ) -> Result<DefinedVm, HypervError> {
        defined::define(&self.provider, definition, configuration, folder)
    }

    fn set_planned_disks(
        &self,
        planned: VmId,
        paths: &[Option<PathBuf>],
    ) -> Result<(), HypervError> {
        planned_parts::set_disks(&self.provider, planned, paths)
    }

    fn switches(&self) -> Result<Vec<String>, HypervError> {
        planned_parts::switches(&self.provider)
    }

    fn set_planned_switches(
        &self,
        planned: VmId,
        switches: &[Option<String>],
    ) -> Result<(), HypervError> {
        planned_parts::set_switches(&self.provider, planned, switches)
    }

    fn validate_planned(&self, planned: VmId) -> Result<Vec<ValidationMessage>, HypervError> {
        planned::validate(&self.provider, planned)
    }

    fn realise_planned(&self, planned: VmId) -> Result<VmId, HypervError> {
        planned::realise(&self.provider, planned)
    }

    fn abort_planned(&self, planned: VmId) -> Result<(), HypervError> {
        planned::abort(&self.provider, planned)
    }

    fn planned_vms(&self) -> Result<Vec<(VmId, String)>, HypervError> {
        planned_system::list(&self.provider)
    }

    fn planned_folder(&self, planned: VmId) -> Result<Option<PathBuf>, HypervError> {
        planned_system::folder(&self.provider, planned)
    }

    fn start(&self, vm: VmId) -> Result<(), HypervError> {
        power::start(&self.provider, vm)
    }
}
