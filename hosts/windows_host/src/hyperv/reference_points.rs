//! Reference points: made of checkpoints, listed, destroyed (Hyper-V spec 5).

use std::collections::HashMap;

use disk::ChangeId;
use hyperv::{
    CheckpointId, HypervError, HypervErrorKind as Kind, ReferencePoint, ReferencePointDisk,
    ReferencePointId, VmId,
};
use time_and_chance::StopSignal;
use uuid::Uuid;

use super::checkpoints::{self, SNAPSHOTS};
use super::disk_kinds::{self, Place};
use super::errors::wmi_error;
use super::instance_id::pairing_key;
use super::method::Change;
use super::open_disks::OpenDisks;
use super::provider::Provider;
use super::{discovery, disk_facts};
use crate::virtdisk::VirtualDisks;
use crate::wmi::{Value, WmiError, WmiObject};

const POINT: &str = "Msvm_VirtualSystemReferencePoint";
const POINTS: &str = "Msvm_VirtualSystemReferencePointService";
const OF_VM: &str = "Msvm_ReferencePointOfVirtualSystem";
/// `ReferencePointType` of change tracking; 1 is Replica's log.
const CHANGE_TRACKING: u16 = 2;
/// `ConsistencyLevel`: the guest was quiesced.
const APPLICATION: u16 = 1;

/// A VM's disks by what pairs them: where each hangs, and which it is.
type KnownDisks = HashMap<String, (Place, Uuid)>;

/// Returns all reference points of a VM.
pub(super) fn list(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    vm: VmId,
) -> Result<Vec<ReferencePoint>, HypervError> {
    let system = provider.system(vm)?;
    let points = provider.associated(path(&system)?, OF_VM, POINT)?;
    if points.is_empty() {
        return Ok(Vec::new());
    }
    let known = known_disks(provider, virtual_disks, vm, path(&system)?)?;
    let read = points.iter().map(|object| point(object, &known));
    read.collect::<Result<_, WmiError>>()
        .map_err(|error| wmi_error(&format!("list the reference points of VM {vm}"), error))
}

/// Turns a recovery checkpoint into a reference point.
pub(super) fn convert(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    open_disks: &OpenDisks,
    vm: VmId,
    checkpoint: CheckpointId,
    stop: &StopSignal,
) -> Result<ReferencePoint, HypervError> {
    let doing = format!("turn checkpoint {checkpoint} of VM {vm} into a reference point");
    let object = checkpoints::find_endable(provider, open_disks, &doing, vm, checkpoint)?;
    let before = list(provider, virtual_disks, vm)?;
    // The settings are left out: the level is that of the checkpoint (spec 5.2).
    let change = Change {
        doing: &doing,
        object: &provider.service(SNAPSHOTS)?,
        method: "ConvertToReferencePoint",
        parameters: &[("AffectedSnapshot", Value::text(path(&object)?))],
        limit: provider.beliefs.limits.convert,
        is_cancelled_in_the_end: false,
        vm: Some(vm),
    };
    let answer = provider.change(change, stop)?;
    let made = provider.made(&answer, "ResultingReferencePoint", POINT);
    let made: Vec<String> = made
        .iter()
        .filter_map(|path| crate::wmi::key_of(path, "InstanceID"))
        .collect();
    let new: Vec<ReferencePoint> = list(provider, virtual_disks, vm)?
        .into_iter()
        .filter(|point| !before.iter().any(|old| old.id == point.id))
        .collect();
    let named = new.iter().find(|point| made.contains(&point.id.0));
    let only = match new.as_slice() {
        [one] => Some(one),
        _ => None,
    };
    named.or(only).cloned().ok_or_else(|| {
        HypervError::new(
            Kind::OutcomeUnknown,
            format!("{doing}: Hyper-V did so and does not list the point"),
        )
    })
}

/// Returns a reference point's disks as it names them, each with its tracking id.
pub(super) fn entries(
    provider: &Provider,
    vm: VmId,
    point: &ReferencePointId,
) -> Result<Vec<(String, String)>, HypervError> {
    let doing = format!("read reference point {point} of VM {vm}");
    let wrong = |error| wmi_error(&doing, error);
    let found = find(provider, vm, point, &doing)?;
    let disks = found.texts("VirtualDiskIdentifiers").map_err(wrong)?;
    let ids = found.texts("ResilientChangeTrackingIdentifiers");
    let owned = |(disk, id): (&str, &str)| (disk.to_owned(), id.to_owned());
    let ids = ids.map_err(wrong)?;
    Ok(disks.into_iter().zip(ids).map(owned).collect())
}

fn find(
    provider: &Provider,
    vm: VmId,
    point: &ReferencePointId,
    doing: &str,
) -> Result<WmiObject, HypervError> {
    let system = provider.system(vm)?;
    let points = provider.associated(path(&system)?, OF_VM, POINT)?;
    let found = points
        .into_iter()
        .find(|object| object.text("InstanceID") == Ok(&*point.0));
    found.ok_or_else(|| HypervError::new(Kind::NotFound, format!("{doing}: there is none")))
}

/// Removes a reference point.
pub(super) fn destroy(
    provider: &Provider,
    vm: VmId,
    point: &ReferencePointId,
) -> Result<(), HypervError> {
    let doing = format!("remove reference point {point} of VM {vm}");
    let found = find(provider, vm, point, &doing)?;
    let change = Change {
        doing: &doing,
        object: &provider.service(POINTS)?,
        method: "DestroyReferencePoint",
        parameters: &[("AffectedReferencePoint", Value::text(path(&found)?))],
        limit: provider.beliefs.limits.destroy,
        is_cancelled_in_the_end: false,
        vm: Some(vm),
    };
    provider.change(change, &StopSignal::new())?;
    Ok(())
}

fn path(object: &WmiObject) -> Result<&str, HypervError> {
    object
        .path()
        .map_err(|error| wmi_error("read a reference point", error))
}

/// Asks every disk of a VM who it is. One that cannot be asked is in no point, as far as anyone
/// can tell, and is read in full next time.
fn known_disks(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    vm: VmId,
    system: &str,
) -> Result<KnownDisks, HypervError> {
    let own = discovery::own_settings(provider, vm, system)?;
    let components = provider.components(path(&own)?)?;
    let files = disk_kinds::disks(&components)?.files;
    let known = files.into_iter().filter_map(|disk| {
        let facts = disk_facts::facts(provider, virtual_disks, &disk.path).ok()?;
        Some((disk.pairing, (disk.place, facts.virtual_disk_id)))
    });
    Ok(known.collect())
}

/// Reads a reference point with the checks of spec 5.3: what fails them counts as not tracked,
/// and entries without an id as not there.
fn point(object: &WmiObject, known: &KnownDisks) -> Result<ReferencePoint, WmiError> {
    let disks = object.texts("VirtualDiskIdentifiers")?;
    let ids = object.texts("ResilientChangeTrackingIdentifiers")?;
    let paired = disks.len() == ids.len();
    let entries = disks
        .iter()
        .zip(&ids)
        .filter(|(_, id)| paired && !id.is_empty());
    let disks = entries.filter_map(|(disk, id)| {
        let (place, virtual_disk_id) = known.get(&pairing_key(disk))?;
        Some(ReferencePointDisk {
            virtual_disk_id: *virtual_disk_id,
            controller: place.controller,
            controller_number: place.number,
            location: place.location,
            change_id: ChangeId::new(*id),
        })
    });
    let has_data = match object.value("HasAssociatedData") {
        Value::Null => false,
        _ => object.bool("HasAssociatedData")?,
    };
    let tracks = object.u16("ReferencePointType")? == CHANGE_TRACKING;
    Ok(ReferencePoint {
        id: ReferencePointId(object.text("InstanceID")?.to_owned()),
        tracking: tracks && !has_data && paired && !ids.is_empty(),
        application_level: object.u16("ConsistencyLevel")? == APPLICATION,
        disks: disks.collect(),
    })
}

#[cfg(test)]
mod tests {
    use hyperv::Controller;

    use super::*;

    const VM_DISK: &str = "Microsoft:4D1A8E4B-6B1F-4F39-8A0E-0C1B6E1A0001\\S\\0\\1\\L";
    const POINT_DISK: &str = "Microsoft:00000000-6B1F-4F39-8A0E-0C1B6E1A0001\\s\\0\\1\\L";

    fn known() -> KnownDisks {
        let place = Place {
            controller: Controller::Scsi,
            number: 0,
            location: 1,
        };
        [(pairing_key(VM_DISK), (place, Uuid::from_u128(7)))].into()
    }

    fn object(kind: u16, data: bool, disks: &[&str], ids: &[&str]) -> WmiObject {
        let mut object = WmiObject {
            class: POINT.to_owned(),
            ..WmiObject::default()
        };
        object.set("InstanceID", "Microsoft:X");
        object.set("ReferencePointType", kind);
        object.set("ConsistencyLevel", 2u16);
        object.set("HasAssociatedData", data);
        object.set(
            "VirtualDiskIdentifiers",
            Value::texts(disks.iter().copied()),
        );
        object.set(
            "ResilientChangeTrackingIdentifiers",
            Value::texts(ids.iter().copied()),
        );
        object
    }

    #[test]
    fn only_a_point_that_passes_every_check_is_tracking() {
        let other = "Microsoft:00000000-6B1F-4F39-8A0E-0C1B6E1A0001\\s\\0\\9\\L";
        for (kind, data, disks, ids, tracking, count) in [
            (2, false, &[POINT_DISK][..], &["rctX:1"][..], true, 1),
            (1, false, &[POINT_DISK], &["rctX:1"], false, 1),
            (2, true, &[POINT_DISK], &["rctX:1"], false, 1),
            (2, false, &[POINT_DISK, other], &["rctX:1"], false, 0),
            (2, false, &[POINT_DISK], &[""], true, 0),
            (2, false, &[other], &["rctX:1"], true, 0),
            (2, false, &[], &[], false, 0),
        ] {
            let read = point(&object(kind, data, disks, ids), &known()).unwrap();
            assert_eq!(
                (read.tracking, read.disks.len()),
                (tracking, count),
                "{disks:?} {ids:?}"
            );
        }
    }

    #[test]
    fn a_disk_is_paired_by_what_follows_the_first_backslash() {
        let read = point(&object(2, false, &[POINT_DISK], &["rctX:1"]), &known()).unwrap();
        assert_eq!(read.disks[0].virtual_disk_id, Uuid::from_u128(7));
        assert_eq!(read.disks[0].change_id.as_str(), "rctX:1");
        assert!(!read.application_level);
    }
}
