//! What the model knows of a host that its simulation does not: things that backups carry along,
//! ask for or refuse, and that change nothing of how disks behave.

use std::collections::{HashMap, HashSet};

use hyperv::{Controller, VmId};

/// Where a drive hangs: its controller, that one's number, and the location on it.
pub type Place = (Controller, u32, u32);

/// What there is beside the simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// The failover cluster that this host is a node of (Hyper-V spec 2.1, 13; medium).
    pub cluster: Option<Cluster>,
    /// VMs whose guests are members of a failover cluster (spec 4.7; medium).
    pub guest_clusters: HashMap<VmId, GuestCluster>,
    /// Key protectors of VMs and planned VMs with a virtual TPM (spec 9.2; high).
    pub key_protectors: HashMap<VmId, Vec<u8>>,
    /// VMs whose disks are not to be merged for now (spec 9.1, RH-4; medium).
    pub merging_off: HashSet<VmId>,
    /// Drives of VMs, by their places, into which no file was put yet (spec 3.4).
    pub empty_drives: HashSet<(VmId, Place)>,
    /// How the memory of VMs and planned VMs may grow and shrink, where that was said (spec 10.3).
    pub memory: HashMap<VmId, MemorySettings>,
}

/// What `Msvm_MemorySettingData` says of memory beside how much there is when the VM starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySettings {
    /// `DynamicMemoryEnabled`.
    pub is_dynamic: bool,
    /// `Reservation`.
    pub reservation_mib: u64,
    /// `Limit`.
    pub limit_mib: u64,
    /// `TargetMemoryBuffer`.
    pub buffer_percent: Option<u32>,
    /// `Weight`.
    pub weight: Option<u32>,
}

/// A failover cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The nodes that VMs are on which are not here.
    pub owners: HashMap<VmId, String>,
}

/// What a guest tells of its failover cluster: `Msvm_GuestClusterInformation`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestCluster {
    /// `ClusterId`.
    pub id: String,
    /// `SharedVirtualHardDiskPaths`.
    pub shared_disks: Vec<String>,
}
