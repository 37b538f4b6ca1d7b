//! `IWbemLocator` and `IWbemServices`: the doors to the model.

#![expect(
    unsafe_code,
    reason = "the macro that makes a COM object of a type is unsafe inside"
)]

use std::sync::Arc;

use fake_hyperv::schema::Schema;
use fake_hyperv::services_not_here;
use windows::Win32::Foundation::E_NOTIMPL;
use windows::Win32::System::Wmi::{
    IEnumWbemClassObject, IWbemCallResult, IWbemClassObject, IWbemContext, IWbemLocator,
    IWbemLocator_Impl, IWbemObjectSink, IWbemServices, IWbemServices_Impl, WBEM_GENERIC_FLAG_TYPE,
};
use windows_core::{BSTR, OutRef, Ref, Result, implement};
use windows_host::wmi::{Namespaces as _, Value, WmiSession};

use crate::class_object::{ClassObject, read};
use crate::failure::{bare, of};
use crate::model::model;
use crate::rows::Rows;

/// `WBEM_E_INVALID_CLASS`.
const INVALID_CLASS: u32 = 0x8004_1010;
/// `WBEM_E_INVALID_NAMESPACE`.
const INVALID_NAMESPACE: u32 = 0x8004_100E;
/// `WBEM_E_INVALID_QUERY_TYPE`.
const INVALID_QUERY_TYPE: u32 = 0x8004_1018;

/// Connects to namespaces.
#[implement(IWbemLocator)]
pub struct Locator;

impl IWbemLocator_Impl for Locator_Impl {
    fn ConnectServer(
        &self,
        namespace: &BSTR,
        _: &BSTR,
        _: &BSTR,
        _: &BSTR,
        _: i32,
        _: &BSTR,
        _: Ref<IWbemContext>,
    ) -> Result<IWbemServices> {
        let namespace = namespace.to_string();
        let model = model().ok_or_else(|| bare(INVALID_NAMESPACE))?;
        let session = model.connect(&namespace).map_err(|error| of(&error))?;
        let schema = model
            .schema(&namespace)
            .ok_or_else(|| bare(INVALID_NAMESPACE))?;
        Ok(Services { session, schema }.into())
    }
}

/// A connection to a namespace.
#[implement(IWbemServices)]
struct Services {
    session: Arc<dyn WmiSession>,
    schema: &'static Schema,
}

impl Services {
    fn object(&self, path: &str) -> Result<IWbemClassObject> {
        let is_class = !path.contains(['.', '=', ':']);
        if !is_class {
            let object = self.session.get(path).map_err(|error| of(&error))?;
            return Ok(ClassObject::instance(self.schema, object).into());
        }
        let class = self.schema.class(path).ok_or_else(|| bare(INVALID_CLASS))?;
        Ok(ClassObject::class(self.schema, class).into())
    }

    fn rows(&self, wql: &str) -> Result<IEnumWbemClassObject> {
        let objects = self.session.query(wql).map_err(|error| of(&error))?;
        let rows = objects
            .into_iter()
            .map(|object| ClassObject::instance(self.schema, object).into());
        Ok(Rows::new(rows.collect()).into())
    }

    fn call(
        &self,
        path: &str,
        method: &str,
        input: Option<&IWbemClassObject>,
    ) -> Result<IWbemClassObject> {
        let given = input.map(read).transpose()?.unwrap_or_default();
        let set = given
            .properties
            .iter()
            .filter(|(_, value)| *value != Value::Null);
        let parameters: Vec<_> = set
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let called = self.session.call(path, method, &parameters);
        let answer = called.map_err(|error| of(&error))?;
        let class = class_of(path);
        Ok(ClassObject::given(self.schema, class, method, answer).into())
    }
}

/// Returns the class of an object path, relative or whole: what stands before its first key,
/// behind the namespace.
fn class_of(path: &str) -> &str {
    let head = path.split('=').next().unwrap_or(path);
    let head = head.rsplit_once('.').map_or(head, |(class, _)| class);
    head.rsplit_once(':').map_or(head, |(_, class)| class)
}

type Flags = WBEM_GENERIC_FLAG_TYPE;
type Context<'a> = Ref<'a, IWbemContext>;
type Sink<'a> = Ref<'a, IWbemObjectSink>;
type Object<'a> = Ref<'a, IWbemClassObject>;
type Pending<'a> = OutRef<'a, IWbemCallResult>;

impl IWbemServices_Impl for Services_Impl {
    fn GetObject(
        &self,
        path: &BSTR,
        _: Flags,
        _: Context,
        object: OutRef<IWbemClassObject>,
        _: Pending,
    ) -> Result<()> {
        object.write(Some(self.object(&path.to_string())?))
    }

    fn ExecQuery(
        &self,
        language: &BSTR,
        query: &BSTR,
        _: Flags,
        _: Context,
    ) -> Result<IEnumWbemClassObject> {
        if !language.to_string().eq_ignore_ascii_case("WQL") {
            return Err(bare(INVALID_QUERY_TYPE));
        }
        self.rows(&query.to_string())
    }

    fn ExecMethod(
        &self,
        path: &BSTR,
        method: &BSTR,
        _: Flags,
        _: Context,
        input: Object,
        output: OutRef<IWbemClassObject>,
        _: Pending,
    ) -> Result<()> {
        let answer = self.call(&path.to_string(), &method.to_string(), input.as_ref())?;
        match output.is_null() {
            true => Ok(()),
            false => output.write(Some(answer)),
        }
    }

    services_not_here! {}
}
