//! What `root\cimv2` says of the host.

use hyperv::sim::SimTruth;
use windows_host::wmi::Value;

use super::{Subject, World};
use crate::Manners;

/// Adds the host's name and Windows' version.
pub(super) fn add_host(world: &mut World<'_>, truth: &SimTruth, manners: &Manners) {
    let (name, build) = match manners.server_2016 {
        true => ("Microsoft Windows Server 2016 Standard", "14393"),
        false => ("Microsoft Windows Server 2022 Standard", "20348"),
    };
    let host = world.host.clone();
    world.add(
        "Win32_ComputerSystem",
        Subject::Thing,
        vec![
            ("Name", host.as_str().into()),
            ("Caption", host.as_str().into()),
            ("Domain", "WORKGROUP".into()),
            ("PartOfDomain", false.into()),
            ("DomainRole", 2u16.into()),
        ],
    );
    world.add(
        "Win32_OperatingSystem",
        Subject::Thing,
        vec![
            ("Name", name.into()),
            ("Caption", name.into()),
            ("Version", format!("10.0.{build}").into()),
            ("BuildNumber", build.into()),
            ("OperatingSystemSKU", Value::u32(7)),
            ("ProductType", Value::u32(3)),
            ("CSName", truth.name.as_str().into()),
        ],
    );
}
