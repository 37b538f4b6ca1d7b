//! The one model of this process.

use std::sync::{Arc, OnceLock};

use fake_hyperv::schema::Schema;
use fake_hyperv::{FakeNamespaces, FakeStorage, from_environment, machine_folder};
use time_and_chance::{Chance, SystemClock};
use volume::sim::SimVolumeHost;
use windows_host::wmi::{Namespaces, WmiError, WmiSession};

/// The WMI of a machine.
#[derive(Debug)]
pub struct Model {
    /// None if the machine has no Hyper-V, or the switches are none.
    pub hyperv: Option<FakeNamespaces>,
    storage: FakeStorage,
}

impl Model {
    /// Returns the classes of a namespace.
    pub fn schema(&self, namespace: &str) -> Option<&Schema> {
        let of_hyperv = || self.hyperv.as_ref()?.schema(namespace);
        self.storage.schema(namespace).or_else(of_hyperv)
    }
}

impl Namespaces for Model {
    fn connect(&self, namespace: &str) -> Result<Arc<dyn WmiSession>, WmiError> {
        match &self.hyperv {
            Some(hyperv) if self.storage.schema(namespace).is_none() => hyperv.connect(namespace),
            _ => self.storage.connect(namespace),
        }
    }
}

static MODEL: OnceLock<Option<Model>> = OnceLock::new();

/// Returns the model; none if the environment names no machine.
pub fn model() -> Option<&'static Model> {
    MODEL.get_or_init(make).as_ref()
}

fn make() -> Option<Model> {
    let (clock, chance) = (SystemClock::new(), Chance::from_system());
    let machine = SimVolumeHost::new(&machine_folder()?, clock.clone(), chance.clone());
    let host = from_environment(clock.clone(), chance.clone());
    Some(Model {
        hyperv: host.map(|(host, manners)| FakeNamespaces::new(host, manners, clock, chance)),
        storage: FakeStorage::new(machine),
    })
}
