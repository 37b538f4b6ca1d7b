//! An object with its properties, and getters that say what is wrong with what they find.

use super::{Value, WmiError};

/// An instance, or the out-parameters of a method.
///
/// Names of classes and properties are compared without case, as WMI does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WmiObject {
    /// `__CLASS`.
    pub class: String,
    /// `__PATH`; none for embedded objects and out-parameters.
    pub path: Option<String>,
    /// Properties in the order they came; what is not set is `Null` or missing.
    pub properties: Vec<(String, Value)>,
}

impl WmiObject {
    /// Returns a property, `Null` if the object has none of that name.
    pub fn value(&self, name: &str) -> &Value {
        let found = self
            .properties
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(&Value::Null, |(_, value)| value)
    }

    /// Sets a property.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let known = self
            .properties
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        match known {
            Some((_, old)) => *old = value,
            None => self.properties.push((name.to_owned(), value)),
        }
    }

    /// Returns whether it is of this class.
    pub fn is(&self, class: &str) -> bool {
        self.class.eq_ignore_ascii_case(class)
    }

    /// Returns its path.
    ///
    /// # Errors
    /// If it has none.
    pub fn path(&self) -> Result<&str, WmiError> {
        self.path
            .as_deref()
            .ok_or_else(|| WmiError::shape(format!("a {} came without its path", self.class)))
    }

    /// Returns a property that is set.
    ///
    /// # Errors
    /// If it is not set.
    pub fn required(&self, name: &str) -> Result<&Value, WmiError> {
        match self.value(name) {
            Value::Null => Err(WmiError::shape(format!(
                "{} of a {} is not set",
                name, self.class
            ))),
            value => Ok(value),
        }
    }

    /// Returns a string, date or reference.
    ///
    /// # Errors
    /// If it is not set or something else.
    pub fn text(&self, name: &str) -> Result<&str, WmiError> {
        match self.required(name)? {
            Value::Text(text) => Ok(text),
            other => Err(self.wrong(name, "text", other)),
        }
    }

    /// Returns a string, or none if it is not set.
    ///
    /// # Errors
    /// If it is something else.
    pub fn optional_text(&self, name: &str) -> Result<Option<&str>, WmiError> {
        match self.value(name) {
            Value::Null => Ok(None),
            _ => self.text(name).map(Some),
        }
    }

    /// Returns a boolean.
    ///
    /// # Errors
    /// If it is not set or something else.
    pub fn bool(&self, name: &str) -> Result<bool, WmiError> {
        match self.required(name)? {
            Value::Bool(value) => Ok(*value),
            other => Err(self.wrong(name, "a boolean", other)),
        }
    }

    /// Returns an unsigned number of up to 64 bits, however it came.
    ///
    /// # Errors
    /// If it is not set or no such number.
    pub fn u64(&self, name: &str) -> Result<u64, WmiError> {
        let value = self.required(name)?;
        unsigned(value).ok_or_else(|| self.wrong(name, "an unsigned number", value))
    }

    /// Returns an unsigned number of up to 32 bits.
    ///
    /// # Errors
    /// If it is not set or no such number.
    pub fn u32(&self, name: &str) -> Result<u32, WmiError> {
        let number = self.u64(name)?;
        u32::try_from(number).map_err(|_| self.wrong(name, "a number of 32 bits", self.value(name)))
    }

    /// Returns an unsigned number of up to 16 bits.
    ///
    /// # Errors
    /// If it is not set or no such number.
    pub fn u16(&self, name: &str) -> Result<u16, WmiError> {
        let number = self.u64(name)?;
        u16::try_from(number).map_err(|_| self.wrong(name, "a number of 16 bits", self.value(name)))
    }

    /// Returns a string[]; none set is empty.
    ///
    /// # Errors
    /// If it is something else.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, WmiError> {
        let texts = self.array(name)?.iter().map(|value| match value {
            Value::Text(text) => Ok(text.as_str()),
            other => Err(self.wrong(name, "an array of text", other)),
        });
        texts.collect()
    }

    /// Returns an array of unsigned numbers; none set is empty.
    ///
    /// # Errors
    /// If it is something else.
    pub fn numbers(&self, name: &str) -> Result<Vec<u64>, WmiError> {
        let numbers = self.array(name)?.iter().map(|value| {
            unsigned(value).ok_or_else(|| self.wrong(name, "an array of unsigned numbers", value))
        });
        numbers.collect()
    }

    fn array(&self, name: &str) -> Result<&[Value], WmiError> {
        match self.value(name) {
            Value::Null => Ok(&[]),
            Value::Array(values) => Ok(values),
            other => Err(self.wrong(name, "an array", other)),
        }
    }

    fn wrong(&self, name: &str, wanted: &str, found: &Value) -> WmiError {
        WmiError::shape(format!(
            "{name} of a {} is {found:?} where {wanted} was expected",
            self.class
        ))
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::U8(number) => Some(u64::from(*number)),
        Value::I16(number) => u64::try_from(*number).ok(),
        // Only a uint32 arrives like that; a 16-bit number is never negative.
        Value::I32(number) => Some(u64::from(number.cast_unsigned())),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> WmiObject {
        let mut object = WmiObject {
            class: "Msvm_Thing".to_owned(),
            ..WmiObject::default()
        };
        object.set("Bytes", Value::text("18446744073709551615"));
        object.set("Large", Value::u32(u32::MAX));
        object.set("State", 2u16);
        object.set("Unset", Value::Null);
        object.set("Names", Value::texts(["a", "b"]));
        object
    }

    #[test]
    fn numbers_are_read_however_com_carries_them() {
        let object = object();
        assert_eq!(object.u64("bytes").unwrap(), u64::MAX);
        assert_eq!(object.u32("large").unwrap(), u32::MAX);
        assert_eq!(object.u16("State").unwrap(), 2);
    }

    #[test]
    fn what_is_not_set_is_no_value() {
        let object = object();
        assert!(object.u16("Unset").is_err());
        assert!(object.text("Missing").is_err());
        assert_eq!(object.optional_text("Unset").unwrap(), None);
        assert!(object.texts("Missing").unwrap().is_empty());
    }

    #[test]
    fn another_type_is_named_in_the_error() {
        let error = object().u16("Large").unwrap_err().to_string();
        assert!(error.contains("Large of a Msvm_Thing"), "{error}");
        assert!(object().texts("State").is_err());
        assert_eq!(object().texts("names").unwrap(), ["a", "b"]);
    }
}
