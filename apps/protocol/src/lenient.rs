//! Reading what PHP writes: empty maps as `[]`, `{}`, `null` or `""`, numbers as text, booleans as
//! `1`, `"1"`, `0` or `""`, documents as text inside of documents, lists with gaps as maps.
//!
//! What is absent or empty in any of these forms becomes the default. What is there and makes no
//! sense is refused: a limit that cannot be read is not "no limit". Messages never repeat what was
//! received, for it may be secret.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::identifier::WireId;

/// How many members are tried when one that cannot be read is to be named: no document of ours has more.
const CULPRITS_MAX: usize = 64;

type Reading<T> = Result<T, String>;

/// Reads a document from the members of an object, and names the member that cannot be read.
pub(crate) fn read<T: DeserializeOwned>(members: Map<String, Value>) -> Reading<T> {
    let wrong = match serde_json::from_value(Value::Object(members.clone())) {
        Ok(read) => return Ok(read),
        Err(wrong) => wrong,
    };
    let candidates = members.keys().take(CULPRITS_MAX);
    let culprit = candidates.into_iter().find(|name| {
        let mut others = members.clone();
        others.remove(*name);
        match serde_json::from_value::<T>(Value::Object(others)) {
            Ok(_) => true,
            Err(without) => without.to_string() != wrong.to_string(),
        }
    });
    Err(match culprit {
        Some(name) => format!(
            "`{}` cannot be read: {wrong}",
            crate::limit::shortened(name, 64)
        ),
        None => wrong.to_string(),
    })
}

/// Tells whether this is one of the forms of nothing.
pub(crate) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    with(from, text_of)
}

/// Reads text of which the empty one means none.
pub(crate) fn optional_text<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<String>, D::Error> {
    with(from, |value| {
        Ok(Some(text_of(value)?).filter(|text| !text.is_empty()))
    })
}

/// Reads a secret of which the empty one means none.
pub(crate) fn optional_secret<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<crate::SecretText>, D::Error> {
    Ok(optional_text(from)?.map(crate::SecretText::new))
}

/// Reads a number of things: fractions are cut off, what is below 0 is 0, what is too large is the
/// largest.
pub(crate) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(optional_count(from)?.unwrap_or_default())
}

pub(crate) fn optional_count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    with(from, count_of)
}

pub(crate) fn optional_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    with(from, number_of)
}

pub(crate) fn boolean<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(optional_boolean(from)?.unwrap_or_default())
}

/// Reads a boolean whose default is not `false`; only what is absent is none.
pub(crate) fn optional_boolean<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<bool>, D::Error> {
    with(from, boolean_of)
}

pub(crate) fn optional_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<WireId>, D::Error> {
    with(from, |value| {
        WireId::optional(&value).map_err(str::to_owned)
    })
}

/// Reads a row's number of which the empty one and 0 mean none.
pub(crate) fn optional_row<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    with(from, |value| {
        if is_nothing(&value) || value == 0 || value == "0" {
            return Ok(None);
        }
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| error.to_string())
    })
}

pub(crate) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    with(from, |value| {
        list_of(value)?.into_iter().map(text_of).collect()
    })
}

pub(crate) fn map<'de, D: Deserializer<'de>>(from: D) -> Result<Map<String, Value>, D::Error> {
    with(from, map_of)
}

/// Reads an object; nothing, in any form, is the default one.
pub(crate) fn nested<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    with(from, |value| read(map_of(value)?))
}

/// Reads an object that may be absent.
pub(crate) fn optional_nested<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    with(from, |value| {
        if is_nothing(&value) {
            return Ok(None);
        }
        map_of(value).and_then(read).map(Some)
    })
}

/// Reads a list of objects.
pub(crate) fn list<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    with(from, |value| {
        let elements = list_of(value)?;
        elements
            .into_iter()
            .map(|element| read(map_of(element)?))
            .collect()
    })
}

/// Reads a list of objects without taking them apart first: maps in them keep their order.
pub(crate) fn ordered_list<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_any(OrderedList(PhantomData))
}

struct OrderedList<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrderedList<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some((_, element)) = members.next_entry::<IgnoredAny, T>()? {
            list.push(element);
        }
        Ok(list)
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        match text.trim() {
            "" => Ok(Vec::new()),
            _ => Err(E::custom("not a list")),
        }
    }
}

/// Reads those objects of a list that make sense: one that does not must not cost the others.
pub(crate) fn readable<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    with(from, |value| {
        let elements = list_of(value)?;
        Ok(elements
            .into_iter()
            .filter_map(|it| map_of(it).and_then(read).ok())
            .collect())
    })
}

fn with<'de, D, T>(from: D, reading: impl FnOnce(Value) -> Reading<T>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    reading(Value::deserialize(from)?).map_err(D::Error::custom)
}

pub(crate) fn text_of(value: Value) -> Reading<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(true) => Ok("1".to_owned()),
        Value::Bool(false) => Ok(String::new()),
        nothing if is_nothing(&nothing) => Ok(String::new()),
        _ => Err("not text".to_owned()),
    }
}

fn number_of(value: Value) -> Reading<Option<f64>> {
    let number = match &value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(yes) => Some(f64::from(*yes)),
        nothing if is_nothing(nothing) => return Ok(None),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| number.is_finite());
    number.map(Some).ok_or_else(|| "not a number".to_owned())
}

fn count_of(value: Value) -> Reading<Option<u64>> {
    let exact = match &value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match exact {
        Some(exact) => Ok(Some(exact)),
        // `as` keeps within the bounds.
        None => Ok(number_of(value)?.map(|number| number as u64)),
    }
}

fn boolean_of(value: Value) -> Reading<Option<bool>> {
    match &value {
        Value::Bool(yes) => Ok(Some(*yes)),
        Value::Number(number) => Ok(Some(number.as_f64() != Some(0.0))),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "" | "0" | "false" | "no" | "off" => Ok(Some(false)),
            "1" | "true" | "yes" | "on" => Ok(Some(true)),
            _ => Err("neither true nor false".to_owned()),
        },
        nothing if is_nothing(nothing) => Ok(None),
        _ => Err("neither true nor false".to_owned()),
    }
}

fn map_of(value: Value) -> Reading<Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        Value::String(text) if !text.trim().is_empty() => match serde_json::from_str(&text) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(inner) if is_nothing(&inner) => Ok(Map::new()),
            _ => Err("neither an object nor a text of one".to_owned()),
        },
        nothing if is_nothing(&nothing) => Ok(Map::new()),
        _ => Err("not an object".to_owned()),
    }
}

/// A list with gaps is an object to PHP; a list in a text is one; any other text is its only element.
fn list_of(value: Value) -> Reading<Vec<Value>> {
    match value {
        Value::Array(elements) => Ok(elements),
        Value::Object(members) => {
            let is_list = members
                .keys()
                .all(|key| key.bytes().all(|byte| byte.is_ascii_digit()));
            let elements =
                is_list.then(|| members.into_iter().map(|(_, element)| element).collect());
            elements.ok_or_else(|| "an object, not a list".to_owned())
        }
        nothing if is_nothing(&nothing) => Ok(Vec::new()),
        Value::String(text) => Ok(match serde_json::from_str(&text) {
            Ok(Value::Array(elements)) => elements,
            _ => vec![Value::String(text)],
        }),
        _ => Err("not a list".to_owned()),
    }
}
