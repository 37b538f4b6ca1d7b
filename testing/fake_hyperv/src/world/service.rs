//! The services, each a single row (Hyper-V spec 2.4).

use hyperv::sim::SimTruth;

use super::{DEPENDENCY, ELEMENT, Subject, World};

const SERVICES: [(&str, &str); 5] = [
    ("Msvm_VirtualSystemManagementService", "vmms"),
    ("Msvm_VirtualSystemSnapshotService", "vssnapsvc"),
    ("Msvm_VirtualSystemReferencePointService", "vsrpsvc"),
    ("Msvm_ImageManagementService", "ims"),
    ("Msvm_SecurityService", "securitysvc"),
];

/// Adds the services of the host, and where new VMs go by default.
pub(super) fn add_services(world: &mut World<'_>, truth: &SimTruth, host: usize) {
    for (class, name) in SERVICES {
        let system = world.host.clone();
        let service = world.add(
            class,
            Subject::Thing,
            vec![
                ("SystemCreationClassName", "Msvm_ComputerSystem".into()),
                ("SystemName", system.into()),
                ("CreationClassName", class.into()),
                ("Name", name.into()),
                ("EnabledState", 2u16.into()),
                ("Started", true.into()),
            ],
        );
        world.link("Msvm_HostedService", DEPENDENCY, host, service);
        if name == "vmms" {
            let folder = truth.vms_folder.display().to_string();
            let settings = world.add(
                "Msvm_VirtualSystemManagementServiceSettingData",
                Subject::Thing,
                vec![
                    ("InstanceID", format!("Microsoft:{}", world.host).into()),
                    ("DefaultExternalDataRoot", folder.as_str().into()),
                    ("DefaultVirtualHardDiskPath", folder.as_str().into()),
                    ("NumaSpanningEnabled", true.into()),
                ],
            );
            world.link("Msvm_ElementSettingData", ELEMENT, service, settings);
        }
    }
}
