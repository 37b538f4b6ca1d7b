//! CIM's types, as COM carries them (Hyper-V spec 2.2).

use windows_host::wmi::Value;

/// A type of a property or parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CimType {
    /// `boolean`.
    Boolean,
    /// `uint8`.
    Uint8,
    /// `uint16`.
    Uint16,
    /// `uint32`.
    Uint32,
    /// `uint64`.
    Uint64,
    /// `real64`.
    Real64,
    /// `char16`.
    Char16,
    /// `string`.
    String,
    /// `datetime`.
    Datetime,
    /// `REF`.
    Reference,
    /// An embedded object, not as text.
    Object,
}

impl CimType {
    /// Returns the type that MOF and XML call by this name; references have none.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "boolean" => Self::Boolean,
            "uint8" => Self::Uint8,
            "uint16" => Self::Uint16,
            "uint32" => Self::Uint32,
            "uint64" => Self::Uint64,
            "real64" => Self::Real64,
            "char16" => Self::Char16,
            "string" => Self::String,
            "datetime" => Self::Datetime,
            "object" => Self::Object,
            _ => return None,
        })
    }

    /// Returns its name in XML.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Real64 => "real64",
            Self::Char16 => "char16",
            Self::String => "string",
            Self::Datetime => "datetime",
            Self::Reference => "reference",
            Self::Object => "object",
        }
    }

    /// Returns whether a value has the VARIANT type that this type takes; not set always has.
    pub fn takes(self, array: bool, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Bytes(_) => array && self == Self::Uint8,
            Value::Array(values) => {
                array && self != Self::Uint8 && values.iter().all(|value| self.takes_one(value))
            }
            value => !array && self.takes_one(value),
        }
    }

    fn takes_one(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Boolean, Value::Bool(_))
            | (Self::Uint8, Value::U8(_))
            | (Self::Uint32, Value::I32(_))
            | (Self::Real64, Value::F64(_))
            | (Self::Char16, Value::I16(_))
            | (Self::String | Self::Datetime | Self::Reference, Value::Text(_))
            | (Self::Object, Value::Object(_)) => true,
            (Self::Uint16, Value::I32(number)) => u16::try_from(*number).is_ok(),
            (Self::Uint64, Value::Text(text)) => text.parse::<u64>().is_ok(),
            _ => false,
        }
    }

    /// Reads one value from the text that XML and MOF write; none if it is no such value.
    pub(crate) fn read(self, text: &str) -> Option<Value> {
        Some(match self {
            Self::Boolean if text.eq_ignore_ascii_case("true") => Value::Bool(true),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Value::Bool(false),
            Self::Uint8 => Value::U8(text.parse().ok()?),
            Self::Uint16 => Value::from(text.parse::<u16>().ok()?),
            Self::Uint32 => Value::u32(text.parse().ok()?),
            Self::Uint64 => Value::decimal(text.parse::<u64>().ok()?),
            Self::Real64 => Value::F64(text.parse().ok()?),
            Self::String | Self::Datetime | Self::Reference => Value::text(text),
            Self::Boolean | Self::Char16 | Self::Object => return None,
        })
    }

    /// Returns one value as XML writes it; none if it is not of this type.
    pub(crate) fn write(self, value: &Value) -> Option<String> {
        if !self.takes_one(value) {
            return None;
        }
        Some(match value {
            Value::Bool(true) => "TRUE".to_owned(),
            Value::Bool(false) => "FALSE".to_owned(),
            Value::U8(number) => number.to_string(),
            Value::I32(number) => number.cast_unsigned().to_string(),
            Value::F64(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            _ => return None,
        })
    }
}
