//! From WMI's objects to the port's values, purely (Hyper-V spec 3.2, 3.3).

use std::path::PathBuf;

use hyperv::{
    Checkpoint, CheckpointId, CheckpointKind, Generation, HypervError, HypervErrorKind as Kind,
    OperationInProgress, SECURE_BOOT, VmId, VmState,
};
use time_and_chance::Timestamp;
use uuid::Uuid;

use super::cim_date;
use super::errors::wmi_error;
use super::instance_id::InstanceId;
use crate::wmi::{WmiError, WmiObject};

/// The class of settings of a VM, a checkpoint or a planned VM.
pub(super) const SETTINGS: &str = "Msvm_VirtualSystemSettingData";
/// The folders of a VM that are to lie together (spec 10.1 step 4).
pub(super) const ROOTS: [&str; 4] = [
    "ConfigurationDataRoot",
    "SnapshotDataRoot",
    "SwapFileDataRoot",
    "SuspendDataRoot",
];
/// `VirtualSystemType` of a VM's own settings.
const REALISED: &str = "Microsoft:Hyper-V:System:Realized";
/// `VirtualSystemType` of a backup's checkpoint.
const RECOVERY: &str = "Microsoft:Hyper-V:Snapshot:Recovery";
/// `VirtualSystemType` of a user's checkpoint.
const USER: &str = "Microsoft:Hyper-V:Snapshot:Realized";

/// Returns a VM's GUID, none for the host's own row and anything else without one.
pub(super) fn vm_id(system: &WmiObject) -> Option<VmId> {
    Some(VmId(Uuid::parse_str(system.text("Name").ok()?).ok()?))
}

/// Returns what a VM is doing.
pub(super) fn state(system: &WmiObject) -> Result<VmState, WmiError> {
    Ok(match system.u16("EnabledState")? {
        2 => VmState::Running,
        3 => VmState::Off,
        // Old pages number paused and saved differently.
        6 | 32769 => VmState::Saved,
        9 | 32768 => VmState::Paused,
        other => VmState::Other(other),
    })
}

/// Returns what else a VM is busy with: `OperationalStatus[1]`, or `[0]` unless that is "OK",
/// for a VM is to be left alone then (spec 3.2, our rule).
pub(super) fn operation(system: &WmiObject) -> Result<Option<OperationInProgress>, WmiError> {
    const OK: u64 = 2;
    let status = system.numbers("OperationalStatus")?;
    let number = match status.as_slice() {
        [] | [OK] | [OK, 0, ..] => return Ok(None),
        [OK, operation, ..] => *operation,
        // Another first number than "OK" says less than the operation behind it, if there is one.
        [_, operation, ..] if *operation != 0 => *operation,
        [health, ..] => *health,
    };
    Ok(Some(match number {
        32768 => OperationInProgress::CreatingCheckpoint,
        32769 => OperationInProgress::ApplyingCheckpoint,
        32770 => OperationInProgress::DeletingCheckpoint,
        32772 => OperationInProgress::MergingDisks,
        32773 => OperationInProgress::Exporting,
        32774 => OperationInProgress::Migrating,
        other => OperationInProgress::Other(u16::try_from(other).unwrap_or(u16::MAX)),
    }))
}

/// Returns first or second generation.
pub(super) fn generation(settings: &WmiObject) -> Result<Generation, WmiError> {
    let subtype = settings.text("VirtualSystemSubType")?;
    match subtype.rsplit_once(':').map_or(subtype, |(_, end)| end) {
        "1" => Ok(Generation::One),
        "2" => Ok(Generation::Two),
        _ => Err(WmiError::shape(format!(
            "VirtualSystemSubType is {subtype:?}, which is neither generation"
        ))),
    }
}

/// Returns what the VM boots with.
pub(super) fn firmware(settings: &WmiObject) -> Result<String, WmiError> {
    let secure = settings.bool("SecureBootEnabled") == Ok(true);
    Ok(match (generation(settings)?, secure) {
        (Generation::One, _) => "BIOS".to_owned(),
        (Generation::Two, false) => "UEFI".to_owned(),
        (Generation::Two, true) => format!("UEFI, {SECURE_BOOT}"),
    })
}

/// Returns when something was made.
pub(super) fn created(settings: &WmiObject) -> Result<Timestamp, WmiError> {
    let text = settings.text("CreationTime")?;
    cim_date::parse(text)
        .ok_or_else(|| WmiError::shape(format!("CreationTime is {text:?}, which is no date")))
}

/// Returns the virtual processors among the parts of a configuration.
pub(super) fn processors(components: &[WmiObject]) -> Result<u32, WmiError> {
    let found = components
        .iter()
        .find(|part| part.is("Msvm_ProcessorSettingData"));
    found.map_or(Ok(0), |part| part.u32("VirtualQuantity"))
}

/// Returns the start-up memory among the parts of a configuration; it is counted in MiB.
pub(super) fn memory_bytes(components: &[WmiObject]) -> Result<u64, WmiError> {
    let found = components
        .iter()
        .find(|part| part.is("Msvm_MemorySettingData"));
    let mib = found.map_or(Ok(0), |part| part.u64("VirtualQuantity"))?;
    Ok(mib.saturating_mul(1 << 20))
}

/// Returns whether these are the settings a VM runs with, not a checkpoint's or a planned VM's.
pub(super) fn is_realised(settings: &WmiObject) -> bool {
    has_type(settings, REALISED)
}

/// Returns whether these are the settings of a backup's checkpoint.
pub(super) fn is_recovery(settings: &WmiObject) -> bool {
    has_type(settings, RECOVERY)
}

fn has_type(settings: &WmiObject, wanted: &str) -> bool {
    let found = settings.text("VirtualSystemType");
    found.is_ok_and(|found| found.eq_ignore_ascii_case(wanted))
}

/// Returns whose settings these are: the GUID in their `InstanceID`.
pub(super) fn owner(settings: &WmiObject) -> Option<Uuid> {
    let id = settings.text("InstanceID").ok()?;
    InstanceId::parse(id).map(|id| id.owner)
}

/// Reads a checkpoint from its settings.
pub(super) fn checkpoint(settings: &WmiObject) -> Result<Checkpoint, HypervError> {
    let wrong = |error| wmi_error("read a checkpoint", error);
    let id = owner(settings).ok_or_else(|| {
        HypervError::new(
            Kind::Failed,
            "read a checkpoint: its InstanceID has no GUID",
        )
    })?;
    let kind = match () {
        () if has_type(settings, RECOVERY) => CheckpointKind::Recovery,
        () if has_type(settings, USER) => CheckpointKind::User,
        () => CheckpointKind::Other,
    };
    Ok(Checkpoint {
        id: CheckpointId(id),
        kind,
        name: settings
            .optional_text("ElementName")
            .map_err(wrong)?
            .unwrap_or_default()
            .to_owned(),
        created: created(settings).map_err(wrong)?,
    })
}

/// Returns the path of a configuration's file and of its guest state, as far as they are named;
/// the files' names are relative to their roots (spec 3.3).
pub(super) fn files(settings: &WmiObject) -> Result<Vec<PathBuf>, WmiError> {
    let mut files = Vec::new();
    for (root, file) in [
        ("ConfigurationDataRoot", "ConfigurationFile"),
        ("GuestStateDataRoot", "GuestStateFile"),
    ] {
        let name = |property| {
            Ok(settings
                .optional_text(property)?
                .filter(|text| !text.is_empty()))
        };
        if let (Some(root), Some(file)) = (name(root)?, name(file)?) {
            files.push(PathBuf::from(root).join(file));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wmi::Value;

    fn object(properties: &[(&str, Value)]) -> WmiObject {
        let mut object = WmiObject::default();
        for (name, value) in properties {
            object.set(name, value.clone());
        }
        object
    }

    #[test]
    fn both_sets_of_state_numbers_are_known() {
        for (number, expected) in [
            (2, VmState::Running),
            (3, VmState::Off),
            (6, VmState::Saved),
            (9, VmState::Paused),
            (32768, VmState::Paused),
            (32769, VmState::Saved),
            (10, VmState::Other(10)),
        ] {
            let system = object(&[("EnabledState", Value::from(number))]);
            assert_eq!(state(&system), Ok(expected));
        }
        assert!(state(&object(&[])).is_err(), "not told is not off");
    }

    #[test]
    fn a_vm_is_free_only_if_it_says_ok_and_nothing_else() {
        for (status, expected) in [
            (&[2][..], None),
            (&[2, 0], None),
            (&[], None),
            (&[2, 32768], Some(OperationInProgress::CreatingCheckpoint)),
            (&[2, 32769], Some(OperationInProgress::ApplyingCheckpoint)),
            (&[2, 32770], Some(OperationInProgress::DeletingCheckpoint)),
            (&[2, 32771], Some(OperationInProgress::Other(32771))),
            (&[11, 32772], Some(OperationInProgress::MergingDisks)),
            (&[2, 32773], Some(OperationInProgress::Exporting)),
            (&[2, 32774], Some(OperationInProgress::Migrating)),
            (&[3], Some(OperationInProgress::Other(3))),
            (&[15, 0], Some(OperationInProgress::Other(15))),
        ] {
            let numbers = status.iter().map(|&number: &u16| Value::from(number));
            let system = object(&[("OperationalStatus", Value::Array(numbers.collect()))]);
            assert_eq!(operation(&system), Ok(expected), "{status:?}");
        }
    }

    #[test]
    fn generation_and_firmware_come_from_the_subtype() {
        let settings = |subtype: &str, secure: bool| {
            object(&[
                ("VirtualSystemSubType", subtype.into()),
                ("SecureBootEnabled", secure.into()),
            ])
        };
        for (subtype, secure, text) in [
            ("Microsoft:Hyper-V:SubType:1", false, "BIOS"),
            ("Microsoft:Hyper-V:SubType:2", false, "UEFI"),
            ("Microsoft:Hyper-V:SubType:2", true, "UEFI, secure boot"),
        ] {
            assert_eq!(firmware(&settings(subtype, secure)).as_deref(), Ok(text));
        }
        assert!(generation(&settings("Microsoft:Hyper-V:SubType:3", false)).is_err());
    }

    #[test]
    fn checkpoints_are_told_apart_by_their_type() {
        for (ending, kind) in [
            ("Snapshot:Recovery", CheckpointKind::Recovery),
            ("Snapshot:Realized", CheckpointKind::User),
            ("Snapshot:Replica:Standard", CheckpointKind::Other),
            ("Snapshot:Missing", CheckpointKind::Other),
        ] {
            let settings = object(&[
                (
                    "InstanceID",
                    "Microsoft:4D1A8E4B-6B1F-4F39-8A0E-0C1B6E1A0001".into(),
                ),
                (
                    "VirtualSystemType",
                    format!("Microsoft:Hyper-V:{ending}").into(),
                ),
                ("CreationTime", "20260131235900.000000-000".into()),
                ("ElementName", "mark \"1\"".into()),
            ]);
            let checkpoint = checkpoint(&settings).unwrap();
            assert_eq!((checkpoint.kind, &*checkpoint.name), (kind, "mark \"1\""));
        }
    }

    #[test]
    fn memory_is_counted_in_mebibytes() {
        let mut part = object(&[("VirtualQuantity", Value::decimal(4096u32))]);
        part.class = "Msvm_MemorySettingData".to_owned();
        assert_eq!(memory_bytes(&[part]), Ok(4 << 30));
        assert_eq!(memory_bytes(&[]), Ok(0));
    }

    #[test]
    fn files_stand_below_their_roots() {
        let settings = object(&[
            ("ConfigurationDataRoot", "/vms/a".into()),
            ("ConfigurationFile", "Snapshots/x.vmcx".into()),
            ("GuestStateDataRoot", "".into()),
            ("GuestStateFile", "x.vmgs".into()),
        ]);
        assert_eq!(
            files(&settings),
            Ok(vec![PathBuf::from("/vms/a/Snapshots/x.vmcx")])
        );
    }
}
