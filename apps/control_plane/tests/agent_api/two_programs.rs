//! Two programs on one PostgreSQL server, killed at random and started again, with agents that go over to the other
//! one meanwhile, and schedules that fire every minute: what became of each run is judged by the database and by what
//! the agents have seen.
//!
//! ```text
//! the test moves the clock on ─► both programs fire, watch, tell      people begin runs
//!      └ a step is over when every agent has called: however slow the machine is, nobody is silent by chance
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control_plane::agent_api::BASE;
use control_plane::plane::token_hash;
use control_plane::sealing::Sealing;
use control_plane::store::Store;
use control_plane::store::entity::{
    alarm, alarm_channel, api_token, delivery, job, notice, point, repo_operation, run, user,
};
use control_plane::store::settings::WEBHOOK_NETWORKS;
use protocol::commands::{CommandStatus, CompleteCommand, PollPendingCommands};
use protocol::next_run::{NextRun, Offer};
use protocol::repo_operations::{CompleteRepoOperation, OperationStatus, PollRepoOperations};
use protocol::request::{Call, Request, answer_of};
use protocol::update_run::{Ending, Progress, RunStatus, UpdateRun};
use protocol::{NoAnswer, WireId};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _,
};
use serde_json::{Value, json};
use time_and_chance::{Chance, SimTime, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::postgres::server;
use crate::program::{LOOK, LOOKS, Program};
use crate::world::{Agent, BEGIN, World, received};

/// So much time passes in a step.
const STEP_MS: i64 = 20_000;
const MINUTE_MS: i64 = 60_000;
/// A run whose agent was silent for less is not handed out again (contract 3.1), less the step by which a program's
/// clock may be behind.
const SILENT_MS: i64 = 180_000 - STEP_MS;
/// So many steps an agent stays away at times: longer than the watchdog waits.
const AWAY_STEPS: u64 = 45;
/// A run is over after so many steps, or never.
const SETTLING_STEPS: u32 = 3_000;
/// Programs are killed within so long after a step began.
const KILLED_WITHIN_MS: u64 = 80;
const OPEN: [&str; 3] = ["queued", "starting", "running"];
const TOKEN: &str = "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd";

/// What all agents have seen.
#[derive(Debug, Default)]
struct Seen {
    /// Who was handed a run for the first time.
    claimed: Vec<(String, usize)>,
    /// Runs that were handed out again, and for how long their agent had been silent.
    resumed: Vec<(String, i64)>,
    /// What was first said of a run's end: its state and its manifest.
    endings: BTreeMap<String, (RunStatus, String)>,
    /// Ends that a program has taken.
    taken: BTreeSet<String>,
    /// When a run was last spoken of.
    spoken: BTreeMap<String, i64>,
    commands: Vec<u64>,
    operations: Vec<u64>,
    /// Agents that stayed away.
    away: BTreeSet<usize>,
    refusals: Vec<String>,
    /// Runs that people have begun.
    begun: Vec<String>,
}

/// What agents share.
struct Fleet {
    http: reqwest::Client,
    addresses: Mutex<[Option<SocketAddr>; 2]>,
    now_ms: AtomicI64,
    done: AtomicUsize,
    held: AtomicUsize,
    /// Agents that stay away now.
    away: AtomicUsize,
    /// Whether people begin runs, and agents leave.
    is_busy: AtomicBool,
    seen: Mutex<Seen>,
}

/// A run that an agent is at.
struct Held {
    id: String,
    engine: String,
    steps_left: u64,
    has_begun: bool,
    ending: Option<UpdateRun>,
}

impl Fleet {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panics with it")
    }

    fn now(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now()).expect("a time")
    }

    fn addresses(&self) -> [Option<SocketAddr>; 2] {
        *self.addresses.lock().expect("nobody panics with it")
    }

    /// Calls one program, and the other where it is gone, as behind a proxy. `None`: what became of it is not known.
    async fn call<C: Call>(
        &self,
        agent: &Agent,
        number: usize,
        first: usize,
        call: &C,
    ) -> Option<C::Answer> {
        let addresses = self.addresses();
        for address in [addresses[first], addresses[1 - first]]
            .into_iter()
            .flatten()
        {
            let request = Request::new(call, &agent.caller);
            let url = request.url(&format!("http://{address}{BASE}"));
            let method = request.method.as_str().parse().expect("a method");
            let mut builder = self.http.request(method, url).body(request.body);
            for (name, value) in &request.headers {
                builder = builder.header(*name, value);
            }
            builder = builder.header("X-Forwarded-For", format!("10.1.0.{}", number + 1));
            let Some(response) = received(builder).await else {
                continue;
            };
            match answer_of(call, &response) {
                Ok(answer) => return Some(answer),
                Err(NoAnswer::Retry { .. }) => {}
                Err(no) => {
                    let what = format!("{}: {no}", C::ENDPOINT.script());
                    self.seen().refusals.push(what);
                    return None;
                }
            }
        }
        None
    }

    /// Lives as an agent, a round for each step.
    async fn live(
        self: Arc<Self>,
        agent: Agent,
        number: usize,
        vm: i64,
        chance: Chance,
        mut steps: watch::Receiver<u64>,
    ) {
        let mut held: Vec<Held> = Vec::new();
        let mut away = 0;
        while steps.changed().await.is_ok() {
            if away > 0 {
                away -= 1;
                if away == 0 {
                    self.away.fetch_sub(1, Ordering::SeqCst);
                }
            } else {
                self.round(&agent, number, vm, &chance, &mut held).await;
                // The agent's process is killed: it knows of the ends that it has written down, and of nothing else.
                if chance.below(30) == 0 {
                    self.keep(&mut held, |run| run.ending.is_some());
                }
                if chance.below(200) == 0 && self.is_busy.load(Ordering::SeqCst) {
                    away = AWAY_STEPS;
                    self.away.fetch_add(1, Ordering::SeqCst);
                    self.seen().away.insert(number);
                }
            }
            self.done.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn keep(&self, held: &mut Vec<Held>, which: impl FnMut(&Held) -> bool) {
        let before = held.len();
        let mut which = which;
        held.retain(|run| which(run));
        self.held.fetch_sub(before - held.len(), Ordering::SeqCst);
    }

    async fn round(
        &self,
        agent: &Agent,
        number: usize,
        vm: i64,
        chance: &Chance,
        held: &mut Vec<Held>,
    ) {
        let first = usize::try_from(chance.below(2)).expect("small");
        if held.len() < 2
            && let Some(Offer::Run(run)) = self.call(agent, number, first, &NextRun).await
        {
            let id = run.run_id.to_string();
            let is_held = held.iter().any(|run| run.id == id);
            let now = self.now();
            let mut seen = self.seen();
            if run.resume {
                let spoken = seen.spoken.get(&id).copied();
                let silence = spoken.map_or(i64::MAX, |at| now - at);
                seen.resumed.push((id.clone(), silence));
            } else {
                seen.claimed.push((id.clone(), number));
            }
            drop(seen);
            if !is_held {
                self.held.fetch_add(1, Ordering::SeqCst);
                held.push(Held {
                    id,
                    engine: format!("{:?}", run.engine).to_lowercase(),
                    steps_left: chance.below(8),
                    has_begun: false,
                    ending: None,
                });
            }
        }
        let mut over = BTreeSet::new();
        for run in held.iter_mut() {
            if self.work(agent, number, vm, first, chance, run).await {
                over.insert(run.id.clone());
            }
        }
        self.keep(held, |run| !over.contains(&run.id));
        if chance.below(3) == 0 {
            self.commands(agent, number, first).await;
        }
    }

    /// Goes on with a run, and tells whether its end was taken.
    async fn work(
        &self,
        agent: &Agent,
        number: usize,
        vm: i64,
        first: usize,
        chance: &Chance,
        run: &mut Held,
    ) -> bool {
        let (id, program) = (WireId::Text(run.id.clone()), &agent.caller.program);
        let update = if run.ending.is_some() {
            None
        } else if !run.has_begun {
            run.has_begun = true;
            Some(UpdateRun::started(id, program, self.time()))
        } else if run.steps_left > 0 {
            run.steps_left -= 1;
            let progress = Progress {
                progress_pct: Some(50.0),
                ..Progress::default()
            };
            Some(UpdateRun::progressed(id, program, progress))
        } else {
            let ending = self.ending(chance, vm, &run.engine);
            let manifest = match ending.hyperv_results.first() {
                Some(result) => result
                    .disk_manifests
                    .iter()
                    .next()
                    .map(|(_, it)| it.to_owned())
                    .unwrap_or_default(),
                None => ending.manifest_id.clone(),
            };
            let said = (ending.status, manifest);
            self.seen().endings.entry(run.id.clone()).or_insert(said);
            run.ending = Some(UpdateRun::ended(id, program, ending));
            None
        };
        let is_end = update.is_none();
        let update = update.or_else(|| run.ending.clone()).expect("one of them");
        let at = self.now();
        let answer = self.call(agent, number, first, &update).await;
        if answer.is_none() {
            return false;
        }
        self.seen().spoken.insert(run.id.clone(), at);
        if is_end {
            self.seen().taken.insert(run.id.clone());
            // An agent that was killed before it could write down that it was heard says it again.
            if chance.below(4) == 0 {
                let _again = self.call(agent, number, 1 - first, &update).await;
            }
        }
        is_end
    }

    fn ending(&self, chance: &Chance, vm: i64, engine: &str) -> Ending {
        if chance.below(5) == 0 {
            return Ending::failed(self.time(), "the disk cannot be read");
        }
        let manifest = chance.uuid().simple().to_string();
        let mut ending = Ending::new(RunStatus::Success, self.time());
        if engine.contains("hyperv") {
            let result = json!({
                "vm_id": vm, "vm_name": "web01", "backup_type": "Full", "checkpoint_id": "C",
                "disk_manifests": {"D:\\web01.vhdx": manifest}, "consistency_level": "Application",
            });
            ending.hyperv_results = vec![serde_json::from_value(result).expect("a result")];
        } else {
            ending.manifest_id = manifest;
        }
        ending
    }

    async fn commands(&self, agent: &Agent, number: usize, first: usize) {
        let commands = self.call(agent, number, first, &PollPendingCommands).await;
        for command in commands.into_iter().flatten() {
            let Some(command_id) = command.command_id else {
                continue;
            };
            self.seen().commands.push(command_id.0);
            let complete = CompleteCommand {
                command_id,
                status: CommandStatus::Failed,
                result_message: "not here".to_owned(),
            };
            let _heard = self.call(agent, number, first, &complete).await;
        }
        let operation = self.call(agent, number, first, &PollRepoOperations).await;
        if let Some(operation) = operation.flatten() {
            self.seen().operations.push(operation.operation_id.0);
            let complete = CompleteRepoOperation {
                operation_id: operation.operation_id,
                operation_token: operation.operation_token,
                status: OperationStatus::Success,
                result: Default::default(),
            };
            let _heard = self.call(agent, number, first, &complete).await;
        }
    }

    /// Begins a run as a person does, who reads what the answer says and does not try again.
    async fn begin_run(&self, job: &job::Model, chance: &Chance) {
        let first = usize::try_from(chance.below(2)).expect("small");
        let Some(address) = self.addresses()[first] else {
            return;
        };
        let url = format!("http://{address}/api/v1/jobs/{}/runs", job.id);
        let builder = self
            .http
            .post(url)
            .bearer_auth(TOKEN)
            .header("Content-Type", "application/json")
            .body("{}");
        let Some(response) = received(builder).await else {
            return;
        };
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match (response.http_status, body["id"].as_str()) {
            (200..=202, Some(id)) => self.seen().begun.push(id.to_owned()),
            (409 | 500 | 503, _) => {}
            other => self
                .seen()
                .refusals
                .push(format!("begin: {other:?} {body}")),
        }
    }
}

/// What webhooks were called with: the messages' ids, and the alarms in them.
type Told = Arc<Mutex<Vec<Value>>>;

async fn hear(State(told): State<Told>, Json(message): Json<Value>) -> StatusCode {
    told.lock().expect("nobody panics with it").push(message);
    StatusCode::OK
}

/// The two programs, the clock that they share, and everybody who calls them.
struct Pair {
    world: World,
    chance: Chance,
    clock: PathBuf,
    setting: SimTime,
    programs: [Program; 2],
    fleet: Arc<Fleet>,
    agents: usize,
    jobs: Vec<job::Model>,
    steps: watch::Sender<u64>,
    told: Told,
}

impl Pair {
    async fn new(world: World, agents: usize, chance: Chance) -> Self {
        let folder = world.folder().to_owned();
        let begin: Timestamp = BEGIN.parse().expect("a time");
        let clock = folder.join("clock");
        let setting = SimTime::first(begin, begin, 0);
        local_file::replace(&clock, setting.to_string().as_bytes()).expect("written");
        let programs = ["a", "b"].map(|name| program(&world, &folder, name, &clock));
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let fleet = Arc::new(Fleet {
            http,
            addresses: Mutex::default(),
            now_ms: AtomicI64::new(begin.as_millisecond()),
            done: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            away: AtomicUsize::new(0),
            is_busy: AtomicBool::new(true),
            seen: Mutex::default(),
        });
        let mut pair = Self {
            world,
            clock,
            setting,
            programs,
            fleet,
            agents,
            jobs: Vec::new(),
            steps: watch::Sender::new(0),
            told: Told::default(),
            chance,
        };
        pair.add_people().await;
        pair.add_agents().await;
        pair
    }

    /// Makes somebody who begins runs, and a channel of alarms.
    async fn add_people(&mut self) {
        self.world.set(WEBHOOK_NETWORKS, r#"["127.0.0.0/8"]"#).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let hook = listener.local_addr().expect("bound");
        let service = axum::Router::new()
            .route("/", axum::routing::post(hear))
            .with_state(self.told.clone());
        tokio::spawn(async move { axum::serve(listener, service).await });
        let (db, tenant) = (self.world.plane.store.db(), &self.world.tenant);
        let text = |text: &str| Set(text.to_owned());
        let row = alarm_channel::ActiveModel {
            id: text("hook"),
            tenant_id: text(tenant),
            name: text("hook"),
            kind: text("webhook"),
            config_json: Set(json!({"url": format!("http://{hook}/")}).to_string()),
            secret_sealed: Set(None),
            min_severity: text("info"),
            quiet_hours_json: text("null"),
            summary_at: text(""),
            last_summary_on: text(""),
            is_enabled: Set(true),
            created_at: Set(self.world.now()),
        };
        row.insert(db).await.expect("a channel");
        let row = user::ActiveModel {
            id: text("ann"),
            tenant_id: Set(Some(tenant.clone())),
            email: text("ann@example.com"),
            name: text("Ann"),
            role: text("operator"),
            password_hash: text(""),
            totp_secret_sealed: Set(None),
            totp_pending_sealed: Set(None),
            totp_last_step: Set(0),
            is_disabled: Set(false),
            created_at: Set(self.world.now()),
        };
        row.insert(db).await.expect("a person");
        let row = api_token::ActiveModel {
            id: text("token"),
            tenant_id: Set(Some(tenant.clone())),
            user_id: text("ann"),
            name: text("a test"),
            token_hash: Set(token_hash(TOKEN)),
            role: text("operator"),
            created_at: Set(self.world.now()),
            last_used_at: Set(None),
            expires_at: Set(None),
            revoked_at: Set(None),
        };
        row.insert(db).await.expect("a token");
    }

    /// Makes hosts with two jobs each: a VM every minute, folders every other minute.
    async fn add_agents(&mut self) {
        for number in 0..self.agents {
            let agent = self.world.agent().await;
            let vm = self.world.vm(&agent, "web01").await;
            for (engine, expression) in [("hyperv", "* * * * *"), ("kopia", "*/2 * * * *")] {
                // Retention follows only where a job has its repository for itself.
                let repository = self.world.repository().await;
                let job = self.world.job(&agent, &repository, engine).await;
                let mut job = job.into_active_model();
                let schedule = json!({"kind": "cron", "expression": expression});
                job.schedule_json = Set(schedule.to_string());
                job.next_run_at = Set(Some(self.world.now() + period_of(engine)));
                let job = job.update(self.world.plane.store.db()).await;
                self.jobs.push(job.expect("a schedule"));
            }
            let chance = Chance::from_seed(self.chance.next_u64());
            let steps = self.steps.subscribe();
            tokio::spawn(self.fleet.clone().live(agent, number, vm.id, chance, steps));
        }
    }

    fn store(&self) -> &Store {
        &self.world.plane.store
    }

    fn look_where_they_listen(&mut self) -> [bool; 2] {
        let addresses = [0, 1].map(|it| self.programs[it].address());
        *self.fleet.addresses.lock().expect("nobody panics with it") = addresses;
        addresses.map(|it| it.is_some())
    }

    fn start(&mut self, number: usize) {
        self.programs[number].start();
    }

    /// Waits until one of them serves, or both do.
    async fn wait_until_served(&mut self, by_both: bool) {
        for _ in 0..LOOKS {
            let listening = self.look_where_they_listen();
            if listening == [true; 2] || (!by_both && listening != [false; 2]) {
                return;
            }
            for program in &mut self.programs {
                assert_eq!(program.ended(), None, "{}", program.log());
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("nobody listens: {:?}", self.programs);
    }

    /// Moves the clock on, has every agent call, and does something meanwhile.
    async fn step(&mut self, meanwhile: impl AsyncFnOnce(&mut Self)) {
        self.look_where_they_listen();
        let real = Timestamp::from_millisecond(0).expect("a time");
        let by = Duration::from_millis(STEP_MS.unsigned_abs());
        self.setting = self.setting.advanced(by, real);
        local_file::replace(&self.clock, self.setting.to_string().as_bytes()).expect("written");
        let now = self.setting.time.as_millisecond();
        self.fleet.now_ms.store(now, Ordering::SeqCst);
        self.fleet.done.store(0, Ordering::SeqCst);
        self.steps.send_modify(|step| *step += 1);
        if self.fleet.is_busy.load(Ordering::SeqCst) && self.chance.below(3) == 0 {
            let job = self.chance.below(self.jobs.len() as u64);
            let job = &self.jobs[usize::try_from(job).expect("small")];
            self.fleet.begin_run(job, &self.chance).await;
        }
        meanwhile(self).await;
        for _ in 0..LOOKS {
            if self.fleet.done.load(Ordering::SeqCst) == self.agents {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("an agent does not come back from its round");
    }

    async fn quiet_step(&mut self) {
        self.step(async |_| {}).await;
    }

    /// Waits until every moment that has come was seen to. Time goes on now and then, for as long as it stands still,
    /// what one that was killed had to do is nobody else's.
    async fn wait_until_fired(&mut self) {
        for look in 1..LOOKS {
            let due = job::Entity::find()
                .filter(job::Column::NextRunAt.lte(self.fleet.now()))
                .count(self.store().db())
                .await;
            if due.expect("counted") == 0 {
                return;
            }
            tokio::time::sleep(LOOK).await;
            if look % 20 == 0 {
                self.quiet_step().await;
            }
        }
        panic!("jobs are not fired: {:?}", self.programs);
    }

    /// Kills one of them, or both, at a moment that chance chooses, and starts them again later; or stops one for so
    /// long that the other takes over what it does, and lets it go on.
    async fn strike(&mut self) {
        let victim = usize::try_from(self.chance.below(2)).expect("small");
        let delay = Duration::from_millis(self.chance.below(KILLED_WITHIN_MS));
        if self.chance.below(5) == 0 {
            let listening = self.look_where_they_listen();
            if listening == [true; 2] {
                self.step(async |pair| {
                    tokio::time::sleep(delay).await;
                    pair.programs[victim].signal("STOP");
                    let by = Duration::from_millis(2 * MINUTE_MS.unsigned_abs());
                    pair.setting = pair.setting.advanced(by, Timestamp::UNIX_EPOCH);
                    let text = pair.setting.to_string();
                    local_file::replace(&pair.clock, text.as_bytes()).expect("written");
                    let now = pair.setting.time.as_millisecond();
                    pair.fleet.now_ms.store(now, Ordering::SeqCst);
                    // The other one has some turns, unless it waits for what the stopped one holds.
                    tokio::time::sleep(20 * LOOK).await;
                    pair.programs[victim].signal("CONT");
                })
                .await;
            }
        }
        let dies_alone = self.chance.below(5) > 0;
        self.step(async |pair| {
            tokio::time::sleep(delay).await;
            pair.programs[victim].kill();
            if !dies_alone {
                pair.programs[1 - victim].kill();
            }
        })
        .await;
        if !dies_alone {
            self.start(1 - victim);
        }
        for _ in 0..self.chance.below(4) {
            self.quiet_step().await;
        }
        self.start(victim);
        let by_both = self.chance.below(2) == 0;
        self.wait_until_served(by_both).await;
    }

    /// Has no more runs fired, and waits until all is over.
    async fn settle(&mut self) -> i64 {
        self.wait_until_served(true).await;
        self.wait_until_fired().await;
        let last = self.fleet.now();
        self.fleet.is_busy.store(false, Ordering::SeqCst);
        let manual = r#"{"kind":"manual"}"#;
        job::Entity::update_many()
            .col_expr(job::Column::ScheduleJson, Expr::value(manual))
            .col_expr(job::Column::NextRunAt, Expr::value(None::<i64>))
            .exec(self.store().db())
            .await
            .expect("changed");
        let mut quiet = 0;
        for _ in 0..SETTLING_STEPS {
            self.quiet_step().await;
            let db = self.store().db();
            let open = run::Entity::find().filter(run::Column::Status.is_in(OPEN));
            let open = open.count(db).await.expect("counted");
            let due = delivery::Entity::find().filter(delivery::Column::Status.eq("due"));
            let due = due.count(db).await.expect("counted");
            let held = self.fleet.held.load(Ordering::SeqCst);
            let away = self.fleet.away.load(Ordering::SeqCst);
            quiet = if open + due == 0 && held + away == 0 {
                quiet + 1
            } else {
                0
            };
            // What is told is told within some minutes. Whoever stays away makes an alarm at a moment of its own.
            if quiet > 30 {
                return last;
            }
        }
        let logs = [0, 1].map(|it| self.programs[it].log());
        let refusals = &self.fleet.seen().refusals;
        panic!("it does not come to an end: {refusals:?}, {logs:#?}");
    }

    fn judge_runs(
        &self,
        runs: &[run::Model],
        points: &[point::Model],
        operations: &[repo_operation::Model],
        last: i64,
    ) -> Vec<String> {
        let seen = self.fleet.seen();
        let mut faults: Vec<String> = seen.refusals.clone();
        self.judge_moments(runs, last, &mut faults);
        judge_handing_out(&seen, &mut faults);
        let away: BTreeSet<&str> = {
            let hosts = seen.claimed.iter().filter(|it| seen.away.contains(&it.1));
            let jobs = hosts.filter_map(|(id, _)| runs.iter().find(|run| run.id == *id));
            jobs.map(|run| run.host_id.as_str()).collect()
        };
        for run in runs {
            let said = seen.endings.get(&run.id);
            let is_over = run.finished_at.is_some() && !OPEN.contains(&run.status.as_str());
            let is_as_said = match said {
                Some((status, _)) => run.status == status.as_str(),
                None if run.status == "missed" => run.scheduled_for.is_some(),
                None => run.status == "cancelled" && away.contains(run.host_id.as_str()),
            };
            if !is_over || !is_as_said {
                faults.push(format!("{said:?} was said, and there is {}", told(run)));
            }
            let expected: Vec<&str> = match said {
                Some((RunStatus::Success, manifest)) => vec![manifest],
                _ => vec![],
            };
            let of_run = points.iter().filter(|point| point.run_id == run.id);
            let recorded: Vec<&str> = of_run.map(|point| &*point.manifest_id).collect();
            if recorded != expected {
                let run = told(run);
                faults.push(format!("points {recorded:?} of {expected:?}: {run}"));
            }
            let token = format!("run-finish-{}-retention", run.id);
            let queued = operations.iter().filter(|it| it.token == token).count();
            if queued != expected.len() {
                faults.push(format!("{queued} times retention after {}", told(run)));
            }
        }
        for id in &seen.begun {
            if !runs.iter().any(|run| run.id == *id) {
                faults.push(format!("a run that was begun by a person is lost: {id}"));
            }
        }
        self.judge_one_at_a_time(runs, &away, &mut faults);
        faults
    }

    /// Judges what became of everything; `last`: the moment after which nothing was due.
    async fn judge(&self, last: i64) -> Vec<String> {
        let db = self.store().db();
        let runs = run::Entity::find().all(db).await.expect("read");
        let points = point::Entity::find().all(db).await.expect("read");
        let operations = repo_operation::Entity::find().all(db).await.expect("read");
        let mut faults = self.judge_runs(&runs, &points, &operations, last);
        self.judge_alarms(&mut faults).await;
        for program in &self.programs {
            let logs = program.logs();
            let panics = logs.lines().filter(|line| line.contains("panicked"));
            faults.extend(panics.map(str::to_owned));
        }
        faults
    }

    fn judge_moments(&self, runs: &[run::Model], last: i64, faults: &mut Vec<String>) {
        for job in &self.jobs {
            let period = period_of(&job.engine);
            let mut due = BTreeMap::new();
            let mut moment = self.world.now() + period;
            while moment <= last {
                due.insert(moment, 0);
                moment += period;
            }
            for run in runs
                .iter()
                .filter(|run| run.job_id.as_ref() == Some(&job.id))
            {
                if let Some(moment) = run.scheduled_for {
                    *due.entry(moment).or_insert(10) += 1;
                }
            }
            due.retain(|_, runs| *runs != 1);
            if !due.is_empty() {
                let engine = &job.engine;
                faults.push(format!(
                    "moments of a job of {engine}, and their runs: {due:?}"
                ));
            }
        }
    }

    /// A job has one run at a time; of hosts that stayed away, ends came late.
    fn judge_one_at_a_time(
        &self,
        runs: &[run::Model],
        away: &BTreeSet<&str>,
        faults: &mut Vec<String>,
    ) {
        for job in self.jobs.iter().filter(|it| !away.contains(&*it.host_id)) {
            let mut of_job: Vec<&run::Model> = runs
                .iter()
                .filter(|run| run.job_id.as_ref() == Some(&job.id) && run.status != "missed")
                .collect();
            of_job.sort_by_key(|run| run.started_at);
            for pair in of_job.windows(2) {
                if pair[0].finished_at > pair[1].started_at.map(|at| at + STEP_MS) {
                    let (one, other) = (told(pair[0]), told(pair[1]));
                    faults.push(format!("at the same time: {one}, {other}"));
                }
            }
        }
    }

    async fn judge_alarms(&self, faults: &mut Vec<String>) {
        let db = self.store().db();
        let alarms = alarm::Entity::find().all(db).await.expect("read");
        let notices = notice::Entity::find().all(db).await.expect("read");
        let deliveries = delivery::Entity::find().all(db).await.expect("read");
        let messages = self.told.lock().expect("nobody panics with it");
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for message in &*messages {
            *times
                .entry(message["id"].as_str().expect("an id"))
                .or_default() += 1;
        }
        for delivery in &deliveries {
            let times = times.get(&*delivery.id.to_string()).copied();
            if delivery.status != "sent" || !(1..=2).contains(&times.unwrap_or(0)) {
                faults.push(format!("told {times:?} times: {delivery:?}"));
            }
        }
        let tells = |message: &Value, what: &str, id: i64| {
            let items = message[what].as_array().expect("a list");
            // What got worse is told anew.
            let is_first = |item: &&Value| item["is_worse"] != true;
            items.iter().filter(is_first).any(|item| item["id"] == id)
        };
        for notice in &notices {
            let (what, id) = (&notice.what, notice.alarm_id);
            let times = messages.iter().filter(|it| tells(it, what, id)).count();
            if !(1..=2).contains(&times) {
                faults.push(format!("told {times} times: {notice:?}"));
            }
        }
        for alarm in alarms.iter().filter(|alarm| alarm.open_key.is_some()) {
            if !notices.iter().any(|notice| notice.alarm_id == alarm.id) {
                faults.push(format!("nobody was told: {alarm:?}"));
            }
        }
    }
}

/// Returns what of a run a fault is told by.
fn told(run: &run::Model) -> String {
    format!(
        "{} {} {} {}, created {}, started {:?}, finished {:?}, due {:?}: {}",
        run.id,
        run.trigger,
        run.engine,
        run.status,
        run.created_at,
        run.started_at,
        run.finished_at,
        run.scheduled_for,
        run.error_summary
    )
}

fn judge_handing_out(seen: &Seen, faults: &mut Vec<String>) {
    let mut claims = BTreeMap::<&str, usize>::new();
    for (id, _) in &seen.claimed {
        *claims.entry(id).or_default() += 1;
    }
    let twice = claims.iter().filter(|(_, times)| **times > 1);
    faults.extend(twice.map(|(id, times)| format!("handed out {times} times: {id}")));
    let early = seen.resumed.iter().filter(|(_, ms)| *ms < SILENT_MS);
    faults.extend(early.map(|(id, ms)| format!("handed out again after {ms} ms: {id}")));
    for (name, numbers) in [("command", &seen.commands), ("operation", &seen.operations)] {
        let different: BTreeSet<_> = numbers.iter().collect();
        if different.len() < numbers.len() {
            faults.push(format!("a {name} was handed out twice: {numbers:?}"));
        }
    }
    for id in seen.endings.keys().filter(|id| !seen.taken.contains(*id)) {
        faults.push(format!("the end of {id} was never taken"));
    }
}

fn period_of(engine: &str) -> i64 {
    match engine {
        "hyperv" => MINUTE_MS,
        _ => 2 * MINUTE_MS,
    }
}

fn program(world: &World, folder: &Path, name: &str, clock: &Path) -> Program {
    let data = folder.join(name);
    std::fs::create_dir(&data).expect("a folder");
    std::fs::copy(folder.join("secrets.key"), data.join("secrets.key")).expect("the key");
    let clock = clock.to_str().expect("a path in UTF-8");
    let arguments = ["--database", &world.database_url, "--trust-proxy"];
    let arguments = [&arguments[..], &["--sim-clock", clock]].concat();
    Program::new(&data, &arguments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_one_of_two_programs_is_killed() {
    let Some(world) = World::on_postgres().await else {
        println!("left out, for there are no programs of a PostgreSQL server");
        return;
    };
    let is_long = std::env::var_os("E3_TEST_LONG").is_some();
    let (agents, kills) = if is_long { (24, 50) } else { (6, 3) };
    let seed = std::env::var("E3_STORM_SEED").ok();
    let seed = seed.and_then(|it| it.parse().ok()).unwrap_or(6);
    println!("E3_STORM_SEED={seed}");
    let mut pair = Pair::new(world, agents, Chance::from_seed(seed)).await;
    pair.start(0);
    pair.start(1);
    pair.wait_until_served(true).await;
    for _ in 0..kills {
        for _ in 0..2 + pair.chance.below(4) {
            pair.quiet_step().await;
        }
        // Runs are begun in time between the strikes.
        pair.wait_until_fired().await;
        pair.strike().await;
    }
    let last = pair.settle().await;
    let faults = pair.judge(last).await;
    let seen = pair.fleet.seen();
    println!(
        "{} runs handed out, {} of them again, {} ended, {} begun by people, {} messages",
        seen.claimed.len(),
        seen.resumed.len(),
        seen.taken.len(),
        seen.begun.len(),
        pair.told.lock().expect("whole").len()
    );
    assert!(seen.taken.len() > agents, "hardly anything happened");
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_begin_with_a_database_one_makes_the_schema_and_one_key_counts() {
    let Some(server) = tokio::task::spawn_blocking(server).await.expect("begun") else {
        println!("left out, for there are no programs of a PostgreSQL server");
        return;
    };
    let url = server.empty_database().await;
    let (a, b) = tokio::join!(Store::at(&url), Store::at(&url));
    let stores = [a.expect("opened"), b.expect("opened")];
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let keys = folders
        .each_ref()
        .map(|folder| Sealing::in_folder(folder.path(), &Chance::from_system()).expect("a key"));
    let (a, b) = tokio::join!(
        stores[0].is_sealed_with(&keys[0]),
        stores[1].is_sealed_with(&keys[1])
    );
    assert_ne!(a.expect("asked"), b.expect("asked"));
}
