//! The wire's own client side against this server, which was written without it: whatever it sends is within
//! the contract, and what is outside is found.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

mod all_events;
mod found;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use protocol::agent_events::{AgentEvent, Connection, Health, PushAgentEvents};
use protocol::commands::{
    Command, CommandStatus, CompleteCommand, Order, Poll, PollCommands, PollPendingCommands,
};
use protocol::enrolment::{
    CompleteLogin, Enroll, LoggedIn, Login, LoginSteps, Machine, UserChoice,
};
use protocol::event::*;
use protocol::hyperv_discover::{
    ControllerType, DiscoveredDisk, DiscoveredVm, HypervDiscover, VhdFormat,
};
use protocol::hyperv_results::{BackupType, Consistency, HypervResult};
use protocol::identifier::{CommandId, UpdateJobId, VmNumber};
use protocol::identity::{AgentId, Caller, Identity, Program};
use protocol::log_chunk::PushLogChunk;
use protocol::next_run::{NextRun, Offer, Run};
use protocol::path_map::PathMap;
use protocol::repeat::{Failure, pause_before_next};
use protocol::repo_operations::{CompleteRepoOperation, OperationResult, OperationStatus};
use protocol::reports::{BrowseResult, LogTail, ReportBrowse};
use protocol::request::answer_of;
use protocol::run_events::PushEvents;
use protocol::update_progress::{UpdateProgress, UpdateState};
use protocol::update_run::{Ending, Progress, RunStatus, UpdateRun};
use protocol::volumes::{ReportVolumes, Volume, VolumeKind};
use protocol::{Call, NoAnswer, Request, Response, SecretText, WireId};
use scripted_control_plane::world::OperationOrder;
use scripted_control_plane::{CommandOrder, ControlPlane, Fault, Generation, RunOrder, Settings};
use serde_json::{Value, json};
use time_and_chance::{ManualClock, Timestamp};

const AGENT: &str = "0f0e0d0c-0000-4000-8000-000000000001";
const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

/// A server, an agent that it knows, and the clock of both.
struct Pair {
    plane: ControlPlane,
    clock: Arc<ManualClock>,
    caller: Caller,
}

impl Pair {
    fn new(settings: Settings) -> Self {
        let clock = ManualClock::at("2026-03-01T10:15:00Z".parse().unwrap());
        let is_old = settings.generation == Generation::Old;
        let plane = ControlPlane::start(settings, clock.clone()).unwrap();
        let id = if is_old { "41" } else { AGENT };
        plane.with(|world| world.add_agent(id, TOKEN));
        let agent = match is_old {
            true => AgentId::Legacy(id.to_owned()),
            false => AgentId::Uuid(id.to_owned()),
        };
        let caller = Caller {
            identity: Some(Identity {
                agent,
                token: SecretText::new(TOKEN),
            }),
            program: program(),
            user_agent: String::new(),
        };
        Self {
            plane,
            clock,
            caller,
        }
    }

    /// Calls once; `None` when nothing came back.
    fn try_call<C: Call>(&self, call: &C) -> Option<Result<C::Answer, NoAnswer>> {
        let response = self.exchange(&Request::new(call, &self.caller))?;
        Some(answer_of(call, &response))
    }

    fn call<C: Call>(&self, call: &C) -> Result<C::Answer, NoAnswer> {
        self.try_call(call).expect("an answer comes")
    }

    /// Calls as often as the contract says.
    fn call_repeatedly<C: Call>(&self, call: &C) -> Option<C::Answer> {
        let mut attempts = 0;
        loop {
            let failure = match self.try_call(call) {
                Some(Ok(answer)) => return Some(answer),
                Some(Err(no_answer)) => Failure::from(&no_answer),
                None => Failure::Line,
            };
            attempts += 1;
            let pause = pause_before_next(C::ENDPOINT, attempts, failure, Duration::from_secs(60));
            self.clock.advance(pause?);
        }
    }

    fn exchange(&self, request: &Request) -> Option<Response> {
        let url = request.url(&self.plane.url());
        let (host, path) = url
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        let mut connection = TcpStream::connect(host).ok()?;
        let mut head = format!(
            "{} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n",
            request.method.as_str()
        );
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", request.body.len()));
        connection.write_all(head.as_bytes()).ok()?;
        connection.write_all(&request.body).ok()?;
        read_response(&mut connection)
    }

    /// Takes the next run.
    fn take_run(&self) -> Run {
        match self.call(&NextRun).unwrap() {
            Offer::Run(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    fn now(&self) -> Timestamp {
        use time_and_chance::Clock as _;
        self.clock.now()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn assert_sound(&self) {
        assert_eq!(self.plane.violations(), []);
    }
}

fn read_response(connection: &mut TcpStream) -> Option<Response> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let mut lines = head.lines();
            let http_status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
            let headers: Vec<_> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let length = headers
                .iter()
                .find(|(name, _)| name == "Content-Length")?
                .1
                .parse()
                .ok()?;
            let mut body = bytes[end + 4..].to_vec();
            let missing = usize::checked_sub(length, body.len())?;
            let mut rest = vec![0; missing];
            connection.read_exact(&mut rest).ok()?;
            body.extend(rest);
            return Some(Response {
                http_status,
                headers,
                body,
            });
        }
        match connection.read(&mut piece).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn program() -> Program {
    Program {
        version: "1.8.2".to_owned(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        build: String::new(),
    }
}

fn result(vm_id: VmNumber, backup_type: BackupType, manifest: &str) -> HypervResult {
    HypervResult {
        vm_id,
        vm_name: "web01".to_owned(),
        backup_type,
        checkpoint_id: "2C1D7C5E-0000-4000-8000-000000000002".to_owned(),
        rct_ids: PathMap::from_iter([("D:\\VM\\web01.vhdx", "rctX:1")]),
        disk_manifests: PathMap::from_iter([("D:\\VM\\web01.vhdx", manifest)]),
        total_bytes: 10,
        changed_bytes: 5,
        consistency_level: Consistency::Application,
        duration_seconds: 1,
        error: String::new(),
        warnings: Vec::new(),
        warning_code: None,
    }
}

fn success(pair: &Pair, run: &Run, backup_type: BackupType, manifest: &str) -> UpdateRun {
    let mut ending = Ending::new(RunStatus::Success, pair.now());
    let results = run.hyperv_vms.iter();
    ending.hyperv_results = results
        .map(|vm| result(vm.vm_id, backup_type, manifest))
        .collect();
    UpdateRun::ended(run.run_id.clone(), &program(), ending)
}

fn manifest(letter: char) -> String {
    letter.to_string().repeat(32)
}

/// Plays a run from its claim to its end.
fn play_run(pair: &Pair, backup_type: BackupType, letter: char) -> Run {
    let run = pair.take_run();
    let id = run.run_id.clone();
    pair.call(&UpdateRun::started(id.clone(), &program(), pair.now()))
        .unwrap();
    for done in 1..=3 {
        pair.pass(50);
        let progress = Progress {
            progress_pct: Some(done as f64 * 30.0),
            bytes_processed: Some(done),
            current_item: "VM 1/1: web01".to_owned(),
            ..Progress::default()
        };
        pair.call(&UpdateRun::progressed(id.clone(), &program(), progress))
            .unwrap();
        assert_eq!(pair.call(&PollCommands { run_id: id.clone() }).unwrap(), []);
    }
    pair.call_repeatedly(&success(pair, &run, backup_type, &manifest(letter)))
        .expect("the end is acknowledged");
    run
}

fn value(id: &WireId) -> Value {
    serde_json::to_value(id).unwrap()
}

#[test]
fn a_run_of_vms_ends_as_a_restore_point_on_servers_of_both_generations() {
    for (generation, php_artefacts) in [
        (Generation::Current, false),
        (Generation::Current, true),
        (Generation::Old, false),
        (Generation::Old, true),
    ] {
        let pair = Pair::new(Settings {
            generation,
            php_artefacts,
            ..Settings::default()
        });
        let id = pair
            .plane
            .with(|world| world.queue_run(RunOrder::hyperv("web01")));
        let first = play_run(&pair, BackupType::Full, 'a');
        assert_eq!(value(&first.run_id), id);
        assert!(first.hyperv_config.reads_changes_only() && !first.resume);
        assert_eq!(first.hyperv_vms[0].last_checkpoint_id, None);
        let job = pair.plane.with(|world| world.run(&id).job_id.clone());
        pair.plane
            .with(|world| world.queue_run(RunOrder::hyperv("web01").of_job(&job)));
        let second = play_run(&pair, BackupType::Incremental, 'b');
        assert_eq!(
            second.hyperv_vms[0].last_checkpoint_id.as_deref(),
            Some("2C1D7C5E-0000-4000-8000-000000000002")
        );
        assert_eq!(
            second.hyperv_vms[0].last_rct_ids.get("D:\\VM\\web01.vhdx"),
            Some("rctX:1")
        );
        pair.plane.with(|world| {
            assert_eq!(world.run_status(&id), "success");
            assert_eq!(world.restore_points.len(), 2);
            assert_eq!(
                world.backup_points[1].parent,
                Some(world.backup_points[0].id)
            );
        });
        assert_eq!(pair.call(&NextRun).unwrap(), Offer::NoRun);
        pair.assert_sound();
        assert_eq!(pair.plane.unfinished(), []);
    }
}

#[test]
fn a_lost_answer_to_the_last_update_doubles_the_result_and_breaks_no_rule() {
    for fault in [
        Fault::AnswerLost,
        Fault::ServerErrorAfterEffect,
        Fault::AnswerCut,
    ] {
        let pair = Pair::new(Settings::default());
        let id = pair
            .plane
            .with(|world| world.queue_run(RunOrder::hyperv("web01")));
        pair.plane.inject("agent_update_run", 5, fault);
        play_run(&pair, BackupType::Full, 'a');
        pair.plane.with(|world| {
            assert_eq!(
                world.backup_points.len(),
                2,
                "the server has no key to recognise it by"
            );
            assert_eq!(world.restore_points.len(), 1);
            assert_eq!(world.run_status(&id), "success");
        });
        pair.assert_sound();
    }
}

#[test]
fn faults_without_effect_are_lived_through() {
    let faults = [
        Fault::ServerError,
        Fault::RateLimited {
            retry_after_secs: 3,
        },
        Fault::Reset,
        Fault::TimeOutBeforeEffect,
        Fault::Restart,
    ];
    for fault in faults {
        let pair = Pair::new(Settings {
            hold_millis: 20,
            ..Settings::default()
        });
        pair.plane
            .with(|world| world.queue_run(RunOrder::hyperv("web01")));
        pair.plane.inject("agent_update_run", 5, fault);
        play_run(&pair, BackupType::Full, 'a');
        pair.plane
            .with(|world| assert_eq!(world.backup_points.len(), 1));
        pair.assert_sound();
    }
}

#[test]
fn what_stands_in_front_of_the_server_is_recognised() {
    let pair = Pair::new(Settings::default());
    for (fault, wanted) in [
        (Fault::Firewall, NoAnswer::Firewall { http_status: 403 }),
        (
            Fault::Unauthorized,
            NoAnswer::Unauthorized {
                message: "Unauthorized".to_owned(),
            },
        ),
        (
            Fault::TooOld {
                min_version: "2.0".to_owned(),
            },
            NoAnswer::TooOld {
                min_version: "2.0".to_owned(),
                reported_version: String::new(),
            },
        ),
    ] {
        pair.plane.inject("agent_next_run", 1, fault);
        assert_eq!(pair.call(&NextRun), Err(wanted));
    }
    pair.plane.inject("agent_next_run", 1, Fault::Garbage);
    assert!(pair.call(&NextRun).is_err());
    pair.assert_sound();
}

#[test]
fn the_version_gate_is_the_administrators() {
    let pair = Pair::new(Settings {
        min_version: Some("1.9.0".to_owned()),
        ..Settings::default()
    });
    pair.plane
        .with(|world| world.queue_run(RunOrder::files("/srv")));
    let run = pair.take_run();
    let started = UpdateRun::started(run.run_id, &program(), pair.now());
    let NoAnswer::TooOld {
        min_version,
        reported_version,
    } = pair.call(&started).unwrap_err()
    else {
        panic!("the version is too old");
    };
    assert_eq!(
        (min_version.as_str(), reported_version.as_str()),
        ("1.9.0", "1.8.2")
    );
}

#[test]
fn the_ninth_call_of_a_second_is_one_too_many() {
    let pair = Pair::new(Settings {
        rate_limit: true,
        ..Settings::default()
    });
    for _ in 0..8 {
        pair.call(&NextRun).unwrap();
    }
    let after = Some(Duration::from_secs(1));
    assert!(matches!(pair.call(&NextRun), Err(NoAnswer::Retry { after: of, .. }) if of == after));
    pair.pass(1);
    pair.call(&NextRun).unwrap();
    pair.assert_sound();
}

#[test]
fn a_run_without_heartbeat_is_handed_out_again_and_then_cancelled() {
    let pair = Pair::new(Settings {
        watchdog: false,
        ..Settings::default()
    });
    let id = pair
        .plane
        .with(|world| world.queue_run(RunOrder::files("/srv")));
    assert!(!pair.take_run().resume);
    pair.pass(180);
    assert_eq!(pair.call(&NextRun).unwrap(), Offer::NoRun);
    pair.pass(1);
    let again = pair.take_run();
    assert!(again.resume && again.last_heartbeat_at.as_deref() == Some("2026-03-01 10:15:00"));
    pair.pass(540);
    assert_eq!(
        pair.call(&NextRun).unwrap(),
        Offer::NoRun,
        "it is the watchdog's now"
    );
    pair.plane.watchdog();
    let commands = pair
        .call(&PollCommands {
            run_id: again.run_id.clone(),
        })
        .unwrap();
    assert_eq!(commands[0].order(), Ok(Order::Cancel));
    pair.plane.watchdog();
    pair.plane
        .with(|world| assert_eq!(world.run_status(&id), "cancelled"));
    // There is no check of transitions.
    pair.call(&UpdateRun::started(again.run_id, &program(), pair.now()))
        .unwrap();
    pair.plane
        .with(|world| assert_eq!(world.run_status(&id), "running"));
}

fn commands_of(pair: &Pair) -> Vec<Command> {
    pair.call(&Poll { long: false }).unwrap().commands
}

#[test]
fn commands_are_handed_out_once_five_of_a_group_and_completed_once() {
    let pair = Pair::new(Settings::default());
    for number in 0..7 {
        pair.plane.queue_command(CommandOrder::new(
            "browse_directory",
            json!({"path": "", "max_items": number}),
        ));
    }
    let first = commands_of(&pair);
    let second = commands_of(&pair);
    assert_eq!(
        (first.len(), second.len(), commands_of(&pair).len()),
        (5, 2, 0)
    );
    assert_eq!(pair.plane.unfinished().len(), 7);
    for command in first.iter().chain(&second) {
        assert!(matches!(command.order(), Ok(Order::BrowseDirectory(_))));
        pair.call(&ReportBrowse::new(
            command.command_id.unwrap(),
            &BrowseResult::default(),
        ))
        .unwrap();
    }
    pair.assert_sound();
    assert_eq!(pair.plane.unfinished(), []);
    pair.call(&CompleteCommand {
        command_id: first[0].command_id.unwrap(),
        status: CommandStatus::Failed,
        result_message: "again".to_owned(),
    })
    .unwrap();
    assert!(format!("{:?}", pair.plane.violations()).contains("a second time"));
}

#[test]
fn a_delivery_can_be_doubled() {
    let pair = Pair::new(Settings::default());
    pair.plane
        .queue_command(CommandOrder::new("list_disks", json!([])));
    pair.plane.inject("agent_poll", 1, Fault::DeliveredTwice);
    assert_eq!(commands_of(&pair), commands_of(&pair));
    pair.plane
        .with(|world| world.queue_run(RunOrder::files("/srv")));
    pair.plane
        .inject("agent_next_run", 1, Fault::DeliveredTwice);
    assert_eq!(pair.take_run(), pair.take_run());
}

#[test]
fn only_commands_about_cloud_drives_are_handed_out_again() {
    let pair = Pair::new(Settings::default());
    pair.plane
        .queue_command(CommandOrder::new("nas_unmount", json!({"mount_id": 1})));
    pair.plane
        .queue_command(CommandOrder::new("list_disks", json!([])));
    assert_eq!(commands_of(&pair).len(), 2);
    pair.pass(121);
    let again = commands_of(&pair);
    assert_eq!((again.len(), again[0].name.as_str()), (1, "nas_unmount"));
}

#[test]
fn a_repository_is_locked_while_an_operation_works_on_it() {
    let pair = Pair::new(Settings::default());
    for op_type in ["retention_apply", "maintenance_quick"] {
        let op_type = op_type.to_owned();
        pair.plane.with(|world| {
            world.queue_operation(OperationOrder {
                op_type,
                ..OperationOrder::default()
            })
        });
    }
    let operation = || pair.call(&Poll { long: false }).unwrap().repo_operation;
    assert!(operation().is_some());
    assert!(operation().is_none());
    pair.pass(300);
    assert!(operation().is_some());
}

#[test]
fn a_clock_that_is_off_by_a_day_shows_in_times_without_zone() {
    let settings = Settings {
        clock_off_secs: 86_400,
        watchdog: false,
        ..Settings::default()
    };
    let pair = Pair::new(settings);
    pair.plane
        .with(|world| world.queue_run(RunOrder::files("/srv")));
    pair.take_run();
    pair.pass(200);
    let again = pair.take_run();
    assert_eq!(
        again.last_heartbeat_at.as_deref(),
        Some("2026-03-02 10:15:00")
    );
}

#[test]
fn a_long_poll_wakes_for_the_agents_own_commands_and_for_no_other() {
    let pair = Pair::new(Settings::default());
    std::thread::scope(|scope| {
        let polling = scope.spawn(|| pair.call(&Poll { long: true }).unwrap());
        while pair.plane.calls().is_empty() {
            std::thread::yield_now();
        }
        let run = pair
            .plane
            .with(|world| world.queue_run(RunOrder::files("/srv")));
        pair.plane
            .queue_command(CommandOrder::new("maintenance_quick", json!({})).about(&run));
        assert!(!polling.is_finished());
        pair.pass(20);
        pair.plane
            .queue_command(CommandOrder::new("refresh_inventory", json!({})));
        let names: Vec<_> = polling
            .join()
            .unwrap()
            .commands
            .into_iter()
            .map(|command| command.name)
            .collect();
        assert_eq!(names, ["refresh_inventory", "maintenance_quick"]);
    });
    std::thread::scope(|scope| {
        let polling = scope.spawn(|| pair.call(&Poll { long: true }).unwrap());
        while pair.plane.calls().len() < 2 {
            std::thread::yield_now();
        }
        pair.pass(25);
        assert_eq!(polling.join().unwrap().commands, []);
    });
}

#[test]
fn an_old_server_lacks_endpoints_and_they_are_left_alone() {
    let pair = Pair::new(Settings {
        generation: Generation::Old,
        ..Settings::default()
    });
    assert_eq!(
        pair.call(&Poll { long: false }),
        Err(NoAnswer::NoSuchEndpoint)
    );
    pair.plane.queue_command(CommandOrder::new(
        "fetch_log_tail",
        json!({"log_path": "agent.log"}),
    ));
    let commands = pair.call(&PollPendingCommands).unwrap();
    pair.call(&ReportBrowse::new(
        commands[0].command_id.unwrap(),
        &LogTail::default(),
    ))
    .unwrap();
    pair.assert_sound();
    assert_eq!(
        pair.call(&Poll { long: false }),
        Err(NoAnswer::NoSuchEndpoint)
    );
    assert!(format!("{:?}", pair.plane.violations()).contains("left alone"));
}

#[test]
fn agents_enrol_by_token_and_by_login() {
    for generation in [Generation::Current, Generation::Old] {
        let pair = Pair::new(Settings {
            generation,
            ..Settings::default()
        });
        pair.plane.with(|world| {
            world.add_enrollment_token(&"ab".repeat(20), 1);
            world.add_account("office@example.com", "correct horse");
        });
        let machine = Machine {
            hostname: "host 1".to_owned(),
            device_id: "5b1c".to_owned(),
            program: program(),
            ..Machine::default()
        };
        let enroll = Enroll {
            token: SecretText::new("ab".repeat(20)),
            machine: machine.clone(),
        };
        let by_token = pair.call(&enroll).unwrap();
        assert!(
            matches!(pair.call(&enroll), Err(NoAnswer::Unauthorized { .. })),
            "it was for one use"
        );
        let mut login = Login {
            email: "office@example.com".to_owned(),
            password: SecretText::new("correct horse"),
            machine,
            steps: LoginSteps::Two,
        };
        let by_login = match pair.call(&login).unwrap() {
            LoggedIn::Enrolled(enrolled) => enrolled,
            LoggedIn::Session(session) => {
                let user = UserChoice::Existing(session.users[0].id.clone());
                pair.call(&CompleteLogin {
                    session_token: session.session_token,
                    user,
                })
                .unwrap()
            }
        };
        assert_eq!(
            by_login.identity.agent, by_token.identity.agent,
            "it is the same machine"
        );
        assert_ne!(by_login.identity.token, by_token.identity.token);
        login.steps = LoginSteps::One;
        assert_eq!(pair.call(&login).is_ok(), generation == Generation::Old);
        pair.assert_sound();
    }
}

#[test]
fn everything_else_that_is_reported_is_within_the_contract() {
    let pair = Pair::new(Settings::default());
    let run = pair
        .plane
        .with(|world| world.queue_run(RunOrder::hyperv("web01")));
    pair.plane.with(|world| {
        world.queue_operation(OperationOrder {
            op_type: "retention_apply".to_owned(),
            effective_policy: json!({"daily": 30}),
            ..OperationOrder::default()
        })
    });
    let taken = pair.take_run();
    let id = taken.run_id.clone();
    let volume = Volume {
        free_bytes: None,
        path: "/dev/sda1".to_owned(),
        label: String::new(),
        size_bytes: 5,
        filesystem: "ext4".to_owned(),
        kind: VolumeKind::Part,
        unc_path: String::new(),
        is_network: false,
    };
    assert_eq!(
        pair.call(&ReportVolumes {
            volumes: vec![volume; 300]
        })
        .unwrap(),
        200
    );
    let disk = DiscoveredDisk {
        path: "D:\\a.vhdx".to_owned(),
        controller_type: ControllerType::Scsi,
        controller_number: 0,
        controller_location: 0,
        vhd_format: VhdFormat::Vhdx,
        size_bytes: 1,
        used_bytes: 1,
        rct_enabled: true,
        rct_id: "r".repeat(200),
    };
    let vm = DiscoveredVm {
        id: "6A00".to_owned(),
        name: "new01".to_owned(),
        generation: 2,
        is_linux: false,
        integration_services: true,
        rct_enabled: true,
        disks: vec![disk],
    };
    let discover = HypervDiscover {
        job_id: taken.job_id.unwrap(),
        vms: vec![vm],
    };
    assert_eq!(pair.call(&discover).unwrap().created, 1);
    assert_eq!(pair.call(&discover).unwrap().updated, 1);
    let wire_id = serde_json::to_value(&id).unwrap();
    let mut wanted = CommandOrder::new("enable_verbose_admin_logging", json!({})).about(&wire_id);
    wanted.by_run_poll = true;
    let command = pair.plane.queue_command(wanted);
    let polled = PollCommands { run_id: id.clone() };
    assert_eq!(pair.call(&polled).unwrap().len(), 1);
    pair.call(&CompleteCommand {
        command_id: CommandId(command),
        status: CommandStatus::Completed,
        result_message: String::new(),
    })
    .unwrap();
    let between = (pair.now(), pair.now());
    let chunk = PushLogChunk::new(id.clone(), 0, "a line\n", between, "1.8.2").unwrap();
    assert!(!pair.call(&chunk).unwrap().duplicate);
    assert!(pair.call(&chunk).unwrap().duplicate);
    let progress = UpdateProgress {
        update_job_id: UpdateJobId(3),
        state: UpdateState::Verifying,
        detail: "sha".to_owned(),
        agent_version: "1.8.2".to_owned(),
    };
    pair.call(&progress).unwrap();
    let operation = pair
        .call(&Poll { long: true })
        .unwrap()
        .repo_operation
        .unwrap();
    let complete = CompleteRepoOperation {
        operation_id: operation.operation_id,
        operation_token: operation.operation_token,
        status: OperationStatus::Failed,
        result: OperationResult {
            error: "not ours".to_owned(),
            ..OperationResult::default()
        },
    };
    pair.call(&complete).unwrap();
    pair.plane
        .with(|world| assert_eq!(world.operations[0].result["error"], "not ours"));
    let failed = Ending::failed(pair.now(), "no room");
    pair.call(&UpdateRun::ended(id, &program(), failed))
        .unwrap();
    pair.plane
        .with(|world| assert_eq!(world.run_status(&run), "failed"));
    pair.assert_sound();
}

#[test]
fn health_is_reported_with_all_parameters() {
    let pair = Pair::new(Settings::default());
    let id = WireId::Number(17);
    let text = || "x".repeat(400);
    let (command_id, command) = (CommandId(3), "restore".to_owned());
    let mut health = vec![
        Health::ServiceStarted { version: text() },
        Health::ServiceStopping { reason: text() },
        Health::Enrolled { method: text() },
        Health::EnrollmentFailed { reason: text() },
        Health::DeviceOnline,
        Health::DeviceOffline { reason: text() },
        Health::CommandReceived {
            command_id,
            command: command.clone(),
        },
        Health::CommandCompleted {
            command_id,
            command: command.clone(),
            status: text(),
        },
        Health::CommandFailed {
            command_id,
            command,
            error: text(),
        },
        Health::RunStarted {
            run_id: id.clone(),
            job_id: Some(id.clone()),
        },
        Health::RunFinished {
            run_id: id,
            status: text(),
        },
    ];
    let states = [
        Connection::Connected,
        Connection::Disconnected,
        Connection::Restored,
    ];
    health.extend(states.map(|state| Health::ServerConnection { state }));
    let events = health
        .into_iter()
        .map(|health| AgentEvent::new(health, pair.now()))
        .collect();
    let mut push = PushAgentEvents {
        agent_version: "1.8.2".to_owned(),
        events,
        after_firewall: false,
    };
    assert_eq!(pair.call(&push).unwrap().inserted, 14);
    push.after_firewall = true;
    assert_eq!(pair.call(&push).unwrap().inserted, 14);
    pair.assert_sound();
}

#[test]
fn every_event_has_all_parameters_plain_and_compact() {
    let pair = Pair::new(Settings::default());
    pair.plane
        .with(|world| world.queue_run(RunOrder::files("/srv")));
    let run = pair.take_run();
    let ended = UpdateRun::ended(
        run.run_id.clone(),
        &program(),
        Ending::failed(pair.now(), "e"),
    );
    pair.call(&ended).unwrap();
    let events = all_events::all();
    let count = events.len() as u64;
    for event in &events {
        let one = PushEvents::new(run.run_id.clone(), "1.8.2", vec![event.clone()]);
        pair.call(&one).unwrap();
    }
    let push = PushEvents::new(run.run_id, "1.8.2", events);
    pair.plane.inject("agent_push_events", 1, Fault::Firewall);
    let refused = pair.call(&push).unwrap_err();
    assert_eq!(Failure::from(&refused), Failure::Firewall);
    assert_eq!(pair.call(&push.for_firewall()).unwrap().inserted, count);
    pair.assert_sound();
}

#[test]
fn a_server_whose_events_do_not_compile_stops_no_run() {
    let pair = Pair::new(Settings {
        push_events_broken: true,
        ..Settings::default()
    });
    pair.plane
        .with(|world| world.queue_run(RunOrder::hyperv("web01")));
    let run = play_run(&pair, BackupType::Full, 'a');
    let push = PushEvents::new(run.run_id, "1.8.2", vec![NoChanges {}.into()]);
    assert_eq!(pair.call_repeatedly(&push), None);
    assert_eq!(pair.plane.calls_of("agent_push_events").len(), 4);
    pair.assert_sound();
}
