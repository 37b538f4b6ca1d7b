//! A method's in-parameters, checked against its declaration (Hyper-V spec 2.2).

use windows_host::wmi::{Value, WmiError, WmiObject};

use super::Trouble;
use crate::codes;
use crate::embedded::{self, EmbeddedError};
use crate::failure::Refusal;
use crate::schema::{Method, Schema};

/// In-parameters of the right names and types.
pub(super) struct Parameters<'a> {
    method: &'a Method,
    given: &'a [(&'a str, Value)],
}

impl<'a> Parameters<'a> {
    /// Checks names and types, as `Put` on the method's class of in-parameters does.
    pub(super) fn check(
        method: &'a Method,
        given: &'a [(&'a str, Value)],
    ) -> Result<Self, WmiError> {
        for (name, value) in given {
            let known = method
                .parameters
                .iter()
                .find(|known| known.input && known.name.eq_ignore_ascii_case(name));
            let known = known.ok_or_else(|| {
                WmiError::call(
                    format!("set the parameter {name} of {}: there is none", method.name),
                    codes::INVALID_METHOD_PARAMETERS,
                )
            })?;
            if !known.cim.takes(known.array, value) {
                return Err(WmiError::call(
                    format!("set the parameter {name} of {} to {value:?}", method.name),
                    codes::TYPE_MISMATCH,
                ));
            }
        }
        Ok(Self { method, given })
    }

    /// Checks that all are given that have to be.
    pub(super) fn all_there(&self) -> Result<(), Refusal> {
        let mut needed = self.method.parameters.iter();
        let missing = needed.any(|parameter| {
            parameter.input && !parameter.optional && *self.value(&parameter.name) == Value::Null
        });
        match missing {
            true => Err(Refusal::InvalidParameter),
            false => Ok(()),
        }
    }

    /// Returns a parameter, `Null` if it was not given.
    pub(super) fn value(&self, name: &str) -> &Value {
        let mut given = self.given.iter();
        let found = given.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(&Value::Null, |(_, value)| value)
    }

    /// Returns a text or a reference.
    pub(super) fn text(&self, name: &str) -> Result<&str, Refusal> {
        match self.value(name) {
            Value::Text(text) => Ok(text),
            _ => Err(Refusal::InvalidParameter),
        }
    }

    /// Returns an array of texts or references; empty if it was not given.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        let Value::Array(values) = self.value(name) else {
            return Vec::new();
        };
        let texts = values.iter().filter_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// Returns a number.
    pub(super) fn number(&self, name: &str) -> Result<u32, Refusal> {
        match self.value(name) {
            Value::I32(number) => Ok(number.cast_unsigned()),
            Value::U8(number) => Ok(u32::from(*number)),
            _ => Err(Refusal::InvalidParameter),
        }
    }

    /// Returns an embedded instance of `class`; none if it was not given or is empty.
    pub(super) fn embedded(
        &self,
        schema: &Schema,
        class: &str,
        name: &str,
    ) -> Result<Option<WmiObject>, Trouble> {
        match self.value(name) {
            Value::Text(text) if !text.is_empty() => Ok(Some(read(schema, class, text)?)),
            _ => Ok(None),
        }
    }
}

/// Reads an embedded instance as a method does.
pub(super) fn read(schema: &Schema, class: &str, text: &str) -> Result<WmiObject, Refusal> {
    embedded::read(schema, class, text).map_err(|error| match error {
        EmbeddedError::Type => Refusal::WrongType,
        EmbeddedError::Syntax | EmbeddedError::Class | EmbeddedError::Property => {
            Refusal::InvalidParameter
        }
    })
}
