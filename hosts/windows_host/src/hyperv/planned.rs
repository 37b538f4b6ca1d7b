//! Planned VMs: imported, pointed to their files and switches, realised or given up
//! (Hyper-V spec 10.1).

use std::path::{Path, PathBuf};

use hyperv::{
    ConfigurationFile, FrozenDisk, HypervError, HypervErrorKind as Kind, NetworkAdapter, PlannedVm,
    ValidationMessage, VmId, codes,
};
use time_and_chance::StopSignal;
use uuid::Uuid;

use super::configuration_files::KEY_PROTECTOR;
use super::disk_kinds::{self, Disks};
use super::errors::wmi_error;
use super::method::{Answer, Change, Failed};
use super::network::{self, Adapter, CONNECTION, SWITCH, Switches};
use super::provider::{COMPUTER_SYSTEM, MANAGEMENT, Provider, system_path};
use super::staging::{stage, unstage};
use super::{discovery, settings};
use crate::wmi::{EmbeddedSource, Value, WmiObject, key_of};

const PLANNED: &str = "Msvm_PlannedComputerSystem";
const SECURITY: &str = "Msvm_SecuritySettingData";
const SECURITY_SERVICE: &str = "Msvm_SecurityService";
/// The folders of a VM that are to lie together (step 4).
const ROOTS: [&str; 4] = [
    "ConfigurationDataRoot",
    "SnapshotDataRoot",
    "SwapFileDataRoot",
    "SuspendDataRoot",
];
/// `EnabledState` of a connection.
const ENABLED: u16 = 2;
const DISABLED: u16 = 3;

/// A planned VM's settings and their parts.
struct Configuration {
    settings: String,
    /// The folder it was imported from and is to live in.
    folder: Option<PathBuf>,
    components: Vec<WmiObject>,
}

/// Imports a configuration (steps 3 and 4, and what of 5 and 7 needs no files).
pub(super) fn import(
    provider: &Provider,
    configuration: &[ConfigurationFile],
    folder: &Path,
    name: &str,
    new_id: bool,
) -> Result<PlannedVm, HypervError> {
    let doing = format!("import the VM {name}");
    let definition = stage(&doing, configuration, folder)?;
    let parameters = [
        ("SystemDefinitionFile", text_of(&doing, &definition)?),
        ("SnapshotFolder", Value::text("")),
        ("GenerateNewSystemIdentifier", Value::Bool(new_id)),
    ];
    let imported = manage(
        provider,
        &doing,
        "ImportSystemDefinition",
        &parameters,
        None,
    );
    let id = match imported.map_err(import_error) {
        Ok(answer) => planned_id(provider, &doing, &answer),
        Err(error) => Err(error),
    };
    let adapted = match id {
        Ok(id) => adapt(provider, id, configuration, folder, name).inspect_err(|_| {
            let _the_first_error_counts = destroy(provider, id);
        }),
        Err(error) => Err(error),
    };
    adapted.inspect_err(|_| unstage(folder))
}

/// Says what a refused import means: files in use are those of a VM with the same id (spec 16).
fn import_error(failed: Failed) -> HypervError {
    if failed.error.code() != Some(codes::FILE_IN_USE) {
        return failed.error;
    }
    HypervError::new(
        Kind::Invalid,
        "import the VM: a VM with its id is on this host",
    )
    .with_code(codes::FILE_IN_USE)
    .caused_by(failed.error)
}

fn planned_id(provider: &Provider, doing: &str, answer: &Answer) -> Result<VmId, HypervError> {
    let made = provider.made(answer, "ImportedSystem", PLANNED)?;
    let id = made.iter().find_map(|path| id_at(path));
    id.ok_or_else(|| {
        HypervError::new(
            Kind::OutcomeUnknown,
            format!("{doing}: Hyper-V did so and does not say what it made"),
        )
    })
}

fn id_at(path: &str) -> Option<VmId> {
    Some(VmId(Uuid::parse_str(&key_of(path, "Name")?).ok()?))
}

fn adapt(
    provider: &Provider,
    id: VmId,
    files: &[ConfigurationFile],
    folder: &Path,
    name: &str,
) -> Result<PlannedVm, HypervError> {
    let doing = format!("set up the planned VM {name}");
    let configuration = configuration(provider, id)?;
    let mut changes = vec![("ElementName", Value::text(name))];
    for root in ROOTS {
        changes.push((root, text_of(&doing, folder)?));
    }
    let source = EmbeddedSource::Instance(&configuration.settings);
    let changed = provider.embedded(&doing, source, &changes)?;
    let parameters = [("SystemSettings", Value::Text(changed))];
    manage(
        provider,
        &doing,
        "ModifySystemSettings",
        &parameters,
        Some(id),
    )?;
    let disks = disk_kinds::disks(&configuration.components)?;
    remove(provider, id, strangers(&disks))?;
    if let Some(file) = files.iter().find(|file| file.name == KEY_PROTECTOR) {
        set_key_protector(provider, &configuration, &file.content)?;
    }
    Ok(PlannedVm {
        id,
        disks: frozen(&disks),
        network_adapters: last_connected(adapters(provider, &configuration)?),
    })
}

/// Returns what a VM must not bring to another host: disks that are the old host's own, and
/// images that are not here (step 5).
fn strangers(disks: &Disks) -> Vec<String> {
    let missing = disks.media.iter().filter(|(_, file)| !file.exists());
    let missing = missing.map(|(object, _)| object.clone());
    disks.pass_through.iter().cloned().chain(missing).collect()
}

fn frozen(disks: &Disks) -> Vec<FrozenDisk> {
    let disks = disks.files.iter().map(|disk| FrozenDisk {
        controller: disk.place.controller,
        controller_number: disk.place.number,
        location: disk.place.location,
        path: disk.path.clone(),
        original_path: disk.path.clone(),
    });
    disks.collect()
}

fn last_connected(adapters: Vec<Adapter>) -> Vec<NetworkAdapter> {
    let adapters = adapters.into_iter().map(|adapter| NetworkAdapter {
        switch: adapter.last_switch,
        ..adapter.adapter
    });
    adapters.collect()
}

/// Gives the planned VM the key protector of the original (spec 9.2).
fn set_key_protector(
    provider: &Provider,
    configuration: &Configuration,
    protector: &[u8],
) -> Result<(), HypervError> {
    let doing = "give the VM its key protector";
    let wrong = |error| wmi_error(doing, error);
    let Some(security) = configuration
        .components
        .iter()
        .find(|object| object.is(SECURITY))
    else {
        return Ok(());
    };
    let source = EmbeddedSource::Instance(security.path().map_err(wrong)?);
    let change = Change {
        doing,
        object: &provider.service(SECURITY_SERVICE)?,
        method: "SetKeyProtector",
        parameters: &[
            (
                "SecuritySettingData",
                Value::Text(provider.embedded(doing, source, &[])?),
            ),
            ("KeyProtector", Value::Bytes(protector.to_vec())),
        ],
        limit: provider.beliefs.limits.other,
        vm: None,
    };
    provider.change(change, &StopSignal::new())?;
    Ok(())
}

fn find(provider: &Provider, planned: VmId) -> Result<WmiObject, HypervError> {
    let doing = format!("find planned VM {planned}");
    let found = provider.find(&doing, &system_path(PLANNED, planned))?;
    found.ok_or_else(|| HypervError::new(Kind::NotFound, format!("{doing}: there is none")))
}

fn configuration(provider: &Provider, planned: VmId) -> Result<Configuration, HypervError> {
    let wrong = |error| wmi_error(&format!("read planned VM {planned}"), error);
    let system = find(provider, planned)?;
    let own = discovery::own_settings(provider, planned, system.path().map_err(wrong)?)?;
    let path = own.path().map_err(wrong)?.to_owned();
    let folder = own.optional_text("ConfigurationDataRoot").map_err(wrong)?;
    Ok(Configuration {
        components: provider.components(&path)?,
        folder: folder
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from),
        settings: path,
    })
}

fn adapters(
    provider: &Provider,
    configuration: &Configuration,
) -> Result<Vec<Adapter>, HypervError> {
    let switches = Switches::of(&provider.all(SWITCH)?)?;
    network::adapters(&configuration.components, &switches)
}

/// Points a planned VM's disks to files; takes those away that get none (step 5).
pub(super) fn set_disks(
    provider: &Provider,
    planned: VmId,
    paths: &[Option<PathBuf>],
) -> Result<(), HypervError> {
    let doing = format!("attach the disks of planned VM {planned}");
    let disks = disk_kinds::disks(&configuration(provider, planned)?.components)?.files;
    check_count(&doing, "disks", disks.len(), paths.len())?;
    let mut changed = Vec::new();
    let mut removed = Vec::new();
    for (disk, path) in disks.iter().zip(paths) {
        match path {
            Some(path) => {
                let file = Value::Array(vec![text_of(&doing, path)?]);
                let source = EmbeddedSource::Instance(&disk.object);
                changed.push(provider.embedded(&doing, source, &[("HostResource", file)])?);
            }
            None if disk.object == disk.drive => removed.push(disk.object.clone()),
            None => removed.extend([disk.object.clone(), disk.drive.clone()]),
        }
    }
    modify(provider, &doing, planned, changed)?;
    remove(provider, planned, removed)
}

/// Connects a planned VM's network adapters, or cuts them off (step 6).
pub(super) fn set_switches(
    provider: &Provider,
    planned: VmId,
    wanted: &[Option<String>],
) -> Result<(), HypervError> {
    let doing = format!("connect the network adapters of planned VM {planned}");
    let configuration = configuration(provider, planned)?;
    let switches = Switches::of(&provider.all(SWITCH)?)?;
    let adapters = network::adapters(&configuration.components, &switches)?;
    check_count(&doing, "network adapters", adapters.len(), wanted.len())?;
    let mut changed = Vec::new();
    let mut added = Vec::new();
    for (adapter, switch) in adapters.iter().zip(wanted) {
        let path = match switch {
            Some(name) => Some(switches.path(name).ok_or_else(|| {
                HypervError::new(Kind::Invalid, format!("{doing}: there is no switch {name}"))
                    .with_code(codes::INVALID_PARAMETER)
            })?),
            None => None,
        };
        let connected = [
            ("HostResource", Value::texts(path)),
            (
                "EnabledState",
                Value::from(if path.is_some() { ENABLED } else { DISABLED }),
            ),
        ];
        match &adapter.connection {
            Some(connection) => {
                let source = EmbeddedSource::Instance(connection);
                changed.push(provider.embedded(&doing, source, &connected)?);
            }
            None if path.is_none() => {}
            None => {
                let [resource, state] = connected;
                let new = [resource, state, ("Parent", Value::text(&*adapter.object))];
                let source = EmbeddedSource::Class(CONNECTION);
                added.push(provider.embedded(&doing, source, &new)?);
            }
        }
    }
    modify(provider, &doing, planned, changed)?;
    if added.is_empty() {
        return Ok(());
    }
    let parameters = [
        ("AffectedConfiguration", Value::Text(configuration.settings)),
        ("ResourceSettings", Value::texts(added)),
    ];
    manage(
        provider,
        &doing,
        "AddResourceSettings",
        &parameters,
        Some(planned),
    )?;
    Ok(())
}

/// Returns the names of the host's switches.
pub(super) fn switches(provider: &Provider) -> Result<Vec<String>, HypervError> {
    Ok(Switches::of(&provider.all(SWITCH)?)?.names())
}

/// Returns everything the host has to say about realising a planned VM (step 8).
pub(super) fn validate(
    provider: &Provider,
    planned: VmId,
) -> Result<Vec<ValidationMessage>, HypervError> {
    let doing = format!("validate planned VM {planned}");
    let parameters = [("PlannedSystem", path_of(&find(provider, planned)?)?)];
    match manage(
        provider,
        &doing,
        "ValidatePlannedSystem",
        &parameters,
        Some(planned),
    ) {
        Ok(answer) => {
            let remarks = provider.remarks(&answer).into_iter();
            let told = remarks.map(|remark| ValidationMessage {
                fatal: false,
                text: remark.text,
            });
            Ok(told.collect())
        }
        Err(failed) if is_verdict(&failed) => Ok(verdict(failed)),
        Err(failed) => Err(failed.error),
    }
}

/// Returns whether the host has judged the VM, instead of failing to.
fn is_verdict(failed: &Failed) -> bool {
    let unheard = matches!(failed.error.kind(), Kind::OutcomeUnknown | Kind::Stopped);
    (failed.job.is_some() && !unheard) || !failed.is_explained
}

fn verdict(failed: Failed) -> Vec<ValidationMessage> {
    let messages = failed.messages.into_iter();
    let mut told: Vec<_> = messages
        .map(|message| ValidationMessage {
            fatal: !message.is_warning,
            text: message.text,
        })
        .collect();
    if !told.iter().any(|message| message.fatal) {
        told.push(ValidationMessage {
            fatal: true,
            text: failed.error.to_string(),
        });
    }
    told
}

/// Makes a planned VM a real one (step 9).
pub(super) fn realise(provider: &Provider, planned: VmId) -> Result<VmId, HypervError> {
    let doing = format!("realise planned VM {planned}");
    let system = find(provider, planned)?;
    let folder = configuration(provider, planned)?.folder;
    let parameters = [("PlannedSystem", path_of(&system)?)];
    let answer = manage(
        provider,
        &doing,
        "RealizePlannedSystem",
        &parameters,
        Some(planned),
    )?;
    if let Some(folder) = folder {
        unstage(&folder);
    }
    let made = provider.made(&answer, "ResultingSystem", COMPUTER_SYSTEM)?;
    Ok(made.iter().find_map(|path| id_at(path)).unwrap_or(planned))
}

/// Gives a planned VM up.
pub(super) fn abort(provider: &Provider, planned: VmId) -> Result<(), HypervError> {
    find(provider, planned)?;
    // What cannot be read any more can still be given up.
    let folder = configuration(provider, planned)
        .ok()
        .and_then(|known| known.folder);
    destroy(provider, planned)?;
    if let Some(folder) = folder {
        unstage(&folder);
    }
    Ok(())
}

fn destroy(provider: &Provider, planned: VmId) -> Result<(), HypervError> {
    let doing = format!("give up planned VM {planned}");
    let parameters = [("AffectedSystem", path_of(&find(provider, planned)?)?)];
    manage(
        provider,
        &doing,
        "DestroySystem",
        &parameters,
        Some(planned),
    )?;
    Ok(())
}

/// Returns the planned VMs of this host.
pub(super) fn list(provider: &Provider) -> Result<Vec<(VmId, String)>, HypervError> {
    let planned = provider.all(PLANNED)?;
    let named = planned.iter().filter_map(|object| {
        let name = object
            .optional_text("ElementName")
            .ok()?
            .unwrap_or_default();
        Some((settings::vm_id(object)?, name.to_owned()))
    });
    Ok(named.collect())
}

fn modify(
    provider: &Provider,
    doing: &str,
    planned: VmId,
    settings: Vec<String>,
) -> Result<(), HypervError> {
    if settings.is_empty() {
        return Ok(());
    }
    let parameters = [("ResourceSettings", Value::texts(settings))];
    manage(
        provider,
        doing,
        "ModifyResourceSettings",
        &parameters,
        Some(planned),
    )?;
    Ok(())
}

fn remove(provider: &Provider, planned: VmId, objects: Vec<String>) -> Result<(), HypervError> {
    if objects.is_empty() {
        return Ok(());
    }
    let doing = format!("take away what planned VM {planned} has no files for");
    let parameters = [("ResourceSettings", Value::texts(objects))];
    manage(
        provider,
        &doing,
        "RemoveResourceSettings",
        &parameters,
        Some(planned),
    )?;
    Ok(())
}

fn manage(
    provider: &Provider,
    doing: &str,
    method: &'static str,
    parameters: &[(&str, Value)],
    vm: Option<VmId>,
) -> Result<Answer, Failed> {
    let change = Change {
        doing,
        object: &provider.service(MANAGEMENT)?,
        method,
        parameters,
        limit: provider.beliefs.limits.other,
        vm,
    };
    provider.change(change, &StopSignal::new())
}

fn path_of(object: &WmiObject) -> Result<Value, HypervError> {
    let path = object
        .path()
        .map_err(|error| wmi_error("read a planned VM", error))?;
    Ok(Value::text(path))
}

fn text_of(doing: &str, path: &Path) -> Result<Value, HypervError> {
    path.to_str().map(Value::text).ok_or_else(|| {
        HypervError::new(
            Kind::Invalid,
            format!(
                "{doing}: {} is no text that Hyper-V could read",
                path.display()
            ),
        )
    })
}

fn check_count(doing: &str, what: &str, has: usize, given: usize) -> Result<(), HypervError> {
    if has == given {
        return Ok(());
    }
    Err(HypervError::new(
        Kind::Invalid,
        format!("{doing}: it has {has} {what} and {given} are given"),
    )
    .with_code(codes::INVALID_PARAMETER))
}
