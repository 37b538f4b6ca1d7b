//! What parameters of events are made of.

use serde_json::{Map, Number, Value};

use crate::limit::shortened;

/// The longest text, so that one error's log does not cost an event.
const TEXT_CHARS_MAX: usize = 8_000;
/// The most names in a list; the portal shows no more anyway.
const NAMES_MAX: usize = 500;

/// A parameter's type.
pub trait Param {
    /// Returns the value that is sent; `None` leaves the parameter out, which only those that no text has
    /// a place for may be.
    fn value(self) -> Option<Value>;
}

/// A share in percent, with two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percent(f64);

impl Percent {
    /// Returns a share; what is no number is 0.
    pub fn new(pct: f64) -> Self {
        let pct = if pct.is_nan() {
            0.0
        } else {
            pct.clamp(0.0, 100.0)
        };
        Self((pct * 100.0).round() / 100.0)
    }

    /// Returns how much `done` is of `total`.
    pub fn of(done: u64, total: u64) -> Self {
        Self::new(done as f64 / total as f64 * 100.0)
    }
}

impl Param for Percent {
    fn value(self) -> Option<Value> {
        Number::from_f64(self.0).map(Value::Number)
    }
}

impl Param for String {
    fn value(self) -> Option<Value> {
        Some(Value::String(shortened(&self, TEXT_CHARS_MAX)))
    }
}

impl Param for u64 {
    fn value(self) -> Option<Value> {
        Some(Value::from(self))
    }
}

impl Param for bool {
    fn value(self) -> Option<Value> {
        Some(Value::Bool(self))
    }
}

impl Param for Vec<String> {
    fn value(self) -> Option<Value> {
        let names = self.into_iter().take(NAMES_MAX);
        Some(Value::Array(names.filter_map(Param::value).collect()))
    }
}

impl<P: Param> Param for Option<P> {
    fn value(self) -> Option<Value> {
        self.and_then(Param::value)
    }
}

/// Returns the parameters that have a value.
pub(super) fn map<const N: usize>(params: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let there = params
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    there.collect()
}

pub(super) fn set(params: &mut Map<String, Value>, name: &str, param: impl Param) {
    if let Some(value) = param.value() {
        params.insert(name.to_owned(), value);
    }
}
