//! The ids of things, made from what the simulated host knows (Hyper-V spec 3.4).

use hyperv::{CheckpointId, Controller, VmId};
use uuid::Uuid;

use crate::Manners;

/// The GUID that all IDE controllers share.
const IDE: &str = "83F8638B-8DCA-4152-9EDA-2CA8B33039B4";

/// Returns a GUID as Hyper-V writes it in names and ids.
pub(crate) fn guid_text(guid: Uuid) -> String {
    guid.hyphenated().to_string().to_uppercase()
}

/// Whose settings something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The GUID that ids begin with.
    pub guid: Uuid,
    /// What GUIDs of parts are made from.
    seed: Uuid,
}

impl Owner {
    /// Returns a VM's, planned or real.
    pub(crate) fn vm(vm: VmId) -> Self {
        Self {
            guid: vm.0,
            seed: vm.0,
        }
    }

    /// Returns a checkpoint's: its ids begin with its own GUID, and go on like the VM's as far
    /// as the manners have it (RH-5).
    pub(crate) fn checkpoint(vm: VmId, checkpoint: CheckpointId, manners: &Manners) -> Self {
        Self {
            guid: checkpoint.0,
            seed: match manners.checkpoint_keeps_ids {
                true => vm.0,
                false => checkpoint.0,
            },
        }
    }

    /// Returns one that names neither VM nor checkpoint, with the VM's parts.
    pub(crate) fn point(vm: VmId) -> Self {
        Self {
            guid: derived(vm.0, "reference point"),
            seed: vm.0,
        }
    }

    /// Returns the `InstanceID` of the settings themselves.
    pub(crate) fn settings_id(self) -> String {
        format!("Microsoft:{}", guid_text(self.guid))
    }

    /// Returns the id of a part with a fixed or made-up GUID and more behind it.
    pub(crate) fn part_id(self, part: &str) -> String {
        format!(r"{}\{part}", self.settings_id())
    }

    /// Returns the GUID of a part that has one of its own.
    pub(crate) fn part_guid(self, part: &str) -> String {
        guid_text(derived(self.seed, part))
    }

    /// Returns the id of a controller.
    pub(crate) fn controller_id(self, kind: Controller, number: u32, manners: &Manners) -> String {
        let number_in_id = match kind {
            Controller::Scsi if !manners.scsi_number_in_ids => 0,
            _ => number,
        };
        let guid = match kind {
            Controller::Ide => IDE.to_owned(),
            Controller::Scsi => self.part_guid(&format!("scsi {number}")),
            Controller::Pmem => self.part_guid(&format!("pmem {number}")),
        };
        self.part_id(&format!(r"{guid}\{number_in_id}"))
    }
}

/// Returns the GUID that stands for a part of something, always the same one (FNV-1a, twice).
fn derived(seed: Uuid, part: &str) -> Uuid {
    let half = |start: u64| {
        let bytes = seed.as_bytes().iter().copied().chain(part.bytes());
        bytes.fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
    };
    Uuid::from_u64_pair(half(0xCBF2_9CE4_8422_2325), half(0x8422_2325_CBF2_9CE4))
}

/// Returns the GUID of a virtual switch.
pub(crate) fn switch_guid(name: &str) -> String {
    guid_text(derived(Uuid::nil(), name))
}
