//! Retention of the same histories under the same policies, by us and by stock Kopia.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kopia::policy::{Policy, PolicyTarget};
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use point::Points;
use repo::{CreateOptions, Repository, Writer};
use scenarios::World;
use snapshot::{TreeWriter, plan_expiry};
use time_and_chance::{Chance, SignedDuration, TimeZone, Timestamp};

use crate::is_long;
use crate::stock::{StockKopia, find_or_leave_out, text_of};

/// Where the machine of whoever decides may stand.
const TIME_ZONES: [&str; 4] = [
    "UTC",
    "Europe/Berlin",
    "Pacific/Auckland",
    "America/Los_Angeles",
];
const NEWEST_SECOND: u64 = 1_790_000_000;

/// Why each snapshot is kept, by its manifest's id.
type Reasons = BTreeMap<String, BTreeSet<String>>;

#[test]
fn stock_kopia_keeps_the_same_snapshots_for_the_same_reasons() {
    let what = "retention of a thousand random histories beside stock Kopia's";
    let Some(kopia) = find_or_leave_out(what) else {
        return;
    };
    let (world, repo) = world_with_histories(if is_long() { 1000 } else { 100 });
    let kopia = StockKopia::connect(&kopia, &world.path("repo"), &world.path("other"));
    for name in TIME_ZONES {
        let theirs: Reasons = kopia
            .in_time_zone(name)
            .manifests()
            .iter()
            .map(|manifest| {
                let reasons = manifest["retentionReason"].as_array();
                let reasons = reasons.into_iter().flatten().filter_map(|it| it.as_str());
                let id = text_of(manifest, "id").to_owned();
                (id, reasons.map(str::to_owned).collect())
            })
            .collect();
        let ours = our_reasons(&repo, name);
        for (id, reasons) in &ours {
            assert_eq!(theirs.get(id), Some(reasons), "{name}: {id}");
        }
        assert_eq!(theirs.len(), ours.len());
    }
}

/// The part of the test above that needs no other client.
#[test]
fn random_histories_are_judged_in_every_time_zone() {
    let (_world, repo) = world_with_histories(8);
    for name in TIME_ZONES {
        let reasons = our_reasons(&repo, name);
        let kept = reasons.values().filter(|reasons| !reasons.is_empty());
        let kept = kept.count();
        assert!(0 < kept && kept < reasons.len(), "{name}: {kept}");
    }
}

fn our_reasons(repo: &Arc<Repository>, time_zone: &str) -> Reasons {
    let points = Points::load(repo).unwrap();
    let zone = TimeZone::get(time_zone).unwrap();
    let plans = plan_expiry(points.snapshots(), &zone).unwrap();
    plans
        .iter()
        .flat_map(|plan| &plan.snapshots)
        .map(|(snapshot, verdict)| {
            let reasons = verdict.reasons().into_iter().collect();
            (snapshot.id.clone(), reasons)
        })
        .collect()
}

/// Makes a repository with snapshots at random times of so many sources, each with a policy of
/// its own.
fn world_with_histories(count: u64) -> (World, Arc<Repository>) {
    let world = World::new(70);
    let repo = world.create_repository("repo", &CreateOptions::default());
    let writer = Writer::new(&repo, 1).unwrap();
    let chance = Chance::from_seed(71);
    let mut tree = TreeWriter::new(&writer, Timestamp::UNIX_EPOCH);
    let root = tree.folder("", Vec::new()).unwrap();
    let mut entries = Vec::new();
    for history in 0..count {
        let source = SnapshotSource {
            host: "elsewhere".to_owned(),
            user_name: "someone".to_owned(),
            path: format!("/histories/{history}"),
        };
        let target = PolicyTarget::source(&source);
        entries.push(writer.new_manifest(target.labels(), random_policy(&chance).encode()));
        for (start, end, incomplete) in random_history(&chance) {
            let manifest = SnapshotManifest {
                id: String::new(),
                source: source.clone(),
                description: String::new(),
                start_time: start,
                end_time: end,
                stats: SnapshotStats::default(),
                incomplete: incomplete.to_owned(),
                root_entry: Some(root.clone()),
                tags: BTreeMap::new(),
                storage_stats: None,
                pins: Vec::new(),
                other: BTreeMap::new(),
            };
            let new = writer.new_manifest(BTreeMap::new(), manifest_data());
            entries.push(manifest.to_manifest(new.id, new.modified).unwrap());
        }
    }
    writer.write_manifests(entries).unwrap();
    writer.flush().unwrap();
    (world, repo)
}

/// A manifest's id and time are all that is wanted of it.
fn manifest_data() -> Box<serde_json::value::RawValue> {
    serde_json::value::RawValue::NULL.to_owned()
}

fn random_policy(chance: &Chance) -> Policy {
    let mut policy = Policy::default();
    let number = |most: u64| {
        let drawn = chance.below(most + 4);
        (drawn <= most).then(|| i64::try_from(drawn).unwrap())
    };
    let retention = &mut policy.retention;
    retention.keep_latest = number(6);
    retention.keep_hourly = number(30);
    retention.keep_daily = number(12);
    retention.keep_weekly = number(8);
    retention.keep_monthly = number(14);
    retention.keep_annual = number(4);
    policy
}

/// Returns starts, ends and what is incomplete, mostly close together and sometimes far apart.
fn random_history(chance: &Chance) -> Vec<(Timestamp, Timestamp, &'static str)> {
    let mut second = NEWEST_SECOND - chance.below(400 * 86_400);
    (0..5 + chance.below(40))
        .map(|_| {
            let step = [3600, 86_400, 7 * 86_400, 40 * 86_400];
            let step = step[usize::try_from(chance.below(4)).unwrap()];
            second -= 1 + chance.below(step);
            let start = Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
            let end = start + SignedDuration::from_secs(i64::try_from(chance.below(900)).unwrap());
            let incomplete = match chance.below(6) {
                0 => "canceled",
                _ => "",
            };
            (start, end, incomplete)
        })
        .collect()
}
