//! Security settings: whether a VM has a virtual TPM (Hyper-V spec 9.2).

use hyperv::VmId;

use super::{Owner, Subject, World};
use crate::extras::Extras;

/// Adds the security settings that belong to the settings of `owner`.
pub(super) fn add(world: &mut World<'_>, owner: Owner, vm: VmId, extras: &Extras) -> usize {
    let protected = extras.key_protectors.contains_key(&vm);
    world.add(
        "Msvm_SecuritySettingData",
        Subject::Security(vm),
        vec![
            ("InstanceID", owner.part_id("Security").into()),
            ("TpmEnabled", protected.into()),
            ("KsdEnabled", false.into()),
            ("ShieldingRequested", false.into()),
            ("DataProtectionRequested", false.into()),
            ("EncryptStateAndVmMigrationTraffic", false.into()),
            ("VirtualizationBasedSecurityOptOut", false.into()),
            ("BindToHostTpm", false.into()),
        ],
    )
}
