//! A VM that a self-test makes for itself: defined, given a disk, and destroyed (Hyper-V spec 3.3,
//! 3.4, 10.3).
//!
//! It is of generation 1, which comes with its controllers, and is never switched on. What is not
//! said of it is the host's choice.

use std::path::{Path, PathBuf};

use hyperv::{HypervError, HypervErrorKind as Kind, VmId};
use time_and_chance::StopSignal;

use super::discovery;
use super::disk_kinds::{
    DISK_TYPE, DRIVE, DRIVE_TYPE, IDE_CONTROLLER, RESOURCE, STORAGE, VIRTUAL_HARD_DISK,
};
use super::errors::wmi_error;
use super::imported::id_at;
use super::method::{Answer, Change};
use super::planned_system::{manage, path_of, text_of};
use super::provider::{COMPUTER_SYSTEM, MANAGEMENT, Provider};
use super::settings::{self, ROOTS, SETTINGS};
use crate::wmi::{EmbeddedSource, Value, WmiObject};

/// A VM to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnVm {
    /// Its name, which nothing else has.
    pub name: String,
    /// What is noted of it, for people who come across it.
    pub notes: String,
    /// Where its files go.
    pub folder: PathBuf,
    /// Its disk, which is there already.
    pub disk: PathBuf,
}

/// Makes the VM. One that could be made and not be given its disk is found by its name.
pub(super) fn make(provider: &Provider, vm: &OwnVm) -> Result<VmId, HypervError> {
    let doing = format!("make the VM {}", vm.name);
    let id = define(provider, &doing, vm)?;
    attach(provider, &doing, id, &vm.disk)?;
    Ok(id)
}

fn define(provider: &Provider, doing: &str, vm: &OwnVm) -> Result<VmId, HypervError> {
    let folder = text_of(doing, &vm.folder)?;
    let mut properties = vec![
        ("ElementName", Value::text(&*vm.name)),
        ("Notes", Value::texts([&*vm.notes])),
        (
            "VirtualSystemSubType",
            Value::text("Microsoft:Hyper-V:SubType:1"),
        ),
    ];
    properties.extend(ROOTS.map(|root| (root, folder.clone())));
    let settings = provider.embedded(doing, EmbeddedSource::Class(SETTINGS), &properties)?;
    let parameters = [("SystemSettings", Value::Text(settings))];
    // What would be made after that nobody waits for any more.
    let change = Change {
        doing,
        object: &provider.service(MANAGEMENT)?,
        method: "DefineSystem",
        parameters: &parameters,
        limit: provider.beliefs.limits.other,
        is_cancelled_in_the_end: true,
        vm: None,
    };
    match provider.change(change, &StopSignal::new()) {
        Ok(answer) => match made(provider, &answer) {
            Some(id) => Ok(id),
            None => named(provider, &vm.name)?.ok_or_else(|| {
                HypervError::new(
                    Kind::OutcomeUnknown,
                    format!("{doing}: Hyper-V did so and does not list it"),
                )
            }),
        },
        // Its end was not seen, but what it made may be.
        Err(failed) if failed.error.kind() == Kind::OutcomeUnknown => {
            named(provider, &vm.name)?.ok_or(failed.error)
        }
        Err(failed) => Err(failed.error),
    }
}

fn made(provider: &Provider, answer: &Answer) -> Option<VmId> {
    let made = provider.made(answer, "ResultingSystem", COMPUTER_SYSTEM);
    made.iter().find_map(|path| id_at(path))
}

/// Returns the VM of a name that only one has.
fn named(provider: &Provider, name: &str) -> Result<Option<VmId>, HypervError> {
    let systems = provider.all(COMPUTER_SYSTEM)?;
    let mut named = systems
        .iter()
        .filter(|system| system.text("ElementName") == Ok(name));
    Ok(named.find_map(settings::vm_id))
}

/// Hangs a drive on the first IDE controller and puts the disk into it.
fn attach(provider: &Provider, doing: &str, vm: VmId, disk: &Path) -> Result<(), HypervError> {
    let wrong = |error| wmi_error(doing, error);
    let system = provider.system(vm)?;
    let own = discovery::own_settings(provider, vm, system.path().map_err(wrong)?)?;
    let own = own.path().map_err(wrong)?;
    let add = |class, properties: &[(&str, Value)]| {
        let part = provider.embedded(doing, EmbeddedSource::Class(class), properties)?;
        let parameters = [
            ("AffectedConfiguration", Value::text(own)),
            ("ResourceSettings", Value::texts([part])),
        ];
        manage(provider, doing, "AddResourceSettings", &parameters, None)
            .map_err(|failed| failed.error)
    };
    let part = |sub: &str| -> Result<Value, HypervError> {
        let parts = provider.components(own)?;
        let mut parts = parts.iter().filter(|part| is_of(part, sub));
        let part = parts
            .next()
            .ok_or_else(|| HypervError::new(Kind::Failed, format!("{doing}: it has no {sub}")))?;
        path_of(part)
    };
    add(
        RESOURCE,
        &[
            ("ResourceType", Value::from(DRIVE_TYPE)),
            ("ResourceSubType", Value::text(DRIVE)),
            ("Parent", part(IDE_CONTROLLER)?),
            ("AddressOnParent", Value::text("0")),
        ],
    )?;
    add(
        STORAGE,
        &[
            ("ResourceType", Value::from(DISK_TYPE)),
            ("ResourceSubType", Value::text(VIRTUAL_HARD_DISK)),
            ("Parent", part(DRIVE)?),
            ("HostResource", Value::Array(vec![text_of(doing, disk)?])),
        ],
    )?;
    Ok(())
}

fn is_of(part: &WmiObject, sub: &str) -> bool {
    part.text("ResourceSubType") == Ok(sub)
}

/// Destroys a VM; its disk files stay.
pub(super) fn destroy(provider: &Provider, vm: VmId) -> Result<(), HypervError> {
    let doing = format!("remove VM {vm}");
    let parameters = [("AffectedSystem", path_of(&provider.system(vm)?)?)];
    manage(provider, &doing, "DestroySystem", &parameters, Some(vm))?;
    Ok(())
}
