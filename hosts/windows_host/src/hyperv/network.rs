//! Network adapters of a configuration, and the switches they hang on (Hyper-V spec 10.1).

use std::collections::HashMap;

use hyperv::{HypervError, NetworkAdapter};

use super::errors::wmi_error;
use crate::wmi::{WmiObject, key_of};

/// The class of an adapter's connection to a switch.
pub(super) const CONNECTION: &str = "Msvm_EthernetPortAllocationSettingData";
/// The class of switches.
pub(super) const SWITCH: &str = "Msvm_VirtualEthernetSwitch";
/// The classes of adapters.
pub(super) const ADAPTERS: [&str; 2] = [
    "Msvm_SyntheticEthernetPortSettingData",
    "Msvm_EmulatedEthernetPortSettingData",
];
/// `EnabledState` of a connection that is cut.
const DISABLED: u16 = 3;

/// Names of switches by their GUIDs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Switches {
    names: HashMap<String, (String, String)>,
}

impl Switches {
    /// Reads the switches of a host.
    pub(super) fn of(objects: &[WmiObject]) -> Result<Self, HypervError> {
        let wrong = |error| wmi_error("list switches", error);
        let mut names = HashMap::new();
        for object in objects {
            let id = object.text("Name").map_err(wrong)?.to_uppercase();
            let name = object.text("ElementName").map_err(wrong)?.to_owned();
            names.insert(id, (name, object.path().map_err(wrong)?.to_owned()));
        }
        Ok(Self { names })
    }

    /// Returns the names, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.values().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Returns the path of a switch of this name; of several, always the same.
    pub(super) fn path(&self, name: &str) -> Option<&str> {
        let found = self.names.iter().filter(|(_, (known, _))| known == name);
        found.min().map(|(_, (_, path))| path.as_str())
    }

    fn name_at(&self, path: &str) -> Option<&str> {
        let id = key_of(path, "Name")?.to_uppercase();
        self.names.get(&id).map(|(name, _)| name.as_str())
    }
}

/// An adapter with what a restore needs to connect it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Adapter {
    pub adapter: NetworkAdapter,
    /// The switch it last hung on, whether that is here or not.
    pub last_switch: Option<String>,
    /// The path of the adapter's settings.
    pub object: String,
    /// The path of its connection's settings, if it ever had one.
    pub connection: Option<String>,
}

/// Finds the adapters among the parts of a configuration, in the order they come.
pub(super) fn adapters(
    components: &[WmiObject],
    switches: &Switches,
) -> Result<Vec<Adapter>, HypervError> {
    let wrong = |error| wmi_error("read the network adapters of a VM", error);
    let ports = components
        .iter()
        .filter(|object| ADAPTERS.iter().any(|class| object.is(class)));
    ports
        .map(|port| {
            let id = port.text("InstanceID").map_err(wrong)?;
            let connection = components
                .iter()
                .filter(|object| object.is(CONNECTION))
                .find(|object| hangs_on(object, id));
            let text = |name| port.optional_text(name).map_err(wrong);
            Ok(Adapter {
                adapter: NetworkAdapter {
                    name: text("ElementName")?.unwrap_or("network adapter").to_owned(),
                    mac_address: text("Address")?.unwrap_or_default().to_owned(),
                    switch: connection.and_then(|connection| switch_now(connection, switches)),
                },
                last_switch: connection.and_then(|connection| last_switch(connection, switches)),
                object: port.path().map_err(wrong)?.to_owned(),
                connection: connection.and_then(|connection| connection.path.clone()),
            })
        })
        .collect()
}

fn hangs_on(connection: &WmiObject, port: &str) -> bool {
    let parent = connection
        .text("Parent")
        .ok()
        .and_then(|path| key_of(path, "InstanceID"));
    parent.is_some_and(|parent| parent.eq_ignore_ascii_case(port))
}

fn switch_now(connection: &WmiObject, switches: &Switches) -> Option<String> {
    if connection.u16("EnabledState") == Ok(DISABLED) {
        return None;
    }
    let resources = connection.texts("HostResource").ok()?;
    switches.name_at(resources.first()?).map(str::to_owned)
}

fn last_switch(connection: &WmiObject, switches: &Switches) -> Option<String> {
    let last = connection
        .text("LastKnownSwitchName")
        .ok()
        .filter(|name| !name.is_empty());
    last.map(str::to_owned)
        .or_else(|| switch_now(connection, switches))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wmi::{Value, with_key};

    fn switch(id: &str, name: &str) -> WmiObject {
        let mut object = WmiObject {
            class: SWITCH.to_owned(),
            path: Some(switch_path(id)),
            properties: Vec::new(),
        };
        object.set("Name", id);
        object.set("ElementName", name);
        object
    }

    fn switch_path(id: &str) -> String {
        format!("{SWITCH}.CreationClassName=\"{SWITCH}\",Name=\"{id}\"")
    }

    fn part(class: &str, id: &str) -> WmiObject {
        let mut object = WmiObject {
            class: class.to_owned(),
            path: Some(with_key(class, "InstanceID", id)),
            properties: Vec::new(),
        };
        object.set("InstanceID", id);
        object
    }

    #[test]
    fn an_adapter_tells_the_switch_it_hangs_on_and_hung_on_last() {
        let switches = Switches::of(&[switch("AA", "LAN \"1\""), switch("BB", "DMZ")]).unwrap();
        for (resource, state, last, now, remembered) in [
            (Some("aa"), 2u16, None, Some("LAN \"1\""), Some("LAN \"1\"")),
            (Some("BB"), 3, Some("DMZ"), None, Some("DMZ")),
            (Some("CC"), 2, Some("elsewhere"), None, Some("elsewhere")),
            (None, 2, Some(""), None, None),
        ] {
            let mut port = part(ADAPTERS[0], "Microsoft:V\\P");
            port.set("ElementName", "Netzwerk");
            port.set("Address", "00155D010203");
            let mut connection = part(CONNECTION, "Microsoft:V\\P\\C");
            connection.set(
                "Parent",
                with_key(ADAPTERS[0], "InstanceID", "Microsoft:V\\P"),
            );
            connection.set("EnabledState", state);
            if let Some(id) = resource {
                connection.set("HostResource", Value::texts([switch_path(id)]));
            }
            if let Some(last) = last {
                connection.set("LastKnownSwitchName", last);
            }
            let found = adapters(&[connection, port], &switches).unwrap().remove(0);
            assert_eq!(found.adapter.switch.as_deref(), now);
            assert_eq!(found.last_switch.as_deref(), remembered);
            assert_eq!(found.adapter.mac_address, "00155D010203");
        }
    }

    #[test]
    fn an_adapter_that_was_never_connected_has_no_connection() {
        let found = adapters(&[part(ADAPTERS[1], "Microsoft:V\\P")], &Switches::default()).unwrap();
        assert_eq!(found[0].connection, None);
        assert_eq!(found[0].adapter.switch, None);
    }

    #[test]
    fn switches_of_one_name_are_told_apart_the_same_way_every_time() {
        let switches = Switches::of(&[switch("BB", "LAN"), switch("AA", "LAN")]).unwrap();
        assert_eq!(switches.path("LAN"), Some(switch_path("AA").as_str()));
        assert_eq!(switches.path("lan"), None);
        assert_eq!(switches.names(), ["LAN", "LAN"]);
    }
}
