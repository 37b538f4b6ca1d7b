//! Requests as they leave.

use protocol::agent_events::{AgentEvent, Health, PushAgentEvents};
use protocol::commands::{CommandStatus, CompleteCommand, Poll, PollCommands};
use protocol::endpoint::Endpoint;
use protocol::enrolment::{
    CompleteLogin, Enroll, LoggedIn, Login, LoginSteps, Machine, UserChoice,
};
use protocol::event::{Event, HypervVmStarting};
use protocol::form;
use protocol::identifier::{CommandId, OperationId};
use protocol::identity::{AgentId, Caller, Program};
use protocol::log_chunk::PushLogChunk;
use protocol::next_run::NextRun;
use protocol::repo_operations::{CompleteRepoOperation, OperationResult, OperationStatus};
use protocol::run_events::PushEvents;
use protocol::update_run::{DiskProgress, Ending, Progress, RunStatus, UpdateRun};
use protocol::{Request, SecretText, WireId};
use serde_json::json;

use crate::{answer, caller, program, run_id, sent, time};

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let found = request.headers.iter().find(|(known, _)| *known == name)?;
    Some(&found.1)
}

fn fields(request: &Request) -> form::Fields {
    form::decode(str::from_utf8(&request.body).unwrap())
}

fn machine() -> Machine {
    Machine {
        hostname: "host 1".to_owned(),
        device_id: "d".to_owned(),
        program: program(),
        ..Machine::default()
    }
}

#[test]
fn a_request_says_who_calls() {
    let request = Request::new(&NextRun, &caller());
    assert_eq!(request.path, "agent_next_run.php");
    assert_eq!(
        request.url(" https://a.example/api/ "),
        "https://a.example/api/agent_next_run.php"
    );
    assert_eq!(
        header(&request, "X-Agent-UUID"),
        Some("0f0e0d0c-0000-4000-8000-000000000001")
    );
    assert_eq!(header(&request, "X-Agent-ID"), None);
    assert_eq!(header(&request, "X-Agent-OS"), Some("linux"));
    assert_eq!(header(&request, "Content-Type"), None);
    assert!(
        header(&request, "User-Agent")
            .unwrap()
            .ends_with(" e3-backup-agent/1.8.2")
    );
    assert!(request.body.is_empty());
}

#[test]
fn an_old_identity_goes_into_the_old_header() {
    let mut caller = caller();
    caller.identity.as_mut().unwrap().agent = AgentId::Legacy("41".to_owned());
    caller.user_agent = "own\r\nX-Injected: 1".to_owned();
    caller.program.version = String::new();
    let request = Request::new(&Poll { long: true }, &caller);
    assert_eq!(request.path, "agent_poll.php?long_poll=1");
    assert_eq!(header(&request, "X-Agent-ID"), Some("41"));
    assert_eq!(header(&request, "X-Agent-UUID"), None);
    assert_eq!(
        header(&request, "X-Agent-Version"),
        None,
        "an unknown version is left out"
    );
    assert_eq!(header(&request, "User-Agent"), Some("ownX-Injected: 1"));
}

#[test]
fn nothing_secret_is_in_what_is_shown_of_a_request() {
    let enroll = Enroll {
        token: SecretText::new("tokentoken"),
        machine: machine(),
    };
    let request = Request::new(&enroll, &caller());
    let shown = format!("{request:?} {enroll:?} {:?}", caller());
    assert!(
        !shown.contains("tokentoken") && !shown.contains("0123456789abcdef"),
        "{shown}"
    );
}

#[test]
fn enrolment_says_what_is_known_and_nobody_is_named_before_it() {
    let enroll = Enroll {
        token: SecretText::new("t"),
        machine: machine(),
    };
    let request = Request::new(&enroll, &caller());
    assert_eq!(header(&request, "X-Agent-Token"), None);
    assert_eq!(
        header(&request, "Content-Type"),
        Some("application/x-www-form-urlencoded")
    );
    let names: Vec<_> = fields(&request).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "token",
            "hostname",
            "device_id",
            "agent_version",
            "agent_os",
            "agent_arch"
        ]
    );
    let new = answer(
        &enroll,
        r#"{"status":"success","agent_uuid":"0f0e","client_id":"1204","tenant_id":null,
        "agent_token":"ab","api_base_url":"https://a/api","message":"ok"}"#,
    )
    .unwrap();
    assert_eq!(new.identity.agent, AgentId::Uuid("0f0e".to_owned()));
    let old = answer(
        &enroll,
        r#"{"status":"success","agent_id":41,"client_id":1204,"agent_token":"ab"}"#,
    )
    .unwrap();
    assert_eq!(old.identity.agent, AgentId::Legacy("41".to_owned()));
    assert_eq!(old.client_id, "1204");
    for broken in [
        r#"{"status":"success","agent_token":"ab"}"#,
        r#"{"status":"success","agent_uuid":"0f0e"}"#,
    ] {
        assert!(answer(&enroll, broken).is_err(), "{broken}");
    }
}

#[test]
fn a_login_takes_two_steps_or_one() {
    let mut login = Login {
        email: "a@b".to_owned(),
        password: SecretText::new("p w"),
        machine: machine(),
        steps: LoginSteps::Two,
    };
    assert_eq!(
        fields(&Request::new(&login, &caller()))[0],
        ("mode".to_owned(), "authenticate".to_owned())
    );
    let session = r#"{"status":"success","mode":"authenticate","client_id":"1204","session_token":"s",
        "users":[{"id":"31","public_id":"u","username":"n","email":"a@b","backup_type":"both","tenant_id":null}],"message":""}"#;
    let LoggedIn::Session(session) = answer(&login, session).unwrap() else {
        panic!("it is a session");
    };
    assert_eq!(session.users[0].id, WireId::Text("31".to_owned()));
    let complete = CompleteLogin {
        session_token: session.session_token,
        user: UserChoice::Existing(session.users[0].id.clone()),
    };
    let sent = fields(&Request::new(&complete, &caller()));
    assert_eq!(sent[2], ("backup_user_id".to_owned(), "31".to_owned()));
    login.steps = LoginSteps::One;
    assert_eq!(fields(&Request::new(&login, &caller()))[0].0, "email");
    let enrolled = answer(
        &login,
        r#"{"status":"success","agent_id":"41","agent_token":"ab"}"#,
    )
    .unwrap();
    assert!(matches!(enrolled, LoggedIn::Enrolled(_)));
}

#[test]
fn a_heartbeat_says_nothing_but_that_the_run_lives() {
    let heartbeat = UpdateRun::heartbeat(WireId::Number(17), &program());
    assert_eq!(
        sent(&heartbeat),
        json!({"run_id": 17, "agent_version": "1.8.2", "agent_os": "linux", "agent_arch": "amd64"})
    );
}

#[test]
fn progress_never_carries_a_status_and_100_percent_is_kept_for_the_end() {
    let progress = Progress {
        progress_pct: Some(100.0),
        bytes_processed: Some(0),
        current_item: "VM 1/3: ".to_owned() + &"x".repeat(2000),
        ..Progress::default()
    };
    let body = sent(&UpdateRun::progressed(
        run_id(),
        &program(),
        progress.clone(),
    ));
    assert_eq!(body["progress_pct"], 99.9);
    assert_eq!(body["bytes_processed"], 0);
    assert!(body.get("status").is_none());
    assert_eq!(body["current_item"].as_str().unwrap().chars().count(), 1024);
    let mut ending = Ending::new(RunStatus::Success, time());
    ending.progress = progress;
    assert_eq!(
        sent(&UpdateRun::ended(run_id(), &program(), ending))["progress_pct"],
        100.0
    );
    for nonsense in [f64::NAN, f64::NEG_INFINITY, -3.0] {
        let progress = Progress {
            progress_pct: Some(nonsense),
            ..Progress::default()
        };
        let body = sent(&UpdateRun::progressed(run_id(), &program(), progress));
        assert_eq!(body["progress_pct"], 0.0);
    }
}

#[test]
fn disks_that_are_worked_on_are_told_of_up_to_a_hundred() {
    let progressed = || UpdateRun::progressed(run_id(), &program(), Progress::default());
    let disk = DiskProgress {
        vm_name: "web".to_owned(),
        disk_path: r"C:\VMs\web.vhdx".to_owned(),
        bytes_done: 40,
        bytes_total: 100,
    };
    let told = json!({"vm_name": "web", "disk_path": r"C:\VMs\web.vhdx", "bytes_done": 40, "bytes_total": 100});
    let body = |update: UpdateRun| sent(&update)["progress_json"].clone();
    assert_eq!(body(progressed()), json!(null));
    assert_eq!(body(progressed().with_disks(&[])), json!({"disks": []}));
    let many = vec![disk; 101];
    let said = body(progressed().with_disks(&many));
    assert_eq!(said["disks"].as_array().unwrap().len(), 100);
    assert_eq!(said["disks"][99], told);
}

#[test]
fn an_error_summary_never_leaves_without_a_terminal_status() {
    let mut update = UpdateRun::started(run_id(), &program(), time());
    update.error_summary = "merely slow".to_owned();
    assert!(sent(&update).get("error_summary").is_none());
    let failed = UpdateRun::ended(
        run_id(),
        &program(),
        Ending::failed(time(), "ö".repeat(1000)),
    );
    let body = sent(&failed);
    assert_eq!(body["status"], "failed");
    assert_eq!(body["error_summary"].as_str().unwrap().chars().count(), 700);
    assert_eq!(body["finished_at"], "2026-03-01T11:02:09Z");
}

fn batch(texts: usize) -> PushEvents {
    let event = |number: usize| {
        Event::from(HypervVmStarting {
            vm_name: format!("vm{number}"),
            vm_id: number as u64,
            message: "m".repeat(1000),
        })
    };
    PushEvents::new(run_id(), "1.8.2", (0..texts).map(event).collect())
}

#[test]
fn events_are_packed_when_they_are_large() {
    let small = sent(&batch(3));
    assert_eq!(small["events"].as_array().unwrap().len(), 3);
    assert!(small.get("events_b64").is_none());
    let large = batch(60);
    let body = sent(&large);
    assert_eq!(body["events_encoding"], "gzip+base64");
    assert!(body.get("events").is_none());
    let read: PushEvents = serde_json::from_value(body).unwrap();
    assert_eq!(read.events, large.events);
}

#[test]
fn events_that_a_firewall_refused_go_compact_and_packed() {
    let body = sent(&batch(1).for_firewall());
    let read: PushEvents = serde_json::from_value(body).unwrap();
    let message = read.events[0].params_json["message"].as_str().unwrap();
    assert_eq!(message.chars().count(), 320);
    assert_eq!(
        read.events[0].params_json["vm_id"], 0,
        "numbers stay numbers"
    );
    let mut nested = batch(1);
    nested.events[0]
        .params_json
        .insert("names".to_owned(), json!(["a", "b"]));
    assert_eq!(
        nested.events[0].compacted().params_json["names"],
        r#"["a","b"]"#
    );
}

#[test]
fn an_event_without_a_name_does_not_fail_its_batch() {
    let mut push = batch(2);
    push.events[0].message_id = String::new();
    push.events[1]
        .params_json
        .insert("blob".to_owned(), json!("x".repeat(100_000)));
    let body = sent(&push);
    let events = body["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert!(
        events[0].to_string().len() < 2_000,
        "what does not fit a column becomes compact"
    );
}

#[test]
fn health_has_its_codes() {
    use protocol::agent_events::Connection;
    let event = AgentEvent::new(
        Health::ServerConnection {
            state: Connection::Restored,
        },
        time(),
    );
    let push = PushAgentEvents {
        agent_version: "1.8.2".to_owned(),
        events: vec![event],
        after_firewall: false,
    };
    assert_eq!(
        sent(&push)["events"][0],
        json!({"source": "agent", "ts": "2026-03-01T11:02:09Z", "level": "info",
        "code": "AGENT_SERVER_CONNECTION_RESTORED", "message_id": "AGENT_SERVER_CONNECTION",
        "params_json": {"state": "restored"}, "dedupe_key": "agent:connection:restored"})
    );
}

#[test]
fn outcomes_use_the_words_that_the_server_knows() {
    let complete = CompleteCommand {
        command_id: CommandId(311),
        status: CommandStatus::Failed,
        result_message: "cancelled".to_owned(),
    };
    assert_eq!(
        sent(&complete),
        json!({"command_id": 311, "status": "failed", "result_message": "cancelled"})
    );
    let complete = CompleteRepoOperation {
        operation_id: OperationId(5),
        operation_token: "run-finish-1-retention".to_owned(),
        status: OperationStatus::Success,
        result: OperationResult {
            deleted_count: Some(3),
            sources_count: Some(1),
            stored_bytes: Some(7),
            ..OperationResult::default()
        },
    };
    let sent = fields(&Request::new(&complete, &caller()));
    assert_eq!(
        sent[3],
        (
            "result_json".to_owned(),
            r#"{"deleted_count":3,"sources_count":1,"stored_bytes":7}"#.to_owned()
        )
    );
    let poll = PollCommands {
        run_id: WireId::Number(17),
    };
    assert_eq!(
        fields(&Request::new(&poll, &caller())),
        [("run_id".to_owned(), "17".to_owned())]
    );
}

#[test]
fn a_log_that_is_too_large_is_no_chunk() {
    let between = (time(), time());
    let chunk = PushLogChunk::new(run_id(), 0, "one\ntwo\n", between, "1.8.2").unwrap();
    assert_eq!(sent(&chunk)["line_count"], 2);
    let mut state = 1_u64;
    let noise: String = (0..2_000_000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + ((state >> 57) % 90) as u8)
        })
        .collect();
    assert!(PushLogChunk::new(run_id(), 0, &noise, between, "1.8.2").is_none());
}

#[test]
fn every_endpoint_is_described() {
    assert_eq!(Endpoint::ALL.len(), 17);
    let gated: Vec<_> = Endpoint::ALL
        .iter()
        .filter(|endpoint| endpoint.has_version_gate())
        .collect();
    assert_eq!(gated.len(), 4);
    let missing = Endpoint::ALL
        .iter()
        .filter(|endpoint| endpoint.is_missing_on_old_servers());
    assert_eq!(missing.count(), 6);
    assert_eq!(
        Endpoint::ALL
            .iter()
            .filter(|endpoint| endpoint.is_rate_limited())
            .count(),
        7
    );
    assert_eq!(Program::arch_word("x86_64"), "amd64");
    assert_eq!(Caller::default().identity, None);
}
