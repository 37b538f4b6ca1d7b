//! Disks and network adapters of a planned VM: pointed to files and switches
//! (Hyper-V spec 10.1 steps 5 and 6).

use std::path::PathBuf;

use hyperv::{HypervError, HypervErrorKind as Kind, VmId, codes};

use super::disk_kinds;
use super::network::{self, CONNECTION, SWITCH, Switches};
use super::planned_system::{Configuration, configuration, manage, text_of};
use super::provider::Provider;
use crate::wmi::{EmbeddedSource, Value};

/// `ResourceType` and `ResourceSubType` of a connection.
const CONNECTION_TYPE: u16 = 33;
const CONNECTION_SUBTYPE: &str = "Microsoft:Hyper-V:Ethernet Connection";
/// `EnabledState` of a connection.
const ENABLED: u16 = 2;
const DISABLED: u16 = 3;

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
                let new = [
                    resource,
                    state,
                    ("ResourceType", Value::from(CONNECTION_TYPE)),
                    ("ResourceSubType", Value::text(CONNECTION_SUBTYPE)),
                    ("Parent", Value::text(&*adapter.object)),
                ];
                let source = EmbeddedSource::Class(CONNECTION);
                added.push(provider.embedded(&doing, source, &new)?);
            }
        }
    }
    modify(provider, &doing, planned, changed)?;
    add(provider, &doing, &configuration, planned, added)
}

/// Returns the names of the host's switches.
pub(super) fn switches(provider: &Provider) -> Result<Vec<String>, HypervError> {
    Ok(Switches::of(&provider.all(SWITCH)?)?.names())
}

pub(super) fn modify(
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

/// Adds parts to a planned VM.
pub(super) fn add(
    provider: &Provider,
    doing: &str,
    configuration: &Configuration,
    planned: VmId,
    settings: Vec<String>,
) -> Result<(), HypervError> {
    if settings.is_empty() {
        return Ok(());
    }
    let parameters = [
        (
            "AffectedConfiguration",
            Value::text(&*configuration.settings),
        ),
        ("ResourceSettings", Value::texts(settings)),
    ];
    manage(
        provider,
        doing,
        "AddResourceSettings",
        &parameters,
        Some(planned),
    )?;
    Ok(())
}

pub(super) fn remove(
    provider: &Provider,
    planned: VmId,
    objects: Vec<String>,
) -> Result<(), HypervError> {
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
