//! Thousands of simulated agents that poll a real server as agents do, and what that costs: how long each call
//! takes, the server's memory and processor time.
//!
//! Each agent calls from an address of its own (127.0.0.0/8), so that the server's limits by address are in force.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use fleet::line::{Asked, Line};
use fleet::people::{Person, first_start};
use fleet::sim_clock_file::SimClockFile;
use fleet::started::{Started, wait_until_well};
use protocol::commands::{Poll, PollPendingCommands};
use protocol::enrolment::{Enroll, Machine};
use protocol::hyperv_discover::{
    ControllerType, DiscoveredDisk, DiscoveredVm, HypervDiscover, VhdFormat,
};
use protocol::identity::{Caller, Program};
use protocol::next_run::{NextRun, Offer};
use protocol::request::answer_of;
use protocol::update_run::{Ending, Progress, RunStatus, UpdateRun};
use protocol::{Call, NoAnswer, Request, Response, SecretText, WireId};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use time_and_chance::{Chance, SharedClock, SystemClock};
use tokio::sync::Semaphore;

/// Under which the agents' API is.
const BASE: &str = "/modules/addons/cloudstorage/api";
/// How often an agent asks for a run.
const RUN_PAUSE: Duration = Duration::from_secs(5);
/// How often it asks for commands, where the server does not hold the answer back.
const COMMAND_PAUSE: Duration = Duration::from_secs(15);
/// How soon it asks again after an answer that was held back.
const SOON: Duration = Duration::from_secs(1);
/// How often a run tells how far it is.
const UPDATE_PAUSE: Duration = Duration::from_secs(2);
/// So many agents enrol at once.
const ENROL_AT_ONCE: usize = 16;
/// Each agent holds a connection or two, on either end.
const FILES: u64 = 65_536;
/// The server's memory is looked at this often.
const SAMPLE: Duration = Duration::from_secs(10);
/// Where time is faster, a run ends after so many updates, and its job's schedule brings the next.
const UPDATES_OF_A_RUN: u64 = 30;

/// Simulated agents poll a server that is started for it; figures are printed at the end.
#[derive(Debug, Parser)]
struct Options {
    /// The server's executable.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/release/e3-control-plane"
    )]
    server: PathBuf,
    /// A PostgreSQL database in place of SQLite.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The server's data folder; it must be empty.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How many agents there are.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    agents: usize,
    /// How many of them carry a run out.
    #[arg(long, value_name = "N", default_value_t = 50)]
    running: usize,
    /// How many VMs each host has, which a job of its own protects.
    #[arg(long, value_name = "N", default_value_t = 10)]
    vms: usize,
    /// How long it is measured, after as long a time of warming up as it takes all to poll once.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Commands are asked for every fifteen seconds, with no answer held back, as older agents do.
    #[arg(long)]
    short_polls: bool,
    /// Time goes so many times faster, for the server and for its agents, which then poll as with --short-polls and
    /// carry out runs that end: hours of polling by fewer agents.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=600))]
    rate: u32,
}

/// What is measured, by call.
#[derive(Debug, Default)]
struct Figures {
    calls: BTreeMap<&'static str, Vec<u32>>,
    refusals: BTreeMap<String, u64>,
    /// Refusals that no server makes for being busy.
    wrong: u64,
    is_measured: bool,
}

/// What all agents share.
#[derive(Debug)]
struct Fleet {
    server: SocketAddr,
    clock: SharedClock,
    chance: Chance,
    figures: Mutex<Figures>,
    short_polls: bool,
    rate: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    allow_many_files()?;
    std::fs::create_dir_all(&options.data)?;
    let mut command = Command::new(&options.server);
    command.arg("serve").arg("--data").arg(&options.data);
    command.args(["--listen", "127.0.0.1:0"]);
    // All agents have one address here.
    command.args(["--max-connections-per-address", "20000"]);
    if let Some(database) = &options.database {
        command.args(["--database", database]);
    }
    let clock = SystemClock::new();
    if options.rate > 1 {
        let file = options.data.join("clock");
        SimClockFile::create(&file, clock.now(), options.rate)?;
        command.arg("--sim-clock").arg(file);
    }
    let log = options.data.join("server.log");
    let mut started = Started::start("the server", &mut command, &log)?;
    let server = wait_until_well(&mut started).await?;
    let mut owner =
        first_start(server, &log, "correct horse battery staple", "Load", "UTC").await?;
    let fleet = Arc::new(Fleet {
        server,
        clock,
        chance: Chance::from_seed(1),
        figures: Mutex::default(),
        short_polls: options.short_polls || options.rate > 1,
        rate: options.rate,
    });
    let begun = fleet.clock.monotonic();
    let callers = enrolled(&fleet, &mut owner, options.agents).await?;
    let took = fleet.clock.monotonic().saturating_sub(begun);
    println!(
        "{} agents enrolled in {:.1} s",
        callers.len(),
        took.as_secs_f64()
    );
    prepare(&fleet, &mut owner, &options, &callers).await?;
    for (number, caller) in callers.into_iter().enumerate() {
        let caller = Arc::new(caller);
        tokio::spawn(runs(Arc::clone(&fleet), number, Arc::clone(&caller)));
        tokio::spawn(commands(Arc::clone(&fleet), number, caller));
    }
    tokio::time::sleep(COMMAND_PAUSE + SOON).await;
    let mut samples = vec![Usage::of(started.process())?];
    fleet.lock().is_measured = true;
    let mut left = Duration::from_secs(options.seconds);
    while !left.is_zero() {
        let pause = left.min(SAMPLE);
        tokio::time::sleep(pause).await;
        left -= pause;
        started.check_alive()?;
        samples.push(Usage::of(started.process())?);
    }
    let figures = std::mem::take(&mut *fleet.lock());
    let wrong = figures.wrong;
    print(&options, figures, &samples);
    if wrong > 0 {
        bail!("{wrong} calls were answered as no server should, however busy it is");
    }
    Ok(())
}

impl Fleet {
    fn lock(&self) -> std::sync::MutexGuard<'_, Figures> {
        self.figures.lock().expect("nobody panics while he counts")
    }

    /// Calls, and notes how long that took.
    async fn call<C: Call>(
        &self,
        line: &mut Line,
        call: &C,
        caller: &Caller,
    ) -> anyhow::Result<C::Answer> {
        let request = Request::new(call, caller);
        let path = format!("{BASE}/{}", request.path);
        let begun = self.clock.monotonic();
        let asked = Asked {
            method: request.method.as_str(),
            path: &path,
            headers: &request.headers,
            body: &request.body,
        };
        let answered = line.ask(&asked).await;
        let took = self.clock.monotonic().saturating_sub(begun);
        let name = request.endpoint.script();
        let answer = answered.and_then(|answered| {
            let response = Response {
                http_status: answered.status,
                headers: answered.headers,
                body: answered.body,
            };
            answer_of(call, &response).map_err(|no| {
                // Who is busy says so, and what he says is right.
                let is_wrong = !matches!(&no, NoAnswer::Retry { http_status, .. } if matches!(http_status, 429 | 503));
                let mut figures = self.lock();
                figures.wrong += u64::from(is_wrong);
                anyhow::anyhow!("{no}")
            })
        });
        let mut figures = self.lock();
        if figures.is_measured {
            match &answer {
                Ok(_) => {
                    let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
                    figures.calls.entry(name).or_default().push(micros);
                }
                Err(error) => {
                    let what = format!("{name}: {error:#}");
                    *figures.refusals.entry(what).or_default() += 1;
                }
            }
        }
        answer
    }

    /// Waits so long, and a little more or less, so that agents stay spread.
    async fn pause(&self, about: Duration) {
        let about = about / self.rate;
        let spread = self.chance.below(about.as_millis().max(10) as u64 / 5);
        let least = about.mul_f64(0.9);
        tokio::time::sleep(least + Duration::from_millis(spread)).await;
    }

    /// Waits for a part of a pause, before the first call.
    async fn spread(&self, over: Duration) {
        let over = over / self.rate;
        let part = self.chance.below(over.as_millis().max(1) as u64);
        tokio::time::sleep(Duration::from_millis(part)).await;
    }
}

/// Returns where an agent calls from: 127.1.0.1 and up.
fn address_of(number: usize) -> IpAddr {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    IpAddr::V4(Ipv4Addr::from(0x7f01_0001u32.saturating_add(number)))
}

fn program() -> Program {
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        os: "windows".to_owned(),
        arch: "amd64".to_owned(),
        build: String::new(),
    }
}

async fn enrolled(
    fleet: &Arc<Fleet>,
    owner: &mut Person,
    count: usize,
) -> anyhow::Result<Vec<Caller>> {
    let wanted = json!({ "description": "load" });
    let token = owner.post("/enrolment-tokens", &wanted).await?;
    let token = token["token"]
        .as_str()
        .context("no token was given")?
        .to_owned();
    let at_once = Arc::new(Semaphore::new(ENROL_AT_ONCE));
    let mut enrolling = Vec::new();
    for number in 0..count {
        let (fleet, token) = (Arc::clone(fleet), token.clone());
        let at_once = Arc::clone(&at_once);
        enrolling.push(tokio::spawn(async move {
            let _turn = at_once.acquire().await?;
            let call = Enroll {
                token: SecretText::new(token),
                machine: Machine {
                    hostname: format!("host-{number:05}"),
                    device_id: fleet.chance.uuid().to_string(),
                    install_id: fleet.chance.uuid().to_string(),
                    device_name: format!("host-{number:05}"),
                    program: program(),
                },
            };
            let mut line = Line::to(fleet.server, Some(address_of(number)));
            let nobody = Caller {
                program: program(),
                ..Caller::default()
            };
            let enrolled = fleet.call(&mut line, &call, &nobody).await?;
            anyhow::Ok(Caller {
                identity: Some(enrolled.identity),
                ..nobody
            })
        }));
    }
    let mut callers = Vec::new();
    for one in enrolling {
        callers.push(one.await??);
    }
    Ok(callers)
}

/// Gives every host a job for its VMs and registers these, and orders runs for some hosts.
async fn prepare(
    fleet: &Arc<Fleet>,
    owner: &mut Person,
    options: &Options,
    callers: &[Caller],
) -> anyhow::Result<()> {
    // Nobody opens it, and a folder would be one host's alone.
    let repository = json!({
        "name": "Load", "kind": "s3", "endpoint": "https://s3.example.com", "bucket": "load",
        "access_key": "nobody's", "secret_key": "nobody's",
        "quick_every_hours": 24, "full_every_hours": 168, "verify_every_hours": 168, "verify_percent": 1,
    });
    let repository = owner.post("/repositories", &repository).await?;
    let schedule = match options.rate {
        1 => json!({ "kind": "manual" }),
        _ => json!({ "kind": "cron", "expression": "*/5 * * * *" }),
    };
    for (number, caller) in callers.iter().enumerate() {
        let identity = caller.identity.as_ref().context("all are enrolled")?;
        let host = identity.agent.to_string();
        if options.vms > 0 {
            let job = json!({
                "host_id": host, "repository_id": repository["id"], "name": "Every night", "engine": "hyperv",
                "vms": { "all": true, "guids": [], "include": [], "exclude": [] }, "consistency": "application",
                "schedule": { "kind": "daily", "at": "22:00", "time_zone": "UTC" },
                "retention": { "daily": 14, "weekly": 8 },
            });
            let job = owner.post("/jobs", &job).await?;
            let id = job["id"].as_str().context("a job has an id")?;
            let found = HypervDiscover {
                job_id: WireId::Text(id.to_owned()),
                vms: (0..options.vms).map(|vm| a_vm(fleet, vm)).collect(),
            };
            let mut line = Line::to(fleet.server, Some(address_of(number)));
            fleet.call(&mut line, &found, caller).await?;
        }
        if number < options.running {
            let job = json!({
                "host_id": host, "repository_id": repository["id"], "name": "Files", "engine": "kopia",
                "sources": ["/srv"], "schedule": schedule, "retention": { "keep_last": 7 },
            });
            let job = owner.post("/jobs", &job).await?;
            let id = job["id"].as_str().context("a job has an id")?;
            owner.post(&format!("/jobs/{id}/runs"), &json!({})).await?;
        }
    }
    Ok(())
}

fn a_vm(fleet: &Fleet, number: usize) -> DiscoveredVm {
    let disk = DiscoveredDisk {
        path: format!(r"C:\VMs\vm-{number:02}.vhdx"),
        controller_type: ControllerType::Scsi,
        controller_number: 0,
        controller_location: 0,
        vhd_format: VhdFormat::Vhdx,
        size_bytes: 100 << 30,
        used_bytes: 40 << 30,
        rct_enabled: true,
        rct_id: String::new(),
    };
    DiscoveredVm {
        id: fleet.chance.uuid().to_string(),
        name: format!("vm-{number:02}"),
        generation: 2,
        is_linux: false,
        integration_services: true,
        rct_enabled: true,
        disks: vec![disk],
    }
}

/// Asks for runs, and plays those that are handed out, without end.
async fn runs(fleet: Arc<Fleet>, number: usize, caller: Arc<Caller>) {
    let mut line = Line::to(fleet.server, Some(address_of(number)));
    fleet.spread(RUN_PAUSE).await;
    loop {
        if let Ok(Offer::Run(run)) = fleet.call(&mut line, &NextRun, &caller).await {
            tokio::spawn(play(
                Arc::clone(&fleet),
                number,
                Arc::clone(&caller),
                run.run_id.clone(),
            ));
        }
        fleet.pause(RUN_PAUSE).await;
    }
}

/// Plays a run that goes on for as long as it is measured, or, where time is faster, for a minute.
async fn play(fleet: Arc<Fleet>, number: usize, caller: Arc<Caller>, run_id: WireId) {
    let mut line = Line::to(fleet.server, Some(address_of(number)));
    let now = fleet.clock.now();
    let mut update = UpdateRun::started(run_id.clone(), &caller.program, now);
    let mut done: u64 = 0;
    for number in 1.. {
        // What was refused is counted, and said again with the next.
        let _ = fleet.call(&mut line, &update, &caller).await;
        fleet.pause(UPDATE_PAUSE).await;
        if fleet.rate > 1 && number > UPDATES_OF_A_RUN {
            break;
        }
        done += 200 << 20;
        let progress = Progress {
            progress_pct: Some((done >> 20) as f64 / 100_000.0),
            bytes_processed: Some(done),
            bytes_transferred: Some(done / 3),
            bytes_total: Some(10 << 40),
            speed_bytes_per_sec: Some(100 << 20),
            current_item: format!("file {}", done >> 20),
            ..Progress::default()
        };
        update = UpdateRun::progressed(run_id.clone(), &caller.program, progress);
    }
    let mut ending = Ending::new(RunStatus::Success, fleet.clock.now());
    ending.manifest_id = fleet.chance.uuid().simple().to_string();
    let ending = UpdateRun::ended(run_id, &caller.program, ending);
    while fleet.call(&mut line, &ending, &caller).await.is_err() {
        fleet.pause(UPDATE_PAUSE).await;
    }
}

/// Asks for commands, without end.
async fn commands(fleet: Arc<Fleet>, number: usize, caller: Arc<Caller>) {
    let mut line = Line::to(fleet.server, Some(address_of(number)));
    fleet.spread(COMMAND_PAUSE).await;
    loop {
        let pause = match fleet.short_polls {
            true => {
                let _ = fleet.call(&mut line, &PollPendingCommands, &caller).await;
                COMMAND_PAUSE
            }
            // What the server holds back takes as long as it holds it; it is counted apart.
            false => match fleet.call(&mut line, &Poll { long: true }, &caller).await {
                Ok(_) => SOON,
                Err(_) => COMMAND_PAUSE,
            },
        };
        fleet.pause(pause).await;
    }
}

fn allow_many_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.maximum.unwrap_or(FILES).min(FILES));
    setrlimit(Resource::Nofile, limit).context("allowing many open files")
}

/// What a process takes.
#[derive(Debug)]
struct Usage {
    resident_kib: u64,
    anonymous_kib: u64,
    processor_seconds: f64,
}

impl Usage {
    fn of(process: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number
                .and_then(|word| word.parse().ok())
                .unwrap_or_default()
        };
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name, in parentheses, may hold spaces.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|word| word.parse::<u64>().ok())
            .sum();
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Self {
            resident_kib: kib("VmRSS:"),
            anonymous_kib: kib("RssAnon:"),
            processor_seconds: ticks as f64 / per_second,
        })
    }
}

fn print(options: &Options, figures: Figures, samples: &[Usage]) {
    let (Some(at_start), Some(at_end)) = (samples.first(), samples.last()) else {
        return;
    };
    let store = match &options.database {
        Some(_) => "PostgreSQL",
        None => "SQLite",
    };
    println!(
        "{} agents, {} of them running, {} VMs each, {store}, {} s at {} times real time",
        options.agents, options.running, options.vms, options.seconds, options.rate
    );
    println!("| call | calls per second | p50 ms | p99 ms | slowest ms |");
    println!("|---|---|---|---|---|");
    for (script, mut micros) in figures.calls {
        micros.sort_unstable();
        let name = match script {
            "agent_poll.php" => "agent_poll.php, held back until there is work",
            _ => script,
        };
        let at = |share: f64| {
            let last = micros.len().saturating_sub(1);
            f64::from(micros[(last as f64 * share) as usize]) / 1_000.0
        };
        println!(
            "| {name} | {:.0} | {:.1} | {:.1} | {:.1} |",
            micros.len() as f64 / options.seconds as f64,
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    for (what, count) in figures.refusals.iter().take(10) {
        println!("refused {count} times: {what}");
    }
    let processors =
        (at_end.processor_seconds - at_start.processor_seconds) / options.seconds as f64;
    println!(
        "the server's memory: {} KiB resident ({} KiB of its own) at the start, {} KiB ({} KiB) at the end; {:.1} KiB an agent",
        at_start.resident_kib,
        at_start.anonymous_kib,
        at_end.resident_kib,
        at_end.anonymous_kib,
        at_end.resident_kib as f64 / options.agents.max(1) as f64
    );
    let resident: Vec<u64> = samples.iter().map(|it| it.resident_kib / 1_024).collect();
    println!(
        "the server's memory, MiB resident, every {} s: {resident:?}",
        SAMPLE.as_secs()
    );
    println!(
        "over the second half of the time it grows by {:.1} KiB a minute",
        growth_kib_a_minute(&samples[samples.len() / 2..])
    );
    println!(
        "the server's processor time: {:.2} s each second, {:.2} ms an agent and minute",
        processors,
        processors * 60_000.0 / options.agents.max(1) as f64
    );
}

/// Returns the slope of the line that fits best.
fn growth_kib_a_minute(samples: &[Usage]) -> f64 {
    let count = samples.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let (mut up, mut across) = (0.0, 0.0);
    for (number, sample) in samples.iter().enumerate() {
        let x = number as f64 - middle;
        up += x * sample.resident_kib as f64;
        across += x * x;
    }
    match across > 0.0 {
        true => up / across * (60.0 / SAMPLE.as_secs_f64()),
        false => 0.0,
    }
}
