//! Every WMI object there is at one instant, made from what the simulated host and machine have.

mod allocation;
mod cimv2;
mod cluster;
mod dmtf;
mod guids;
mod machine;
mod network;
mod security;
mod select;
mod service;
mod settings;
mod storage;

use hyperv::sim::SimTruth;
use volume::{Disk, Volume};
use windows_host::wmi::{Value, WmiError, WmiObject};

use crate::Manners;
use crate::codes;
use crate::extras::{Extras, Place};
use crate::object_path::ObjectPath;
use crate::schema::Schema;

pub(crate) use dmtf::{interval, moment};
pub(crate) use guids::{Owner, guid_text};
pub(crate) use select::Row;

/// What an object is, for those who act on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Subject {
    /// Nothing that methods act on.
    Thing,
    /// A VM.
    Vm(hyperv::VmId),
    /// A planned VM.
    Planned(hyperv::VmId),
    /// The settings of a VM, as they are now.
    Settings(hyperv::VmId),
    /// The settings of a planned VM.
    PlannedSettings(hyperv::VmId),
    /// A controller of a VM: its kind and its number among those.
    Controller(hyperv::VmId, hyperv::Controller, u32),
    /// A drive of a VM that no file is in, by its place.
    EmptyDrive(hyperv::VmId, Place),
    /// A checkpoint.
    Checkpoint(hyperv::VmId, hyperv::CheckpointId),
    /// A part of a checkpoint.
    CheckpointPart(hyperv::VmId),
    /// A reference point.
    Point(hyperv::VmId, hyperv::ReferencePointId),
    /// A disk file of a planned VM, or its drive, by its place in the order of its disks.
    PlannedDisk(hyperv::VmId, usize),
    /// A network connection of a planned VM, by its place in the order of its adapters.
    PlannedConnection(hyperv::VmId, usize),
    /// A network adapter of a planned VM, by its place in their order.
    PlannedAdapter(hyperv::VmId, usize),
    /// A controller of a planned VM, by its number among those of its kind.
    PlannedController(hyperv::VmId, hyperv::Controller, u32),
    /// The processors of a planned VM.
    PlannedProcessors(hyperv::VmId),
    /// The memory of a planned VM.
    PlannedMemory(hyperv::VmId),
    /// A pass-through drive of a planned VM.
    PlannedPassThrough(hyperv::VmId, String),
    /// The security settings of a VM, a planned VM or a VM's checkpoint.
    Security(hyperv::VmId),
    /// What tells whether a VM's disks may be merged.
    MergeSettings(hyperv::VmId),
    /// What asks a VM's guest.
    GuestService(hyperv::VmId),
    /// A virtual switch.
    Switch(String),
    /// A job, by its id.
    Job(String),
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instance {
    pub object: WmiObject,
    pub path: ObjectPath,
    pub subject: Subject,
}

/// An association between two objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link {
    pub class: &'static str,
    pub from: End,
    pub to: End,
    /// Further properties.
    pub properties: Vec<(&'static str, Value)>,
}

/// One end of an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub role: &'static str,
    /// Which instance.
    pub at: usize,
}

/// All objects of a namespace.
#[derive(Debug)]
pub(crate) struct World<'a> {
    schema: &'a Schema,
    host: String,
    namespace: &'static str,
    pub instances: Vec<Instance>,
    pub links: Vec<Link>,
}

/// The properties of an object in the making.
pub(crate) type Properties = Vec<(&'static str, Value)>;

/// Roles of the kinds of associations.
pub(crate) const ELEMENT: [&str; 2] = ["ManagedElement", "SettingData"];
pub(crate) const DEPENDENCY: [&str; 2] = ["Antecedent", "Dependent"];
pub(crate) const COMPONENT: [&str; 2] = ["GroupComponent", "PartComponent"];

impl<'a> World<'a> {
    /// Returns a world with nothing in it.
    pub(crate) fn empty(schema: &'a Schema, host: &str, namespace: &'static str) -> Self {
        Self {
            schema,
            host: host.to_uppercase(),
            namespace,
            instances: Vec::new(),
            links: Vec::new(),
        }
    }

    /// Returns `root\virtualization\v2` as the simulated host fills it.
    pub(crate) fn virtualization(
        schema: &'a Schema,
        truth: &SimTruth,
        extras: &Extras,
        manners: &Manners,
    ) -> Self {
        let mut world = Self::empty(schema, &truth.name, crate::VIRTUALIZATION);
        let host = machine::add_host(&mut world, truth);
        service::add_services(&mut world, truth, host);
        network::add_switches(&mut world, truth);
        for vm in &truth.vms {
            machine::add_vm(&mut world, vm, extras, manners);
        }
        for planned in &truth.planned {
            machine::add_planned(&mut world, planned, extras, manners);
        }
        world
    }

    /// Returns `root\cimv2` as far as it is there.
    pub(crate) fn cimv2(schema: &'a Schema, truth: &SimTruth, manners: &Manners) -> Self {
        let mut world = Self::empty(schema, &truth.name, crate::CIMV2);
        cimv2::add_host(&mut world, truth, manners);
        world
    }

    /// Returns `root\MSCluster` as far as it is there.
    pub(crate) fn mscluster(schema: &'a Schema, truth: &SimTruth, extras: &Extras) -> Self {
        let mut world = Self::empty(schema, &truth.name, crate::MSCLUSTER);
        if let Some(known) = &extras.cluster {
            cluster::add(&mut world, truth, known);
        }
        world
    }

    /// Returns `root\Microsoft\Windows\Storage` as these disks and volumes fill it.
    pub(crate) fn storage(
        schema: &'a Schema,
        machine: &str,
        disks: &[Disk],
        volumes: &[Volume],
    ) -> Self {
        let mut world = Self::empty(schema, machine, crate::STORAGE);
        storage::add(&mut world, disks, volumes);
        world
    }

    /// Adds an object; properties that the class does not have are left out: older classes lack
    /// some.
    ///
    /// # Panics
    /// If there is no such class or a value is not of its property's type: the model is ours.
    pub(crate) fn add(
        &mut self,
        class: &'static str,
        subject: Subject,
        properties: Properties,
    ) -> usize {
        let known = self
            .schema
            .class(class)
            .expect("the model knows its classes");
        let mut object = WmiObject {
            class: class.to_owned(),
            ..WmiObject::default()
        };
        for (name, value) in properties {
            if let Some(property) = known.property(name) {
                assert!(
                    property.cim.takes(property.array, &value),
                    "{class}.{name} is not {value:?}"
                );
                object.set(name, value);
            }
        }
        let keys = known.keys().map(|key| {
            let value = match object.value(&key.name) {
                Value::Text(text) => text.clone(),
                _ => String::new(),
            };
            (key.name.clone(), value)
        });
        let path = ObjectPath {
            class: class.to_owned(),
            keys: keys.collect(),
        };
        object.path = Some(self.whole(&path));
        self.instances.push(Instance {
            object,
            path,
            subject,
        });
        self.instances.len() - 1
    }

    /// Adds an association.
    pub(crate) fn link(
        &mut self,
        class: &'static str,
        roles: [&'static str; 2],
        from: usize,
        to: usize,
    ) {
        self.link_with(class, roles, from, to, Vec::new());
    }

    /// Adds an association with properties of its own.
    pub(crate) fn link_with(
        &mut self,
        class: &'static str,
        [from_role, to_role]: [&'static str; 2],
        from: usize,
        to: usize,
        properties: Properties,
    ) {
        self.links.push(Link {
            class,
            from: End {
                role: from_role,
                at: from,
            },
            to: End {
                role: to_role,
                at: to,
            },
            properties,
        });
    }

    /// Returns the host's name as paths carry it.
    pub(crate) fn host_name(&self) -> &str {
        &self.host
    }

    /// Returns the object that a path leads to, however it is written.
    ///
    /// # Errors
    /// 0x8004103A if it is no path, 0x80041002 if it leads nowhere.
    pub(crate) fn object_at(&self, path: &str) -> Result<usize, WmiError> {
        let parsed = ObjectPath::parse(path, &self.host, self.namespace)?;
        self.find(&parsed)
            .ok_or_else(|| WmiError::call(format!("find the object {path}"), codes::NOT_FOUND))
    }

    /// Returns the object of a subject.
    pub(crate) fn of_subject(&self, subject: &Subject) -> Option<usize> {
        let mut instances = self.instances.iter();
        instances.position(|instance| instance.subject == *subject)
    }

    /// Returns the whole path of an object.
    pub(crate) fn path_of(&self, at: usize) -> String {
        self.whole(&self.instances[at].path)
    }

    fn whole(&self, path: &ObjectPath) -> String {
        format!(r"\\{}\{}:{}", self.host, self.namespace, path.relative())
    }

    /// Returns the association as an object.
    pub(crate) fn link_object(&self, link: &Link) -> WmiObject {
        let mut object = WmiObject {
            class: link.class.to_owned(),
            ..WmiObject::default()
        };
        let ends = [link.from, link.to].map(|end| (end.role, self.path_of(end.at)));
        let path = ObjectPath {
            class: link.class.to_owned(),
            keys: ends
                .iter()
                .map(|(role, path)| ((*role).to_owned(), path.clone()))
                .collect(),
        };
        object.path = Some(self.whole(&path));
        for (role, path) in ends {
            object.set(role, path);
        }
        for (name, value) in &link.properties {
            object.set(name, value.clone());
        }
        object
    }

    /// Returns which object a path leads to: the class may be one that it inherits from.
    fn find(&self, path: &ObjectPath) -> Option<usize> {
        self.instances.iter().position(|instance| {
            instance.path.same_keys(path) && self.schema.is_a(&instance.path.class, &path.class)
        })
    }
}
