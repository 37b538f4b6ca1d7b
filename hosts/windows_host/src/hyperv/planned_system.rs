//! A planned VM: found, with its settings and their parts, and the calls that change it.

use std::path::{Path, PathBuf};

use hyperv::{HypervError, HypervErrorKind as Kind, VmId};
use time_and_chance::StopSignal;

use super::discovery;
use super::errors::wmi_error;
use super::method::{Answer, Change, Failed};
use super::provider::{MANAGEMENT, Provider, system_path};
use super::settings;
use crate::wmi::{Value, WmiError, WmiObject};

/// The class of planned VMs.
pub(super) const PLANNED: &str = "Msvm_PlannedComputerSystem";

/// A planned VM's settings and their parts.
pub(super) struct Configuration {
    pub settings: String,
    /// The folder it was imported from and is to live in.
    pub folder: Option<PathBuf>,
    pub components: Vec<WmiObject>,
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

pub(super) fn find(provider: &Provider, planned: VmId) -> Result<WmiObject, HypervError> {
    let doing = format!("find planned VM {planned}");
    let found = provider.find(&doing, &system_path(PLANNED, planned))?;
    found.ok_or_else(|| HypervError::new(Kind::NotFound, format!("{doing}: there is none")))
}

pub(super) fn configuration(
    provider: &Provider,
    planned: VmId,
) -> Result<Configuration, HypervError> {
    let own = own_settings(provider, planned)?;
    let path = own
        .path()
        .map_err(|error| unreadable(planned, error))?
        .to_owned();
    Ok(Configuration {
        components: provider.components(&path)?,
        folder: root(planned, &own)?,
        settings: path,
    })
}

/// Returns the folder a planned VM was imported from, or is to live in.
pub(super) fn folder(provider: &Provider, planned: VmId) -> Result<Option<PathBuf>, HypervError> {
    root(planned, &own_settings(provider, planned)?)
}

fn own_settings(provider: &Provider, planned: VmId) -> Result<WmiObject, HypervError> {
    let system = find(provider, planned)?;
    let path = system.path().map_err(|error| unreadable(planned, error))?;
    discovery::own_settings(provider, planned, path)
}

fn root(planned: VmId, settings: &WmiObject) -> Result<Option<PathBuf>, HypervError> {
    let folder = settings
        .optional_text("ConfigurationDataRoot")
        .map_err(|error| unreadable(planned, error))?;
    Ok(folder
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from))
}

fn unreadable(planned: VmId, error: WmiError) -> HypervError {
    wmi_error(&format!("read planned VM {planned}"), error)
}

pub(super) fn manage(
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
        is_cancelled_in_the_end: false,
        vm,
    };
    provider.change(change, &StopSignal::new())
}

pub(super) fn path_of(object: &WmiObject) -> Result<Value, HypervError> {
    let path = object
        .path()
        .map_err(|error| wmi_error("read a planned VM", error))?;
    Ok(Value::text(path))
}

pub(super) fn text_of(doing: &str, path: &Path) -> Result<Value, HypervError> {
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

/// Takes a planned VM away.
pub(super) fn destroy(provider: &Provider, planned: VmId) -> Result<(), HypervError> {
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
