//! VARIANT to value and back, by its `vt`, read by ourselves.
//!
//! The calls of `propsys.dll` that convert are not used: they know nothing of WMI's arrays, and
//! Wine does not have them.
//!
//! Unsafe code is run by: `every_value_survives_its_variant`, `embedded_objects_and_arrays_of_them_are_read_whole`,
//! `calls_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "a VARIANT is a union, a SAFEARRAY a pointer")]

use std::mem::ManuallyDrop;

use windows::Win32::Foundation::{SysAllocStringLen, VARIANT_BOOL, VARIANT_FALSE, VARIANT_TRUE};
use windows::Win32::System::Com::SAFEARRAY;
use windows::Win32::System::Ole::{
    SafeArrayAccessData, SafeArrayCreateVector, SafeArrayDestroy, SafeArrayGetDim,
    SafeArrayGetElemsize, SafeArrayGetLBound, SafeArrayGetUBound, SafeArrayUnaccessData,
};
use windows::Win32::System::Variant::{
    VARENUM, VARIANT, VARIANT_0, VARIANT_0_0, VARIANT_0_0_0, VT_ARRAY, VT_BOOL, VT_BSTR, VT_EMPTY,
    VT_I1, VT_I2, VT_I4, VT_I8, VT_NULL, VT_R4, VT_R8, VT_UI1, VT_UI2, VT_UI4, VT_UI8, VT_UNKNOWN,
};
use windows::Win32::System::Wmi::IWbemClassObject;
use windows::core::{BSTR, IUnknown, Interface as _};

use super::failure::failed;
use crate::calls;
use crate::wmi::{Value, WmiError, WmiObject};

/// Reads an embedded object.
pub type ReadObject<'a> = &'a dyn Fn(&IWbemClassObject) -> Result<WmiObject, WmiError>;

/// Returns the value that a VARIANT holds.
pub fn value_of(variant: &VARIANT, objects: ReadObject<'_>) -> Result<Value, WmiError> {
    calls::count("variant.read");
    // SAFETY: every VARIANT is initialised as a whole, if only with zeros, so its tag can be read;
    // DECIMAL, the union's other view, keeps its first two bytes for the same tag.
    let held = unsafe { &variant.Anonymous.Anonymous };
    let content = &held.Anonymous;
    if held.vt.0 & VT_ARRAY.0 != 0 {
        // SAFETY: the tag says that the union holds an array's pointer.
        let array = unsafe { content.parray };
        return array_value(VARENUM(held.vt.0 & !VT_ARRAY.0), array, objects);
    }
    // SAFETY: each field is read under the tag that says the union holds it. Strings and objects
    // stay the VARIANT's: they are only looked at while it is borrowed.
    Ok(unsafe {
        match held.vt {
            VT_EMPTY | VT_NULL => Value::Null,
            VT_BOOL => Value::Bool(content.boolVal.0 != 0),
            VT_UI1 => Value::U8(content.bVal),
            VT_I1 => Value::I16(i16::from(content.cVal)),
            VT_I2 => Value::I16(content.iVal),
            VT_UI2 => Value::I32(i32::from(content.uiVal)),
            VT_I4 => Value::I32(content.lVal),
            VT_UI4 => Value::u32(content.ulVal),
            VT_I8 => Value::Text(content.llVal.to_string()),
            VT_UI8 => Value::decimal(content.ullVal),
            VT_R4 => Value::F64(f64::from(content.fltVal)),
            VT_R8 => Value::F64(content.dblVal),
            VT_BSTR => Value::Text(content.bstrVal.to_string()),
            VT_UNKNOWN => object_value(content.punkVal.as_ref(), objects)?,
            other => return Err(unknown(other)),
        }
    })
}

fn unknown(vt: VARENUM) -> WmiError {
    WmiError::shape(format!(
        "a value has the type {}, which WMI does not use",
        vt.0
    ))
}

fn object_value(object: Option<&IUnknown>, objects: ReadObject<'_>) -> Result<Value, WmiError> {
    let Some(object) = object else {
        return Ok(Value::Null);
    };
    let object: IWbemClassObject = object
        .cast()
        .map_err(|error| failed("read an embedded object", &error))?;
    Ok(Value::Object(Box::new(objects(&object)?)))
}

/// The locked elements of an array.
struct Elements<'a> {
    array: &'a SAFEARRAY,
    start: *const u8,
    count: usize,
}

impl<'a> Elements<'a> {
    /// Locks an array of one dimension whose elements have `size` bytes.
    fn lock(array: &'a SAFEARRAY, size: usize) -> Result<Self, WmiError> {
        calls::count("variant.lock_array");
        let doing = "read an array";
        // SAFETY: the array is a valid one, borrowed; these calls only look at its head.
        let (dimensions, element) =
            unsafe { (SafeArrayGetDim(array), SafeArrayGetElemsize(array) as usize) };
        if dimensions != 1 || element != size {
            return Err(WmiError::shape(format!(
                "an array has {dimensions} dimensions and elements of {element} bytes where one \
                 and {size} were expected"
            )));
        }
        // SAFETY: as above, and the array has a first dimension.
        let (low, high) = unsafe {
            (
                SafeArrayGetLBound(array, 1).map_err(|error| failed(doing, &error))?,
                SafeArrayGetUBound(array, 1).map_err(|error| failed(doing, &error))?,
            )
        };
        let count = usize::try_from(i64::from(high) - i64::from(low) + 1)
            .map_err(|_| WmiError::shape("an array ends before it starts"))?;
        let mut start = std::ptr::null_mut();
        // SAFETY: the array is valid and `start` ours; `drop` takes the lock off again.
        unsafe { SafeArrayAccessData(array, &mut start) }.map_err(|error| failed(doing, &error))?;
        Ok(Self {
            array,
            start: start.cast(),
            count,
        })
    }

    /// Looks at the elements.
    ///
    /// # Safety
    /// `T` is what the array holds.
    unsafe fn as_slice<T>(&self) -> &[T] {
        if self.count == 0 || self.start.is_null() {
            return &[];
        }
        // SAFETY: the array holds `count` elements of `T`'s size one after the other, allocated
        // and so aligned for any type, and nobody writes them while the lock and borrow last.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.count) }
    }
}

impl Drop for Elements<'_> {
    fn drop(&mut self) {
        // SAFETY: `lock` locked this array, which is still borrowed. It can only fail for arrays
        // that are not locked.
        let _ = unsafe { SafeArrayUnaccessData(self.array) };
    }
}

fn array_value(
    of: VARENUM,
    array: *mut SAFEARRAY,
    objects: ReadObject<'_>,
) -> Result<Value, WmiError> {
    // SAFETY: a VARIANT tagged as an array holds null or a valid array, which it owns and which
    // lives as long as the VARIANT is borrowed: through this function.
    let Some(array) = (unsafe { array.as_ref() }) else {
        return Ok(Value::Null);
    };
    let lock = |size| Elements::lock(array, size);
    // SAFETY: in each arm `T` is the type that goes with the tag, and its size was compared. BSTR
    // and IUnknown are pointers that may be null; in `ManuallyDrop` they stay the array's.
    Ok(unsafe {
        match of {
            VT_UI1 => Value::Bytes(lock(1)?.as_slice::<u8>().to_vec()),
            VT_BOOL => each::<VARIANT_BOOL>(&lock(2)?, |it| Ok(Value::Bool(it.0 != 0)))?,
            VT_I1 => each::<i8>(&lock(1)?, |it| Ok(Value::I16(i16::from(*it))))?,
            VT_I2 => each::<i16>(&lock(2)?, |it| Ok(Value::I16(*it)))?,
            VT_UI2 => each::<u16>(&lock(2)?, |it| Ok(Value::I32(i32::from(*it))))?,
            VT_I4 => each::<i32>(&lock(4)?, |it| Ok(Value::I32(*it)))?,
            VT_UI4 => each::<u32>(&lock(4)?, |it| Ok(Value::u32(*it)))?,
            VT_I8 => each::<i64>(&lock(8)?, |it| Ok(Value::Text(it.to_string())))?,
            VT_UI8 => each::<u64>(&lock(8)?, |it| Ok(Value::decimal(*it)))?,
            VT_R4 => each::<f32>(&lock(4)?, |it| Ok(Value::F64(f64::from(*it))))?,
            VT_R8 => each::<f64>(&lock(8)?, |it| Ok(Value::F64(*it)))?,
            VT_BSTR => each::<ManuallyDrop<BSTR>>(&lock(size_of::<BSTR>())?, |it| {
                Ok(Value::Text(it.to_string()))
            })?,
            VT_UNKNOWN => {
                each::<ManuallyDrop<Option<IUnknown>>>(&lock(size_of::<IUnknown>())?, |it| {
                    object_value(it.as_ref(), objects)
                })?
            }
            other => return Err(unknown(other)),
        }
    })
}

/// # Safety
/// `T` is what the array holds.
unsafe fn each<T>(
    elements: &Elements<'_>,
    value: impl Fn(&T) -> Result<Value, WmiError>,
) -> Result<Value, WmiError> {
    // SAFETY: the caller promises it.
    let values = unsafe { elements.as_slice::<T>() }.iter().map(value);
    Ok(Value::Array(values.collect::<Result<_, _>>()?))
}

/// Returns a VARIANT that holds a value. An array without elements says nothing of its type: it
/// gets `element_type`.
pub fn variant_of(value: &Value, element_type: VARENUM) -> Result<VARIANT, WmiError> {
    calls::count("variant.write");
    let (vt, content) = match value {
        Value::Null => (VT_NULL, VARIANT_0_0_0 { llVal: 0 }),
        Value::Bool(value) => (
            VT_BOOL,
            VARIANT_0_0_0 {
                boolVal: boolean(*value),
            },
        ),
        Value::U8(value) => (VT_UI1, VARIANT_0_0_0 { bVal: *value }),
        Value::I16(value) => (VT_I2, VARIANT_0_0_0 { iVal: *value }),
        Value::I32(value) => (VT_I4, VARIANT_0_0_0 { lVal: *value }),
        Value::F64(value) => (VT_R8, VARIANT_0_0_0 { dblVal: *value }),
        Value::Text(value) => (
            VT_BSTR,
            VARIANT_0_0_0 {
                bstrVal: ManuallyDrop::new(bstr(value)),
            },
        ),
        Value::Object(_) => {
            return Err(WmiError::shape(
                "an embedded object is handed over as text, not as an object",
            ));
        }
        Value::Bytes(bytes) => array_content(VT_UI1, NewArray::of(VT_UI1, bytes)?),
        Value::Array(values) => array_of(values, element_type)?,
    };
    Ok(VARIANT {
        Anonymous: VARIANT_0 {
            Anonymous: ManuallyDrop::new(VARIANT_0_0 {
                vt,
                wReserved1: 0,
                wReserved2: 0,
                wReserved3: 0,
                Anonymous: content,
            }),
        },
    })
}

fn boolean(value: bool) -> VARIANT_BOOL {
    if value { VARIANT_TRUE } else { VARIANT_FALSE }
}

/// Returns a string of COM's; an empty one is a string, too, and not a null pointer, which would
/// be no string at all.
fn bstr(text: &str) -> BSTR {
    let wide: Vec<u16> = text.encode_utf16().collect();
    // SAFETY: the call copies as many characters as the slice has; the result owns the copy.
    unsafe { SysAllocStringLen(Some(&wide)) }
}

/// An array that is not yet in a VARIANT.
struct NewArray(*mut SAFEARRAY);

impl NewArray {
    /// Makes an array of `elements`, whose ownership goes to it.
    fn of<T: Copy>(vt: VARENUM, elements: &[T]) -> Result<Self, WmiError> {
        calls::count("variant.create_array");
        let count = u32::try_from(elements.len())
            .map_err(|_| WmiError::shape("an array has more elements than COM can count"))?;
        // SAFETY: no pointer is handed over; null, if memory is short, is seen to at once.
        let array = Self(unsafe { SafeArrayCreateVector(vt, 0, count) });
        let mut start = std::ptr::null_mut();
        // SAFETY: null is refused by the call with an error; otherwise the array is ours alone.
        unsafe { SafeArrayAccessData(array.0, &mut start) }
            .map_err(|error| failed("make an array", &error))?;
        // SAFETY: the array has room for `count` elements of the tag's type, which callers pair
        // with `T`; it was made of zeros, so nothing is overwritten that would have to be freed.
        unsafe {
            std::ptr::copy_nonoverlapping(elements.as_ptr(), start.cast(), elements.len());
            let _ = SafeArrayUnaccessData(array.0);
        }
        Ok(array)
    }

    fn into_raw(self) -> *mut SAFEARRAY {
        ManuallyDrop::new(self).0
    }
}

impl Drop for NewArray {
    fn drop(&mut self) {
        // SAFETY: the array is null, which the call takes, or ours and in no VARIANT.
        let _ = unsafe { SafeArrayDestroy(self.0) };
    }
}

fn array_content(vt: VARENUM, array: NewArray) -> (VARENUM, VARIANT_0_0_0) {
    let parray = array.into_raw();
    (VARENUM(VT_ARRAY.0 | vt.0), VARIANT_0_0_0 { parray })
}

/// Returns the array of values that are all like the first.
fn array_of(values: &[Value], empty: VARENUM) -> Result<(VARENUM, VARIANT_0_0_0), WmiError> {
    /// Takes what `get` finds in each value, or fails on the first without.
    fn all<T>(values: &[Value], get: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, WmiError> {
        let taken: Option<Vec<T>> = values.iter().map(get).collect();
        taken.ok_or_else(|| WmiError::shape("the elements of an array are not all of one type"))
    }
    macro_rules! numbers {
        ($vt:expr, $kind:path, $convert:expr) => {{
            let numbers = all(values, |value| match value {
                $kind(number) => Some($convert(*number)),
                _ => None,
            })?;
            ($vt, NewArray::of($vt, &numbers)?)
        }};
    }
    let (vt, array) = match values.first() {
        None => (empty, NewArray::of::<u8>(empty, &[])?),
        Some(Value::Bool(_)) => numbers!(VT_BOOL, Value::Bool, boolean),
        Some(Value::U8(_)) => numbers!(VT_UI1, Value::U8, u8::from),
        Some(Value::I16(_)) => numbers!(VT_I2, Value::I16, i16::from),
        Some(Value::I32(_)) => numbers!(VT_I4, Value::I32, i32::from),
        Some(Value::F64(_)) => numbers!(VT_R8, Value::F64, f64::from),
        Some(Value::Text(_)) => {
            let texts = all(values, |value| match value {
                Value::Text(text) => Some(bstr(text)),
                _ => None,
            })?;
            (VT_BSTR, text_array(texts)?)
        }
        Some(Value::Null | Value::Object(_) | Value::Bytes(_) | Value::Array(_)) => {
            return Err(WmiError::shape(
                "an array holds only texts, numbers and booleans",
            ));
        }
    };
    Ok(array_content(vt, array))
}

fn text_array(texts: Vec<BSTR>) -> Result<NewArray, WmiError> {
    // If the array cannot be made, memory is out and a few strings more are no matter.
    let raw: Vec<*const u16> = texts.into_iter().map(BSTR::into_raw).collect();
    NewArray::of(VT_BSTR, &raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variant: &VARIANT) -> Result<Value, WmiError> {
        value_of(variant, &|_| panic!("there are no objects here"))
    }

    fn there_and_back(value: &Value) -> Value {
        let variant = variant_of(value, VT_I4).expect("it can be written");
        read(&variant).expect("it can be read")
    }

    #[test]
    fn every_value_survives_its_variant() {
        let table = [
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            Value::U8(200),
            Value::I16(-3),
            Value::u32(u32::MAX),
            Value::F64(-0.5),
            Value::text(""),
            Value::text("Ünïcode 𝄞 \"quoted\" \\"),
            Value::decimal(u64::MAX),
            Value::Bytes(vec![]),
            Value::Bytes(vec![0, 1, 255]),
            Value::Array(vec![]),
            Value::texts(["a", "", "ß"]),
            Value::Array(vec![Value::Bool(true), Value::Bool(false)]),
            Value::Array(vec![Value::I32(-1), Value::I32(7)]),
            Value::Array(vec![Value::I16(-1), Value::I16(7)]),
            Value::Array(vec![Value::F64(1.5)]),
        ];
        for value in &table {
            assert_eq!(&there_and_back(value), value);
        }
    }

    #[test]
    fn numbers_of_other_widths_are_read_as_wmi_would_carry_them() {
        let table = [
            (VARIANT::from(-7i8), Value::I16(-7)),
            (VARIANT::from(65_535u16), Value::I32(65_535)),
            (VARIANT::from(u32::MAX), Value::I32(-1)),
            (VARIANT::from(i64::MIN), Value::text("-9223372036854775808")),
            (VARIANT::from(u64::MAX), Value::text("18446744073709551615")),
            (VARIANT::from(1.5f32), Value::F64(1.5)),
            (VARIANT::default(), Value::Null),
        ];
        for (variant, value) in &table {
            assert_eq!(&read(variant).expect("it can be read"), value);
        }
    }

    #[test]
    fn what_wmi_does_not_use_is_an_error_and_no_guess() {
        let mut variant = VARIANT::default();
        let number = VARIANT_0_0 {
            vt: VARENUM(7), // a date of Automation
            ..VARIANT_0_0::default()
        };
        variant.Anonymous.Anonymous = ManuallyDrop::new(number);
        assert!(read(&variant).is_err());
    }

    #[test]
    fn an_array_of_mixed_or_nested_values_is_refused() {
        let nested = Value::Array(vec![Value::Bytes(vec![1])]);
        let mixed = Value::Array(vec![Value::text("a"), Value::I32(1)]);
        for value in [nested, mixed, Value::Object(Box::default())] {
            assert!(variant_of(&value, VT_BSTR).is_err(), "{value:?}");
        }
    }
}
