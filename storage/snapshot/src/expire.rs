//! Which snapshots of a repository stay and which go, by the policies of their sources.
//!
//! Decides and explains; deleting is [`Snapshots::delete_all`](crate::Snapshots::delete_all).

use std::collections::BTreeMap;

use kopia::policy::{PolicyTarget, RetentionPolicy};
use kopia::retention::{self, Candidate, Verdict};
use kopia::snapshot::SnapshotSource;
use repo::RepoError;
use time_and_chance::TimeZone;

use crate::policy::{Policies, check_readable};
use crate::snapshots::{Snapshot, Snapshots};

/// What becomes of the snapshots of one source.
#[derive(Debug)]
pub struct SourcePlan<'s> {
    /// The source.
    pub source: &'s SnapshotSource,
    /// The numbers that apply to it, all policies considered.
    pub retention: RetentionPolicy,
    /// Its snapshots, oldest first, and what retention says of each.
    pub snapshots: Vec<(&'s Snapshot, Verdict)>,
}

/// Says whether a snapshot goes: no rule keeps it, and it is not pinned.
pub fn expires(snapshot: &Snapshot, verdict: &Verdict) -> bool {
    !verdict.is_kept() && snapshot.manifest.pins.is_empty()
}

/// Returns what becomes of all snapshots, source by source (Kopia spec 7.6). `zone` is the time
/// zone of this client.
///
/// # Errors
/// `Damaged` if a policy makes no sense, or if manifests are lost among which policies and pins may
/// be: nothing is then decided for any source.
pub fn plan_expiry<'s>(
    snapshots: &'s Snapshots,
    zone: &TimeZone,
) -> Result<Vec<SourcePlan<'s>>, RepoError> {
    plan_expiry_by(snapshots, zone, &|_, _| None)
}

/// Returns what becomes of all snapshots where other rules may stand in place of sources' own:
/// `instead` is asked for each source, and hears what its own policy says. What such a rule leaves
/// open, less specific policies and Kopia's defaults say, as ever.
///
/// # Errors
/// As [`plan_expiry`].
pub fn plan_expiry_by<'s>(
    snapshots: &'s Snapshots,
    zone: &TimeZone,
    instead: &dyn Fn(&SnapshotSource, &RetentionPolicy) -> Option<RetentionPolicy>,
) -> Result<Vec<SourcePlan<'s>>, RepoError> {
    check_readable(snapshots.manifests(), "decide which snapshots expire")?;
    let mut by_source: BTreeMap<&SnapshotSource, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in snapshots.iter() {
        let source = &snapshot.manifest.source;
        by_source.entry(source).or_default().push(snapshot);
    }
    let policies = Policies::of(snapshots.manifests());
    by_source
        .into_iter()
        .map(|(source, of_source)| {
            let target = PolicyTarget::source(source);
            let of_source_instead = |own: &RetentionPolicy| instead(source, own);
            let retention = policies.effective_retention(&target, &of_source_instead)?;
            let candidates: Vec<Candidate> = of_source
                .iter()
                .map(|snapshot| Candidate {
                    start: snapshot.manifest.start_time,
                    end: snapshot.manifest.end_time,
                    complete: snapshot.manifest.incomplete.is_empty(),
                })
                .collect();
            let verdicts = retention::verdicts(&retention, &candidates, zone);
            Ok(SourcePlan {
                source,
                retention,
                snapshots: of_source.into_iter().zip(verdicts).collect(),
            })
        })
        .collect()
}
