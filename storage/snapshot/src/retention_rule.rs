//! Retention as a control plane orders it (API spec 4.1 and 9.6), turned into a policy.
//!
//! A rule names few numbers. What it leaves open stays open in the policy, so that less specific
//! policies and Kopia's defaults go on counting: more is kept than was asked for, never less.

use kopia::policy::RetentionPolicy;

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

/// The numbers of a rule as they are sent, in one of several forms or in more than one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called what they are sent as")]
pub struct RetentionNumbers {
    pub keep_last: Option<u64>,
    pub keep_days: Option<u64>,
    pub hourly: Option<u64>,
    pub daily: Option<u64>,
    pub weekly: Option<u64>,
    pub monthly: Option<u64>,
    pub yearly: Option<u64>,
}

impl RetentionRule {
    /// Returns the rule that was sent, if there is one: of several forms the last ones count first, then tiers, then
    /// days.
    pub fn of(sent: &RetentionNumbers) -> Option<Self> {
        let number = |sent: Option<u64>| {
            let number = sent.and_then(|it| u32::try_from(it).ok());
            number.filter(|&number| number <= i32::MAX as u32)
        };
        let positive = |sent: Option<u64>| number(sent).filter(|&number| number > 0);
        if let Some(count) = positive(sent.keep_last) {
            return Some(Self::KeepLast(count));
        }
        let tiers = [
            sent.hourly,
            sent.daily,
            sent.weekly,
            sent.monthly,
            sent.yearly,
        ];
        if tiers.into_iter().any(|tier| positive(tier).is_some()) {
            let [hourly, daily, weekly, monthly, yearly] = tiers.map(number);
            return Some(Self::Tiers {
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
            });
        }
        positive(sent.keep_days).map(Self::KeepDays)
    }

    /// What holds for a whole repository when nobody says anything.
    pub const OF_REPOSITORY: Self = Self::KeepDays(30);

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

#[cfg(test)]
mod tests {
    use super::*;

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
