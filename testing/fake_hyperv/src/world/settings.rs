//! `Msvm_VirtualSystemSettingData`: of VMs, checkpoints and planned VMs (Hyper-V spec 3.3).

use std::path::PathBuf;

use hyperv::{Generation, SECURE_BOOT};
use time_and_chance::Timestamp;
use windows_host::wmi::Value;

use super::{Owner, Subject, World, guid_text, moment};

pub(super) const CLASS: &str = "Msvm_VirtualSystemSettingData";

/// The secure boot template of Windows.
const WINDOWS_TEMPLATE: &str = "1734c6e8-3154-4dda-ba5f-a874cc483422";

/// What settings tell.
#[derive(Debug)]
pub(super) struct Settings {
    pub owner: Owner,
    pub kind: &'static str,
    /// `VirtualSystemIdentifier`.
    pub system: String,
    pub name: String,
    pub created: Option<Timestamp>,
    pub generation: Generation,
    pub version: String,
    pub firmware: String,
    pub folder: PathBuf,
    /// Configuration files; none of a planned VM.
    pub files: Vec<PathBuf>,
    pub parent: Option<String>,
    pub saved: bool,
}

/// Adds the settings.
pub(super) fn add(world: &mut World<'_>, subject: Subject, settings: &Settings) -> usize {
    let folder = settings.folder.display().to_string();
    let guid = guid_text(settings.owner.guid);
    let optional = |text: Option<String>| text.map_or(Value::Null, Value::Text);
    let created = settings.created.map(moment);
    let mut properties = vec![
        ("InstanceID", settings.owner.settings_id().into()),
        ("Caption", "Virtual Machine Settings".into()),
        ("ElementName", settings.name.as_str().into()),
        ("VirtualSystemIdentifier", settings.system.as_str().into()),
        ("VirtualSystemType", settings.kind.into()),
        ("Notes", Value::texts([""])),
        ("CreationTime", optional(created)),
        ("ConfigurationID", guid.into()),
        ("ConfigurationDataRoot", folder.as_str().into()),
        ("SnapshotDataRoot", folder.as_str().into()),
        ("SuspendDataRoot", folder.as_str().into()),
        ("SwapFileDataRoot", folder.as_str().into()),
        ("LogDataRoot", folder.as_str().into()),
        ("Parent", optional(settings.parent.clone())),
        ("UserSnapshotType", 3u16.into()),
        ("IsSaved", settings.saved.into()),
        ("IncrementalBackupEnabled", false.into()),
        ("Version", settings.version.as_str().into()),
        ("VirtualNumaEnabled", true.into()),
        ("Architecture", "x64".into()),
        ("AutomaticSnapshotsEnabled", false.into()),
        ("IsAutomaticSnapshot", false.into()),
        ("AutomaticStartupAction", 3u16.into()),
        ("AutomaticShutdownAction", 3u16.into()),
    ];
    let generation = match settings.generation {
        Generation::One => "Microsoft:Hyper-V:SubType:1",
        Generation::Two => "Microsoft:Hyper-V:SubType:2",
    };
    properties.push(("VirtualSystemSubType", generation.into()));
    let secure = settings.firmware.contains(SECURE_BOOT);
    properties.push(("SecureBootEnabled", secure.into()));
    properties.push(("SecureBootTemplateId", WINDOWS_TEMPLATE.into()));
    for path in &settings.files {
        let relative = path.strip_prefix(&settings.folder).unwrap_or(path);
        let relative = Value::text(relative.display().to_string());
        match path.extension().and_then(|end| end.to_str()) {
            Some("vmcx") => properties.push(("ConfigurationFile", relative)),
            Some("vmgs") => {
                properties.push(("GuestStateFile", relative));
                properties.push(("GuestStateDataRoot", folder.as_str().into()));
            }
            _ => {}
        }
    }
    world.add(CLASS, subject, properties)
}
