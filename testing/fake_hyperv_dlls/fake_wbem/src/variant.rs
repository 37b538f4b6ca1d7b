//! Values as VARIANTs and back (Hyper-V spec 2.2), by the tag and nothing else.
//!
//! Unsafe code is run by: `the_client_gets_from_the_dll_what_the_model_answers`,
//! `the_client_calls_methods_as_the_model_takes_them`.

#![expect(unsafe_code, reason = "a VARIANT is a union, a SAFEARRAY a pointer")]

use std::ffi::c_void;

use fake_hyperv::schema::CimType;
use windows::Win32::Foundation::{E_OUTOFMEMORY, SysAllocStringLen, VARIANT_BOOL};
use windows::Win32::System::Com::SAFEARRAY;
use windows::Win32::System::Ole::{
    SafeArrayCreateVector, SafeArrayDestroy, SafeArrayGetElement, SafeArrayGetLBound,
    SafeArrayGetUBound, SafeArrayPutElement,
};
use windows::Win32::System::Variant::{
    VARENUM, VARIANT, VT_ARRAY, VT_BOOL, VT_BSTR, VT_EMPTY, VT_I2, VT_I4, VT_NULL, VT_R8, VT_UI1,
    VT_UNKNOWN,
};
use windows::Win32::System::Wmi::IWbemClassObject;
use windows_core::{BSTR, IUnknown, Interface as _, Result};
use windows_host::wmi::{Value, WmiObject};

/// The bit of a CIM type's number that says "array".
const CIM_FLAG_ARRAY: i32 = 0x2000;

/// Makes COM's object of an embedded one.
pub type MakeObject<'a> = &'a dyn Fn(&WmiObject) -> IWbemClassObject;

/// Returns the number of a CIM type (wbemcli.h, CIMTYPE_ENUMERATION).
pub fn cim_number(cim: CimType, array: bool) -> i32 {
    let number = match cim {
        CimType::Real64 => 5,
        CimType::String => 8,
        CimType::Boolean => 11,
        CimType::Object => 13,
        CimType::Uint8 => 17,
        CimType::Uint16 => 18,
        CimType::Uint32 => 19,
        CimType::Uint64 => 21,
        CimType::Datetime => 101,
        CimType::Reference => 102,
        CimType::Char16 => 103,
    };
    if array {
        number | CIM_FLAG_ARRAY
    } else {
        number
    }
}

/// Returns the tag under which a type travels.
fn tag(cim: CimType) -> VARENUM {
    match cim {
        CimType::Boolean => VT_BOOL,
        CimType::Uint8 => VT_UI1,
        CimType::Uint16 | CimType::Uint32 => VT_I4,
        CimType::Real64 => VT_R8,
        CimType::Char16 => VT_I2,
        CimType::Uint64 | CimType::String | CimType::Datetime | CimType::Reference => VT_BSTR,
        CimType::Object => VT_UNKNOWN,
    }
}

/// Returns a VARIANT of what is not set.
pub fn null() -> VARIANT {
    let mut variant = VARIANT::default();
    // SAFETY: an empty VARIANT holds nothing that a new tag could take for something else.
    unsafe { (*variant.Anonymous.Anonymous).vt = VT_NULL };
    variant
}

/// Returns a value of a type as COM carries it.
pub fn write(value: &Value, cim: CimType, object: MakeObject<'_>) -> Result<VARIANT> {
    Ok(match value {
        Value::Null => null(),
        Value::Bool(value) => VARIANT::from(*value),
        Value::U8(value) => VARIANT::from(*value),
        Value::I16(value) => VARIANT::from(*value),
        Value::I32(value) => VARIANT::from(*value),
        Value::F64(value) => VARIANT::from(*value),
        Value::Text(value) => VARIANT::from(BSTR::from(value.as_str())),
        Value::Object(value) => VARIANT::from(object(value).cast::<IUnknown>()?),
        Value::Bytes(bytes) => {
            let bytes: Vec<Value> = bytes.iter().map(|byte| Value::U8(*byte)).collect();
            array(&bytes, VT_UI1, object)?
        }
        Value::Array(values) => array(values, tag(cim), object)?,
    })
}

fn array(values: &[Value], tag: VARENUM, object: MakeObject<'_>) -> Result<VARIANT> {
    let count = u32::try_from(values.len()).map_err(|_| E_OUTOFMEMORY)?;
    // SAFETY: no pointer is handed over; null, if memory is short, is seen to at once.
    let array = unsafe { SafeArrayCreateVector(tag, 0, count) };
    if array.is_null() {
        return Err(E_OUTOFMEMORY.into());
    }
    let mut variant = VARIANT::default();
    // SAFETY: the VARIANT was empty, and owns the array from here on: it frees it when dropped.
    unsafe {
        let held = &mut *variant.Anonymous.Anonymous;
        held.vt = VARENUM(VT_ARRAY.0 | tag.0);
        held.Anonymous.parray = array;
    }
    for (at, value) in (0..).zip(values) {
        // SAFETY: the array is one of `tag`, valid and not locked.
        unsafe { put(array, at, value, object)? };
    }
    Ok(variant)
}

/// # Safety
/// The array is valid, and one of the tag that goes with the value.
unsafe fn put(array: *mut SAFEARRAY, at: i32, value: &Value, object: MakeObject<'_>) -> Result<()> {
    let put = |element: *const c_void| {
        // SAFETY: the array copies what the element points to, or for strings and objects what it
        // is: all of them live through the call.
        unsafe { SafeArrayPutElement(array, &at, element) }
    };
    match value {
        Value::Bool(value) => {
            let value = VARIANT_BOOL::from(*value);
            put((&raw const value).cast())
        }
        Value::U8(value) => put((value as *const u8).cast()),
        Value::I16(value) => put((value as *const i16).cast()),
        Value::I32(value) => put((value as *const i32).cast()),
        Value::F64(value) => put((value as *const f64).cast()),
        Value::Text(value) => {
            // An empty string is one too: a pointer of COM's own, with a length before it, which
            // a slice of no characters is not.
            let wide: Vec<u16> = value.encode_utf16().collect();
            // SAFETY: the call copies as many characters as the slice has; the copy is ours.
            let value = unsafe { SysAllocStringLen(Some(&wide)) }.into_raw();
            let done = put(value.cast());
            // SAFETY: the string is ours still: the array has a copy.
            drop(unsafe { BSTR::from_raw(value) });
            done
        }
        Value::Object(value) => {
            let value: IUnknown = object(value).cast()?;
            put(value.as_raw())
        }
        Value::Null | Value::Bytes(_) | Value::Array(_) => Ok(()),
    }
}

/// Returns the value that a VARIANT holds; none if its tag is not one that WMI takes.
pub fn read(variant: &VARIANT) -> Option<Value> {
    // SAFETY: every VARIANT is initialised as a whole, so its tag can be read, and each field is
    // read under the tag that says the union holds it.
    unsafe {
        let held = &variant.Anonymous.Anonymous;
        let content = &held.Anonymous;
        if held.vt.0 & VT_ARRAY.0 != 0 {
            return read_array(content.parray, VARENUM(held.vt.0 & !VT_ARRAY.0));
        }
        Some(match held.vt {
            VT_NULL | VT_EMPTY => Value::Null,
            VT_BOOL => Value::Bool(content.boolVal.0 != 0),
            VT_UI1 => Value::U8(content.bVal),
            VT_I2 => Value::I16(content.iVal),
            VT_I4 => Value::I32(content.lVal),
            VT_R8 => Value::F64(content.dblVal),
            VT_BSTR => Value::Text(content.bstrVal.to_string()),
            _ => return None,
        })
    }
}

/// # Safety
/// The array is null or valid, and one of `tag`.
unsafe fn read_array(array: *const SAFEARRAY, tag: VARENUM) -> Option<Value> {
    if array.is_null() {
        return Some(Value::Null);
    }
    // SAFETY: the array is valid; these calls only look at its head.
    let (first, last) = unsafe {
        (
            SafeArrayGetLBound(array, 1).ok()?,
            SafeArrayGetUBound(array, 1).ok()?,
        )
    };
    // SAFETY: the place is of the type that goes with the tag, and a copy is put there: strings
    // are ours then.
    let values = (first..=last).map(|at| unsafe {
        Some(match tag {
            VT_BOOL => Value::Bool(element::<VARIANT_BOOL>(array, at)?.0 != 0),
            VT_UI1 => Value::U8(element(array, at)?),
            VT_I2 => Value::I16(element(array, at)?),
            VT_I4 => Value::I32(element(array, at)?),
            VT_R8 => Value::F64(element(array, at)?),
            VT_BSTR => Value::Text(element::<BSTR>(array, at)?.to_string()),
            _ => return None,
        })
    });
    let values: Vec<Value> = values.collect::<Option<_>>()?;
    if tag != VT_UI1 {
        return Some(Value::Array(values));
    }
    let bytes = values.into_iter().filter_map(|value| match value {
        Value::U8(byte) => Some(byte),
        _ => None,
    });
    Some(Value::Bytes(bytes.collect()))
}

/// # Safety
/// `T` is what the array holds, and all of its bits zero is a `T`.
unsafe fn element<T: Default>(array: *const SAFEARRAY, at: i32) -> Option<T> {
    let mut value = T::default();
    // SAFETY: the caller promises that the place fits; the array is valid.
    unsafe { SafeArrayGetElement(array, &at, (&raw mut value).cast()) }.ok()?;
    Some(value)
}

/// Returns a string[] as COM carries names.
pub fn names(names: &[String]) -> Result<*mut SAFEARRAY> {
    let values: Vec<Value> = names.iter().map(Value::text).collect();
    let count = u32::try_from(values.len()).map_err(|_| E_OUTOFMEMORY)?;
    // SAFETY: no pointer is handed over; null, if memory is short, is seen to at once.
    let array = unsafe { SafeArrayCreateVector(VT_BSTR, 0, count) };
    if array.is_null() {
        return Err(E_OUTOFMEMORY.into());
    }
    for (at, value) in (0..).zip(&values) {
        // SAFETY: the array is one of strings, valid and not locked.
        if let Err(error) = unsafe { put(array, at, value, &|_| unreachable!("names are text")) } {
            // SAFETY: the array is ours still.
            unsafe { SafeArrayDestroy(array)? };
            return Err(error);
        }
    }
    Ok(array)
}
