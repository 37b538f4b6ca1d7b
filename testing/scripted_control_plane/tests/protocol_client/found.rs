//! Calls that break a rule, and that the rule finds.

use protocol::hyperv_results::BackupType;
use protocol::identity::AgentId;
use protocol::next_run::NextRun;
use protocol::update_run::{Ending, RunStatus, UpdateRun};
use protocol::{Request, SecretText};
use scripted_control_plane::{CommandOrder, RunOrder, Settings};
use serde_json::{Value, json};

use crate::{Pair, manifest, play_run, program, success, value};

/// A run that is handed out, and its name as the server wants it back.
fn working() -> (Pair, Value) {
    let pair = Pair::new(Settings::default());
    pair.plane
        .with(|world| world.queue_run(RunOrder::hyperv("web01")));
    let run = pair.take_run();
    (pair, value(&run.run_id))
}

impl Pair {
    /// Sends a body that no type of ours would.
    fn send(&self, endpoint: &str, body: &Value) {
        let mut request = Request::new(
            &UpdateRun::heartbeat(protocol::WireId::Number(1), &program()),
            &self.caller,
        );
        request.path = format!("{endpoint}.php");
        request.body = body.to_string().into_bytes();
        self.exchange(&request);
    }

    #[track_caller]
    fn assert_found(&self, what: &str) {
        let found = self.plane.violations();
        assert!(
            found.iter().any(|violation| violation.what.contains(what)),
            "{what}: {found:#?}"
        );
    }
}

fn update(run_id: &Value, members: Value) -> Value {
    let mut body = json!({"run_id": run_id, "agent_version": "1.8.2"});
    for (name, member) in members.as_object().unwrap() {
        body[name] = member.clone();
    }
    body
}

#[test]
fn members_and_values_outside_the_contract() {
    for (members, what) in [
        (json!({"novelty": 1}), "`novelty` is not in the contract"),
        (json!({"status": "done"}), "`status` may not be"),
        (
            json!({"status": "partial_success", "finished_at": "2026-03-01T10:15:00Z"}),
            "`status` may not be",
        ),
        (json!({"bytes_total": -1}), "`bytes_total` may not be"),
        (json!({"progress_pct": 101}), "`progress_pct` may not be"),
        (
            json!({"started_at": "2026-03-01 10:15"}),
            "`started_at` may not be",
        ),
        (
            json!({"current_item": "x".repeat(1025)}),
            "`current_item` is longer",
        ),
        (json!({"error_summary": "slow"}), "ends the run as failed"),
        (
            json!({"hyperv_results": []}),
            "`hyperv_results` without a terminal status",
        ),
        (
            json!({"status": "failed", "finished_at": "2026-03-01T10:15:00Z"}),
            "without saying why",
        ),
        (
            json!({"status": "failed", "error_summary": "e"}),
            "without `finished_at`",
        ),
        (
            json!({"status": "cancelled", "finished_at": "2026-03-01T10:15:00Z"}),
            "nobody asked for it",
        ),
        (
            json!({"log_excerpt": "key scripted-secret-key-0001"}),
            "a secret is in it",
        ),
        (
            json!({"hyperv_results": [{"vm_id": 1, "vm_name": "a", "backup_type": "full"}]}),
            "in `hyperv_results`",
        ),
        (
            json!({"hyperv_results": [{"vm_id": 1, "vm_name": "a", "backup_type": "Full"}]}),
            "without manifests",
        ),
        (
            json!({"hyperv_results": [{"vm_id": 1, "vm_name": "a", "backup_type": "Incremental",
                "disk_manifests": {"a": manifest('a')}}]}),
            "must be `Full`",
        ),
        (
            json!({"hyperv_results": [{"vm_id": 1, "vm_name": "a", "backup_type": "Full",
                "checkpoint_id": "x".repeat(83), "disk_manifests": {"a": "b"}}]}),
            "32 hexadecimal digits",
        ),
    ] {
        let (pair, run_id) = working();
        pair.send("agent_update_run", &update(&run_id, members));
        pair.assert_found(what);
    }
}

#[test]
fn identifiers_in_another_form_than_they_came() {
    let (pair, _) = working();
    pair.send("agent_update_run", &update(&json!(1), json!({})));
    pair.assert_found("`run_id` may not be 1");
    assert_eq!(
        pair.plane.calls().last().unwrap().answer["code"],
        "invalid_identifier_format"
    );
}

#[test]
fn endpoints_and_identities_that_do_not_exist() {
    let (mut pair, run_id) = working();
    pair.send("agent_upload_everything", &json!({}));
    pair.assert_found("no such endpoint");
    pair.caller.identity.as_mut().unwrap().agent = AgentId::Legacy("1".to_owned());
    pair.caller.identity.as_mut().unwrap().token = SecretText::new("wrong");
    pair.send("agent_update_run", &update(&run_id, json!({})));
    pair.assert_found("`x-agent-uuid` alone");
    for _ in 0..61 {
        pair.send("agent_update_run", &update(&run_id, json!({})));
    }
    pair.assert_found("not let in");
}

#[test]
fn silence_and_a_second_end() {
    let (pair, run_id) = working();
    pair.pass(61);
    pair.send("agent_update_run", &update(&run_id, json!({})));
    pair.assert_found("more than 60 seconds");
    let pair = Pair::new(Settings::default());
    pair.plane
        .with(|world| world.queue_run(RunOrder::hyperv("web01")));
    let run = play_run(&pair, BackupType::Full, 'a');
    pair.assert_sound();
    let heartbeat = UpdateRun::heartbeat(run.run_id.clone(), &program());
    pair.call(&heartbeat).unwrap();
    pair.assert_found("after the terminal one");
}

#[test]
fn a_repeated_end_that_is_not_the_same() {
    let (pair, _) = working();
    let run_id = protocol::WireId::Text(
        pair.plane
            .with(|world| world.runs[0].id.as_str().unwrap().to_owned()),
    );
    pair.plane.inject(
        "agent_update_run",
        1,
        scripted_control_plane::Fault::AnswerLost,
    );
    let ended =
        |why: &str| UpdateRun::ended(run_id.clone(), &program(), Ending::failed(pair.now(), why));
    assert!(pair.try_call(&ended("first")).is_none());
    pair.call(&ended("second")).unwrap();
    pair.assert_found("byte for byte");
}

#[test]
fn a_run_that_nobody_handed_out_and_one_that_starts_twice() {
    let (pair, run_id) = working();
    let started = json!({"status": "running", "started_at": "2026-03-01T10:15:00Z"});
    pair.send("agent_update_run", &update(&run_id, started.clone()));
    pair.pass(30);
    pair.send("agent_update_run", &update(&run_id, json!({})));
    pair.pass(30);
    pair.send("agent_update_run", &update(&run_id, started));
    pair.assert_found("started twice");
    let other = pair
        .plane
        .with(|world| world.queue_run(RunOrder::files("/srv")));
    pair.send("agent_update_run", &update(&other, json!({})));
    pair.assert_found("not handed out");
}

#[test]
fn a_wish_to_stop_that_is_not_heard() {
    let (pair, run_id) = working();
    pair.plane.request_cancel(&run_id);
    pair.pass(6);
    let poll = protocol::commands::PollCommands {
        run_id: protocol::WireId::Text(run_id.as_str().unwrap().to_owned()),
    };
    pair.call(&poll).unwrap();
    pair.assert_found("from the wish to stop");
}

#[test]
fn a_kill_excuses_what_it_explains_and_no_more() {
    let (pair, run_id) = working();
    pair.pass(30);
    pair.plane.agent_was_killed();
    pair.pass(200);
    let again = pair.take_run();
    assert!(again.resume);
    pair.call(&UpdateRun::started(
        again.run_id.clone(),
        &program(),
        pair.now(),
    ))
    .unwrap();
    pair.assert_sound();
    pair.pass(61);
    pair.call(&UpdateRun::heartbeat(again.run_id, &program()))
        .unwrap();
    pair.assert_found("more than 60 seconds");
    pair.plane
        .with(|world| assert_eq!(world.run_status(&run_id), "running"));
}

#[test]
fn an_outage_excuses_silence() {
    let (pair, _) = working();
    pair.plane.go_down();
    assert!(pair.try_call(&NextRun).is_none());
    pair.pass(300);
    pair.plane.come_back();
    let again = pair.take_run();
    pair.call(&UpdateRun::heartbeat(again.run_id, &program()))
        .unwrap();
    pair.assert_sound();
}

#[test]
fn events_that_the_portal_cannot_show() {
    for (event, what) in [
        (
            json!({"message_id": "HYPERV_VM_STARTING", "params_json": {"vm_name": "a", "vm_id": 1}}),
            "`message` is missing",
        ),
        (
            json!({"message_id": "INVENTED", "params_json": {}}),
            "no text is known",
        ),
        (
            json!({"message_id": "SUMMARY_TOTAL", "params_json": {"bytes_done": "5"}}),
            "is no number",
        ),
        (
            json!({"message_id": "NO_CHANGES", "params_json": {"a": {"b": {}}}}),
            "nested deeper",
        ),
        (
            json!({"message_id": "NO_CHANGES", "code": "", "params_json": {}}),
            "leave it out",
        ),
        (
            json!({"message_id": "NO_CHANGES", "level": "fatal", "params_json": {}}),
            "`level` may not be",
        ),
        (
            json!({"message_id": "NO_CHANGES", "params_json": {"a": "x".repeat(50_000)}}),
            "over 48 KiB",
        ),
    ] {
        let (pair, run_id) = working();
        pair.send(
            "agent_push_events",
            &update(&run_id, json!({"events": [event]})),
        );
        pair.assert_found(what);
    }
}

#[test]
fn commands_that_are_reported_wrongly() {
    let (pair, _) = working();
    let command = pair
        .plane
        .queue_command(CommandOrder::new("browse_directory", json!({"path": ""})));
    let other = pair
        .plane
        .queue_command(CommandOrder::new("list_disks", json!({})));
    pair.send(
        "agent_complete_command",
        &json!({"command_id": other, "status": "completed"}),
    );
    pair.assert_found("it was not handed out");
    pair.pass(1);
    pair.call(&protocol::commands::Poll { long: false })
        .unwrap();
    pair.pass(11);
    let plain = json!({"command_id": command, "result": {"path": ""}});
    pair.send("agent_report_browse", &plain);
    for what in [
        "people waited",
        "`result` is not in the contract",
        "the result has no `entries`",
    ] {
        pair.assert_found(what);
    }
    pair.send(
        "agent_complete_command",
        &json!({"command_id": command, "status": "cancelled"}),
    );
    pair.assert_found("`status` may not be");
}

#[test]
fn impatience() {
    let (pair, run_id) = working();
    let fault = scripted_control_plane::Fault::RateLimited {
        retry_after_secs: 5,
    };
    pair.plane.inject("agent_update_run", 1, fault);
    pair.send("agent_update_run", &update(&run_id, json!({})));
    pair.pass(4);
    pair.send("agent_update_run", &update(&run_id, json!({})));
    pair.assert_found("told to wait for 5 seconds");
    for _ in 0..21 {
        pair.call(&NextRun).unwrap();
    }
    pair.assert_found("again and again");
}

#[test]
fn a_result_after_the_first_may_be_incremental_and_a_manifest_belongs_to_one_run() {
    let pair = Pair::new(Settings::default());
    pair.plane
        .with(|world| world.queue_run(RunOrder::hyperv("web01")));
    let first = play_run(&pair, BackupType::Full, 'a');
    let job = value(&first.job_id.unwrap());
    pair.plane
        .with(|world| world.queue_run(RunOrder::hyperv("web01").of_job(&job)));
    let second = pair.take_run();
    pair.call(&success(
        &pair,
        &second,
        BackupType::Incremental,
        &manifest('a'),
    ))
    .unwrap();
    pair.assert_found("was another run's");
    assert_eq!(
        pair.plane.violations().len(),
        1,
        "{:?}",
        pair.plane.violations()
    );
    assert!(RunStatus::Success.is_terminal());
}
