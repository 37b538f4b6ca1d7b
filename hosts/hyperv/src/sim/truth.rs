//! The simulated host as a model of Windows sees it: everything at one instant, as it is.
//!
//! Where the port answers about one thing at a time, and lets time pass with each answer, a
//! model of Hyper-V's own interfaces shows objects that hang together. So it takes the truth
//! whole, and says apart from that whom it looked at.

use std::path::PathBuf;

use uuid::Uuid;

use super::SimHost;
use super::calls::strike_before_listing;
use super::fault::Step;
use super::session::Session;
use super::state::{CheckpointRecord, PlannedRecord};
use crate::{
    Checkpoint, CheckpointId, Controller, Generation, HypervError, HypervErrorKind, MergeState,
    NetworkAdapter, OmittedDisk, ReferencePoint, Vm, VmId,
};

/// Everything there is on a simulated host.
#[derive(Debug, Clone, PartialEq)]
pub struct SimTruth {
    /// The host's name.
    pub name: String,
    /// The newest configuration version it can run.
    pub configuration_version: String,
    /// Its virtual switches.
    pub switches: Vec<String>,
    /// The folder where new VMs' folders go.
    pub vms_folder: PathBuf,
    /// Its VMs, without those that moved away.
    pub vms: Vec<SimVmTruth>,
    /// Its planned VMs.
    pub planned: Vec<SimPlannedTruth>,
}

/// A VM with all that hangs on it.
#[derive(Debug, Clone, PartialEq)]
pub struct SimVmTruth {
    /// The VM as the port shows it.
    pub vm: Vm,
    /// The folder of its files.
    pub folder: PathBuf,
    /// Its configuration files.
    pub configuration_files: Vec<PathBuf>,
    /// Its checkpoints, oldest first.
    pub checkpoints: Vec<SimCheckpointTruth>,
    /// Its current state's parent among the checkpoints.
    pub parent: Option<CheckpointId>,
    /// Its reference points.
    pub reference_points: Vec<ReferencePoint>,
    /// Whether its disks are being merged.
    pub merge: MergeState,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct SimCheckpointTruth {
    /// The checkpoint as the port shows it.
    pub checkpoint: Checkpoint,
    /// Whether level 1 was obtained.
    pub application_level: bool,
    /// Its parent among the checkpoints.
    pub parent: Option<CheckpointId>,
    /// Its disks.
    pub disks: Vec<SimDiskTruth>,
    /// Its configuration files.
    pub configuration_files: Vec<PathBuf>,
}

/// A disk of a checkpoint or of a planned VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimDiskTruth {
    /// The kind of controller.
    pub controller: Controller,
    /// Which controller of that kind.
    pub controller_number: u32,
    /// Which place on it.
    pub location: u32,
    /// Its file; none if the disk was taken away.
    pub path: Option<PathBuf>,
}

/// A planned VM.
#[derive(Debug, Clone, PartialEq)]
pub struct SimPlannedTruth {
    /// Its GUID.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Where its files go.
    pub folder: PathBuf,
    /// First or second generation.
    pub generation: Generation,
    /// Its configuration version.
    pub version: String,
    /// Its firmware, as the port shows it.
    pub firmware: String,
    /// Virtual processors.
    pub processors: u32,
    /// Start-up memory.
    pub memory_bytes: u64,
    /// How many SCSI controllers it has, if it was defined anew.
    pub scsi_controllers: Option<u32>,
    /// Its disks, with the files they are pointed to now.
    pub disks: Vec<SimDiskTruth>,
    /// Its adapters as they were, with the switch they hung on.
    pub original_adapters: Vec<NetworkAdapter>,
    /// Its adapters as they are now.
    pub network_adapters: Vec<NetworkAdapter>,
    /// Disks that cannot be there.
    pub omitted_disks: Vec<OmittedDisk>,
}

impl SimHost {
    /// Returns everything there is, without letting anything go on.
    pub fn truth(&self) -> Result<SimTruth, HypervError> {
        let session = self.session()?;
        let here = session.state.vms.iter().filter(|vm| !vm.away);
        let vms = here.map(|vm| session.vm_truth(vm.id));
        let planned = session.state.planned.iter();
        Ok(SimTruth {
            name: session.state.name.clone(),
            configuration_version: session.state.configuration_version.clone(),
            switches: session.state.switches.clone(),
            vms_folder: self.root.join("vms"),
            vms: vms.collect::<Result<_, _>>()?,
            planned: planned
                .map(|record| session.planned_truth(record))
                .collect(),
        })
    }

    /// Looks at VMs the way `step` does: time passes for each, and faults strike.
    ///
    /// # Errors
    /// What strikes, for the first VM it strikes; that one moved away is no error.
    pub fn look_at(&self, vms: &[VmId], step: Step) -> Result<(), HypervError> {
        let mut session = self.session()?;
        for &vm in vms {
            let looked =
                session.vm_call(vm, step, |session| strike_before_listing(session, vm, step));
            match looked {
                Err(error) if error.kind() == HypervErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Checks that a VM is free for what `step` begins, as the call itself would, and does
    /// nothing: for work that is only begun now.
    ///
    /// # Errors
    /// `Busy` if it is not free, `NotFound` if it is not here.
    pub fn begin(&self, vm: VmId, step: Step) -> Result<(), HypervError> {
        self.session()?.begin(vm, step)
    }
}

impl Session<'_> {
    fn vm_truth(&self, vm: VmId) -> Result<SimVmTruth, HypervError> {
        let record = self.vm(vm)?;
        let points = record.reference_points.iter().cloned();
        let live = |disk: &super::state::DiskRecord| (disk.key, disk.chain.clone());
        let live: Vec<_> = record.disks.iter().map(live).collect();
        let machines = record.folder.join("Virtual Machines");
        let stem = vm.to_string();
        let files = ["vmcx", "vmrs", "vmgs"]
            .map(|end| self.path(&machines.join(format!("{stem}.{end}"))))
            .into_iter()
            .filter(|path| path.is_file());
        Ok(SimVmTruth {
            vm: self.vm_view(vm)?,
            folder: self.path(&record.folder),
            configuration_files: files.collect(),
            checkpoints: record
                .checkpoints
                .iter()
                .map(|checkpoint| self.checkpoint_truth(checkpoint, &record.checkpoints))
                .collect(),
            parent: parent_of(&live, &record.checkpoints),
            reference_points: points.map(super::port::reference_point).collect(),
            merge: self.merge_state(vm)?,
        })
    }

    fn checkpoint_truth(
        &self,
        record: &CheckpointRecord,
        all: &[CheckpointRecord],
    ) -> SimCheckpointTruth {
        let mut disks: Vec<SimDiskTruth> = record
            .disks
            .iter()
            .map(|disk| SimDiskTruth {
                controller: disk.controller,
                controller_number: disk.controller_number,
                location: disk.location,
                path: Some(self.path(disk.frozen_file())),
            })
            .collect();
        disks.sort_by_key(|disk| (disk.controller, disk.controller_number, disk.location));
        // A checkpoint's own chains end in the file it froze: parents froze one beneath.
        let beneath: Vec<_> = record
            .disks
            .iter()
            .map(|disk| (disk.key, disk.chain.clone()))
            .collect();
        let others: Vec<_> = all
            .iter()
            .filter(|other| other.id != record.id)
            .cloned()
            .collect();
        SimCheckpointTruth {
            checkpoint: Checkpoint {
                id: record.id,
                kind: record.kind,
                name: record.name.clone(),
                created: record.created,
            },
            application_level: record.application_level,
            parent: parent_of(&beneath, &others),
            disks,
            configuration_files: record
                .configuration_files
                .iter()
                .map(|file| self.path(file))
                .collect(),
        }
    }

    fn planned_truth(&self, record: &PlannedRecord) -> SimPlannedTruth {
        let configuration = &record.configuration;
        let disks = configuration.disks.iter().zip(&record.disk_paths);
        SimPlannedTruth {
            id: record.id,
            name: record.name.clone(),
            folder: self.path(&record.folder),
            generation: configuration.generation,
            version: configuration.version.clone(),
            firmware: configuration.firmware.clone(),
            processors: configuration.processors,
            memory_bytes: configuration.memory_bytes,
            scsi_controllers: record.scsi_controllers,
            disks: disks
                .map(|(disk, path)| SimDiskTruth {
                    controller: disk.controller,
                    controller_number: disk.controller_number,
                    location: disk.location,
                    path: path.clone(),
                })
                .collect(),
            original_adapters: configuration.network_adapters.clone(),
            network_adapters: record.network_adapters.clone(),
            omitted_disks: configuration.omitted_disks.clone(),
        }
    }
}

/// Returns the checkpoint that froze the file nearest beneath these chains' ends.
fn parent_of(
    chains: &[(Uuid, Vec<PathBuf>)],
    checkpoints: &[CheckpointRecord],
) -> Option<CheckpointId> {
    let depth = |checkpoint: &CheckpointRecord| {
        let frozen = checkpoint.disks.iter().filter_map(|disk| {
            let (_, chain) = chains.iter().find(|(key, _)| *key == disk.key)?;
            let length = disk.chain.len();
            (length < chain.len() && chain.starts_with(&disk.chain)).then_some(length)
        });
        frozen.max()
    };
    let parents = checkpoints
        .iter()
        .filter_map(|checkpoint| Some((depth(checkpoint)?, checkpoint.id)));
    parents
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, checkpoint)| checkpoint)
}
