//! `IWbemClassObject`: instances, classes, methods' parameters, and what explains an error.
//!
//! Unsafe code is run by: `the_client_gets_from_the_dll_what_the_model_answers`,
//! `the_client_calls_methods_as_the_model_takes_them`.

#![expect(unsafe_code, reason = "COM's places are pointers")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use fake_hyperv::schema::{CimType, Class, Parameter, Schema};
use windows::Win32::Foundation::{E_NOTIMPL, E_POINTER};
use windows::Win32::System::Com::{IErrorInfo, IErrorInfo_Impl, SAFEARRAY};
use windows::Win32::System::Variant::VARIANT;
use windows::Win32::System::Wmi::{
    IWbemClassObject, IWbemClassObject_Impl, IWbemQualifierSet, WBEM_COMPARISON_FLAG,
    WBEM_CONDITION_FLAG_TYPE, WBEM_FLAG_NONSYSTEM_ONLY,
};
use windows_core::{BSTR, Error, GUID, HRESULT, OutRef, PCWSTR, Ref, Result, implement, w};
use windows_host::wmi::{Value, WmiObject};

use crate::failure::bare;
use crate::variant;

/// `WBEM_S_NO_MORE_DATA`: the end of an enumeration, which is a success.
const NO_MORE_DATA: HRESULT = HRESULT(0x0004_0005);
/// `WBEM_E_NOT_FOUND`.
const NOT_FOUND: u32 = 0x8004_1002;
/// `WBEM_E_TYPE_MISMATCH`.
const TYPE_MISMATCH: u32 = 0x8004_1005;
/// `WBEM_E_INVALID_PARAMETER`.
const INVALID_PARAMETER: u32 = 0x8004_1008;

/// A property's declaration.
#[derive(Debug, Clone)]
struct Slot {
    name: String,
    cim: CimType,
    array: bool,
}

impl Slot {
    fn of_parameter(parameter: &Parameter) -> Self {
        Self {
            name: parameter.name.clone(),
            cim: parameter.cim,
            array: parameter.array,
        }
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Class,
    Instance,
}

/// An object as COM knows it.
#[implement(IWbemClassObject, IErrorInfo)]
pub struct ClassObject {
    kind: Kind,
    /// None of parameters and error objects.
    schema: Option<&'static Schema>,
    slots: Vec<Slot>,
    state: Mutex<State>,
}

struct State {
    object: WmiObject,
    /// The names that are still to be enumerated.
    ahead: std::vec::IntoIter<String>,
}

impl ClassObject {
    fn new(
        kind: Kind,
        schema: Option<&'static Schema>,
        slots: Vec<Slot>,
        object: WmiObject,
    ) -> Self {
        Self {
            kind,
            schema,
            slots,
            state: Mutex::new(State {
                object,
                ahead: Vec::new().into_iter(),
            }),
        }
    }

    /// Returns a class.
    pub fn class(schema: &'static Schema, class: &Class) -> Self {
        let object = WmiObject {
            class: class.name.clone(),
            path: Some(class.name.clone()),
            properties: Vec::new(),
        };
        Self::new(Kind::Class, Some(schema), slots(class), object)
    }

    /// Returns an instance; one of a query has the properties that were selected.
    pub fn instance(schema: &'static Schema, object: WmiObject) -> Self {
        let all = schema.class(&object.class).map(slots).unwrap_or_default();
        let has = |slot: &Slot| {
            let mut names = object.properties.iter();
            names.any(|(name, _)| name.eq_ignore_ascii_case(&slot.name))
        };
        let slots = all.into_iter().filter(has).collect();
        Self::new(Kind::Instance, Some(schema), slots, object)
    }

    /// Returns the parameters of a method that go in, or come out.
    fn parameters<'a>(parameters: impl Iterator<Item = &'a Parameter>, more: Option<Slot>) -> Self {
        let slots = parameters.map(Slot::of_parameter).chain(more);
        let object = WmiObject {
            class: "__PARAMETERS".to_owned(),
            ..WmiObject::default()
        };
        Self::new(Kind::Class, None, slots.collect(), object)
    }

    /// Returns what a method gave.
    pub fn given(schema: &'static Schema, class: &str, method: &str, given: WmiObject) -> Self {
        let method = schema.class(class).and_then(|class| class.method(method));
        let parameters = method.map(|method| method.parameters.as_slice());
        let out = parameters.unwrap_or_default().iter().filter(|it| it.output);
        let mut object = Self::parameters(out, Some(return_value()));
        object.schema = Some(schema);
        object.kind = Kind::Instance;
        object.lock().object = given;
        object
    }

    /// Returns what explains an error.
    pub fn status(object: WmiObject) -> Self {
        let slot = |(name, _): &(String, Value)| Slot {
            name: name.clone(),
            cim: CimType::String,
            array: false,
        };
        let slots = object.properties.iter().map(slot).collect();
        Self::new(Kind::Instance, None, slots, object)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of it is a single step, so one that panicked left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, name: &str) -> Option<&Slot> {
        let mut slots = self.slots.iter();
        slots.find(|slot| slot.name.eq_ignore_ascii_case(name))
    }

    /// Returns a property of the system's; none if there is none of that name.
    fn system(&self, name: &str) -> Option<(CimType, Value)> {
        let state = self.lock();
        let text = |text: Option<String>| (CimType::String, text.map_or(Value::Null, Value::Text));
        let path = state.object.path.as_deref();
        let relative =
            || path.map(|path| path.split_once(':').map_or(path, |(_, end)| end).to_owned());
        Some(match name.to_ascii_uppercase().as_str() {
            "__CLASS" => text(Some(state.object.class.clone())),
            "__PATH" => text(path.map(str::to_owned)),
            "__RELPATH" => text(relative()),
            "__GENUS" => (
                CimType::Uint32,
                Value::I32(if self.kind == Kind::Class { 1 } else { 2 }),
            ),
            "__SUPERCLASS" => {
                let class = self
                    .schema
                    .and_then(|schema| schema.class(&state.object.class));
                text(class.and_then(|class| class.parent.clone()))
            }
            "__PROPERTY_COUNT" => {
                let count = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                (CimType::Uint32, Value::u32(count))
            }
            _ => return None,
        })
    }

    /// Returns a property: its type and what it holds.
    fn property(&self, name: &str) -> Result<(i32, VARIANT)> {
        let (cim, array, value) = match self.system(name) {
            Some((cim, value)) => (cim, false, value),
            None => {
                let slot = self.slot(name).ok_or_else(|| bare(NOT_FOUND))?;
                let value = self.lock().object.value(&slot.name).clone();
                (slot.cim, slot.array, value)
            }
        };
        let make = |object: &WmiObject| -> IWbemClassObject {
            match self.schema {
                Some(schema) => Self::instance(schema, object.clone()).into(),
                None => Self::status(object.clone()).into(),
            }
        };
        let number = variant::cim_number(cim, array);
        Ok((number, variant::write(&value, cim, &make)?))
    }

    fn names(&self, with_system: bool) -> Vec<String> {
        let system = [
            "__GENUS",
            "__CLASS",
            "__SUPERCLASS",
            "__RELPATH",
            "__PROPERTY_COUNT",
            "__PATH",
        ];
        let system = system
            .into_iter()
            .filter(|_| with_system)
            .map(str::to_owned);
        let own = self.slots.iter().map(|slot| slot.name.clone());
        system.chain(own).collect()
    }
}

/// Reads an object, whoever made it.
pub fn read(object: &IWbemClassObject) -> Result<WmiObject> {
    let mut read = WmiObject::default();
    let mut class = VARIANT::default();
    // SAFETY: the name is a literal that ends with 0, the places are ours and empty, and what is
    // put there is dropped with them.
    unsafe {
        object.Get(w!("__CLASS"), 0, &mut class, None, None)?;
        object.BeginEnumeration(WBEM_FLAG_NONSYSTEM_ONLY.0)?;
    }
    if let Some(Value::Text(class)) = variant::read(&class) {
        read.class = class;
    }
    loop {
        let (mut name, mut value) = (BSTR::new(), VARIANT::default());
        let (mut cim_type, mut flavor) = (0, 0);
        // SAFETY: all places are ours and empty; what is put there is dropped in this turn.
        unsafe { object.Next(0, &mut name, &mut value, &mut cim_type, &mut flavor)? };
        if name.is_empty() {
            return Ok(read);
        }
        let value = variant::read(&value).ok_or_else(|| bare(TYPE_MISMATCH))?;
        read.set(&name.to_string(), value);
    }
}

fn slots(class: &Class) -> Vec<Slot> {
    let slot = |property: &fake_hyperv::schema::Property| Slot {
        name: property.name.clone(),
        cim: property.cim,
        array: property.array,
    };
    class.properties.iter().map(slot).collect()
}

fn return_value() -> Slot {
    Slot {
        name: "ReturnValue".to_owned(),
        cim: CimType::Uint32,
        array: false,
    }
}

fn text(name: &PCWSTR) -> Result<String> {
    if name.is_null() {
        return Err(bare(INVALID_PARAMETER));
    }
    // SAFETY: callers hand over a string that ends with 0, as COM demands, and it is not null.
    unsafe { name.to_string() }.map_err(|_| bare(INVALID_PARAMETER))
}

fn not_here<T>() -> Result<T> {
    Err(E_NOTIMPL.into())
}

/// Writes to a place that the caller may have left out.
///
/// # Safety
/// The place is null or the caller's, empty and ready to be written.
unsafe fn write<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: the caller promises it.
        unsafe { place.write(value) };
    }
}

impl IWbemClassObject_Impl for ClassObject_Impl {
    fn GetQualifierSet(&self) -> Result<IWbemQualifierSet> {
        not_here()
    }

    fn Get(
        &self,
        name: &PCWSTR,
        _: i32,
        value: *mut VARIANT,
        cim_type: *mut i32,
        flavor: *mut i32,
    ) -> Result<()> {
        let (of, held) = self.property(&text(name)?)?;
        // SAFETY: all places are null or the caller's, empty and ready to be written.
        unsafe {
            write(value, held);
            write(cim_type, of);
            write(flavor, 0);
        }
        Ok(())
    }

    fn Put(&self, name: &PCWSTR, _: i32, value: *const VARIANT, _: i32) -> Result<()> {
        let slot = self.slot(&text(name)?).ok_or_else(|| bare(NOT_FOUND))?;
        // SAFETY: the caller hands over null or a whole VARIANT that lives through the call.
        let value = unsafe { value.as_ref() }.map_or(Some(Value::Null), variant::read);
        let fits = value.filter(|value| slot.cim.takes(slot.array, value));
        let value = fits.ok_or_else(|| bare(TYPE_MISMATCH))?;
        self.lock().object.set(&slot.name, value);
        Ok(())
    }

    fn Delete(&self, _: &PCWSTR) -> Result<()> {
        not_here()
    }

    fn GetNames(
        &self,
        _: &PCWSTR,
        flags: WBEM_CONDITION_FLAG_TYPE,
        _: *const VARIANT,
    ) -> Result<*mut SAFEARRAY> {
        variant::names(
            &self.names(flags.0 & WBEM_FLAG_NONSYSTEM_ONLY.0 != WBEM_FLAG_NONSYSTEM_ONLY.0),
        )
    }

    fn BeginEnumeration(&self, flags: i32) -> Result<()> {
        let all = flags & WBEM_FLAG_NONSYSTEM_ONLY.0 != WBEM_FLAG_NONSYSTEM_ONLY.0;
        let names = self.names(all);
        self.lock().ahead = names.into_iter();
        Ok(())
    }

    fn Next(
        &self,
        _: i32,
        name: *mut BSTR,
        value: *mut VARIANT,
        cim_type: *mut i32,
        flavor: *mut i32,
    ) -> Result<()> {
        let Some(next) = self.lock().ahead.next() else {
            return Err(Error::from_hresult(NO_MORE_DATA));
        };
        let (of, held) = self.property(&next)?;
        // SAFETY: all places are null or the caller's, empty and ready to be written.
        unsafe {
            write(name, BSTR::from(next.as_str()));
            write(value, held);
            write(cim_type, of);
            write(flavor, 0);
        }
        Ok(())
    }

    fn EndEnumeration(&self) -> Result<()> {
        self.lock().ahead = Vec::new().into_iter();
        Ok(())
    }

    fn GetPropertyQualifierSet(&self, _: &PCWSTR) -> Result<IWbemQualifierSet> {
        not_here()
    }

    fn Clone(&self) -> Result<IWbemClassObject> {
        let object = self.lock().object.clone();
        Ok(ClassObject::new(self.kind, self.schema, self.slots.clone(), object).into())
    }

    fn GetObjectText(&self, _: i32) -> Result<BSTR> {
        not_here()
    }

    fn SpawnDerivedClass(&self, _: i32) -> Result<IWbemClassObject> {
        not_here()
    }

    fn SpawnInstance(&self, _: i32) -> Result<IWbemClassObject> {
        if self.kind != Kind::Class {
            return Err(bare(INVALID_PARAMETER));
        }
        let object = WmiObject {
            class: self.lock().object.clone().class,
            ..WmiObject::default()
        };
        Ok(ClassObject::new(Kind::Instance, self.schema, self.slots.clone(), object).into())
    }

    fn CompareTo(&self, _: WBEM_COMPARISON_FLAG, _: Ref<IWbemClassObject>) -> Result<()> {
        not_here()
    }

    fn GetPropertyOrigin(&self, _: &PCWSTR) -> Result<BSTR> {
        not_here()
    }

    fn InheritsFrom(&self, ancestor: &PCWSTR) -> Result<()> {
        let ancestor = text(ancestor)?;
        let class = self.lock().object.clone().class;
        let is = self
            .schema
            .is_some_and(|schema| schema.is_a(&class, &ancestor));
        match is {
            true => Ok(()),
            // WBEM_S_FALSE
            false => Err(Error::from_hresult(HRESULT(1))),
        }
    }

    fn GetMethod(
        &self,
        name: &PCWSTR,
        _: i32,
        taken: OutRef<IWbemClassObject>,
        given: OutRef<IWbemClassObject>,
    ) -> Result<()> {
        let class = self.lock().object.clone().class;
        let class = self.schema.and_then(|schema| schema.class(&class));
        // Only a class knows its methods.
        let class = class.filter(|_| self.kind == Kind::Class);
        let name = text(name)?;
        let method = class.and_then(|class| class.method(&name));
        let parameters = &method.ok_or_else(|| bare(NOT_FOUND))?.parameters;
        let taken_ones = ClassObject::parameters(parameters.iter().filter(|it| it.input), None);
        let any = !taken_ones.slots.is_empty();
        taken.write(any.then(|| taken_ones.into()))?;
        let out = parameters.iter().filter(|it| it.output);
        let out = ClassObject::parameters(out, Some(return_value()));
        // A caller may not want to know what comes out.
        match given.is_null() {
            true => Ok(()),
            false => given.write(Some(out.into())),
        }
    }

    fn PutMethod(
        &self,
        _: &PCWSTR,
        _: i32,
        _: Ref<IWbemClassObject>,
        _: Ref<IWbemClassObject>,
    ) -> Result<()> {
        not_here()
    }

    fn DeleteMethod(&self, _: &PCWSTR) -> Result<()> {
        not_here()
    }

    fn BeginMethodEnumeration(&self, _: i32) -> Result<()> {
        not_here()
    }

    fn NextMethod(
        &self,
        _: i32,
        _: *mut BSTR,
        _: OutRef<IWbemClassObject>,
        _: OutRef<IWbemClassObject>,
    ) -> Result<()> {
        not_here()
    }

    fn EndMethodEnumeration(&self) -> Result<()> {
        not_here()
    }

    fn GetMethodQualifierSet(&self, _: &PCWSTR) -> Result<IWbemQualifierSet> {
        not_here()
    }

    fn GetMethodOrigin(&self, _: &PCWSTR) -> Result<BSTR> {
        not_here()
    }
}

impl IErrorInfo_Impl for ClassObject_Impl {
    fn GetGUID(&self) -> Result<GUID> {
        Err(E_POINTER.into())
    }

    fn GetSource(&self) -> Result<BSTR> {
        Ok(BSTR::from("VmmsWmiInstanceAndMethodProvider"))
    }

    fn GetDescription(&self) -> Result<BSTR> {
        match self.lock().object.clone().value("Description") {
            Value::Text(text) => Ok(BSTR::from(text.as_str())),
            _ => Ok(BSTR::new()),
        }
    }

    fn GetHelpFile(&self) -> Result<BSTR> {
        not_here()
    }

    fn GetHelpContext(&self) -> Result<u32> {
        not_here()
    }
}
