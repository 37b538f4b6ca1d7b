//! A planned VM: found, with its settings and their parts, and the calls that change it.

use std::path::{Path, PathBuf};

use hyperv::{HypervError, HypervErrorKind as Kind, VmId};
use time_and_chance::StopSignal;

use super::discovery;
use super::errors::wmi_error;
use super::method::{Answer, Change, Failed};
use super::provider::{MANAGEMENT, Provider, system_path};
use crate::wmi::{Value, WmiObject};

/// The class of planned VMs.
pub(super) const PLANNED: &str = "Msvm_PlannedComputerSystem";

/// A planned VM's settings and their parts.
pub(super) struct Configuration {
    pub settings: String,
    /// The folder it was imported from and is to live in.
    pub folder: Option<PathBuf>,
    pub components: Vec<WmiObject>,
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
