//! Retention as a control plane orders it (API spec 4.1 and 9.6), turned into a policy.
//!
//! A rule names few numbers. What it leaves open stays open in the policy, so that less specific
//! policies and Kopia's defaults go on counting: more is kept than was asked for, never less.

use kopia::policy::RetentionPolicy;
use serde_json::{Map, Value};

/// How long a control plane wants points to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionRule {
    /// The newest ones.
    KeepLast(u32),
    /// One of each of the last days.
    KeepDays(u32),
    /// So many of each kind.
    Tiers {
        /// One per hour.
        hourly: Option<u32>,
        /// One per day.
        daily: Option<u32>,
        /// One per week.
        weekly: Option<u32>,
        /// One per month.
        monthly: Option<u32>,
        /// One per year.
        yearly: Option<u32>,
    },
}

impl RetentionRule {
    /// What holds for a whole repository when nobody says anything.
    pub const OF_REPOSITORY: Self = Self::KeepDays(30);

    /// Returns the rule that a `retention_json` holds; `None` if it holds none. Of several forms
    /// in one document the last ones count first, then tiers, then days. Zero is no rule.
    pub fn from_json(json: &Value) -> Option<Self> {
        let outer = json.as_object()?;
        let members = match outer.get("retention") {
            Some(inner) => inner.as_object()?,
            None => outer,
        };
        let tiers = ["hourly", "daily", "weekly", "monthly", "yearly"];
        if let Some(count) = number(members, "keep_last").filter(|&count| count > 0) {
            return Some(Self::KeepLast(count));
        }
        let [hourly, daily, weekly, monthly, yearly] = tiers.map(|tier| number(members, tier));
        let counts = [hourly, daily, weekly, monthly, yearly];
        if counts.into_iter().flatten().any(|count| count > 0) {
            return Some(Self::Tiers {
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
            });
        }
        let days = number(members, "keep_days").filter(|&days| days > 0);
        days.map(Self::KeepDays)
    }

    /// Returns the retention part of the policy that stands for this rule.
    pub fn to_policy(self) -> RetentionPolicy {
        let mut policy = RetentionPolicy::default();
        match self {
            Self::KeepLast(count) => policy.keep_latest = Some(count.into()),
            Self::KeepDays(days) => policy.keep_daily = Some(days.into()),
            Self::Tiers {
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
            } => {
                policy.keep_hourly = hourly.map(i64::from);
                policy.keep_daily = daily.map(i64::from);
                policy.keep_weekly = weekly.map(i64::from);
                policy.keep_monthly = monthly.map(i64::from);
                policy.keep_annual = yearly.map(i64::from);
            }
        }
        policy
    }
}

/// Reads a number that may have come as text. What is none counts as not said.
fn number(members: &Map<String, Value>, name: &str) -> Option<u32> {
    let number = match members.get(name)? {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_u64()?,
    };
    u32::try_from(number)
        .ok()
        .filter(|&number| number <= i32::MAX as u32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_of_the_control_plane_is_understood() {
        let tiers = RetentionRule::Tiers {
            hourly: Some(24),
            daily: Some(30),
            weekly: Some(8),
            monthly: Some(12),
            yearly: Some(3),
        };
        let all = json!({"hourly":24,"daily":"30","weekly":8,"monthly":12,"yearly":3});
        for (json, expected) in [
            (json!({"keep_last":7}), Some(RetentionRule::KeepLast(7))),
            (json!({"keep_last":"7"}), Some(RetentionRule::KeepLast(7))),
            (json!({"keep_days":30}), Some(RetentionRule::KeepDays(30))),
            (all.clone(), Some(tiers)),
            (
                json!({"schema":1,"timezone":"Europe/Berlin","retention":all}),
                Some(tiers),
            ),
            (
                json!({"keep_last":2,"daily":9}),
                Some(RetentionRule::KeepLast(2)),
            ),
            (
                json!({"keep_last":0,"keep_days":9}),
                Some(RetentionRule::KeepDays(9)),
            ),
            (json!({}), None),
            (json!([]), None),
            (Value::Null, None),
            (json!({"keep_last":0}), None),
            (json!({"keep_last":-1}), None),
            (json!({"keep_last":"many"}), None),
            (json!({"hourly":0,"daily":0}), None),
            (json!({"schema":1,"retention":[]}), None),
        ] {
            assert_eq!(RetentionRule::from_json(&json), expected, "{json}");
        }
    }

    #[test]
    fn a_rule_says_only_what_it_names() {
        let policy = |rule: RetentionRule| {
            let policy = rule.to_policy();
            [
                policy.keep_latest,
                policy.keep_hourly,
                policy.keep_daily,
                policy.keep_weekly,
                policy.keep_monthly,
                policy.keep_annual,
            ]
        };
        let none = None;
        assert_eq!(
            policy(RetentionRule::KeepLast(7)),
            [Some(7), none, none, none, none, none]
        );
        assert_eq!(
            policy(RetentionRule::OF_REPOSITORY),
            [none, none, Some(30), none, none, none]
        );
        let tiers = RetentionRule::Tiers {
            hourly: Some(1),
            daily: None,
            weekly: Some(3),
            monthly: None,
            yearly: Some(5),
        };
        assert_eq!(policy(tiers), [none, Some(1), none, Some(3), none, Some(5)]);
    }
}
