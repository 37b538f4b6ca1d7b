//! Which restore points a run that has ended leaves (contract 5.2 and 5.3).
//!
//! Each result stands for itself: one that makes no sense costs no other, and one that is there already changes
//! nothing.

use std::collections::{HashMap, HashSet};

use protocol::hyperv_results::{BackupType, Consistency, HypervResult};
use protocol::limit::shortened;
use protocol::update_run::UpdateRun;
use serde_json::Value;

use crate::run_rules::change::object;
use crate::store::entity::{point, run, vm};
use crate::vm_choice::bare_guid;

/// The longest name of a point.
const NAME_CHARS_MAX: usize = 255;
/// The longest manifest id.
const MANIFEST_CHARS_MAX: usize = 191;

/// A point that is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPoint {
    /// The VM, if the server knows it.
    pub vm_id: Option<i64>,
    /// The VM's name, or the sources.
    pub name: String,
    /// Its primary manifest.
    pub manifest_id: String,
    /// `full`, `incremental` or empty.
    pub backup_type: &'static str,
    /// `application`, `crash`, `crash-no-checkpoint` or empty.
    pub consistency: &'static str,
    /// The size of what it holds.
    pub total_bytes: i64,
    /// What had changed.
    pub changed_bytes: i64,
    /// How long it took.
    pub duration_seconds: i64,
    /// Disk path to manifest id, as JSON.
    pub disk_manifests_json: String,
    /// What it warns of, as JSON.
    pub warnings_json: String,
}

/// What the next run of a VM is handed back (contract 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The VM.
    pub vm_id: i64,
    /// The pointer; none: the old one stays.
    pub checkpoint_id: Option<String>,
    /// Change-tracking ids, as JSON.
    pub rct_ids_json: String,
    /// Whether there are any.
    pub is_tracked: bool,
}

impl NewPoint {
    /// Adds to what it warns of.
    pub fn warn(&mut self, said: &[String]) {
        let mut warnings: Vec<String> =
            serde_json::from_str(&self.warnings_json).unwrap_or_default();
        warnings.extend_from_slice(said);
        self.warnings_json = json(&warnings);
    }
}

/// What is recorded of an ending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Points.
    pub points: Vec<NewPoint>,
    /// What VMs are handed back.
    pub pointers: Vec<Pointer>,
    /// What is only logged.
    pub logged: Vec<String>,
}

/// What points say in their warnings of disks whose changes could not be told.
pub const READ_IN_FULL: &str = "read in full";

/// What a point warns of that a verification found damaged.
pub const DAMAGED: &str =
    "a verification found it damaged: it cannot be restored whole; see the repository's operations";

/// Returns what of the results of VMs is recorded. `vms` are those of the run's host and those that the results name;
/// `there` are the run's points that exist.
pub fn of_vms(
    run: &run::Model,
    results: &[HypervResult],
    vms: &[vm::Model],
    there: &[point::Model],
) -> Recorded {
    let mut recorded = Recorded::default();
    let vms = KnownVms::of(vms);
    let mut is_there = There::of(there);
    let numbers = results
        .iter()
        .filter_map(|result| i64::try_from(result.vm_id.0).ok());
    let numbered: HashSet<i64> = numbers.filter(|&id| id > 0).collect();
    for result in results {
        let name = shortened(&result.vm_name, NAME_CHARS_MAX);
        if !result.error.is_empty() {
            recorded.logged.push(format!("{name}: {}", result.error));
            continue;
        }
        let Some((_, manifest_id)) = result.disk_manifests.iter().next() else {
            let why = format!("{name}: there is no point, for the result names no manifest");
            recorded.logged.push(why);
            continue;
        };
        let vm = vms.of_result(result, &numbered);
        if vm.is_some_and(|vm| !may_be_of(run, vm)) {
            let why = format!("{name}: there is no point, for its number is another host's VM");
            recorded.logged.push(why);
            continue;
        }
        let name = match (name.is_empty(), vm) {
            (true, Some(vm)) => vm.name.clone(),
            _ => name,
        };
        let manifest_id = shortened(manifest_id, MANIFEST_CHARS_MAX);
        let vm_id = vm.map(|vm| vm.id);
        if !is_there.add(&manifest_id, vm_id, &name) {
            continue;
        }
        if let Some(vm_id) = vm_id {
            recorded.pointers.push(Pointer {
                vm_id,
                checkpoint_id: Some(result.checkpoint_id.clone()).filter(|id| !id.is_empty()),
                rct_ids_json: json(&result.rct_ids),
                is_tracked: !result.rct_ids.is_empty(),
            });
        }
        recorded.points.push(NewPoint {
            vm_id,
            name,
            manifest_id,
            backup_type: match result.backup_type {
                BackupType::Full => "full",
                BackupType::Incremental => "incremental",
            },
            consistency: match result.consistency_level {
                Consistency::Application => "application",
                Consistency::Crash => "crash",
                Consistency::CrashNoCheckpoint => "crash-no-checkpoint",
            },
            total_bytes: number(result.total_bytes),
            changed_bytes: number(result.changed_bytes),
            duration_seconds: number(result.duration_seconds),
            disk_manifests_json: json(&result.disk_manifests),
            warnings_json: json(&result.warnings),
        });
    }
    recorded
}

/// Tells whether a run may have backed up a VM: one of its host, or one that has moved to another since the run was made. No
/// host vouches for what another one has.
fn may_be_of(run: &run::Model, vm: &vm::Model) -> bool {
    vm.host_id == run.host_id || vm.came_at.is_some_and(|at| at >= run.created_at)
}

/// The points of a run that are known: of a VM, or of a name, under their manifest.
#[derive(Default)]
struct There {
    of_vms: HashSet<(String, i64)>,
    of_names: HashSet<(String, String)>,
}

impl There {
    fn of(points: &[point::Model]) -> Self {
        let mut there = Self::default();
        for point in points {
            there.add(&point.manifest_id, point.vm_id, &point.name);
        }
        there
    }

    /// Adds a point. Tells whether it is new.
    fn add(&mut self, manifest_id: &str, vm_id: Option<i64>, name: &str) -> bool {
        let of_name = (manifest_id.to_owned(), name.to_owned());
        let of_vm = vm_id.map(|vm_id| (manifest_id.to_owned(), vm_id));
        let is_known = self.of_names.contains(&of_name)
            || of_vm.as_ref().is_some_and(|it| self.of_vms.contains(it));
        if !is_known {
            self.of_names.insert(of_name);
            self.of_vms.extend(of_vm);
        }
        !is_known
    }
}

/// VMs by their numbers and by their names, of which several may have one.
struct KnownVms<'v> {
    by_number: HashMap<i64, &'v vm::Model>,
    by_name: HashMap<String, Vec<&'v vm::Model>>,
}

impl<'v> KnownVms<'v> {
    fn of(vms: &'v [vm::Model]) -> Self {
        let mut by_name: HashMap<String, Vec<&vm::Model>> = HashMap::new();
        for vm in vms {
            by_name.entry(vm.name.to_lowercase()).or_default().push(vm);
        }
        Self {
            by_number: vms.iter().map(|vm| (vm.id, vm)).collect(),
            by_name,
        }
    }

    /// Returns the VM that a result is of: by its number, else by its name on the run's host (a number of 0 is a VM that
    /// the agent found by itself).
    ///
    /// One that another result names by its number is not meant by its name: copies bear their original's.
    fn of_result(&self, result: &HypervResult, numbered: &HashSet<i64>) -> Option<&'v vm::Model> {
        let number = i64::try_from(result.vm_id.0).ok().filter(|&id| id > 0);
        let by_number = number.and_then(|id| self.by_number.get(&id).copied());
        let named = self.by_name.get(&result.vm_name.to_lowercase());
        let named = || {
            let all = named.into_iter().flatten().copied();
            all.filter(|vm| !numbered.contains(&vm.id))
        };
        by_number
            .or_else(|| named().find(|vm| vm.gone_at.is_none()))
            .or_else(|| named().next())
    }
}

/// Why a disk is read in full though nothing went wrong, in the words of agents of ours.
const FULL_AS_EXPECTED: [&str; 4] = [
    "this is the VM's first backup",
    "a full backup was asked for",
    "the disk is new",
    "the last full read was",
];

/// Returns what to say of disks that had to be read in full though there was something to build on, by their VM's id in
/// Hyper-V: what agents of ours tell beyond the contract.
pub fn disks_in_full(update: &UpdateRun) -> HashMap<String, Vec<String>> {
    told_of_vms(update, |vm| {
        let disks = vm.get("disks")?.as_array()?;
        let said: Vec<String> = disks
            .iter()
            .filter(|disk| disk["type"] == "full")
            .filter_map(|disk| Some((disk["path"].as_str()?, disk["full_reason"].as_str()?)))
            .filter(|(_, why)| !FULL_AS_EXPECTED.iter().any(|it| why.starts_with(it)))
            .map(|(path, why)| {
                let why = shortened(why, NAME_CHARS_MAX);
                format!(
                    "{} was {READ_IN_FULL}: {why}",
                    shortened(path, NAME_CHARS_MAX)
                )
            })
            .collect();
        Some(said)
    })
}

/// Returns what `read` finds in what an agent of ours tells of each VM, by its id in Hyper-V.
fn told_of_vms<T>(update: &UpdateRun, read: impl Fn(&Value) -> Option<T>) -> HashMap<String, T> {
    let vms = update.stats_json.get("vms").and_then(|it| it.as_array());
    let told = vms.into_iter().flatten().filter_map(|vm| {
        let guid = bare_guid(vm.get("vm_guid")?.as_str()?);
        Some((guid, read(vm)?))
    });
    told.collect()
}

/// Returns how long before the end of a run the disks of each VM were frozen (milliseconds), by its id in Hyper-V: what
/// agents of ours tell beyond the contract. Both moments are of the agent's clock, so it may be wrong.
pub fn frozen_before_end(update: &UpdateRun) -> HashMap<String, i64> {
    let Some(end) = update.finished_at else {
        return HashMap::new();
    };
    told_of_vms(update, |vm| {
        let at: jiff::Timestamp = vm.get("frozen_at")?.as_str()?.parse().ok()?;
        Some(end.as_millisecond().saturating_sub(at.as_millisecond()))
    })
}

/// Returns when a point was made whose disks were frozen so long before the end of its run: within the run.
pub fn made_at(run: &run::Model, before_end: i64, now: i64) -> i64 {
    let end = run.finished_at.unwrap_or(now);
    let begun = run.started_at.unwrap_or(end).min(end);
    end.saturating_sub(before_end).clamp(begun, end)
}

/// Returns the only point of a run of files or disks; `None` if the run has none that is new. `sources` is what the
/// point is called.
pub fn of_files(
    run: &run::Model,
    update: &UpdateRun,
    sources: &str,
    there: &[point::Model],
) -> Option<NewPoint> {
    let stats = object(&run.stats_json);
    let in_stats = stats.get("manifest_id").and_then(|id| id.as_str());
    let manifest_id = match (update.manifest_id.as_str(), run.manifest_id.as_str()) {
        ("", "") => in_stats.unwrap_or_default(),
        ("", known) => known,
        (sent, _) => sent,
    };
    let manifest_id = shortened(manifest_id, MANIFEST_CHARS_MAX);
    if manifest_id.is_empty() || there.iter().any(|it| it.manifest_id == manifest_id) {
        return None;
    }
    let warnings: Vec<&str> = match run.error_summary.as_str() {
        "" => Vec::new(),
        summary => vec![summary],
    };
    let begun = run.started_at.unwrap_or(run.created_at);
    let ended = run.finished_at.unwrap_or(begun);
    Some(NewPoint {
        vm_id: None,
        name: shortened(sources, NAME_CHARS_MAX),
        manifest_id,
        backup_type: "",
        consistency: "",
        total_bytes: run.bytes_total.max(run.bytes_processed),
        changed_bytes: run.bytes_transferred,
        duration_seconds: (ended - begun).max(0) / 1_000,
        disk_manifests_json: run.disk_manifests_json.clone(),
        warnings_json: json(&warnings),
    })
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).expect("texts, and maps of texts, are JSON")
}

fn number(sent: u64) -> i64 {
    i64::try_from(sent).unwrap_or(i64::MAX)
}

/// A VM for the tests of the rules.
#[cfg(test)]
pub(crate) fn test_vm(id: i64, name: &str) -> vm::Model {
    vm::Model {
        id,
        tenant_id: "t".to_owned(),
        host_id: "h".to_owned(),
        guid: format!("5F3B0000-0000-4000-8000-{id:012}"),
        name: name.to_owned(),
        generation: 2,
        is_linux: false,
        state: "Running".to_owned(),
        is_tracked: false,
        cpu_count: 0,
        memory_mb: 0,
        disks_json: "[]".to_owned(),
        leftovers_json: "[]".to_owned(),
        last_checkpoint_id: None,
        last_rct_ids_json: "{}".to_owned(),
        objective_hours: None,
        is_excused: false,
        first_seen_at: 0,
        came_at: None,
        last_seen_at: 0,
        gone_at: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::run_rules::test_run;

    fn result(changes: Value) -> HypervResult {
        let mut result = json!({
            "vm_id": 7, "vm_name": "web01", "backup_type": "Full", "checkpoint_id": "2C1D",
            "rct_ids": {"D:\\z.vhdx": "rctX:1"},
            "disk_manifests": {"D:\\z.vhdx": "9c41", "D:\\a.vhdx": "0000"},
            "total_bytes": 10, "changed_bytes": 3, "consistency_level": "Application",
            "duration_seconds": 4, "warnings": ["w"],
        });
        for (name, value) in changes.as_object().expect("an object") {
            result[name] = value.clone();
        }
        // As from the wire: maps keep their order.
        let text = result.to_string().replace(
            r#""disk_manifests":{"D:\\a.vhdx":"0000","D:\\z.vhdx":"9c41"}"#,
            r#""disk_manifests":{"D:\\z.vhdx":"9c41","D:\\a.vhdx":"0000"}"#,
        );
        serde_json::from_str(&text).expect("a result")
    }

    fn recorded_as(point: &NewPoint) -> point::Model {
        point::Model {
            id: 1,
            tenant_id: "t".to_owned(),
            host_id: "h".to_owned(),
            repository_id: "r".to_owned(),
            job_id: None,
            run_id: "run".to_owned(),
            engine: "hyperv".to_owned(),
            vm_id: point.vm_id,
            name: point.name.clone(),
            manifest_id: point.manifest_id.clone(),
            backup_type: String::new(),
            consistency: String::new(),
            total_bytes: 0,
            changed_bytes: 0,
            duration_seconds: 0,
            disk_manifests_json: String::new(),
            warnings_json: String::new(),
            created_at: 0,
            proven_at: None,
            proven_how: String::new(),
            is_pinned: false,
            confirmed_at: 0,
            expired_at: None,
        }
    }

    #[test]
    fn a_vm_has_a_point_whose_first_manifest_is_the_primary_one() {
        let vms = [test_vm(7, "web01")];
        let recorded = of_vms(&test_run("success"), &[result(json!({}))], &vms, &[]);
        let point = &recorded.points[0];
        assert_eq!((point.vm_id, point.manifest_id.as_str()), (Some(7), "9c41"));
        assert_eq!(
            (point.backup_type, point.consistency),
            ("full", "application")
        );
        assert_eq!(
            point.disk_manifests_json,
            r#"{"D:\\z.vhdx":"9c41","D:\\a.vhdx":"0000"}"#
        );
        assert_eq!(
            recorded.pointers,
            [Pointer {
                vm_id: 7,
                checkpoint_id: Some("2C1D".to_owned()),
                rct_ids_json: r#"{"D:\\z.vhdx":"rctX:1"}"#.to_owned(),
                is_tracked: true,
            }]
        );
    }

    #[test]
    fn each_result_stands_for_itself() {
        let results = [
            result(json!({"vm_name": "broken", "error": "no space"})),
            result(json!({"vm_name": "empty", "disk_manifests": {}})),
            result(json!({"checkpoint_id": "", "rct_ids": {}})),
        ];
        let recorded = of_vms(&test_run("success"), &results, &[test_vm(7, "web01")], &[]);
        assert_eq!(recorded.points.len(), 1);
        assert_eq!(recorded.logged.len(), 2);
        assert_eq!(
            recorded.pointers[0].checkpoint_id, None,
            "the old one stays"
        );
    }

    #[test]
    fn disks_that_had_to_be_read_in_full_are_told_with_the_reason() {
        let document = json!({"run_id": 1, "stats_json": {"vms": [
            {"vm_guid": "{AB}", "disks": [
                {"path": "a", "type": "incremental", "full_reason": null},
                {"path": "b", "type": "full", "full_reason": "the disk was resized"},
                {"path": "c", "type": "full", "full_reason": "the last full read was 30 days ago"},
                {"path": "d", "type": "full", "full_reason": "the disk is new"},
            ]},
            {"vm_guid": "cd", "disks": 7},
        ]}});
        let update: UpdateRun = serde_json::from_value(document).expect("an update");
        let said = disks_in_full(&update);
        assert_eq!(said.len(), 1);
        let expected = format!("b was {READ_IN_FULL}: the disk was resized");
        assert_eq!(said["AB"], [expected.as_str()]);
        let results = [result(json!({"warnings": ["odd"]}))];
        let mut point = of_vms(&test_run("success"), &results, &[], &[]).points;
        point[0].warn(&said["AB"]);
        assert_eq!(point[0].warnings_json, json(&["odd", &expected]));
    }

    #[test]
    fn a_vm_without_a_number_of_ours_is_found_by_its_name() {
        let mut gone = test_vm(3, "web01");
        gone.gone_at = Some(1);
        let vms = [gone, test_vm(8, "Web01"), test_vm(9, "db")];
        for (number, name, expected) in [
            (0, "web01", Some(8)),
            (99, "WEB01", Some(8)),
            (9, "renamed", Some(9)),
            (0, "unknown", None),
        ] {
            let result = result(json!({"vm_id": number, "vm_name": name}));
            let recorded = of_vms(&test_run("success"), &[result], &vms, &[]);
            assert_eq!(recorded.points[0].vm_id, expected, "{number} {name}");
            assert_eq!(recorded.points[0].name, name);
            assert_eq!(recorded.pointers.len(), usize::from(expected.is_some()));
        }
    }

    #[test]
    fn another_hosts_vm_is_vouched_for_only_if_it_has_moved_there_meanwhile() {
        let mut run = test_run("success");
        run.created_at = 100;
        for (came_at, is_recorded) in [(None, false), (Some(99), false), (Some(100), true)] {
            let mut vm = test_vm(7, "web01");
            vm.host_id = "there".to_owned();
            vm.came_at = came_at;
            let recorded = of_vms(&run, &[result(json!({}))], &[vm], &[]);
            assert_eq!(recorded.points.len(), usize::from(is_recorded));
            assert_eq!(recorded.pointers.len(), usize::from(is_recorded));
            assert_eq!(recorded.logged.len(), usize::from(!is_recorded));
        }
    }

    #[test]
    fn results_that_come_again_change_nothing() {
        let vms = [test_vm(7, "web01"), test_vm(8, "db")];
        let first = result(json!({}));
        let second = result(json!({"vm_id": 8, "vm_name": "db"}));
        let once = of_vms(
            &test_run("success"),
            &[first.clone(), first.clone()],
            &vms,
            &[],
        );
        assert_eq!(once.points.len(), 1, "twice in one update");
        let there = [recorded_as(&once.points[0])];
        let again = of_vms(&test_run("success"), &[first.clone(), second], &vms, &there);
        assert_eq!(again.points.len(), 1, "what was missing is added");
        assert_eq!(again.points[0].vm_id, Some(8));
        assert_eq!(again.pointers[0].vm_id, 8);
        // The VM had no row then, and has one now.
        let unnumbered = NewPoint {
            vm_id: None,
            ..once.points[0].clone()
        };
        let there = [recorded_as(&unnumbered)];
        assert_eq!(
            of_vms(&test_run("success"), &[first], &vms, &there),
            Recorded::default()
        );
    }

    #[test]
    fn a_point_is_as_old_as_its_disks_whatever_clock_the_agent_has() {
        let mut run = test_run("success");
        run.started_at = Some(1_000_000);
        run.finished_at = Some(9_000_000);
        let id = protocol::WireId::Text(run.id.clone());
        let mut update = UpdateRun::heartbeat(id, &protocol::identity::Program::default());
        let moment = |text: &str| text.parse::<jiff::Timestamp>().expect("a moment");
        update.stats_json = object(
            r#"{"vms":[{"vm_guid":"{ab}","frozen_at":"2020-01-01T00:00:00Z"},{"vm_guid":"cd"}]}"#,
        );
        assert!(frozen_before_end(&update).is_empty());
        // The agent's clock is years behind.
        update.finished_at = Some(moment("2020-01-01T01:00:00Z"));
        let frozen = frozen_before_end(&update);
        assert_eq!(frozen, HashMap::from([("AB".to_owned(), 3_600_000)]));
        assert_eq!(made_at(&run, 3_600_000, 0), 5_400_000);
        assert_eq!(made_at(&run, 0, 0), 9_000_000);
        assert_eq!(made_at(&run, i64::MAX, 0), 1_000_000);
        assert_eq!(made_at(&run, -5, 0), 9_000_000);
    }

    #[test]
    fn files_have_one_point_by_whichever_manifest_was_sent() {
        let update = |manifest: &str| {
            let id = protocol::WireId::Text(test_run("running").id);
            let mut update = UpdateRun::heartbeat(id, &protocol::identity::Program::default());
            update.manifest_id = manifest.to_owned();
            update
        };
        let mut run = test_run("warning");
        run.error_summary = "two files were left out".to_owned();
        run.started_at = Some(1_000);
        run.finished_at = Some(9_500);
        assert_eq!(of_files(&run, &update(""), "/home", &[]), None);
        run.stats_json = r#"{"manifest_id":"s"}"#.to_owned();
        let manifest = |run: &run::Model, sent: &str| {
            let point = of_files(run, &update(sent), "/home", &[]);
            point.map(|it| it.manifest_id)
        };
        assert_eq!(manifest(&run, "").as_deref(), Some("s"));
        run.manifest_id = "r".to_owned();
        assert_eq!(manifest(&run, "").as_deref(), Some("r"));
        assert_eq!(manifest(&run, "u").as_deref(), Some("u"));
        let point = of_files(&run, &update("u"), "/home", &[]).expect("a point");
        assert_eq!(point.duration_seconds, 8);
        assert_eq!(point.warnings_json, r#"["two files were left out"]"#);
        let there = [recorded_as(&point)];
        assert_eq!(of_files(&run, &update("u"), "/home", &there), None);
    }
}
