//! A failover cluster: its name, and which node each VM is on (Hyper-V spec 13; medium).

use hyperv::VmId;
use hyperv::sim::SimTruth;
use windows_host::wmi::{Value, WmiObject};

use super::{Subject, World, guid_text};
use crate::extras::Cluster;

/// Adds the cluster, and a resource for each of its VMs: those here, and those elsewhere.
pub(super) fn add(world: &mut World<'_>, truth: &SimTruth, cluster: &Cluster) {
    let properties = vec![("Name", cluster.name.as_str().into())];
    world.add("MSCluster_Cluster", Subject::Thing, properties);
    for vm in &truth.vms {
        add_resource(world, vm.vm.id, &vm.vm.name, &truth.name);
    }
    let elsewhere = |vm: &VmId| truth.vms.iter().all(|here| here.vm.id != *vm);
    let mut owners: Vec<_> = cluster
        .owners
        .iter()
        .filter(|(vm, _)| elsewhere(vm))
        .collect();
    owners.sort();
    for (vm, node) in owners {
        add_resource(world, *vm, &guid_text(vm.0), node);
    }
}

fn add_resource(world: &mut World<'_>, vm: VmId, name: &str, node: &str) {
    let mut private = WmiObject {
        class: "MSCluster_Property".to_owned(),
        ..WmiObject::default()
    };
    private.set("VmID", guid_text(vm.0).to_lowercase());
    let properties = vec![
        (
            "Name",
            format!("Virtual Machine {name} {}", guid_text(vm.0)).into(),
        ),
        ("Type", "Virtual Machine".into()),
        ("OwnerNode", node.into()),
        ("OwnerGroup", name.into()),
        ("PrivateProperties", Value::Object(Box::new(private))),
    ];
    world.add("MSCluster_Resource", Subject::Thing, properties);
}
