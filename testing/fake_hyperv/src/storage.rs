//! The simulated machine's disks and volumes as Windows' storage management shows them, in
//! `root\Microsoft\Windows\Storage`.
//!
//! A machine has this namespace whether it has Hyper-V or not. It is asked for objects, and knows no
//! methods and no associations.
//!
//! | Behaviour | Source | Confidence |
//! |---|---|---|
//! | classes, names and types of properties | Microsoft's pages on MSFT_Disk, MSFT_Partition, MSFT_Volume | high |
//! | `AccessPaths` holds the volume's own name beside the folders it is mounted in | what `Get-Partition` shows | high |
//! | `AccessPaths` is not set where there is no volume; `DriveLetter` where there is no letter | the page on MSFT_Partition, for the letter | medium |
//! | a serial number that a disk does not tell is made of blanks | what `Get-Disk` shows | medium |
//! | a volume that no partition names is one of a manager: it has no place | | own |

use std::sync::Arc;

use volume::sim::SimVolumeHost;
use volume::{StorageLayout as _, VolumeError};
use windows_host::wmi::{
    EmbeddedSource, Namespaces, TextForm, Value, WmiError, WmiObject, WmiSession,
};

use crate::codes;
use crate::schema::Schema;
use crate::world::World;
use crate::wql::{self, Query};

/// What the machine is called in paths: it has no name of its own.
const MACHINE: &str = "SIMULATED";

/// The storage management of a simulated machine.
#[derive(Debug, Clone)]
pub struct FakeStorage {
    host: SimVolumeHost,
    schema: Arc<Schema>,
}

impl FakeStorage {
    /// Shows a machine.
    pub fn new(host: SimVolumeHost) -> Self {
        Self {
            host,
            schema: Arc::new(Schema::storage()),
        }
    }

    /// Returns the classes of the namespace, if the name is its own.
    pub fn schema(&self, namespace: &str) -> Option<&Schema> {
        crate::is_namespace(crate::STORAGE, namespace).then(|| &*self.schema)
    }

    fn world(&self) -> Result<World<'_>, WmiError> {
        let failed = |error: VolumeError| WmiError::call(error.to_string(), codes::FAILED);
        let disks = self.host.disks().map_err(failed)?;
        let volumes = self.host.volumes().map_err(failed)?;
        Ok(World::storage(&self.schema, MACHINE, &disks, &volumes))
    }
}

impl Namespaces for FakeStorage {
    fn connect(&self, namespace: &str) -> Result<Arc<dyn WmiSession>, WmiError> {
        match self.schema(namespace) {
            Some(_) => Ok(Arc::new(self.clone())),
            None => Err(WmiError::call(
                format!("connect to the namespace {namespace}"),
                codes::INVALID_NAMESPACE,
            )),
        }
    }
}

impl WmiSession for FakeStorage {
    fn query(&self, wql: &str) -> Result<Vec<WmiObject>, WmiError> {
        let query = wql::parse(wql).map_err(|wql::SyntaxError| {
            WmiError::call(format!("understand the query {wql}"), codes::INVALID_QUERY)
        })?;
        let Query::Select {
            class, condition, ..
        } = &query
        else {
            return Err(not_here("follow associations"));
        };
        let world = self.world()?;
        let rows = world.select(class, condition.as_ref())?;
        let rows = rows.iter();
        rows.map(|(object, _)| world.selected(object, query.properties()))
            .collect()
    }

    fn get(&self, path: &str) -> Result<WmiObject, WmiError> {
        let world = self.world()?;
        let at = world.object_at(path)?;
        world.full(&world.instances[at].object)
    }

    fn class_properties(&self, class: &str) -> Result<Vec<String>, WmiError> {
        let properties = self.schema.wanted(class)?.properties.iter();
        Ok(properties.map(|property| property.name.clone()).collect())
    }

    fn call(&self, _: &str, _: &str, _: &[(&str, Value)]) -> Result<WmiObject, WmiError> {
        Err(not_here("call a method"))
    }

    fn embedded_as(
        &self,
        _: TextForm,
        _: EmbeddedSource<'_>,
        _: &[(&str, Value)],
    ) -> Result<String, WmiError> {
        Err(not_here("embed an object"))
    }
}

fn not_here(doing: &str) -> WmiError {
    WmiError::call(
        format!("{doing} of the storage management"),
        codes::NOT_SUPPORTED,
    )
}
