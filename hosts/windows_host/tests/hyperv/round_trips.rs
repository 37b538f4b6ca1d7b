//! Discovery costs the same number of calls for one VM as for many.

use hyperv::HypervHost;

use crate::world::World;

/// One call for each class that VMs are read from.
const CALLS_MAX: usize = 14;

#[test]
fn many_vms_are_listed_in_as_few_calls_as_one() {
    let world = World::new();
    world.vm("first");
    world.meddler.take_calls();
    assert_eq!(world.host.vms().unwrap().len(), 1);
    let for_one = world.meddler.take_calls().len();
    for number in 0..11 {
        world.vm(&format!("number {number}"));
    }
    world.meddler.take_calls();
    assert_eq!(world.host.vms().unwrap().len(), 12);
    let for_twelve = world.meddler.take_calls();
    assert_eq!(for_twelve.len(), for_one, "{for_twelve:#?}");
    assert!(for_one <= CALLS_MAX, "{for_twelve:#?}");
}
