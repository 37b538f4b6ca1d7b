//! What is sent survives what the server does with it, and what the server says survives PHP.

use jiff::Timestamp;
use proptest::prelude::*;
use protocol::event::Event;
use protocol::form;
use protocol::hyperv_results::{BackupType, Consistency, HypervResult};
use protocol::identifier::VmNumber;
use protocol::next_run::{NextRun, Offer, Run};
use protocol::packing::{pack, unpack};
use protocol::path_map::PathMap;
use protocol::run_events::PushEvents;
use protocol::update_run::{Ending, Progress, RunStatus, UpdateRun};
use protocol::{Request, WireId};
use serde_json::{Map, Value, json};

use crate::{answer, program, sent};

fn ids() -> impl Strategy<Value = WireId> {
    prop_oneof![
        (1..i64::MAX).prop_map(WireId::Number),
        "[0-9a-f]{8}-[0-9a-f]{4}".prop_map(WireId::Text),
    ]
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[A-Z]:\\\\[^\\n]{0,20}", "\\PC{0,900}"]
}

fn path_maps() -> impl Strategy<Value = PathMap> {
    prop::collection::vec((texts(), "[0-9a-f]{32}"), 0..4).prop_map(PathMap::from_iter)
}

fn results() -> impl Strategy<Value = HypervResult> {
    let numbers = (any::<u32>(), any::<u64>(), any::<u64>(), any::<bool>());
    (numbers, texts(), texts(), path_maps(), path_maps()).prop_map(
        |(
            (row, total_bytes, changed_bytes, full),
            vm_name,
            checkpoint_id,
            rct_ids,
            disk_manifests,
        )| HypervResult {
            vm_id: VmNumber(row.into()),
            vm_name,
            backup_type: if full {
                BackupType::Full
            } else {
                BackupType::Incremental
            },
            checkpoint_id,
            rct_ids,
            disk_manifests,
            total_bytes,
            changed_bytes,
            consistency_level: Consistency::Crash,
            duration_seconds: 7,
            error: String::new(),
            warnings: vec!["w".to_owned()],
            warning_code: None,
        },
    )
}

fn updates() -> impl Strategy<Value = UpdateRun> {
    let progress = (any::<Option<f64>>(), any::<Option<u64>>(), texts());
    let ending = (
        any::<bool>(),
        texts(),
        prop::collection::vec(results(), 0..3),
        path_maps(),
    );
    (ids(), progress, ending).prop_map(
        |(
            run_id,
            (progress_pct, bytes_processed, current_item),
            (failed, summary, hyperv_results, disks),
        )| {
            let progress = Progress {
                progress_pct,
                bytes_processed,
                current_item,
                ..Progress::default()
            };
            if summary.is_empty() {
                return UpdateRun::progressed(run_id, &program(), progress);
            }
            let status = if failed {
                RunStatus::Failed
            } else {
                RunStatus::Warning
            };
            let mut ending = Ending::new(status, Timestamp::UNIX_EPOCH);
            ending.error_summary = summary;
            ending.progress = progress;
            ending.hyperv_results = hyperv_results;
            ending.disk_manifests = disks;
            UpdateRun::ended(run_id, &program(), ending)
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    let param = prop_oneof![
        texts().prop_map(Value::from),
        any::<u64>().prop_map(Value::from)
    ];
    let params = prop::collection::btree_map("[a-z_]{1,12}", param, 0..4);
    ("[A-Z_]{1,64}", params).prop_map(|(message_id, params)| Event {
        kind: "info".to_owned(),
        level: "info".to_owned(),
        code: None,
        message_id,
        params_json: params.into_iter().collect(),
    })
}

/// What PHP makes of a document that it stored and sends again.
fn as_php(value: &Value) -> Value {
    match value {
        Value::Object(members) if members.is_empty() => json!([]),
        Value::Object(members) => {
            let is_id = |name: &str| matches!(name, "run_id" | "job_id");
            let rewritten = members.iter().map(|(name, member)| match is_id(name) {
                true => (name.clone(), member.clone()),
                false => (name.clone(), as_php(member)),
            });
            Value::Object(rewritten.collect::<Map<_, _>>())
        }
        Value::Array(elements) => elements.iter().map(as_php).collect(),
        Value::Bool(yes) => json!(if *yes { "1" } else { "" }),
        Value::Number(number) => json!(number.to_string()),
        other => other.clone(),
    }
}

/// Tells whether a column of so many characters takes a text.
fn fits(value: &Value, chars_max: usize) -> bool {
    value
        .as_str()
        .is_none_or(|text| text.chars().count() <= chars_max)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn an_update_fits_the_servers_columns_and_is_understood(update in updates()) {
        let body = sent(&update);
        prop_assert_eq!(&body["run_id"], &serde_json::to_value(&update.run_id).unwrap());
        for (column, chars_max) in [("error_summary", 700), ("current_item", 1024), ("manifest_id", 255)] {
            prop_assert!(fits(&body[column], chars_max), "{}", column);
        }
        let pct = body["progress_pct"].as_f64().unwrap_or_default();
        prop_assert!((0.0..=100.0).contains(&pct) && (pct * 100.0).round() / 100.0 == pct);
        for result in body["hyperv_results"].as_array().into_iter().flatten() {
            prop_assert!(fits(&result["checkpoint_id"], 64) && fits(&result["vm_name"], 255));
        }
        let bytes = Request::new(&update, &crate::caller()).body;
        let read: UpdateRun = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&read.hyperv_results.len(), &update.hyperv_results.len());
        for (read, meant) in read.hyperv_results.iter().zip(&update.hyperv_results) {
            prop_assert_eq!(&read.disk_manifests, &meant.disk_manifests);
            prop_assert_eq!(&read.rct_ids, &meant.rct_ids);
        }
        prop_assert_eq!(Request::new(&read, &crate::caller()).body, bytes, "what is within the limits stays as it is");
    }

    #[test]
    fn a_terminal_update_is_the_same_byte_for_byte_when_it_is_sent_again(update in updates()) {
        let first = Request::new(&update, &crate::caller());
        let again: UpdateRun = serde_json::from_slice(&first.body).unwrap();
        prop_assert_eq!(Request::new(&again, &crate::caller()).body, first.body);
    }

    #[test]
    fn events_arrive_in_either_form(run_id in ids(), events in prop::collection::vec(events(), 0..20), blocked: bool) {
        let mut push = PushEvents::new(run_id, "1.8.2", events);
        push.after_firewall = blocked;
        let read: PushEvents = serde_json::from_value(sent(&push)).unwrap();
        let meant: Vec<Event> = match blocked {
            true => push.events.iter().map(Event::compacted).collect(),
            false => push.events.clone(),
        };
        prop_assert_eq!(read.events, meant);
        prop_assert_eq!(read.run_id, push.run_id);
    }

    #[test]
    fn a_form_says_what_was_meant(fields in prop::collection::vec((any::<String>(), any::<String>()), 0..5)) {
        let encoded = form::encode(&fields);
        prop_assert!(encoded.is_ascii());
        let meant: Vec<_> = fields.into_iter().collect();
        prop_assert_eq!(form::decode(&encoded), meant);
    }

    #[test]
    fn what_is_packed_comes_back(plain in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(unpack(&pack(&plain), 2000).unwrap(), plain);
    }

    #[test]
    fn a_run_is_the_same_after_php_had_it(
        run_id in ids(), paths in prop::collection::vec("[A-Z]:\\\\[a-z]{1,9}", 0..3), limit: u32, compress: bool,
        keep in prop::option::of(1..100_u64), rct in prop::option::of(any::<bool>()), rct_ids in path_maps(),
    ) {
        let mut config = json!({});
        if let Some(rct) = rct {
            config["enable_rct"] = json!(rct);
        }
        let body = json!({"run_id": run_id, "engine": "hyperv", "source_paths": paths, "compression_enabled": compress,
            "local_bandwidth_limit_kbps": limit, "retention_json": {"keep_last": keep}, "hyperv_config": config,
            "hyperv_vms": [{"vm_id": 7, "vm_name": "web01", "last_rct_ids": rct_ids}], "resume": compress});
        let run: Run = serde_json::from_value(body).unwrap();
        let served = as_php(&json!({"status": "success", "run": run}));
        match answer(&NextRun, &served.to_string()).unwrap() {
            Offer::Run(read) => prop_assert_eq!(*read, run),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
