//! The contract suite on the simulated host.

use crate::world::World;
use hyperv::contract::{self, ContractWorld};
use hyperv::{CheckpointId, SharedHypervHost, VmId};

impl ContractWorld for World {
    fn host(&self) -> SharedHypervHost {
        crate::world::shared(&self.host)
    }

    fn add_vm(&mut self, name: &str, disk_bytes: &[u64]) -> VmId {
        let disks = disk_bytes
            .iter()
            .map(|&bytes| hyperv::sim::SimDisk::new(bytes))
            .collect();
        self.host
            .add_vm(&hyperv::sim::SimVm::new(name, disks))
            .unwrap()
    }

    fn guest_write(&mut self, vm: VmId, disk: usize, offset: u64, bytes: &[u8]) {
        self.host.write(vm, disk as u32, offset, bytes).unwrap();
    }

    fn user_checkpoint(&mut self, vm: VmId) -> CheckpointId {
        self.host.checkpoint(vm, "mine").unwrap()
    }

    fn delete_vm(&mut self, vm: VmId) {
        self.host.delete_vm(vm, false).unwrap();
    }

    fn wait(&mut self) {}
}

#[test]
fn the_simulated_host_keeps_the_contract() {
    contract::run_all(World::new);
}
