//! `GetVirtualHardDiskSettingData`: what a disk file is, asked of the management service, which
//! is told also of files that a running VM keeps to itself (Hyper-V spec 3.4).

use std::path::{Path, PathBuf};

use hyperv::sim::{SimAccess, SimDiskFacts};
use windows_host::wmi::{Value, WmiObject};

use super::{Answer, Call, Trouble};
use crate::embedded;
use crate::failure::Refusal;

const CLASS: &str = "Msvm_VirtualHardDiskSettingData";
/// `Format`.
const VHDX: u16 = 3;
/// `Type`.
const FIXED: u16 = 2;
const DYNAMIC: u16 = 3;
const DIFFERENCING: u16 = 4;

pub(super) fn settings(call: &Call<'_>) -> Result<Answer, Trouble> {
    let path = PathBuf::from(call.parameters.text("Path")?);
    let opened = call
        .model
        .host
        .open_virtual_disk(&path, SimAccess::Information);
    let disk = opened.map_err(|_| Refusal::FilesInUse)?;
    let schema = call.model.schema();
    let class = schema.class(CLASS).expect("the model knows its classes");
    let text = embedded::write(class, &describe(&path, disk.facts()));
    Ok(Answer::Done(vec![("SettingData", Value::Text(text))]))
}

fn describe(path: &Path, facts: &SimDiskFacts) -> WmiObject {
    let kind = match (&facts.parent, facts.fixed) {
        (Some(_), _) => DIFFERENCING,
        (None, true) => FIXED,
        (None, false) => DYNAMIC,
    };
    let parent = facts.parent.as_deref().unwrap_or(Path::new(""));
    let id = facts.virtual_disk_id.hyphenated().to_string();
    let mut object = WmiObject {
        class: CLASS.to_owned(),
        ..WmiObject::default()
    };
    object.set("Path", path.display().to_string());
    object.set("ParentPath", parent.display().to_string());
    object.set("Format", VHDX);
    object.set("Type", kind);
    object.set(
        "MaxInternalSize",
        Value::decimal(facts.geometry.virtual_bytes),
    );
    object.set("BlockSize", Value::u32(facts.block_bytes));
    object.set(
        "LogicalSectorSize",
        Value::u32(facts.geometry.logical_sector_bytes),
    );
    object.set(
        "PhysicalSectorSize",
        Value::u32(facts.geometry.physical_sector_bytes),
    );
    object.set("VirtualDiskId", id.to_uppercase());
    object
}
