//! What classes there are: properties, keys, methods, and who inherits from whom.
//!
//! Names of classes, properties and methods are compared without case, as WMI does.

mod cim_type;
mod mof;

use std::collections::HashMap;

pub use cim_type::CimType;
use windows_host::wmi::{TextForm, WmiError};

use crate::Manners;
use crate::codes;

/// A property, inherited ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its type, or that of its elements.
    pub cim: CimType,
    /// Whether it is an array.
    pub array: bool,
    /// Whether it is one of the keys.
    pub key: bool,
    /// The first Windows 10 build that has it, if not all have.
    pub since: Option<u32>,
}

/// A parameter of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type, or that of its elements.
    pub cim: CimType,
    /// Whether it is an array.
    pub array: bool,
    /// Whether it goes in.
    pub input: bool,
    /// Whether it comes out.
    pub output: bool,
    /// Whether it may be left out.
    pub optional: bool,
}

/// Which numbers a method answers with (Hyper-V spec 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Small ones.
    A,
    /// From 32768 on.
    B,
}

/// A method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// Which numbers it answers with.
    pub family: Family,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// The class it inherits from.
    pub parent: Option<String>,
    /// Whether its objects are associations.
    pub association: bool,
    /// Its properties, inherited ones first.
    pub properties: Vec<Property>,
    /// Its methods.
    pub methods: Vec<Method>,
}

impl Class {
    /// Returns a property.
    pub fn property(&self, name: &str) -> Option<&Property> {
        let mut properties = self.properties.iter();
        properties.find(|property| property.name.eq_ignore_ascii_case(name))
    }

    /// Returns a method.
    pub fn method(&self, name: &str) -> Option<&Method> {
        let mut methods = self.methods.iter();
        methods.find(|method| method.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Property> {
        self.properties.iter().filter(|property| property.key)
    }
}

/// The classes of one namespace.
#[derive(Debug)]
pub struct Schema {
    /// By name in lower case.
    classes: HashMap<String, Class>,
    only_text_form: Option<TextForm>,
}

impl Schema {
    /// Returns the classes of Hyper-V's namespace.
    pub(crate) fn virtualization(manners: &Manners) -> Self {
        let classes = mof::parse(include_str!("virtualization_v2.mof"));
        Self::new(classes, manners)
    }

    /// Returns what there is of `root\cimv2`.
    pub(crate) fn cimv2(manners: &Manners) -> Self {
        Self::new(mof::parse(include_str!("cimv2.mof")), manners)
    }

    /// Returns what there is of `root\MSCluster`.
    pub(crate) fn mscluster(manners: &Manners) -> Self {
        Self::new(mof::parse(include_str!("mscluster.mof")), manners)
    }

    /// Returns what there is of `root\Microsoft\Windows\Storage`, which has no switches.
    pub(crate) fn storage() -> Self {
        Self::new(mof::parse(include_str!("storage.mof")), &Manners::default())
    }

    fn new(parsed: Vec<Class>, manners: &Manners) -> Self {
        let mut classes: HashMap<String, Class> = HashMap::new();
        for mut class in parsed {
            class
                .properties
                .retain(|property| property.since.is_none() || !manners.server_2016);
            if let Some(parent) = &class.parent {
                // A class stands behind the one it inherits from: the text is ours.
                let parent = &classes[&parent.to_ascii_lowercase()];
                let mut properties = parent.properties.clone();
                for own in std::mem::take(&mut class.properties) {
                    let known = properties.iter_mut().find(|known| known.name == own.name);
                    match known {
                        Some(known) => *known = own,
                        None => properties.push(own),
                    }
                }
                class.properties = properties;
                class.methods.extend(parent.methods.iter().cloned());
            }
            classes.insert(class.name.to_ascii_lowercase(), class);
        }
        Self {
            classes,
            only_text_form: manners.only_text_form,
        }
    }

    /// Returns whether methods take embedded instances in this form (RH-17).
    pub(crate) fn takes(&self, form: TextForm) -> bool {
        self.only_text_form.is_none_or(|only| only == form)
    }

    /// Returns a class.
    pub fn class(&self, name: &str) -> Option<&Class> {
        self.classes.get(&name.to_ascii_lowercase())
    }

    /// Returns a class that is asked for.
    ///
    /// # Errors
    /// 0x80041010 if there is none of that name.
    pub(crate) fn wanted(&self, name: &str) -> Result<&Class, WmiError> {
        self.class(name)
            .ok_or_else(|| WmiError::call(format!("find the class {name}"), codes::INVALID_CLASS))
    }

    /// Returns whether `class` is `ancestor` or inherits from it.
    pub fn is_a(&self, class: &str, ancestor: &str) -> bool {
        let mut at = self.class(class);
        while let Some(class) = at {
            if class.name.eq_ignore_ascii_case(ancestor) {
                return true;
            }
            at = class.parent.as_deref().and_then(|name| self.class(name));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_inherit_properties_keys_and_ancestors() {
        let schema = Schema::virtualization(&Manners::default());
        let vm = schema.class("msvm_computersystem").unwrap();
        let keys: Vec<_> = vm.keys().map(|key| key.name.as_str()).collect();
        assert_eq!(keys, ["Name", "CreationClassName"]);
        assert_eq!(vm.property("elementname").unwrap().cim, CimType::String);
        assert!(schema.is_a("Msvm_ComputerSystem", "cim_managedelement"));
        assert!(!schema.is_a("CIM_ManagedElement", "Msvm_ComputerSystem"));
        let service = schema.class("Msvm_VirtualSystemManagementService").unwrap();
        let import = service.method("importsystemdefinition").unwrap();
        assert_eq!(import.family, Family::B);
        assert_eq!(import.parameters.len(), 5);
    }

    #[test]
    fn server_2016_lacks_what_came_later() {
        let class = "Msvm_VirtualSystemSnapshotSettingData";
        let has = |manners: &Manners| {
            let schema = Schema::virtualization(manners);
            schema
                .class(class)
                .unwrap()
                .property("GuestBackupType")
                .is_some()
        };
        assert!(has(&Manners::default()));
        assert!(!has(&Manners {
            server_2016: true,
            ..Manners::default()
        }));
    }
}
