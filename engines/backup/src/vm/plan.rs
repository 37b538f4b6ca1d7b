//! Full or incremental, disk by disk: a function from facts to a decision with its reason.

use disk::ChangeId;
use hyperv::{CheckpointId, Controller, ReferencePoint};
use kopia::object_id::ObjectId;
use time_and_chance::Timestamp;
use uuid::Uuid;

use super::increment_base::{Base, BaseDisk};

/// A disk of the frozen VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFacts {
    /// The disk's own identity.
    pub virtual_disk_id: Uuid,
    /// Whether another disk of the VM has the same identity.
    pub identity_is_shared: bool,
    /// The kind of controller.
    pub controller: Controller,
    /// Which controller of that kind.
    pub controller_number: u32,
    /// Which place on it.
    pub location: u32,
    /// The disk's length.
    pub virtual_bytes: u64,
    /// 512 or 4096.
    pub logical_sector_bytes: u32,
    /// Whether its tracking names the frozen instant.
    pub is_tracked: bool,
}

/// What is known about the VM and its base before any data is read.
#[derive(Debug)]
pub struct VmFacts<'a> {
    /// Whether the operator asked for a full.
    pub full_asked: bool,
    /// The base remembered for this VM and repository.
    pub base: Option<&'a Base>,
    /// The VM's reference points as the host lists them.
    pub reference_points: &'a [ReferencePoint],
    /// The base point's disks in the repository, by identity of the disk, if its manifest stands.
    pub base_objects: Option<&'a [BaseObject]>,
    /// When the VM came to be on this host.
    pub vm_created: Timestamp,
    /// The checkpoint last applied to it.
    pub last_applied_checkpoint: Option<CheckpointId>,
    /// Now, for the age of the last full proof.
    pub now: Timestamp,
    /// A full read is due this long after the last one, spread by VM.
    pub full_proof_seconds: i64,
}

/// A disk of the base point as it rests in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseObject {
    /// The disk's number in the base point.
    pub number: u32,
    /// The object that holds it.
    pub object: ObjectId,
    /// The length its chunks were cut to.
    pub chunk_bytes: u64,
    /// Whether verification found it damaged.
    pub is_damaged: bool,
}

/// What is done with a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskPlan {
    /// All of it is read, for this reason.
    Full(String),
    /// What changed since is read and laid over the base.
    Incremental {
        /// The instant changes are counted from.
        since: ChangeId,
        /// The base's content.
        object: ObjectId,
    },
}

/// Decides for one disk.
pub fn plan_disk(vm: &VmFacts<'_>, disk: &DiskFacts, chunk_bytes: u64) -> DiskPlan {
    match usable_base(vm, disk, chunk_bytes) {
        Ok((since, object)) => DiskPlan::Incremental { since, object },
        Err(reason) => DiskPlan::Full(reason),
    }
}

fn usable_base(
    vm: &VmFacts<'_>,
    disk: &DiskFacts,
    chunk_bytes: u64,
) -> Result<(ChangeId, ObjectId), String> {
    if vm.full_asked {
        return Err("a full backup was asked for".into());
    }
    let base = vm
        .base
        .ok_or("this is the VM's first backup into this repository")?;
    if base.vm_created != vm.vm_created {
        return Err("the VM was created anew or restored since the last backup".into());
    }
    if base.last_applied_checkpoint != vm.last_applied_checkpoint {
        return Err("a checkpoint was applied to the VM since the last backup".into());
    }
    if !disk.is_tracked {
        return Err("change tracking is off for this disk".into());
    }
    let remembered = find_disk(base, disk)?;
    if remembered.virtual_bytes != disk.virtual_bytes {
        return Err(format!(
            "the disk was resized from {} to {} bytes",
            remembered.virtual_bytes, disk.virtual_bytes
        ));
    }
    if remembered.logical_sector_bytes != disk.logical_sector_bytes {
        return Err("the disk's sector size changed".into());
    }
    let proof_age_seconds = vm.now.as_second() - remembered.read_in_full_at.as_second();
    if proof_age_seconds >= vm.full_proof_seconds {
        return Err(format!(
            "the last full read was {} days ago",
            proof_age_seconds / 86_400
        ));
    }
    let point = vm
        .reference_points
        .iter()
        .find(|point| point.id == base.reference_point)
        .ok_or("the reference point of the last backup is gone")?;
    let listed = point.tracking
        && point.disks.iter().any(|listed| {
            listed.virtual_disk_id == disk.virtual_disk_id
                && listed.change_id.as_str() == remembered.change_id
        });
    if !listed {
        return Err(
            "the reference point of the last backup no longer names this disk's tracking".into(),
        );
    }
    let objects = vm.base_objects.ok_or(
        "the point of the last backup is gone from the repository, or cannot be read there",
    )?;
    let object = objects
        .iter()
        .find(|object| object.number == remembered.number)
        .ok_or("the point of the last backup does not hold this disk")?;
    if object.is_damaged {
        return Err(
            "the last backup of this disk is damaged in the repository; what is lost is stored again"
                .into(),
        );
    }
    if object.chunk_bytes != chunk_bytes {
        return Err("the last backup was cut into chunks of another length".into());
    }
    Ok((ChangeId::new(remembered.change_id.clone()), object.object))
}

/// Finds a disk in the base by its identity; disks that share one (copies of one file) are told
/// apart by their place, and one that moved counts as new (Hyper-V spec 6.3).
fn find_disk<'a>(base: &'a Base, disk: &DiskFacts) -> Result<&'a BaseDisk, String> {
    let mut same = base
        .disks
        .iter()
        .filter(|known| known.virtual_disk_id == disk.virtual_disk_id);
    let is_here = |known: &&BaseDisk| {
        (known.controller, known.controller_number, known.location)
            == (disk.controller, disk.controller_number, disk.location)
    };
    let shared_before = base
        .disks
        .iter()
        .filter(|known| known.virtual_disk_id == disk.virtual_disk_id)
        .count()
        > 1;
    let found = if disk.identity_is_shared || shared_before {
        same.find(is_here)
            .ok_or("another disk of this VM has the same identity, and this one moved or is new")
    } else {
        same.next().ok_or("the disk is new")
    };
    found.map_err(str::to_owned)
}

/// Returns when the next full read is due after the last one: the interval, less up to a tenth
/// that depends on the VM, so that a host's VMs do not all come due in one night.
pub fn full_proof_seconds(interval_days: u32, vm: Uuid) -> i64 {
    let interval = i64::from(interval_days) * 86_400;
    let spread = (interval / 10).max(1);
    interval - (vm.as_u128() % spread as u128) as i64
}

#[cfg(test)]
mod tests {
    use hyperv::{ReferencePointDisk, ReferencePointId};

    use super::*;

    const CHUNK: u64 = 256 << 10;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn object() -> ObjectId {
        "Ix00112233445566778899aabbccddeeff".parse().unwrap()
    }

    fn disk() -> DiskFacts {
        DiskFacts {
            virtual_disk_id: Uuid::from_u128(1),
            identity_is_shared: false,
            controller: Controller::Scsi,
            controller_number: 0,
            location: 0,
            virtual_bytes: 1 << 30,
            logical_sector_bytes: 512,
            is_tracked: true,
        }
    }

    fn base() -> Base {
        Base {
            point: Uuid::from_u128(7),
            reference_point: ReferencePointId("rp".into()),
            vm_created: second(10),
            last_applied_checkpoint: None,
            recorded_at: second(100),
            disks: vec![BaseDisk {
                number: 0,
                virtual_disk_id: Uuid::from_u128(1),
                controller: Controller::Scsi,
                controller_number: 0,
                location: 0,
                virtual_bytes: 1 << 30,
                logical_sector_bytes: 512,
                change_id: "id-1".into(),
                read_in_full_at: second(100),
            }],
        }
    }

    fn point() -> ReferencePoint {
        ReferencePoint {
            id: ReferencePointId("rp".into()),
            tracking: true,
            application_level: true,
            disks: vec![ReferencePointDisk {
                virtual_disk_id: Uuid::from_u128(1),
                controller: Controller::Scsi,
                controller_number: 0,
                location: 0,
                change_id: ChangeId::new("id-1"),
            }],
        }
    }

    /// Plans after `spoil` has changed one thing in a world where an increment is possible.
    fn plan_after(spoil: impl FnOnce(&mut World)) -> DiskPlan {
        let mut world = World {
            full_asked: false,
            base: Some(base()),
            points: vec![point()],
            objects: Some(vec![BaseObject {
                number: 0,
                object: object(),
                chunk_bytes: CHUNK,
                is_damaged: false,
            }]),
            created: second(10),
            applied: None,
            now: second(200),
            disk: disk(),
        };
        spoil(&mut world);
        let facts = VmFacts {
            full_asked: world.full_asked,
            base: world.base.as_ref(),
            reference_points: &world.points,
            base_objects: world.objects.as_deref(),
            vm_created: world.created,
            last_applied_checkpoint: world.applied,
            now: world.now,
            full_proof_seconds: full_proof_seconds(30, Uuid::from_u128(0)),
        };
        plan_disk(&facts, &world.disk, CHUNK)
    }

    struct World {
        full_asked: bool,
        base: Option<Base>,
        points: Vec<ReferencePoint>,
        objects: Option<Vec<BaseObject>>,
        created: Timestamp,
        applied: Option<CheckpointId>,
        now: Timestamp,
        disk: DiskFacts,
    }

    #[test]
    fn an_intact_base_gives_an_increment() {
        let expected = DiskPlan::Incremental {
            since: ChangeId::new("id-1"),
            object: object(),
        };
        assert_eq!(plan_after(|_| ()), expected);
    }

    type Spoil = fn(&mut World);

    #[test]
    fn any_doubt_gives_a_full_with_its_reason() {
        let doubts: &[(&str, Spoil)] = &[
            ("asked for", |world| world.full_asked = true),
            ("first backup", |world| world.base = None),
            ("created anew", |world| world.created = second(11)),
            ("checkpoint was applied", |world| {
                world.applied = Some(CheckpointId(Uuid::from_u128(3)))
            }),
            ("tracking is off", |world| world.disk.is_tracked = false),
            ("disk is new", |world| {
                world.disk.virtual_disk_id = Uuid::from_u128(2)
            }),
            ("resized", |world| world.disk.virtual_bytes += 1 << 20),
            ("sector size", |world| {
                world.disk.logical_sector_bytes = 4096
            }),
            ("days ago", |world| world.now = second(100 + 31 * 86_400)),
            ("is damaged", |world| {
                world.objects.as_mut().unwrap()[0].is_damaged = true
            }),
            ("reference point of the last backup is gone", |world| {
                world.points.clear()
            }),
            ("no longer names", |world| {
                world.points[0].disks[0].change_id = ChangeId::new("id-2")
            }),
            ("no longer names", |world| world.points[0].tracking = false),
            ("gone from the repository", |world| world.objects = None),
            ("does not hold", |world| world.objects = Some(Vec::new())),
            ("another length", |world| {
                world.objects.as_mut().unwrap()[0].chunk_bytes = 1 << 20
            }),
            ("same identity", |world| {
                world.disk.identity_is_shared = true;
                world.disk.location = 1;
            }),
        ];
        for (words, spoil) in doubts {
            match plan_after(spoil) {
                DiskPlan::Full(reason) => {
                    assert!(reason.contains(words), "{reason:?} does not say {words:?}")
                }
                other => panic!("{words}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_disk_that_moved_to_another_place_keeps_its_base() {
        assert!(matches!(
            plan_after(|world| world.disk.location = 5),
            DiskPlan::Incremental { .. }
        ));
    }

    #[test]
    fn full_proofs_of_different_vms_come_due_on_different_days() {
        let due = |vm| full_proof_seconds(30, Uuid::from_u128(vm)) / 86_400;
        assert_eq!(due(0), 30);
        assert!(
            (1..200_000)
                .step_by(7_001)
                .map(due)
                .collect::<std::collections::BTreeSet<_>>()
                .len()
                >= 3
        );
    }
}
