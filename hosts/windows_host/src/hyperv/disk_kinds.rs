//! The disks of a configuration: where each hangs, what kind it is, and which cannot be captured
//! (Hyper-V spec 3.4).
//!
//! It reads settings objects and opens nothing.

use std::path::PathBuf;

use hyperv::{Controller, FrozenDisk, HypervError, HypervErrorKind as Kind, OmittedDisk};

use super::errors::wmi_error;
use super::instance_id::pairing_key;
use crate::wmi::{Value, WmiObject, key_of};

/// The class of disks and images in drives.
pub(super) const STORAGE: &str = "Msvm_StorageAllocationSettingData";
/// The class of controllers and drives.
pub(super) const RESOURCE: &str = "Msvm_ResourceAllocationSettingData";
const FIBRE_CHANNEL: &str = "Msvm_SyntheticFcPortSettingData";
/// `ResourceSubType` of a disk in a file.
pub(super) const VIRTUAL_HARD_DISK: &str = "Microsoft:Hyper-V:Virtual Hard Disk";
const PHYSICAL_DISK_DRIVE: &str = "Microsoft:Hyper-V:Physical Disk Drive";
/// `ResourceSubType` of a SCSI controller.
pub(super) const SCSI_CONTROLLER: &str = "Microsoft:Hyper-V:Synthetic SCSI Controller";
/// `ResourceSubType` of an IDE controller.
pub(super) const IDE_CONTROLLER: &str = "Microsoft:Hyper-V:Emulated IDE Controller";
/// `ResourceSubType` of a drive.
pub(super) const DRIVE: &str = "Microsoft:Hyper-V:Synthetic Disk Drive";
/// `ResourceType` of a drive.
pub(super) const DRIVE_TYPE: u16 = 17;
/// `ResourceType` of a disk in a drive.
pub(super) const DISK_TYPE: u16 = 31;
const CONTROLLERS: [(&str, Controller); 3] = [
    (IDE_CONTROLLER, Controller::Ide),
    (SCSI_CONTROLLER, Controller::Scsi),
    (
        "Microsoft:Hyper-V:Persistent Memory Controller",
        Controller::Pmem,
    ),
];
/// `ResourceType` of a virtual Fibre Channel port.
const FIBRE_CHANNEL_TYPE: u16 = 7;

/// Where a disk hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub controller: Controller,
    pub number: u32,
    pub location: u32,
}

/// A disk that lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileDisk {
    pub place: Place,
    /// The file, exactly as Hyper-V names it.
    pub path: PathBuf,
    /// What is the same in the VM, its checkpoints and its reference points.
    pub pairing: String,
    /// The settings object's path.
    pub object: String,
    /// The drive's path.
    pub drive: String,
    /// Whether it is shared or a VHD set.
    pub shared: bool,
}

impl FileDisk {
    /// Returns it as a planned VM lists it.
    pub(super) fn frozen(&self) -> FrozenDisk {
        FrozenDisk {
            controller: self.place.controller,
            controller_number: self.place.number,
            location: self.place.location,
            path: self.path.clone(),
            original_path: self.path.clone(),
        }
    }
}

/// The disks of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Disks {
    /// Those in files, by their places.
    pub files: Vec<FileDisk>,
    /// Those that cannot be captured from the host.
    pub omitted: Vec<OmittedDisk>,
    /// Pass-through drives, by their paths.
    pub pass_through: Vec<String>,
    /// CD and floppy images: the settings objects' paths, and the files.
    pub media: Vec<(String, PathBuf)>,
}

/// Finds the disks among the parts of a configuration.
///
/// # Errors
/// If a disk hangs on a drive or a controller that is not among the parts: it must not be lost
/// silently.
pub(super) fn disks(components: &[WmiObject]) -> Result<Disks, HypervError> {
    let doing = "read the disks of a VM";
    let controllers = controllers(components);
    let mut disks = Disks::default();
    for object in components {
        if object.is(STORAGE) {
            let subtype = object
                .optional_text("ResourceSubType")
                .map_err(|e| wmi_error(doing, e))?;
            let Some(path) = first_resource(object) else {
                continue;
            };
            if subtype.is_some_and(|subtype| subtype.eq_ignore_ascii_case(VIRTUAL_HARD_DISK)) {
                disks
                    .files
                    .push(file_disk(object, &path, components, &controllers)?);
            } else {
                let settings = object.path().map_err(|e| wmi_error(doing, e))?;
                disks.media.push((settings.to_owned(), PathBuf::from(path)));
            }
        } else if object.is(RESOURCE) && is_subtype(object, PHYSICAL_DISK_DRIVE) {
            disks.omitted.push(OmittedDisk {
                name: physical_name(object),
                reason: "pass-through".to_owned(),
            });
            let drive = object.path().map_err(|e| wmi_error(doing, e))?;
            disks.pass_through.push(drive.to_owned());
        } else if object.is(FIBRE_CHANNEL) && object.u16("ResourceType") == Ok(FIBRE_CHANNEL_TYPE) {
            let name = object.optional_text("ElementName").ok().flatten();
            disks.omitted.push(OmittedDisk {
                name: name.unwrap_or("virtual Fibre Channel adapter").to_owned(),
                reason: "disks behind virtual Fibre Channel".to_owned(),
            });
        }
    }
    disks.files.sort_by_key(|disk| disk.place);
    Ok(disks)
}

/// What disks can be hung on: controllers, and drives on them.
#[derive(Debug)]
pub(super) struct Hung {
    controllers: Vec<Numbered>,
    drives: Vec<(Place, String)>,
}

impl Hung {
    /// Returns the controllers, each as the place 0 on it, and their paths.
    pub(super) fn controllers(&self) -> impl Iterator<Item = (Place, &str)> {
        let controllers = self.controllers.iter();
        controllers.map(|known| (known.at(0), known.path.as_str()))
    }

    /// Returns the path of the drive at a place.
    pub(super) fn drive(&self, place: Place) -> Option<&str> {
        let mut drives = self.drives.iter();
        let drive = drives.find(|(known, _)| *known == place);
        drive.map(|(_, path)| path.as_str())
    }
}

/// Finds what disks can be hung on among the parts of a configuration.
pub(super) fn hung(components: &[WmiObject]) -> Hung {
    let controllers = controllers(components);
    let drives = components.iter().filter(|object| object.is(RESOURCE));
    let drives = drives.filter_map(|object| {
        let parent = key_of(object.text("Parent").ok()?, "InstanceID")?;
        let controller = controllers
            .iter()
            .find(|known| known.id.eq_ignore_ascii_case(&parent))?;
        let place = controller.at(object.u32("AddressOnParent").ok()?);
        Some((place, object.path.clone()?))
    });
    Hung {
        drives: drives.collect(),
        controllers,
    }
}

/// A controller: its `InstanceID`, its kind, and its number among those of its kind.
#[derive(Debug)]
struct Numbered {
    id: String,
    path: String,
    controller: Controller,
    number: u32,
}

impl Numbered {
    fn at(&self, location: u32) -> Place {
        Place {
            controller: self.controller,
            number: self.number,
            location,
        }
    }
}

/// Numbers the controllers of each kind: IDE by address, others in the order they come (RH-5:
/// the order is the same in a checkpoint and after an import).
fn controllers(components: &[WmiObject]) -> Vec<Numbered> {
    let mut found: Vec<(Controller, u64, (String, String))> = Vec::new();
    for object in components.iter().filter(|object| object.is(RESOURCE)) {
        let kind = CONTROLLERS
            .iter()
            .find(|(subtype, _)| is_subtype(object, subtype));
        if let (Some(&(_, controller)), Ok(id)) = (kind, object.text("InstanceID")) {
            let address = match controller {
                Controller::Ide => object.u64("Address").unwrap_or(u64::MAX),
                Controller::Scsi | Controller::Pmem => 0,
            };
            let path = object.path.clone().unwrap_or_default();
            found.push((controller, address, (id.to_owned(), path)));
        }
    }
    found.sort_by_key(|(controller, address, _)| (*controller, *address));
    let mut numbered: Vec<Numbered> = Vec::new();
    for (controller, _, (id, path)) in found {
        let before = numbered
            .iter()
            .filter(|known| known.controller == controller)
            .count();
        numbered.push(Numbered {
            id,
            path,
            controller,
            number: u32::try_from(before).unwrap_or(u32::MAX),
        });
    }
    numbered
}

fn file_disk(
    object: &WmiObject,
    path: &str,
    components: &[WmiObject],
    controllers: &[Numbered],
) -> Result<FileDisk, HypervError> {
    let doing = format!("find where the disk {path} hangs");
    let wrong = |error| wmi_error(&doing, error);
    let lost = || {
        HypervError::new(
            Kind::Failed,
            format!("{doing}: its drive or controller is not listed"),
        )
    };
    let parent_of = |object: &WmiObject| -> Result<String, HypervError> {
        let parent = object.text("Parent").map_err(wrong)?;
        key_of(parent, "InstanceID").ok_or_else(lost)
    };
    let controller_with = |id: &str| {
        controllers
            .iter()
            .find(|known| known.id.eq_ignore_ascii_case(id))
    };
    // A disk hangs in a drive that hangs on a controller; persistent memory may lack the drive.
    let parent = parent_of(object)?;
    let (holder, controller) = match controller_with(&parent) {
        Some(controller) => (object, controller),
        None => {
            let drive = components
                .iter()
                .find(|known| known.is(RESOURCE) && has_id(known, &parent))
                .ok_or_else(lost)?;
            let controller = controller_with(&parent_of(drive)?).ok_or_else(lost)?;
            (drive, controller)
        }
    };
    let reserved = match object.value("PersistentReservationsSupported") {
        Value::Null => false,
        _ => object
            .bool("PersistentReservationsSupported")
            .map_err(wrong)?,
    };
    Ok(FileDisk {
        place: controller.at(holder.u32("AddressOnParent").map_err(wrong)?),
        path: PathBuf::from(path),
        pairing: pairing_key(object.text("InstanceID").map_err(wrong)?),
        object: object.path().map_err(wrong)?.to_owned(),
        drive: holder.path().map_err(wrong)?.to_owned(),
        shared: reserved || is_vhd_set(path),
    })
}

fn has_id(object: &WmiObject, id: &str) -> bool {
    object
        .text("InstanceID")
        .is_ok_and(|known| known.eq_ignore_ascii_case(id))
}

fn is_subtype(object: &WmiObject, subtype: &str) -> bool {
    object
        .text("ResourceSubType")
        .is_ok_and(|known| known.eq_ignore_ascii_case(subtype))
}

fn is_vhd_set(path: &str) -> bool {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    end.eq_ignore_ascii_case("vhds")
}

/// Returns `HostResource[0]`, none for an empty drive.
fn first_resource(object: &WmiObject) -> Option<String> {
    let resources = object.texts("HostResource").ok()?;
    resources
        .first()
        .filter(|path| !path.is_empty())
        .map(|path| (*path).to_owned())
}

fn physical_name(drive: &WmiObject) -> String {
    let resource = first_resource(drive);
    let device = resource.and_then(|path| key_of(&path, "DeviceID").or(Some(path)));
    let named = || Some(drive.optional_text("ElementName").ok()??.to_owned());
    device
        .or_else(named)
        .unwrap_or_else(|| "a physical disk".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "Microsoft:4D1A8E4B-6B1F-4F39-8A0E-0C1B6E1A0001";

    fn object(class: &str, rest: &str, properties: &[(&str, Value)]) -> WmiObject {
        let id = format!("{VM}\\{rest}");
        let mut object = WmiObject {
            class: class.to_owned(),
            path: Some(path(class, rest)),
            properties: Vec::new(),
        };
        object.set("InstanceID", id);
        for (name, value) in properties {
            object.set(name, value.clone());
        }
        object
    }

    fn path(class: &str, rest: &str) -> String {
        crate::wmi::with_key(class, "InstanceID", &format!("{VM}\\{rest}"))
    }

    fn controller(rest: &str, subtype: &str, address: &str) -> WmiObject {
        object(
            RESOURCE,
            rest,
            &[
                ("ResourceSubType", subtype.into()),
                ("Address", address.into()),
            ],
        )
    }

    fn drive(controller: &str, location: u32, subtype: &str) -> WmiObject {
        object(
            RESOURCE,
            &format!("{controller}\\{location}\\D"),
            &[
                ("ResourceSubType", subtype.into()),
                ("Parent", path(RESOURCE, controller).into()),
                ("AddressOnParent", location.to_string().into()),
            ],
        )
    }

    fn image(controller: &str, location: u32, subtype: &str, file: &str) -> WmiObject {
        object(
            STORAGE,
            &format!("{controller}\\{location}\\L"),
            &[
                ("ResourceSubType", subtype.into()),
                (
                    "Parent",
                    path(RESOURCE, &format!("{controller}\\{location}\\D")).into(),
                ),
                ("HostResource", Value::texts([file])),
                ("PersistentReservationsSupported", false.into()),
            ],
        )
    }

    const DISK_DRIVE: &str = "Microsoft:Hyper-V:Synthetic Disk Drive";
    const SCSI: &str = "Microsoft:Hyper-V:Synthetic SCSI Controller";
    const IDE: &str = "Microsoft:Hyper-V:Emulated IDE Controller";

    #[test]
    fn disks_are_found_at_their_places_in_order() {
        let parts = [
            image("s1\\0", 3, VIRTUAL_HARD_DISK, "D:\\c.vhdx"),
            controller("ide\\1", IDE, "1"),
            controller("s0\\0", SCSI, ""),
            controller("ide\\0", IDE, "0"),
            controller("s1\\0", SCSI, ""),
            drive("s1\\0", 3, DISK_DRIVE),
            drive("ide\\1", 0, DISK_DRIVE),
            drive("s0\\0", 63, DISK_DRIVE),
            image("s0\\0", 63, VIRTUAL_HARD_DISK, "D:\\b.vhdx"),
            image("ide\\1", 0, VIRTUAL_HARD_DISK, "D:\\a.vhdx"),
        ];
        let found = disks(&parts).unwrap();
        let places: Vec<_> = found
            .files
            .iter()
            .map(|disk| {
                (
                    disk.path.to_str().unwrap(),
                    disk.place.controller,
                    disk.place.number,
                    disk.place.location,
                )
            })
            .collect();
        assert_eq!(
            places,
            [
                ("D:\\a.vhdx", Controller::Ide, 1, 0),
                ("D:\\b.vhdx", Controller::Scsi, 0, 63),
                ("D:\\c.vhdx", Controller::Scsi, 1, 3),
            ]
        );
        assert_eq!(found.files[0].pairing, "ide\\1\\0\\l");
        assert!(found.omitted.is_empty());
    }

    #[test]
    fn what_cannot_be_captured_is_told_with_its_reason() {
        let mut physical = drive("s0\\0", 0, PHYSICAL_DISK_DRIVE);
        physical.set(
            "HostResource",
            Value::texts(["\\\\H\\root\\virtualization\\v2:Msvm_DiskDrive.CreationClassName=\"Msvm_DiskDrive\",DeviceID=\"Microsoft:X\\\\2\",SystemName=\"H\""]),
        );
        let fibre = object(
            FIBRE_CHANNEL,
            "fc",
            &[
                ("ResourceType", 7u16.into()),
                ("ElementName", "SAN A".into()),
            ],
        );
        let found = disks(&[controller("s0\\0", SCSI, ""), physical, fibre]).unwrap();
        let told: Vec<_> = found
            .omitted
            .iter()
            .map(|disk| (&*disk.name, &*disk.reason))
            .collect();
        assert_eq!(
            told,
            [
                ("Microsoft:X\\2", "pass-through"),
                ("SAN A", "disks behind virtual Fibre Channel")
            ]
        );
        assert_eq!(found.pass_through.len(), 1);
    }

    #[test]
    fn shared_disks_and_vhd_sets_are_shared() {
        let mut reserved = image("s0\\0", 1, VIRTUAL_HARD_DISK, "C:\\ClusterStorage\\q.vhdx");
        reserved.set("PersistentReservationsSupported", true);
        let parts = [
            controller("s0\\0", SCSI, ""),
            drive("s0\\0", 0, DISK_DRIVE),
            drive("s0\\0", 1, DISK_DRIVE),
            drive("s0\\0", 2, DISK_DRIVE),
            image("s0\\0", 0, VIRTUAL_HARD_DISK, "C:\\a.vhdx"),
            reserved,
            image("s0\\0", 2, VIRTUAL_HARD_DISK, "\\\\srv\\share\\set.VHDS"),
        ];
        let shared: Vec<bool> = disks(&parts)
            .unwrap()
            .files
            .iter()
            .map(|disk| disk.shared)
            .collect();
        assert_eq!(shared, [false, true, true]);
    }

    #[test]
    fn discs_and_empty_drives_are_no_disks() {
        let mut empty = image("s0\\0", 1, VIRTUAL_HARD_DISK, "");
        empty.set("HostResource", Value::Null);
        let parts = [
            controller("s0\\0", SCSI, ""),
            drive("s0\\0", 0, "Microsoft:Hyper-V:Synthetic DVD Drive"),
            image(
                "s0\\0",
                0,
                "Microsoft:Hyper-V:Virtual CD/DVD Disk",
                "C:\\setup.iso",
            ),
            empty,
        ];
        let found = disks(&parts).unwrap();
        assert!(found.files.is_empty() && found.omitted.is_empty());
        assert_eq!(found.media[0].1, PathBuf::from("C:\\setup.iso"));
    }

    #[test]
    fn persistent_memory_may_hang_on_its_controller_itself() {
        let mut disk = image("p\\0", 4, VIRTUAL_HARD_DISK, "C:\\m.vhdpmem");
        disk.set("Parent", path(RESOURCE, "p\\0"));
        disk.set("AddressOnParent", "4");
        let parts = [
            controller("p\\0", "Microsoft:Hyper-V:Persistent Memory Controller", ""),
            disk,
        ];
        let place = disks(&parts).unwrap().files[0].place;
        assert_eq!((place.controller, place.location), (Controller::Pmem, 4));
    }

    #[test]
    fn a_disk_whose_drive_is_not_listed_is_an_error() {
        let parts = [
            controller("s0\\0", SCSI, ""),
            image("s0\\0", 0, VIRTUAL_HARD_DISK, "C:\\a.vhdx"),
        ];
        let error = disks(&parts).unwrap_err().to_string();
        assert!(error.contains("C:\\a.vhdx"), "{error}");
    }
}
