//! Planned VMs that no configuration was imported for: defined anew, and furnished piece by piece
//! (Hyper-V spec 10.3).

use std::path::Path;

use uuid::Uuid;

use super::new_vm::guest_system;
use super::session::Session;
use super::state::PlannedRecord;
use super::vm_configuration::{ConfiguredDisk, VmConfiguration};
use super::{SimGuest, SimHost};
use crate::{
    Controller, HypervError, HypervErrorKind, NetworkAdapter, PlannedVm, VmDefinition, VmId, codes,
};

/// A piece of a planned VM that was defined anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedPart {
    /// Another SCSI controller.
    ScsiController,
    /// A drive without a disk.
    Drive {
        /// The kind of controller.
        controller: Controller,
        /// Which of its kind.
        number: u32,
        /// Which place on it.
        location: u32,
    },
    /// A network adapter on no switch.
    NetworkAdapter(NetworkAdapter),
    /// So many processors instead.
    Processors(u32),
    /// So much memory instead.
    Memory(u64),
}

impl SimHost {
    /// Furnishes a planned VM.
    pub fn furnish_planned(
        &self,
        planned: VmId,
        parts: Vec<PlannedPart>,
    ) -> Result<(), HypervError> {
        let mut session = self.session()?;
        for part in parts {
            session.planned_mut(planned)?.add(part)?;
        }
        session.save()
    }
}

impl PlannedRecord {
    fn add(&mut self, part: PlannedPart) -> Result<(), HypervError> {
        match part {
            PlannedPart::ScsiController => *self.scsi_controllers.get_or_insert(1) += 1,
            PlannedPart::Drive {
                controller,
                number,
                location,
            } => {
                let disks = &mut self.configuration.disks;
                let place = (controller, number, location);
                if disks.iter().any(|disk| disk.place() == place) {
                    return Err(refused("hang a drive where one hangs"));
                }
                disks.push(ConfiguredDisk {
                    controller,
                    controller_number: number,
                    location,
                    path: Default::default(),
                    original_path: Default::default(),
                    virtual_disk_id: Uuid::nil(),
                });
                self.disk_paths.push(None);
            }
            PlannedPart::NetworkAdapter(adapter) => {
                let adapter = NetworkAdapter {
                    switch: None,
                    ..adapter
                };
                self.configuration.network_adapters.push(adapter.clone());
                self.network_adapters.push(adapter);
            }
            PlannedPart::Processors(0) | PlannedPart::Memory(0) => {
                return Err(refused("define a VM without processors or memory"));
            }
            PlannedPart::Processors(count) => self.configuration.processors = count,
            PlannedPart::Memory(bytes) => self.configuration.memory_bytes = bytes,
        }
        Ok(())
    }
}

fn refused(doing: &str) -> HypervError {
    HypervError::new(HypervErrorKind::Invalid, doing).with_code(codes::INVALID_PARAMETER)
}

impl Session<'_> {
    /// Defines a planned VM under a new id, of the newest version this host runs.
    pub(super) fn define_planned(
        &mut self,
        definition: &VmDefinition,
        folder: &Path,
    ) -> Result<PlannedVm, HypervError> {
        let folder = self.host.inside(folder)?;
        let id = VmId(self.host.chance.uuid());
        let mut record = PlannedRecord {
            id,
            name: definition.name.clone(),
            folder,
            configuration: VmConfiguration {
                id,
                name: definition.name.clone(),
                generation: definition.generation,
                version: self.state.configuration_version.clone(),
                // What is on its disks is not looked at: it is one that answers.
                guest: guest_system(SimGuest::Windows),
                firmware: definition.firmware.clone(),
                processors: 1,
                memory_bytes: 1 << 30,
                network_adapters: Vec::new(),
                disks: Vec::new(),
                omitted_disks: Vec::new(),
            },
            guest_state: String::new(),
            disk_paths: Vec::new(),
            network_adapters: Vec::new(),
            scsi_controllers: Some(0),
        };
        record.add(PlannedPart::Processors(definition.processors))?;
        record.add(PlannedPart::Memory(definition.memory_bytes))?;
        for disk in &definition.disks {
            let path = self.path(&self.host.inside(&disk.path)?);
            self.check_disk_file(&path)?;
            record.add(PlannedPart::Drive {
                controller: disk.controller,
                number: disk.controller_number,
                location: disk.location,
            })?;
            record.disk_paths.pop();
            record.disk_paths.push(Some(path));
        }
        for adapter in &definition.network_adapters {
            record.add(PlannedPart::NetworkAdapter(adapter.clone()))?;
        }
        let planned = PlannedVm {
            id,
            disks: definition.disks.iter().map(|disk| disk.frozen()).collect(),
            network_adapters: definition.network_adapters.clone(),
        };
        self.state.planned.push(record);
        self.save()?;
        Ok(planned)
    }
}
