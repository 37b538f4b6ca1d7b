//! Which disks a checkpoint holds, by its own settings object, never by the VM's present one
//! (Hyper-V spec 1, rule 2).

use std::collections::{HashMap, HashSet};

use hyperv::{CheckpointId, FrozenDisk, HypervError, HypervErrorKind as Kind, VmId};

use super::disk_kinds::{self, FileDisk, Place};
use super::errors::{VHD_SHARED, virtual_disk_error, wmi_error};
use super::provider::Provider;
use super::{chains, checkpoints, discovery};
use crate::virtdisk::VirtualDisks;
use crate::wmi::WmiObject;

/// Returns the disks of a checkpoint, by their places.
pub(super) fn list(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    vm: VmId,
    checkpoint: CheckpointId,
) -> Result<Vec<FrozenDisk>, HypervError> {
    let held = files(provider, vm, checkpoint)?;
    let system = provider.system(vm)?;
    let own = discovery::own_settings(provider, vm, path(&system)?)?;
    let present = match provider.beliefs.checkpoints_keep_ids {
        true => disk_kinds::disks(&provider.components(path(&own)?)?)?.files,
        false => Vec::new(),
    };
    let mut disks = Vec::new();
    for (disk, place) in held.iter().zip(places(&held, &present)) {
        // A disk that is shared cannot be opened; it may be left out by its name all the same.
        let original_path = match chains::facts(virtual_disks, &disk.path) {
            Ok(facts) => facts.root().to_owned(),
            Err(error) if disk.shared || error.code == VHD_SHARED => disk.path.clone(),
            Err(error) => return Err(virtual_disk_error(error)),
        };
        disks.push(FrozenDisk {
            controller: place.controller,
            controller_number: place.number,
            location: place.location,
            path: disk.path.clone(),
            original_path,
        });
    }
    disks.sort_by_key(|disk| (disk.controller, disk.controller_number, disk.location));
    Ok(disks)
}

/// Checks that a checkpoint holds a disk.
///
/// # Errors
/// `NotFound` if it does not, or is not there itself.
pub(super) fn check(
    provider: &Provider,
    vm: VmId,
    checkpoint: CheckpointId,
    disk: &FrozenDisk,
) -> Result<(), HypervError> {
    let held = files(provider, vm, checkpoint)?;
    if held.iter().any(|held| held.path == disk.path) {
        return Ok(());
    }
    Err(HypervError::new(
        Kind::NotFound,
        format!(
            "find {} in checkpoint {checkpoint} of VM {vm}",
            disk.path.display()
        ),
    ))
}

fn files(
    provider: &Provider,
    vm: VmId,
    checkpoint: CheckpointId,
) -> Result<Vec<FileDisk>, HypervError> {
    let object = checkpoints::find(provider, vm, checkpoint)?;
    Ok(disk_kinds::disks(&provider.components(path(&object)?)?)?.files)
}

fn path(object: &WmiObject) -> Result<&str, HypervError> {
    object
        .path()
        .map_err(|error| wmi_error("read a checkpoint", error))
}

/// Returns the place of each frozen disk: that of the VM's disk it is paired with (RH-5), or its
/// own for a disk that the VM no longer has. Should pairing put two disks at one place, each
/// keeps its own.
fn places(held: &[FileDisk], present: &[FileDisk]) -> Vec<Place> {
    let by_pairing: HashMap<&str, Place> = present
        .iter()
        .map(|disk| (disk.pairing.as_str(), disk.place))
        .collect();
    let paired: Vec<Place> = held
        .iter()
        .map(|disk| {
            by_pairing
                .get(disk.pairing.as_str())
                .copied()
                .unwrap_or(disk.place)
        })
        .collect();
    let distinct: HashSet<&Place> = paired.iter().collect();
    match distinct.len() == held.len() {
        true => paired,
        false => held.iter().map(|disk| disk.place).collect(),
    }
}

#[cfg(test)]
mod tests {
    use hyperv::Controller;

    use super::*;

    fn disk(pairing: &str, number: u32, location: u32) -> FileDisk {
        FileDisk {
            place: Place {
                controller: Controller::Scsi,
                number,
                location,
            },
            path: "x".into(),
            pairing: pairing.to_owned(),
            object: String::new(),
            drive: String::new(),
            shared: false,
        }
    }

    #[test]
    fn a_frozen_disk_takes_the_place_of_the_disk_it_is_paired_with() {
        // The checkpoint lists the two controllers the other way round, and holds one disk more.
        let held = [disk("a", 1, 0), disk("b", 0, 0), disk("gone", 0, 5)];
        let present = [disk("a", 0, 0), disk("b", 1, 0), disk("new", 1, 7)];
        let numbers: Vec<_> = places(&held, &present)
            .iter()
            .map(|place| (place.number, place.location))
            .collect();
        assert_eq!(numbers, [(0, 0), (1, 0), (0, 5)]);
    }

    #[test]
    fn two_disks_never_end_up_at_one_place() {
        let held = [disk("a", 0, 0), disk("b", 0, 1)];
        let present = [disk("a", 0, 1)];
        let numbers: Vec<_> = places(&held, &present)
            .iter()
            .map(|place| place.location)
            .collect();
        assert_eq!(numbers, [0, 1]);
    }
}
