//! How long points are kept: a job's rule for its own sources, a repository's for the others
//! (control-plane API 9.6).

use std::sync::Arc;

use backup::vm::{StateFolder, VmBases, next_is_full};
use fault::Fault;
use kopia::policy::{PolicyTarget, RetentionPolicy};
use kopia::snapshot::SnapshotSource;
use point::{Point, Points};
use protocol::retention::Retention;
use repo::{Repository, Writer};
use snapshot::{RetentionRule, Snapshots, expires, plan_expiry, policy_of, save_policy};
use time_and_chance::TimeZone;

/// What ended retention.
pub type RetentionError = Fault<()>;

/// What retention did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// How many points went.
    pub deleted_count: u64,
    /// Of how many sources.
    pub sources_count: u64,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Returns the rule that was sent, if there is one: of several forms the last ones count first, then
/// tiers, then days.
pub fn rule_of(sent: &Retention) -> Option<RetentionRule> {
    let number = |sent: Option<u64>| {
        let number = sent.and_then(|it| u32::try_from(it).ok());
        number.filter(|&number| number <= i32::MAX as u32)
    };
    let positive = |sent: Option<u64>| number(sent).filter(|&number| number > 0);
    if let Some(count) = positive(sent.keep_last) {
        return Some(RetentionRule::KeepLast(count));
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
        return Some(RetentionRule::Tiers {
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        });
    }
    positive(sent.keep_days).map(RetentionRule::KeepDays)
}

/// Retention in one repository.
#[derive(Debug)]
pub struct Retaining<'a> {
    /// The repository.
    pub repository: &'a Arc<Repository>,
    /// Which points running backups build on.
    pub state: &'a StateFolder,
    /// The time zone that weeks are counted in.
    pub time_zone: &'a TimeZone,
}

impl Retaining<'_> {
    /// Lets the rule be the sources' own from now on, and deletes what it does not keep of them.
    pub fn of_sources(
        &self,
        sources: &[SnapshotSource],
        rule: RetentionRule,
    ) -> Result<Retained, RetentionError> {
        let writer = self.writer()?;
        for source in sources {
            self.set(&writer, source, rule)?;
        }
        self.expire(&writer, &|source| sources.contains(source))
    }

    /// Gives the rule to every source that has none of its own, and deletes what the rules of all do
    /// not keep.
    pub fn of_repository(&self, rule: RetentionRule) -> Result<Retained, RetentionError> {
        let writer = self.writer()?;
        let points = self.points()?;
        let mut sources: Vec<&SnapshotSource> = Vec::new();
        for snapshot in points.snapshots().iter() {
            let source = &snapshot.manifest.source;
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        for source in sources {
            let target = PolicyTarget::source(source);
            let policy = policy_of(points.snapshots().manifests(), &target);
            let policy = policy.map_err(failed("read the policies"))?;
            let has_own =
                policy.is_some_and(|policy| policy.retention != RetentionPolicy::default());
            if !has_own {
                self.set(&writer, source, rule)?;
            }
        }
        self.expire(&writer, &|_| true)
    }

    fn set(
        &self,
        writer: &Writer,
        source: &SnapshotSource,
        rule: RetentionRule,
    ) -> Result<(), RetentionError> {
        let target = PolicyTarget::source(source);
        let manifests = self.repository.manifests();
        let manifests = manifests.map_err(failed("read the policies"))?;
        let known = policy_of(&manifests, &target).map_err(failed("read the policies"))?;
        let mut policy = known.unwrap_or_default();
        let retention = rule.to_policy();
        if policy.retention == retention {
            return Ok(());
        }
        policy.retention = retention;
        save_policy(writer, &target, &policy).map_err(failed("store the policy"))
    }

    fn expire(
        &self,
        writer: &Writer,
        is_wanted: &dyn Fn(&SnapshotSource) -> bool,
    ) -> Result<Retained, RetentionError> {
        let points = self.points()?;
        let plans = plan_expiry(points.snapshots(), self.time_zone);
        let plans = plans.map_err(failed("decide which points expire"))?;
        let bases = VmBases::new(self.state.clone(), self.repository.unique_id_hex());
        let mut retained = Retained::default();
        let (mut going, mut held) = (Vec::new(), Vec::new());
        for plan in plans.iter().filter(|plan| is_wanted(plan.source)) {
            retained.sources_count += 1;
            for (snapshot, verdict) in &plan.snapshots {
                if !expires(snapshot, verdict) {
                    continue;
                }
                let point = Point::of(snapshot);
                let vm = bases.vm_on(&point).map_err(failed("look for bases"))?;
                if let Some(vm) = vm {
                    // A running backup builds on it: it goes the next time.
                    let Some(hold) = bases.hold(vm).map_err(failed("look for bases"))? else {
                        continue;
                    };
                    held.push(hold);
                    retained.warnings.push(next_is_full(&point, vm));
                }
                going.push(&*snapshot.id);
            }
        }
        let deleted = Snapshots::delete_all(writer, going.iter().copied());
        retained.deleted_count = deleted.map_err(failed("delete points"))? as u64;
        Ok(retained)
    }

    fn writer(&self) -> Result<Writer, RetentionError> {
        Writer::new(self.repository, 1).map_err(failed("write to the repository"))
    }

    fn points(&self) -> Result<Points, RetentionError> {
        Points::load(self.repository).map_err(failed("list the points"))
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(
    doing: &str,
) -> impl FnOnce(E) -> RetentionError + '_ {
    move |error| RetentionError::new((), format!("apply retention: {doing}")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_count_before_tiers_and_those_before_days() {
        let all = Retention {
            keep_last: Some(7),
            keep_days: Some(30),
            daily: Some(9),
            ..Retention::default()
        };
        assert_eq!(rule_of(&all), Some(RetentionRule::KeepLast(7)));
        let without_last = Retention {
            keep_last: Some(0),
            ..all.clone()
        };
        let tiers = RetentionRule::Tiers {
            hourly: None,
            daily: Some(9),
            weekly: None,
            monthly: None,
            yearly: None,
        };
        assert_eq!(rule_of(&without_last), Some(tiers));
        let days = Retention {
            keep_days: Some(30),
            ..Retention::default()
        };
        assert_eq!(rule_of(&days), Some(RetentionRule::KeepDays(30)));
        assert_eq!(rule_of(&Retention::default()), None);
    }
}
