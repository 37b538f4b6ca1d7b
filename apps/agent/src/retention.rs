//! How long points are kept: a job's rule for its own sources, a repository's for the others
//! (control-plane API 9.6).
//!
//! | Which rule counts for a source | Where it is |
//! |---|---|
//! | what an operation says of this very source (`override_days`) | in the operation |
//! | the job's, unless the operation says that the job is gone (`retired`) | stored as the source's policy |
//! | the repository's | in the operation |
//!
//! An operation that names sources is about those alone.

use std::sync::Arc;

use backup::vm::{StateFolder, VmBases, next_is_full};
use fault::Fault;
use kopia::policy::{PolicyTarget, RetentionPolicy};
use kopia::snapshot::SnapshotSource;
use point::{Point, Points};
use protocol::repo_operations::EffectivePolicy;
use protocol::retention::Retention;
use repo::{Repository, Writer};
use serde_json::{Value, json};
use snapshot::{
    RetentionNumbers, RetentionRule, Snapshots, expires, plan_expiry_by, policy_of, save_policy,
};
use time_and_chance::TimeZone;

/// What ended retention.
pub type RetentionError = Fault<()>;

/// Removed points of one run or operation that are told by their ids: bodies stay small.
const TOLD_MAX: usize = 1000;

/// What retention did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// How many points went.
    pub deleted_count: u64,
    /// Their manifests' ids, the first [`TOLD_MAX`].
    pub removed_points: Vec<String>,
    /// Of how many sources.
    pub sources_count: u64,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

impl Retained {
    /// Returns what the server is told of it: how many points went, and to our own control plane, which.
    pub fn figures(&self) -> Value {
        json!({
            "deleted_count": self.deleted_count,
            "removed_points": self.removed_points,
        })
    }
}

/// Returns the rule that was sent, if there is one.
pub fn rule_of(sent: &Retention) -> Option<RetentionRule> {
    RetentionRule::of(&RetentionNumbers {
        keep_last: sent.keep_last,
        keep_days: sent.keep_days,
        hourly: sent.hourly,
        daily: sent.daily,
        weekly: sent.weekly,
        monthly: sent.monthly,
        yearly: sent.yearly,
    })
}

/// What an operation orders for one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    rule: RetentionRule,
    /// Whether it counts before a rule of the source's own.
    comes_first: bool,
}

impl Order {
    /// Returns what counts in place of the source's own rule, if that does not count.
    fn instead_of(self, own: &RetentionPolicy) -> Option<RetentionPolicy> {
        let has_own = *own != RetentionPolicy::default();
        (self.comes_first || !has_own).then(|| self.rule.to_policy())
    }
}

/// Returns what an operation orders for a source; `None` if the source is none of its business.
fn order_for(policy: &EffectivePolicy, source: &SnapshotSource) -> Option<Order> {
    let days = |sent: Option<u64>| {
        let days = sent.and_then(|it| u32::try_from(it).ok());
        let days = days.filter(|days| (1..=i32::MAX as u32).contains(days));
        days.map(RetentionRule::KeepDays)
    };
    let of_repository = rule_of(&policy.retention)
        .or(days(policy.vault_default_days))
        .unwrap_or(RetentionRule::OF_REPOSITORY);
    if policy.sources.is_empty() {
        return Some(Order {
            rule: of_repository,
            comes_first: false,
        });
    }
    let named = policy.sources.iter().find(|it| names(&it.path, source))?;
    let of_source = days(named.override_days);
    Some(Order {
        rule: of_source.unwrap_or(of_repository),
        comes_first: of_source.is_some() || named.retired,
    })
}

/// Returns whether a control plane means this source by a path: a folder's, a VM's GUID.
fn names(path: &str, source: &SnapshotSource) -> bool {
    let guid = source.path.strip_prefix("hyperv/");
    let bare = path.trim().trim_matches(['{', '}']);
    guid.is_some_and(|guid| guid.eq_ignore_ascii_case(bare))
        || cleaned(path) == cleaned(&source.path)
}

/// Returns a path as paths are compared: those of Windows without regard to case and to the kind of
/// slash.
fn cleaned(path: &str) -> String {
    let path = path.trim();
    let is_windows = path.contains('\\') || path.as_bytes().get(1) == Some(&b':');
    let path = match is_windows {
        true => path.replace('/', "\\").to_lowercase(),
        false => path.to_owned(),
    };
    match path.trim_end_matches(['/', '\\']) {
        "" => path,
        trimmed => trimmed.to_owned(),
    }
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
        self.expire(&writer, &|source| sources.contains(source), &|_, _| None)
    }

    /// Deletes what an operation's rules do not keep of the sources that it is about. Nothing of them is
    /// stored: they are the repository's, come with every operation, and may be others the next time.
    pub fn of_repository(&self, policy: &EffectivePolicy) -> Result<Retained, RetentionError> {
        let writer = self.writer()?;
        self.expire(
            &writer,
            &|source| order_for(policy, source).is_some(),
            &|source, own| order_for(policy, source)?.instead_of(own),
        )
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
        instead: &dyn Fn(&SnapshotSource, &RetentionPolicy) -> Option<RetentionPolicy>,
    ) -> Result<Retained, RetentionError> {
        let points = self.points()?;
        let plans = plan_expiry_by(points.snapshots(), self.time_zone, instead);
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
        let told = going.iter().take(TOLD_MAX);
        retained.removed_points = told.map(|id| (*id).to_owned()).collect();
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

    fn source(path: &str) -> SnapshotSource {
        SnapshotSource {
            host: "host".to_owned(),
            user_name: "agent".to_owned(),
            path: path.to_owned(),
        }
    }

    /// Returns what counts for a source with and without a rule of its own; `None` is its own, or none.
    fn counting(sent: Value, path: &str) -> Option<[Option<RetentionPolicy>; 2]> {
        let policy: EffectivePolicy = serde_json::from_value(sent).unwrap();
        let order = order_for(&policy, &source(path))?;
        let own = RetentionRule::KeepLast(3).to_policy();
        Some([own, RetentionPolicy::default()].map(|own| order.instead_of(&own)))
    }

    fn days(days: u32) -> Option<RetentionPolicy> {
        Some(RetentionRule::KeepDays(days).to_policy())
    }

    #[test]
    fn a_jobs_own_rule_counts_before_the_repositorys_and_after_an_order_for_the_source() {
        let path = "/home";
        assert_eq!(counting(json!({}), path), Some([None, days(30)]));
        let last = RetentionRule::KeepLast(2).to_policy();
        let sent = json!({"keep_last": 2, "vault_default_days": 9});
        assert_eq!(counting(sent, path), Some([None, Some(last)]));
        let named = |more: Value| {
            let mut source = json!({"path": path});
            source
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            json!({"vault_default_days": "9", "sources": [{"path": "/other"}, source]})
        };
        assert_eq!(counting(named(json!({})), path), Some([None, days(9)]));
        for more in [
            json!({"override_days": "5"}),
            json!({"override_days": 5, "retired": true}),
        ] {
            assert_eq!(counting(named(more), path), Some([days(5), days(5)]));
        }
        let retired = named(json!({"retired": 1, "override_days": null}));
        assert_eq!(counting(retired, path), Some([days(9), days(9)]));
        let no_days = named(json!({"override_days": 0}));
        assert_eq!(counting(no_days, path), Some([None, days(9)]));
    }

    #[test]
    fn an_operation_that_names_sources_is_about_those_alone() {
        let guid = "0a1b0000-0000-4000-8000-00000000000c";
        for (sent, path, is_meant) in [
            ("/home", "/home", true),
            ("/home/", "/home", true),
            ("/home", "/Home", false),
            ("/home", "/home/user", false),
            ("/", "/", true),
            ("c:/Data\\", "C:\\data", true),
            ("C:\\data", "C:\\data2", false),
            (
                &*format!("{{{}}}", guid.to_uppercase()),
                &*format!("hyperv/{guid}"),
                true,
            ),
            (&*format!("hyperv/{guid}"), &*format!("hyperv/{guid}"), true),
            ("hyperv", &*format!("hyperv/{guid}"), false),
            ("", "/home", false),
        ] {
            let named = json!({"sources": [{"path": sent}]});
            assert_eq!(counting(named, path).is_some(), is_meant, "{sent} {path}");
        }
    }

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
