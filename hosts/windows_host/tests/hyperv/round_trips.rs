//! Discovery costs the same number of calls for one VM as for many.

use hyperv::HypervHost;

use crate::world::World;

/// One call for each class that VMs are read from.
const CALLS_MAX: usize = 14;

/// Leaves out what is asked of each disk file.
fn wmi(calls: Vec<String>) -> Vec<String> {
    let calls = calls.into_iter();
    calls.filter(|call| !call.starts_with("disk ")).collect()
}

#[test]
fn many_vms_are_listed_in_as_few_calls_as_one() {
    let world = World::new();
    world.vm("first");
    world.meddler.take_calls();
    assert_eq!(world.host.vms().unwrap().len(), 1);
    let for_one = wmi(world.meddler.take_calls()).len();
    for number in 0..11 {
        world.vm(&format!("number {number}"));
    }
    world.meddler.take_calls();
    assert_eq!(world.host.vms().unwrap().len(), 12);
    let for_twelve = wmi(world.meddler.take_calls());
    assert_eq!(for_twelve.len(), for_one, "{for_twelve:#?}");
    assert!(for_one <= CALLS_MAX, "{for_twelve:#?}");
}
