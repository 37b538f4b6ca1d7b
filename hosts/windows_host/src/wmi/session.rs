//! What a connection to a WMI namespace offers.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Value, WmiError, WmiObject};

/// What an embedded object is made from (Hyper-V spec 2.3).
#[derive(Debug, Clone, Copy)]
pub enum EmbeddedSource<'a> {
    /// A new instance of this class.
    Class(&'a str),
    /// The instance at this path, as it is now.
    Instance(&'a str),
}

/// The form of text that an object becomes (Hyper-V spec 2.3, RH-17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextForm {
    /// CIM DTD 2.0, as Microsoft's own samples have it.
    #[default]
    CimDtd20,
    /// WMI DTD 2.0.
    WmiDtd20,
}

/// A connection to one namespace, shared by all threads.
///
/// Implementers promise: a connection that broke is made anew by the next call; every call ends,
/// with 0x80041013 or a transport error at the latest when its time limit is over.
pub trait WmiSession: Send + Sync + Debug {
    /// Returns the objects a query finds, with all properties it selects, system ones included
    /// as [`WmiObject::class`] and [`WmiObject::path`].
    fn query(&self, wql: &str) -> Result<Vec<WmiObject>, WmiError>;

    /// Returns the object at a path.
    ///
    /// # Errors
    /// 0x80041002 if it is not there.
    fn get(&self, path: &str) -> Result<WmiObject, WmiError>;

    /// Returns the names of a class's properties, inherited ones included.
    ///
    /// # Errors
    /// 0x80041010 or 0x80041002 if there is no such class on this host.
    fn class_properties(&self, class: &str) -> Result<Vec<String>, WmiError>;

    /// Calls a method of the object at `path` and returns its out-parameters, `ReturnValue`
    /// among them. Parameters that are not named stay unset.
    ///
    /// # Errors
    /// The HRESULT if the call could not be made; a method's own return code is no error here.
    fn call(
        &self,
        path: &str,
        method: &str,
        parameters: &[(&str, Value)],
    ) -> Result<WmiObject, WmiError>;

    /// Returns an object as the text that parameters documented as embedded instances take,
    /// with some properties changed, in this form where the machine can write it.
    fn embedded_as(
        &self,
        form: TextForm,
        source: EmbeddedSource<'_>,
        changes: &[(&str, Value)],
    ) -> Result<String, WmiError>;

    /// Returns it in the usual form.
    fn embedded(
        &self,
        source: EmbeddedSource<'_>,
        changes: &[(&str, Value)],
    ) -> Result<String, WmiError> {
        self.embedded_as(TextForm::default(), source, changes)
    }
}

/// Makes sessions by the name of a namespace, such as `root\virtualization\v2`.
pub trait Namespaces: Send + Sync + Debug {
    /// Connects to a namespace of this machine.
    ///
    /// # Errors
    /// 0x8004100E if there is no such namespace, 0x80041003 if rights are missing.
    fn connect(&self, namespace: &str) -> Result<Arc<dyn WmiSession>, WmiError>;
}
