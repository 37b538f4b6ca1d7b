//! Virtual switches, and adapters with their connections (Hyper-V spec 3.4 and 10.1 step 6).

use hyperv::NetworkAdapter;
use hyperv::sim::SimTruth;
use windows_host::wmi::{Value, with_key};

use super::guids::switch_guid;
use super::{Owner, Subject, World};
use crate::Manners;

const SWITCH: &str = "Msvm_VirtualEthernetSwitch";

/// Adds the switches of the host.
pub(super) fn add_switches(world: &mut World<'_>, truth: &SimTruth) {
    for name in &truth.switches {
        let properties = vec![
            ("CreationClassName", SWITCH.into()),
            ("Name", switch_guid(name).into()),
            ("ElementName", name.as_str().into()),
            ("EnabledState", 5u16.into()),
            ("HealthState", 5u16.into()),
        ];
        world.add(SWITCH, Subject::Switch(name.clone()), properties);
    }
}

/// The adapters of settings.
pub(super) struct Adapters<'a> {
    pub owner: Owner,
    pub now: &'a [NetworkAdapter],
    /// With the switches they hung on when the configuration was written.
    pub before: &'a [NetworkAdapter],
    /// What an adapter is.
    pub adapter: &'a dyn Fn(usize) -> Subject,
    /// What the connection of an adapter is.
    pub subject: &'a dyn Fn(usize) -> Subject,
}

/// Adds adapters and connections and returns what was added.
pub(super) fn add_adapters(
    world: &mut World<'_>,
    adapters: &Adapters<'_>,
    manners: &Manners,
) -> Vec<usize> {
    let mut added = Vec::new();
    for (at, adapter) in adapters.now.iter().enumerate() {
        let guid = adapters.owner.part_guid(&format!("adapter {at}"));
        let id = adapters.owner.part_id(&guid);
        let port = world.add(
            "Msvm_SyntheticEthernetPortSettingData",
            (adapters.adapter)(at),
            vec![
                ("InstanceID", id.as_str().into()),
                ("ElementName", adapter.name.as_str().into()),
                ("ResourceType", 10u16.into()),
                (
                    "ResourceSubType",
                    "Microsoft:Hyper-V:Synthetic Ethernet Port".into(),
                ),
                ("Address", adapter.mac_address.as_str().into()),
                ("StaticMacAddress", false.into()),
                ("ClusterMonitored", true.into()),
                (
                    "VirtualSystemIdentifiers",
                    Value::texts([format!("{{{guid}}}")]),
                ),
            ],
        );
        added.push(port);
        if adapter.switch.is_none() && !manners.disconnected_has_connection {
            continue;
        }
        let known = adapters
            .before
            .get(at)
            .and_then(|before| before.switch.as_deref());
        // One that was never here leads nowhere now: its path names a switch of another host.
        let hosts: Vec<String> = adapter
            .switch
            .iter()
            .map(|name| switch_path(name))
            .collect();
        let enabled: u16 = if hosts.is_empty() { 3 } else { 2 };
        let mut properties = vec![
            ("InstanceID", format!(r"{id}\C").into()),
            ("ElementName", "Ethernet Switch Port Settings".into()),
            ("ResourceType", 33u16.into()),
            (
                "ResourceSubType",
                "Microsoft:Hyper-V:Ethernet Connection".into(),
            ),
            ("Parent", world.path_of(port).into()),
            ("HostResource", Value::texts(hosts)),
            ("EnabledState", enabled.into()),
        ];
        if let Some(known) = adapter.switch.as_deref().or(known) {
            properties.push(("LastKnownSwitchName", known.into()));
        }
        let class = "Msvm_EthernetPortAllocationSettingData";
        added.push(world.add(class, (adapters.subject)(at), properties));
    }
    added
}

fn switch_path(name: &str) -> String {
    // Keys in the order that the class has them.
    let key = with_key(SWITCH, "Name", &switch_guid(name));
    format!("{key},CreationClassName=\"{SWITCH}\"")
}
