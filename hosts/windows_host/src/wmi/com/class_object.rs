//! IWbemClassObject: instances, classes and parameters, read whole and written by property.
//!
//! Unsafe code is run by: `methods_take_and_give_numbers_and_texts`, `a_method_gets_what_is_named_and_nothing_else`,
//! `calls_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "COM's methods are unsafe to call")]

use windows::Win32::System::Variant::{
    VARENUM, VARIANT, VT_BOOL, VT_BSTR, VT_I2, VT_I4, VT_R4, VT_R8, VT_UI1,
};
use windows::Win32::System::Wmi::{
    CIM_BOOLEAN, CIM_REAL32, CIM_REAL64, CIM_SINT8, CIM_SINT16, CIM_SINT32, CIM_UINT8, CIM_UINT16,
    CIM_UINT32, IWbemClassObject, WBEM_E_NOT_FOUND, WBEM_FLAG_NONSYSTEM_ONLY,
};
use windows::core::{BSTR, HSTRING};

use super::failure::failed;
use super::variant::{value_of, variant_of};
use crate::calls;
use crate::wmi::{Value, WmiError, WmiObject};

/// Objects within objects within objects: no class of WMI's goes deeper, only a broken answer.
const DEPTH_MAX: u32 = 16;

/// What a property that a class does not have is answered with; `NOT_FOUND` would say that the
/// object is gone.
const INVALID_PROPERTY: u32 = 0x8004_1031;

/// Returns an object with all its properties.
pub fn read(object: &IWbemClassObject) -> Result<WmiObject, WmiError> {
    read_at_depth(object, 0)
}

/// Returns what a method gave. It has neither path nor class that would say anything, and Wine
/// does not like to be asked.
pub fn read_parameters(object: &IWbemClassObject) -> Result<WmiObject, WmiError> {
    Ok(WmiObject {
        class: "__PARAMETERS".to_owned(),
        path: None,
        properties: properties(object, 0)?,
    })
}

fn read_at_depth(object: &IWbemClassObject, depth: u32) -> Result<WmiObject, WmiError> {
    Ok(WmiObject {
        class: system_text(object, "__CLASS")?.unwrap_or_default(),
        path: system_text(object, "__PATH")?,
        properties: properties(object, depth)?,
    })
}

fn properties(object: &IWbemClassObject, depth: u32) -> Result<Vec<(String, Value)>, WmiError> {
    calls::count("wmi.read_object");
    if depth > DEPTH_MAX {
        return Err(WmiError::shape(
            "objects are embedded in each other without end",
        ));
    }
    let mut properties = Vec::new();
    each_property(object, |name, variant| {
        let value = value_of(variant, &|inner| read_at_depth(inner, depth + 1))?;
        properties.push((name, value));
        Ok(())
    })?;
    Ok(properties)
}

/// Returns the names of an object's properties, without those of the system.
pub fn property_names(object: &IWbemClassObject) -> Result<Vec<String>, WmiError> {
    let mut names = Vec::new();
    each_property(object, |name, _| {
        names.push(name);
        Ok(())
    })?;
    Ok(names)
}

/// Calls `take` for each property that is not the system's.
fn each_property(
    object: &IWbemClassObject,
    mut take: impl FnMut(String, &VARIANT) -> Result<(), WmiError>,
) -> Result<(), WmiError> {
    calls::count("wmi.enumerate_properties");
    let doing = "read the properties of an object";
    // SAFETY: only a number is handed over. Beginning anew ends an enumeration that was cut short.
    unsafe { object.BeginEnumeration(WBEM_FLAG_NONSYSTEM_ONLY.0) }
        .map_err(|error| failed(doing, &error))?;
    loop {
        let (mut name, mut variant) = (BSTR::new(), VARIANT::default());
        let (mut cim_type, mut flavor) = (0, 0);
        // SAFETY: all four places are ours and empty; what is put there is ours and is dropped at
        // the end of this turn.
        unsafe { object.Next(0, &mut name, &mut variant, &mut cim_type, &mut flavor) }
            .map_err(|error| failed(doing, &error))?;
        // The end is a success that names nothing.
        if name.is_empty() {
            break;
        }
        take(name.to_string(), &variant)?;
    }
    // SAFETY: nothing is handed over.
    unsafe { object.EndEnumeration() }.map_err(|error| failed(doing, &error))
}

/// Returns a text that the system keeps about an object; none if it is not set.
fn system_text(object: &IWbemClassObject, name: &str) -> Result<Option<String>, WmiError> {
    calls::count("wmi.get_property");
    let mut variant = VARIANT::default();
    // SAFETY: the name ends with 0 and lives through the call; the VARIANT is ours and empty, and
    // what is put there is dropped with it.
    unsafe { object.Get(&HSTRING::from(name), 0, &mut variant, None, None) }
        .map_err(|error| failed(&format!("read {name} of an object"), &error))?;
    let no_object = |_: &_| Err(WmiError::shape(format!("{name} is an object")));
    match value_of(&variant, &no_object)? {
        Value::Text(text) => Ok(Some(text)),
        _ => Ok(None),
    }
}

/// Sets properties of an object that is not yet anywhere but here.
///
/// # Errors
/// 0x80041031 if it has no property of that name.
pub fn put(object: &IWbemClassObject, values: &[(String, Value)]) -> Result<(), WmiError> {
    for (name, value) in values {
        calls::count("wmi.put_property");
        let doing = format!("set the property {name}");
        let wide = HSTRING::from(name);
        let mut cim_type = 0;
        // SAFETY: name and number live through the call; no VARIANT is asked for.
        let known = unsafe {
            object.Get(
                &wide,
                0,
                std::ptr::null_mut(),
                Some(&raw mut cim_type),
                None,
            )
        };
        // The object is in our hands, so whatever is wrong is wrong with the name.
        known.map_err(|error| {
            let text = format!("{doing}: the class has no such property on this host ({error})");
            WmiError::call(text, INVALID_PROPERTY)
        })?;
        let variant = variant_of(value, element_type(cim_type))?;
        // SAFETY: name and VARIANT live through the call, which copies what it takes.
        unsafe { object.Put(&wide, 0, &variant, 0) }.map_err(|error| failed(&doing, &error))?;
    }
    Ok(())
}

/// Returns a new instance of a class, or of a method's parameters.
pub fn spawn(class: &IWbemClassObject) -> Result<IWbemClassObject, WmiError> {
    calls::count("wmi.spawn_instance");
    // SAFETY: only a number is handed over.
    unsafe { class.SpawnInstance(0) }.map_err(|error| failed("make a new instance", &error))
}

/// Returns the in-parameters of a class's method; none if it takes none.
///
/// # Errors
/// 0x80041002 if there is no such method.
pub fn in_parameters(
    class: &IWbemClassObject,
    method: &str,
) -> Result<Option<IWbemClassObject>, WmiError> {
    calls::count("wmi.get_method");
    let (mut taken, mut given) = (None, None);
    // SAFETY: the name ends with 0 and lives through the call; both places are ours and empty,
    // and what is put there is ours.
    unsafe { class.GetMethod(&HSTRING::from(method), 0, &mut taken, &mut given) }
        .map_err(|error| failed(&format!("find the method {method}"), &error))?;
    Ok(taken)
}

/// The code of what is not there.
pub fn not_found() -> u32 {
    WBEM_E_NOT_FOUND.0.cast_unsigned()
}

/// Returns the type in which the elements of an array travel (Hyper-V spec 2.2).
fn element_type(cim_type: i32) -> VARENUM {
    /// The bit that says "array".
    const FLAG_ARRAY: i32 = 0x2000;
    let table = [
        (CIM_SINT8, VT_I2),
        (CIM_UINT8, VT_UI1),
        (CIM_SINT16, VT_I2),
        (CIM_UINT16, VT_I4),
        (CIM_SINT32, VT_I4),
        (CIM_UINT32, VT_I4),
        (CIM_REAL32, VT_R4),
        (CIM_REAL64, VT_R8),
        (CIM_BOOLEAN, VT_BOOL),
    ];
    let of = cim_type & !FLAG_ARRAY;
    let found = table.iter().find(|(cim, _)| cim.0 == of);
    found.map_or(VT_BSTR, |(_, vt)| *vt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_without_elements_travel_as_their_property_says() {
        // string[], uint64[], datetime[] and references: text.
        for text in [8 | 0x2000, 21 | 0x2000, 101 | 0x2000, 102 | 0x2000] {
            assert_eq!(element_type(text), VT_BSTR);
        }
        assert_eq!(element_type(18 | 0x2000), VT_I4);
        assert_eq!(element_type(17 | 0x2000), VT_UI1);
    }
}
