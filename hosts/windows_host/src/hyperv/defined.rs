//! Planned VMs defined anew from what was recorded, where no configuration can be imported
//! (Hyper-V spec 10.3).
//!
//! ```text
//! define ─► processors, memory ─► SCSI controllers ─► drives ─► disks ─► network adapters
//! ```
//!
//! What is added is looked for by where it hangs before the next is hung on it: a host answers with
//! jobs that may be gone before they tell what they made.

use std::path::Path;

use hyperv::{
    ConfigurationFile, Controller, DefinedVm, Generation, HypervError, HypervErrorKind as Kind,
    NetworkAdapter, PlannedVm, VmDefinition, VmId,
};
use time_and_chance::StopSignal;
use uuid::Uuid;

use super::disk_kinds::{
    self, DISK_TYPE, DRIVE, DRIVE_TYPE, Place, RESOURCE, SCSI_CONTROLLER, STORAGE,
    VIRTUAL_HARD_DISK,
};
use super::errors::wmi_error;
use super::imported::Before;
use super::instance_id::guid_text;
use super::method::Change;
use super::network::{self, ADAPTERS, SWITCH, Switches};
use super::planned_parts::{add, modify};
use super::planned_system::{Configuration, configuration, destroy, text_of};
use super::provider::{MANAGEMENT, Provider};
use super::recorded_settings::Recorded;
use super::settings::{ROOTS, SETTINGS};
use crate::wmi::{EmbeddedSource, Value, WmiObject};

/// `ResourceSubType` of adapters, in the order of [`ADAPTERS`].
const PORTS: [&str; 2] = [
    "Microsoft:Hyper-V:Synthetic Ethernet Port",
    "Microsoft:Hyper-V:Emulated Ethernet Port",
];
/// `ResourceType` of what is added.
const SCSI_CONTROLLER_TYPE: u16 = 6;
const ETHERNET_TYPE: u16 = 10;
/// A VM has so many SCSI controllers at most.
const CONTROLLERS_MAX: u32 = 4;

/// Defines a planned VM.
pub(super) fn define(
    provider: &Provider,
    definition: &VmDefinition,
    configuration: &[ConfigurationFile],
    folder: &Path,
) -> Result<DefinedVm, HypervError> {
    let doing = format!("define the VM {} anew", definition.name);
    let defining = Defining {
        provider,
        doing: &doing,
        definition,
        recorded: Recorded::of(configuration),
    };
    let id = defining.begin(folder)?;
    let planned = defining.furnish(id).inspect_err(|_| {
        let _the_first_error_counts = destroy(provider, id);
    })?;
    Ok(DefinedVm {
        planned,
        left_out: defining.recorded.left_out(),
    })
}

struct Defining<'a> {
    provider: &'a Provider,
    doing: &'a str,
    definition: &'a VmDefinition,
    recorded: Recorded,
}

impl Defining<'_> {
    /// Makes a planned VM with what each has.
    fn begin(&self, folder: &Path) -> Result<VmId, HypervError> {
        let (provider, doing) = (self.provider, self.doing);
        let before = Before::of(provider)?;
        let settings = self.settings(folder)?;
        let change = Change {
            doing,
            object: &provider.service(MANAGEMENT)?,
            method: "DefinePlannedSystem",
            parameters: &[("SystemSettings", Value::Text(settings))],
            limit: provider.beliefs.limits.other,
            is_cancelled_in_the_end: true,
            vm: None,
        };
        let answer = provider.change(change, &StopSignal::new());
        before.made(provider, doing, answer, "ResultingSystem", folder)
    }

    fn settings(&self, folder: &Path) -> Result<String, HypervError> {
        let generation = match self.definition.generation {
            Generation::One => "Microsoft:Hyper-V:SubType:1",
            Generation::Two => "Microsoft:Hyper-V:SubType:2",
        };
        let mut settings = vec![
            ("ElementName", Value::text(&*self.definition.name)),
            ("VirtualSystemSubType", Value::text(generation)),
        ];
        for root in ROOTS {
            settings.push((root, text_of(self.doing, folder)?));
        }
        let is_second = self.definition.generation == Generation::Two;
        if is_second {
            let is_secure = self.definition.has_secure_boot();
            settings.push(("SecureBootEnabled", is_secure.into()));
        }
        for (name, value) in self.recorded.of_the_whole() {
            let is_told = settings.iter().any(|(known, _)| *known == name);
            // The first generation has no secure boot to be told of.
            let is_its = is_second || !name.starts_with("SecureBoot");
            if !is_told && is_its && self.provider.has_property(SETTINGS, name)? {
                settings.push((name, value));
            }
        }
        self.text(EmbeddedSource::Class(SETTINGS), &settings)
    }

    fn furnish(&self, id: VmId) -> Result<PlannedVm, HypervError> {
        self.set_size(id)?;
        self.add_controllers(id)?;
        self.add_drives(id)?;
        self.add_disks(id)?;
        self.add_adapters(id)?;
        let built = configuration(self.provider, id)?;
        let disks = disk_kinds::disks(&built.components)?.files;
        Ok(PlannedVm {
            id,
            disks: disks.iter().map(|disk| disk.frozen()).collect(),
            network_adapters: self.adapters(&built)?,
        })
    }

    fn set_size(&self, id: VmId) -> Result<(), HypervError> {
        let built = configuration(self.provider, id)?;
        let processors = (
            "VirtualQuantity",
            Value::decimal(self.definition.processors),
        );
        let mut of_processors = vec![processors];
        of_processors.extend(self.recorded.of_processors());
        let mib = self.definition.memory_bytes >> 20;
        let mut of_memory = vec![("VirtualQuantity", Value::decimal(mib))];
        let dynamic = self.recorded.of_dynamic_memory();
        if dynamic.is_empty() {
            of_memory.extend([
                ("DynamicMemoryEnabled", false.into()),
                ("Reservation", Value::decimal(mib)),
                ("Limit", Value::decimal(mib)),
            ]);
        }
        of_memory.extend(dynamic);
        let mut changed = Vec::new();
        for (class, changes) in [
            ("Msvm_ProcessorSettingData", of_processors),
            ("Msvm_MemorySettingData", of_memory),
        ] {
            let part = built.components.iter().find(|part| part.is(class));
            let part = part.ok_or_else(|| self.missing(class))?;
            changed.push(self.text(EmbeddedSource::Instance(self.path(part)?), &changes)?);
        }
        modify(self.provider, self.doing, id, changed)
    }

    /// Adds the SCSI controllers that disks hang on; those of IDE are there in the first generation.
    fn add_controllers(&self, id: VmId) -> Result<(), HypervError> {
        let built = configuration(self.provider, id)?;
        let there = disk_kinds::hung(&built.components);
        let is_scsi = |place: &Place| place.controller == Controller::Scsi;
        let there = there.controllers().filter(|(place, _)| is_scsi(place));
        let there = u32::try_from(there.count()).unwrap_or(u32::MAX);
        let of_disks = self.definition.disks.iter();
        let wanted = of_disks
            .filter(|disk| disk.controller == Controller::Scsi)
            .map(|disk| disk.controller_number.saturating_add(1))
            .max()
            .unwrap_or(0);
        if wanted > CONTROLLERS_MAX {
            return Err(HypervError::new(
                Kind::Invalid,
                format!(
                    "{}: its disks hang on {wanted} SCSI controllers, of which there are {CONTROLLERS_MAX} at most",
                    self.doing
                ),
            ));
        }
        let mut added = Vec::new();
        for number in there..wanted {
            let new = [
                ("ResourceType", Value::from(SCSI_CONTROLLER_TYPE)),
                ("ResourceSubType", Value::text(SCSI_CONTROLLER)),
                ("VirtualSystemIdentifiers", identifier(id, 0x100 + number)),
            ];
            added.push(self.text(EmbeddedSource::Class(RESOURCE), &new)?);
        }
        add(self.provider, self.doing, &built, id, added)
    }

    fn add_drives(&self, id: VmId) -> Result<(), HypervError> {
        let built = configuration(self.provider, id)?;
        let there = disk_kinds::hung(&built.components);
        let mut added = Vec::new();
        for disk in &self.definition.disks {
            let place = Place {
                controller: disk.controller,
                number: disk.controller_number,
                location: 0,
            };
            let mut controllers = there.controllers();
            let controller = controllers.find(|(known, _)| *known == place);
            let (_, controller) = controller
                .ok_or_else(|| self.missing(&format!("controller for {}", disk.path.display())))?;
            let new = [
                ("ResourceType", Value::from(DRIVE_TYPE)),
                ("ResourceSubType", Value::text(DRIVE)),
                ("Parent", Value::text(controller)),
                ("AddressOnParent", Value::text(disk.location.to_string())),
            ];
            added.push(self.text(EmbeddedSource::Class(RESOURCE), &new)?);
        }
        add(self.provider, self.doing, &built, id, added)
    }

    fn add_disks(&self, id: VmId) -> Result<(), HypervError> {
        let built = configuration(self.provider, id)?;
        let there = disk_kinds::hung(&built.components);
        let mut added = Vec::new();
        for disk in &self.definition.disks {
            let place = Place {
                controller: disk.controller,
                number: disk.controller_number,
                location: disk.location,
            };
            let drive = there
                .drive(place)
                .ok_or_else(|| self.missing(&format!("drive for {}", disk.path.display())))?;
            let file = text_of(self.doing, &disk.path)?;
            let new = [
                ("ResourceType", Value::from(DISK_TYPE)),
                ("ResourceSubType", Value::text(VIRTUAL_HARD_DISK)),
                ("Parent", Value::text(drive)),
                ("HostResource", Value::Array(vec![file])),
            ];
            added.push(self.text(EmbeddedSource::Class(STORAGE), &new)?);
        }
        add(self.provider, self.doing, &built, id, added)
    }

    fn add_adapters(&self, id: VmId) -> Result<(), HypervError> {
        let built = configuration(self.provider, id)?;
        let mut added = Vec::new();
        for (number, adapter) in (0..).zip(&self.definition.network_adapters) {
            let is_emulated = self.definition.generation == Generation::One
                && self.recorded.is_emulated(&adapter.mac_address);
            let kind = usize::from(is_emulated);
            let mut new = vec![
                ("ElementName", Value::text(&*adapter.name)),
                ("ResourceType", Value::from(ETHERNET_TYPE)),
                ("ResourceSubType", Value::text(PORTS[kind])),
                ("VirtualSystemIdentifiers", identifier(id, number)),
            ];
            if let Some(address) = self.fixed_address(adapter) {
                new.push(("Address", Value::text(address)));
                new.push(("StaticMacAddress", true.into()));
            }
            added.push(self.text(EmbeddedSource::Class(ADAPTERS[kind]), &new)?);
        }
        add(self.provider, self.doing, &built, id, added)
    }

    /// Returns the address that an adapter had of its own, whatever host it was on. One that a host
    /// gave may be another VM's by now, and one of zeros was not given yet.
    fn fixed_address<'a>(&self, adapter: &'a NetworkAdapter) -> Option<&'a str> {
        let address = &*adapter.mac_address;
        let is_given = is_address(address) && !self.recorded.is_dynamic(address);
        is_given.then_some(address)
    }

    /// Returns the adapters in the order the host has them, each with the switch it is to hang on.
    fn adapters(&self, built: &Configuration) -> Result<Vec<NetworkAdapter>, HypervError> {
        let switches = Switches::of(&self.provider.all(SWITCH)?)?;
        let adapters = network::adapters(&built.components, &switches)?;
        let mut wanted = self.definition.network_adapters.clone();
        let adapters = adapters.into_iter().map(|it| {
            let (address, name) = (&it.adapter.mac_address, &it.adapter.name);
            let same = |known: &NetworkAdapter| {
                self.fixed_address(known)
                    .is_some_and(|known| known.eq_ignore_ascii_case(address))
            };
            // One whose address the host gives is known by its name.
            let named =
                |known: &NetworkAdapter| self.fixed_address(known).is_none() && known.name == *name;
            let at = wanted.iter().position(same);
            let at = at.or_else(|| wanted.iter().position(named));
            NetworkAdapter {
                switch: at.and_then(|at| wanted.remove(at).switch),
                ..it.adapter
            }
        });
        Ok(adapters.collect())
    }

    fn text(
        &self,
        source: EmbeddedSource<'_>,
        properties: &[(&str, Value)],
    ) -> Result<String, HypervError> {
        self.provider.embedded(self.doing, source, properties)
    }

    fn path<'o>(&self, object: &'o WmiObject) -> Result<&'o str, HypervError> {
        object.path().map_err(|error| wmi_error(self.doing, error))
    }

    fn missing(&self, what: &str) -> HypervError {
        let text = format!("{}: Hyper-V gave it no {what}", self.doing);
        HypervError::new(Kind::Failed, text)
    }
}

/// Returns whether a text is the address of an adapter: hexadecimal, and not all zeros.
fn is_address(text: &str) -> bool {
    let is_hex = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex && text.bytes().any(|digit| digit != b'0')
}

/// Returns an identifier that no other device on the host has: the VM's own, but for its end.
fn identifier(id: VmId, number: u32) -> Value {
    let made = Uuid::from_u128(id.0.as_u128() ^ (u128::from(number) + 1));
    Value::texts([format!("{{{}}}", guid_text(made))])
}
