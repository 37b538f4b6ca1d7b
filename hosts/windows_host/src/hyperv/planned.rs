//! Planned VMs: imported, pointed to their files and switches, realised or given up
//! (Hyper-V spec 10.1).

use std::path::Path;

use hyperv::{
    ConfigurationFile, HypervError, HypervErrorKind as Kind, NetworkAdapter, PlannedVm,
    ValidationMessage, VmId, codes,
};
use time_and_chance::StopSignal;

use super::configuration_files::KEY_PROTECTOR;
use super::disk_kinds::{self, Disks};
use super::errors::wmi_error;
use super::imported::{Before, id_at};
use super::method::{Change, Failed};
use super::network::{self, Adapter, SWITCH, Switches};
use super::planned_parts::remove;
use super::planned_system::{
    Configuration, configuration, destroy, find, manage, path_of, text_of,
};
use super::provider::{COMPUTER_SYSTEM, MANAGEMENT, Provider};
use super::settings::ROOTS;
use super::staging::{stage, unstage};
use crate::wmi::{EmbeddedSource, Value};

const SECURITY: &str = "Msvm_SecuritySettingData";
const SECURITY_SERVICE: &str = "Msvm_SecurityService";

/// Imports a configuration (steps 3 and 4, and what of 5 and 7 needs no files).
pub(super) fn import(
    provider: &Provider,
    configuration: &[ConfigurationFile],
    folder: &Path,
    name: &str,
    new_id: bool,
) -> Result<PlannedVm, HypervError> {
    let doing = format!("import the VM {name}");
    let before = Before::of(provider)?;
    let definition = stage(&doing, configuration, folder)?;
    let parameters = [
        ("SystemDefinitionFile", text_of(&doing, &definition)?),
        ("SnapshotFolder", Value::text("")),
        ("GenerateNewSystemIdentifier", Value::Bool(new_id)),
    ];
    let change = Change {
        doing: &doing,
        object: &provider.service(MANAGEMENT)?,
        method: "ImportSystemDefinition",
        parameters: &parameters,
        limit: provider.beliefs.limits.other,
        is_cancelled_in_the_end: true,
        vm: None,
    };
    // A VM with the same id is told of as such.
    let answer = provider.change(change, &StopSignal::new());
    let answer = answer.map_err(|failed| match failed.error.kind() {
        Kind::OutcomeUnknown => failed,
        _ => import_error(failed).into(),
    });
    let id = before.made(provider, &doing, answer, "ImportedSystem", folder);
    let adapted = match id {
        Ok(id) => adapt(provider, id, configuration, folder, name).inspect_err(|_| {
            let _the_first_error_counts = destroy(provider, id);
        }),
        Err(error) => Err(error),
    };
    adapted.inspect_err(|_| unstage(folder))
}

/// Says what a refused import means: files in use, or there already, are those of a VM with the
/// same id (spec 16), whether the method says so or its job.
fn import_error(failed: Failed) -> HypervError {
    let code = failed.error.code();
    let Some(code) = code.filter(|code| codes::is_of_another_vm(*code)) else {
        return match failed.is_refusal {
            true => failed.error.of_configuration(),
            false => failed.error,
        };
    };
    HypervError::new(
        Kind::Invalid,
        "import the VM: a VM with its id is on this host",
    )
    .with_code(code)
    .caused_by(failed.error)
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
        disks: disks.files.iter().map(|disk| disk.frozen()).collect(),
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
        is_cancelled_in_the_end: false,
        vm: None,
    };
    provider.change(change, &StopSignal::new())?;
    Ok(())
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
    let made = provider.made(&answer, "ResultingSystem", COMPUTER_SYSTEM);
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

fn adapters(
    provider: &Provider,
    configuration: &Configuration,
) -> Result<Vec<Adapter>, HypervError> {
    let switches = Switches::of(&provider.all(SWITCH)?)?;
    network::adapters(&configuration.components, &switches)
}
