//! A node of a failover cluster (Hyper-V spec 13).

use fake_hyperv::Cluster;
use hyperv::sim::SimFault;
use hyperv::{HypervErrorKind as Kind, HypervHost, contract};
use time_and_chance::StopSignal;

use crate::world::World;

fn node() -> World {
    clustered(World::new())
}

fn clustered(world: World) -> World {
    world.extras().cluster = Some(Cluster {
        name: "CLU-Öst".to_owned(),
        ..Cluster::default()
    });
    world
}

#[test]
fn a_node_goes_by_its_clusters_name() {
    let world = World::new();
    let own = world.host.name().unwrap();
    let world = clustered(world);
    assert_eq!(world.host.name().unwrap(), "CLU-Öst");
    world.extras().cluster = None;
    assert_eq!(world.host.name().unwrap(), own);
}

#[test]
fn a_node_keeps_the_contract() {
    contract::run_all(node);
}

#[test]
fn a_vm_that_moved_is_told_to_be_on_its_node_at_every_step() {
    let world = node();
    let vm = world.vm("moves");
    let checkpoint = world.freeze(vm).unwrap();
    let moved = SimFault::MoveAway { step: None };
    world.sim.add_fault(vm, moved, None).unwrap();
    let told = |node: Option<&str>| {
        let stop = StopSignal::new();
        for error in [
            world.host.vm(vm).unwrap_err(),
            world.freeze(vm).unwrap_err(),
            world.host.frozen_disks(vm, checkpoint).unwrap_err(),
            world
                .host
                .convert_to_reference_point(vm, checkpoint, &stop)
                .unwrap_err(),
            world.host.destroy_checkpoint(vm, checkpoint).unwrap_err(),
            world.host.reference_points(vm).unwrap_err(),
            world.host.merge_state(vm).unwrap_err(),
            world.host.volume_space(vm).unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::NotFound, "{error}");
            let text = error.to_string();
            match node {
                Some(node) => assert!(text.contains(node), "{text}"),
                None => assert!(text.contains("moved to another"), "{text}"),
            }
        }
    };
    told(None);
    let owners = [(vm, "HV-02".to_owned())].into();
    world.extras().cluster.as_mut().unwrap().owners = owners;
    told(Some("HV-02"));
    // Back again, what it left is found and goes.
    world.sim.clear_faults(vm).unwrap();
    world.host.destroy_checkpoint(vm, checkpoint).unwrap();
    world.settle(vm);
}
