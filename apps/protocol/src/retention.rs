//! How long restore points are kept, in all the forms in which rules arrive.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::lenient;

/// A rule: how many points to keep, by tier. `None` means that the rule says nothing of the tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// The newest ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u64>,
    /// Those of so many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u64>,
    /// One per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<u64>,
    /// One per day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<u64>,
    /// One per week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<u64>,
    /// One per month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<u64>,
    /// One per year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yearly: Option<u64>,
}

impl Retention {
    /// Tells whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(mut members: Map<String, Value>) -> Result<Self, String> {
        if let Some(inner) = members.remove("retention") {
            let inner: Nested = lenient::read(Map::from_iter([("retention".to_owned(), inner)]))?;
            return Self::of(inner.retention);
        }
        let flat: Flat = lenient::read(members)?;
        Ok(Self {
            keep_last: flat.keep_last,
            keep_days: flat.keep_days,
            hourly: flat.hourly,
            daily: flat.daily,
            weekly: flat.weekly,
            monthly: flat.monthly,
            yearly: flat.yearly,
        })
    }
}

/// Flat, by tiers, or either of them below `retention`.
impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::of(lenient::map(from)?).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize)]
struct Nested {
    #[serde(default, deserialize_with = "lenient::map")]
    retention: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flat {
    #[serde(deserialize_with = "lenient::optional_count")]
    keep_last: Option<u64>,
    #[serde(deserialize_with = "lenient::optional_count")]
    keep_days: Option<u64>,
    #[serde(deserialize_with = "lenient::optional_count")]
    hourly: Option<u64>,
    #[serde(deserialize_with = "lenient::optional_count")]
    daily: Option<u64>,
    #[serde(deserialize_with = "lenient::optional_count")]
    weekly: Option<u64>,
    #[serde(deserialize_with = "lenient::optional_count")]
    monthly: Option<u64>,
    #[serde(deserialize_with = "lenient::optional_count")]
    yearly: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Retention {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn rules_are_read_in_all_their_forms() {
        assert_eq!(read(r#"{"keep_last":7}"#).keep_last, Some(7));
        assert_eq!(read(r#"{"keep_days":"30"}"#).keep_days, Some(30));
        let tiers = r#"{"hourly":24,"daily":30,"weekly":8,"monthly":12,"yearly":3}"#;
        let wrapped = format!(r#"{{"schema":1,"timezone":"Europe/Berlin","retention":{tiers}}}"#);
        assert_eq!(read(tiers).yearly, Some(3));
        assert_eq!(read(&wrapped), read(tiers));
        for nothing in ["[]", "{}", "null", "\"\""] {
            assert!(read(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_and_named() {
        let error =
            serde_json::from_str::<Retention>(r#"{"keep_last":"all of them"}"#).unwrap_err();
        assert!(error.to_string().contains("`keep_last`"), "{error}");
        assert!(!error.to_string().contains("all of"), "{error}");
    }
}
