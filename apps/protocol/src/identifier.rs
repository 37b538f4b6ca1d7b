//! Identifiers: of agents, runs and jobs in two forms, of the rest as numbers.
//!
//! Old servers number their runs, newer ones name them by UUID and refuse numbers, so an identifier
//! goes back exactly in the form in which it came.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// An identifier of a run, a job or an agent, in the form in which the server sent it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WireId {
    /// A JSON number, from old servers.
    Number(i64),
    /// A JSON string: a UUID.
    Text(String),
}

impl WireId {
    /// Tells whether both name the same thing, whatever their forms: payloads mix them.
    pub fn names_same(&self, other: &Self) -> bool {
        self.to_string().eq_ignore_ascii_case(&other.to_string())
    }

    /// Reads an identifier; empty forms and 0, which no table hands out, are none.
    pub(crate) fn optional(value: &Value) -> Result<Option<Self>, &'static str> {
        match value {
            Value::Null | Value::Bool(false) => Ok(None),
            Value::Array(list) if list.is_empty() => Ok(None),
            Value::Object(map) if map.is_empty() => Ok(None),
            Value::String(text) if text.trim().is_empty() => Ok(None),
            Value::String(text) => Ok(Some(Self::Text(text.clone()))),
            Value::Number(number) => match number.as_i64() {
                Some(0) => Ok(None),
                Some(number) => Ok(Some(Self::Number(number))),
                None => Err("an identifier is a number out of range"),
            },
            _ => Err("an identifier is neither text nor a number"),
        }
    }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for WireId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for WireId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match Self::optional(&value) {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(D::Error::custom("an identifier is empty")),
            Err(wrong) => Err(D::Error::custom(wrong)),
        }
    }
}

macro_rules! number_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                row_number(deserializer).map(Self)
            }
        }
    )*};
}

number_ids! {
    /// A command's row on the server.
    CommandId;
    /// A repository operation's row on the server.
    OperationId;
    /// A repository's row on the server.
    RepoId;
    /// A VM's row on the server; 0 means that the server has no row for it.
    VmNumber;
    /// A remote update's row on the server.
    UpdateJobId;
    /// A restore point's row on the server.
    RestorePointId;
    /// A row of what one backup run has of one VM.
    BackupPointId;
}

/// Reads a row's number, which may come as text. A wrong one is refused: it would name another row.
fn row_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| D::Error::custom("a row's number is not a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<WireId, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn an_identifier_goes_back_in_the_form_in_which_it_came() {
        for json in [
            "17",
            "-1",
            "\"17\"",
            "\"0195d2a4-0000-7000-8000-000000000001\"",
            "9223372036854775807",
        ] {
            let id = read(json).unwrap();
            assert_eq!(serde_json::to_string(&id).unwrap(), json);
        }
    }

    #[test]
    fn what_names_nothing_is_no_identifier() {
        for json in [
            "null",
            "\"\"",
            "\" \"",
            "0",
            "[]",
            "{}",
            "1.5",
            "[1]",
            "18446744073709551615",
            "true",
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn both_forms_of_one_identifier_name_the_same() {
        assert!(read("17").unwrap().names_same(&read("\"17\"").unwrap()));
        assert!(read("\"AB\"").unwrap().names_same(&read("\"ab\"").unwrap()));
        assert!(!read("17").unwrap().names_same(&read("18").unwrap()));
    }

    #[test]
    fn row_numbers_come_as_text_too_and_are_never_guessed() {
        assert_eq!(
            serde_json::from_str::<CommandId>("\"311\"").unwrap(),
            CommandId(311)
        );
        assert_eq!(serde_json::to_string(&CommandId(311)).unwrap(), "311");
        for json in ["-1", "\"x\"", "1.5", "null", "[]", "1e30"] {
            assert!(serde_json::from_str::<CommandId>(json).is_err(), "{json}");
        }
    }
}
