//! A property's or parameter's value, as a VARIANT holds it.

use super::WmiObject;

/// A value (Hyper-V spec 2.2).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `VT_NULL` or `VT_EMPTY`: not set.
    Null,
    /// `VT_BOOL`.
    Bool(bool),
    /// `VT_UI1`: uint8.
    U8(u8),
    /// `VT_I2`: sint16.
    I16(i16),
    /// `VT_I4`: uint16, sint32, and uint32, which arrives negative above 2^31.
    I32(i32),
    /// `VT_R8`: real64.
    F64(f64),
    /// `VT_BSTR`: string, datetime, reference, and 64-bit numbers in decimal.
    Text(String),
    /// `VT_UNKNOWN`: an embedded object.
    Object(Box<WmiObject>),
    /// `VT_ARRAY` of `VT_UI1`: uint8[].
    Bytes(Vec<u8>),
    /// `VT_ARRAY` of anything else.
    Array(Vec<Value>),
}

impl Value {
    /// Returns a uint64 or sint64 as parameters carry it.
    pub fn decimal(number: impl Into<u64>) -> Self {
        Self::Text(number.into().to_string())
    }

    /// Returns a uint32 as parameters carry it.
    pub fn u32(number: u32) -> Self {
        Self::I32(number.cast_signed())
    }

    /// Returns a string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Returns a string[].
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Array(texts.into_iter().map(Self::text).collect())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::I32(i32::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::text(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
