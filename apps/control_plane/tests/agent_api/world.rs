//! A server on a database of its own, with a clock that is moved by hand, and agents that call it over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_plane::agent_api::BASE;
use control_plane::plane::{Options, Plane, SharedPlane, token_hash};
use control_plane::sealing::Sealing;
use control_plane::serve::routes;
use control_plane::store::Store;
use control_plane::store::entity::{
    command, enrolment_token, host, job, point, repo_operation, repository, run, run_event,
    setting, tenant, vm,
};
use protocol::identity::{AgentId, Caller, Identity, Program};
use protocol::next_run::{NextRun, Offer, Run};
use protocol::request::{Call, Request, answer_of};
use protocol::update_run::{Ending, RunStatus, UpdateRun};
use protocol::{NoAnswer, Response, SecretText, WireId};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _,
    DatabaseBackend, EntityTrait as _, QueryFilter as _, QueryOrder as _, Statement,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, Timestamp};
use tokio::net::TcpListener;

use crate::postgres::{Server, server};
use crate::rows;

/// When a world begins.
pub const BEGIN: &str = "2026-03-01T08:00:00Z";
/// The password of repositories.
pub const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The secret key of buckets.
pub const SECRET_KEY: &str = "a-secret-key-of-a-bucket";
/// So much time passes with every call, so that nobody calls too often unless a test wants it.
const PAUSE: Duration = Duration::from_millis(200);

/// A server, and what it stands on.
pub struct World {
    pub plane: SharedPlane,
    pub clock: Arc<ManualClock>,
    /// The address of the server.
    pub url: String,
    /// The URL of the PostgreSQL database; empty: it is SQLite.
    pub database_url: String,
    pub tenant: String,
    http: reqwest::Client,
    folder: Arc<TempDir>,
    database: Arc<Option<Arc<Server>>>,
    served: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// A host with an agent.
#[derive(Clone, Debug)]
pub struct Agent {
    pub id: String,
    pub caller: Caller,
}

impl World {
    pub async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::in_folder(folder.path()).await.expect("a database");
        Self::on(store, folder, None).await
    }

    /// Returns a world on a PostgreSQL server; `None` where there is none to be had.
    pub async fn on_postgres() -> Option<Self> {
        let server = tokio::task::spawn_blocking(server).await.expect("begun")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = server.new_database().await;
        let store = Store::at(&url).await.expect("a database");
        let mut world = Self::on(store, folder, Some(server)).await;
        world.database_url = url;
        Some(world)
    }

    async fn on(store: Store, folder: TempDir, database: Option<Arc<Server>>) -> Self {
        let clock = ManualClock::at(BEGIN.parse::<Timestamp>().expect("a time"));
        let mut world = Self::instance(
            store,
            Arc::new(folder),
            Arc::new(database),
            clock,
            String::new(),
        )
        .await;
        world.tenant = world.new_tenant("one").await;
        world
    }

    async fn instance(
        store: Store,
        folder: Arc<TempDir>,
        database: Arc<Option<Arc<Server>>>,
        clock: Arc<ManualClock>,
        tenant: String,
    ) -> Self {
        let chance = Chance::from_system();
        let sealing = Sealing::in_folder(folder.path(), &chance).expect("a key");
        let plane = Plane::new(store, clock.clone(), chance, sealing, Options::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let service = routes(plane.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let served = tokio::spawn(async move {
            axum::serve(listener, service).await.expect("served");
        });
        // Whoever comes second finds it done.
        let _done = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            plane,
            clock,
            url: format!("http://{address}{BASE}"),
            database_url: String::new(),
            tenant,
            http,
            folder,
            database,
            served,
        }
    }

    /// Returns another instance on the same database, with the same clock.
    pub async fn second(&self) -> Self {
        let store = self.plane.store.clone();
        let (folder, database) = (self.folder.clone(), self.database.clone());
        let (clock, tenant) = (self.clock.clone(), self.tenant.clone());
        Self::instance(store, folder, database, clock, tenant).await
    }

    pub fn now(&self) -> i64 {
        self.plane.now_ms()
    }

    /// Returns the folder that holds `secrets.key`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    // What is there.

    pub async fn new_tenant(&self, name: &str) -> String {
        let id = self.plane.new_id();
        let row = tenant::ActiveModel {
            id: Set(id.clone()),
            name: Set(name.to_owned()),
            time_zone: Set("UTC".to_owned()),
            created_at: Set(self.now()),
        };
        row.insert(self.plane.store.db()).await.expect("a tenant");
        id
    }

    /// Makes an enrolment token.
    pub async fn token(&self, max_uses: Option<i64>, expires_at: Option<i64>) -> String {
        let token = self.plane.new_token();
        let row = enrolment_token::ActiveModel {
            id: Set(self.plane.new_id()),
            tenant_id: Set(self.tenant.clone()),
            token_hash: Set(token_hash(&token)),
            description: Set("a test".to_owned()),
            max_uses: Set(max_uses),
            use_count: Set(0),
            expires_at: Set(expires_at),
            revoked_at: Set(None),
            created_at: Set(self.now()),
        };
        row.insert(self.plane.store.db()).await.expect("a token");
        token
    }

    /// Makes a host whose agent is enrolled.
    pub async fn agent(&self) -> Agent {
        self.agent_of(&self.tenant).await
    }

    pub async fn agent_of(&self, tenant_id: &str) -> Agent {
        let id = self.plane.chance.uuid().to_string();
        let token = self.plane.new_token();
        let text = |text: &str| Set(text.to_owned());
        let row = host::ActiveModel {
            id: text(&id),
            tenant_id: text(tenant_id),
            token_hash: Set(token_hash(&token)),
            hostname: text("host"),
            device_id: text(""),
            install_id: text(""),
            name: text("host"),
            agent_version: text("1.9.0"),
            os: text("windows"),
            arch: text("amd64"),
            build: text(""),
            is_disabled: Set(false),
            last_seen_at: Set(None),
            volumes_json: text("[]"),
            volumes_at: Set(None),
            inventory_at: Set(None),
            created_at: Set(self.now()),
        };
        row.insert(self.plane.store.db()).await.expect("a host");
        Agent {
            caller: caller(&id, &token),
            id,
        }
    }

    /// Makes a repository on S3, with what is not usual put in.
    pub async fn repository(&self) -> repository::Model {
        let text = |text: &str| Set(text.to_owned());
        let row = rows::repository(&self.plane, &self.tenant, PASSWORD);
        let of = format!("repository/{}/secret_key", row.id.as_ref());
        let row = repository::ActiveModel {
            name: text("a bucket"),
            kind: text("s3"),
            endpoint: text("https://s3.example.net"),
            region: text("eu"),
            bucket: text("backups"),
            prefix: text("some/where"),
            access_key: text("AK1"),
            secret_key_sealed: Set(Some(self.plane.sealing.seal(&of, SECRET_KEY.as_bytes()))),
            ..row
        };
        row.insert(self.plane.store.db())
            .await
            .expect("a repository")
    }

    /// Makes a job of a host.
    pub async fn job(
        &self,
        agent: &Agent,
        repository: &repository::Model,
        engine: &str,
    ) -> job::Model {
        let text = |text: &str| Set(text.to_owned());
        let row = job::ActiveModel {
            engine: text(engine),
            sources_json: text(if engine == "hyperv" {
                "[]"
            } else {
                r#"["/home"]"#
            }),
            policy_json: text(r#"{"compression":"zstd"}"#),
            bandwidth_kib_s: Set(512),
            ..rows::job(&self.plane, repository, &agent.id)
        };
        row.insert(self.plane.store.db()).await.expect("a job")
    }

    /// Notes a point that an agent has stored in a repository.
    pub async fn used(&self, agent: &Agent, repository: &repository::Model) {
        let text = |text: &str| Set(text.to_owned());
        let row = point::ActiveModel {
            tenant_id: text(&self.tenant),
            host_id: text(&agent.id),
            repository_id: text(&repository.id),
            job_id: Set(None),
            run_id: Set(self.plane.new_id()),
            engine: text("kopia"),
            vm_id: Set(None),
            name: text("/home"),
            manifest_id: text("9c41f0"),
            backup_type: text(""),
            consistency: text(""),
            total_bytes: Set(1),
            changed_bytes: Set(1),
            duration_seconds: Set(1),
            disk_manifests_json: text("{}"),
            warnings_json: text("[]"),
            created_at: Set(self.now()),
            proven_at: Set(None),
            proven_how: text(""),
            is_pinned: Set(false),
            confirmed_at: Set(self.now()),
            expired_at: Set(None),
            ..Default::default()
        };
        row.insert(self.plane.store.db()).await.expect("a point");
    }

    /// Queues a run of a job.
    pub async fn queue(&self, job: &job::Model) -> String {
        let id = self.plane.new_id();
        control_plane::store::runs::new_backup(job, id.clone(), "manual", "a test", self.now())
            .insert(self.plane.store.db())
            .await
            .expect("a run");
        id
    }

    /// Makes a VM of a host.
    pub async fn vm(&self, agent: &Agent, name: &str) -> vm::Model {
        let text = |text: &str| Set(text.to_owned());
        let guid = self.plane.chance.uuid().to_string().to_uppercase();
        let row = vm::ActiveModel {
            tenant_id: text(&self.tenant),
            host_id: text(&agent.id),
            guid: Set(guid),
            name: text(name),
            generation: Set(2),
            is_linux: Set(false),
            state: text("Running"),
            is_tracked: Set(false),
            cpu_count: Set(2),
            memory_mb: Set(1024),
            disks_json: text("[]"),
            leftovers_json: text("[]"),
            last_checkpoint_id: Set(None),
            last_rct_ids_json: text("{}"),
            objective_hours: Set(None),
            is_excused: Set(false),
            first_seen_at: Set(self.now()),
            came_at: Set(None),
            last_seen_at: Set(self.now()),
            gone_at: Set(None),
            ..Default::default()
        };
        row.insert(self.plane.store.db()).await.expect("a VM")
    }

    pub async fn set(&self, name: &str, value: &str) {
        let row = setting::ActiveModel {
            name: Set(name.to_owned()),
            value: Set(value.to_owned()),
        };
        row.insert(self.plane.store.db()).await.expect("a setting");
    }

    /// Queues a command for a host.
    pub async fn command(&self, agent: &Agent, kind: &str, payload: Value, context: Value) -> i64 {
        self.command_of_run(agent, kind, payload, context, None)
            .await
    }

    pub async fn command_of_run(
        &self,
        agent: &Agent,
        kind: &str,
        payload: Value,
        context: Value,
        run_id: Option<&str>,
    ) -> i64 {
        let new = control_plane::store::commands::NewCommand {
            tenant_id: self.tenant.clone(),
            host_id: agent.id.clone(),
            run_id: run_id.map(str::to_owned),
            kind: kind.to_owned(),
            payload_json: payload.to_string(),
            context_json: context.to_string(),
            requested_by: "a test".to_owned(),
        };
        let store = &self.plane.store;
        let queued = store.queue_command(store.db(), new, self.now()).await;
        queued.expect("a command").id
    }

    /// Queues work on a repository.
    pub async fn operation(&self, repository: &repository::Model, kind: &str, token: &str) -> i64 {
        let text = |text: &str| Set(text.to_owned());
        let row = repo_operation::ActiveModel {
            tenant_id: text(&repository.tenant_id),
            repository_id: text(&repository.id),
            kind: text(kind),
            token: text(token),
            payload_json: text(r#"{"keep_last":3}"#),
            status: text("queued"),
            host_id: Set(None),
            attempts: Set(0),
            not_before: Set(self.now()),
            locked_until: Set(None),
            result_json: text("{}"),
            created_at: Set(self.now()),
            finished_at: Set(None),
            ..Default::default()
        };
        row.insert(self.plane.store.db()).await.expect("queued").id
    }

    // What became of it.

    pub async fn run(&self, id: &str) -> run::Model {
        let found = run::Entity::find_by_id(id).one(self.plane.store.db()).await;
        found.expect("read").expect("a run")
    }

    pub async fn run_command(&self, id: i64) -> command::Model {
        let found = command::Entity::find_by_id(id)
            .one(self.plane.store.db())
            .await;
        found.expect("read").expect("a command")
    }

    pub async fn run_operation(&self, id: i64) -> repo_operation::Model {
        let found = repo_operation::Entity::find_by_id(id)
            .one(self.plane.store.db())
            .await;
        found.expect("read").expect("an operation")
    }

    pub async fn host(&self, id: &str) -> host::Model {
        let found = host::Entity::find_by_id(id)
            .one(self.plane.store.db())
            .await;
        found.expect("read").expect("a host")
    }

    pub async fn points(&self, run_id: &str) -> Vec<point::Model> {
        point::Entity::find()
            .filter(point::Column::RunId.eq(run_id))
            .order_by_asc(point::Column::Id)
            .all(self.plane.store.db())
            .await
            .expect("read")
    }

    pub async fn vms(&self, host_id: &str) -> Vec<vm::Model> {
        vm::Entity::find()
            .filter(vm::Column::HostId.eq(host_id))
            .order_by_asc(vm::Column::Id)
            .all(self.plane.store.db())
            .await
            .expect("read")
    }

    pub async fn events(&self, run_id: &str) -> Vec<run_event::Model> {
        run_event::Entity::find()
            .filter(run_event::Column::RunId.eq(run_id))
            .order_by_asc(run_event::Column::Id)
            .all(self.plane.store.db())
            .await
            .expect("read")
    }

    // Calls.

    /// Returns once a transaction waits for a lock, on PostgreSQL.
    pub async fn somebody_waits(&self) {
        let waits = "SELECT 1 FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waits = Statement::from_string(DatabaseBackend::Postgres, waits);
        let db = self.plane.store.db();
        while db
            .query_one_raw(waits.clone())
            .await
            .expect("read")
            .is_none()
        {
            tokio::task::yield_now().await;
        }
    }

    /// Calls as an agent does, a moment later.
    pub async fn call<C: Call>(&self, agent: &Agent, call: &C) -> Result<C::Answer, NoAnswer> {
        self.clock.advance(PAUSE);
        self.call_at_once(agent, call).await
    }

    /// Calls as an agent does, without any time passing.
    pub async fn call_at_once<C: Call>(
        &self,
        agent: &Agent,
        call: &C,
    ) -> Result<C::Answer, NoAnswer> {
        let request = Request::new(call, &agent.caller);
        answer_of(call, &self.send(request).await)
    }

    /// Calls as somebody who is not known yet.
    pub async fn call_as_stranger<C: Call>(&self, call: &C) -> Result<C::Answer, NoAnswer> {
        let request = Request::new(call, &Caller::default());
        answer_of(call, &self.send(request).await)
    }

    async fn send(&self, request: Request) -> Response {
        let url = request.url(&self.url);
        let method = request.method.as_str().parse().expect("a method");
        let mut builder = self.http.request(method, url).body(request.body);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        received(builder).await.expect("an answer")
    }

    /// Posts a document as it is, and returns the status of HTTP and the envelope.
    pub async fn post(&self, agent: &Agent, script: &str, document: Value) -> (u16, Value) {
        self.clock.advance(PAUSE);
        let mut builder = self
            .http
            .post(format!("{}/{script}", self.url))
            .header("Content-Type", "application/json")
            .body(document.to_string());
        for (name, value) in headers(agent) {
            builder = builder.header(name, value);
        }
        enveloped(received(builder).await.expect("an answer"))
    }

    /// Sends what is no call of the protocol, and returns the status of HTTP and the envelope.
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, Value) {
        self.clock.advance(PAUSE);
        let method = method.parse().expect("a method");
        let mut builder = self
            .http
            .request(method, format!("{}/{path}", self.url))
            .body(body.to_owned());
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        enveloped(received(builder).await.expect("an answer"))
    }

    /// Takes the run that is offered.
    pub async fn take(&self, agent: &Agent) -> Option<Run> {
        match self.call(agent, &NextRun).await.expect("an answer") {
            Offer::Run(run) => Some(*run),
            Offer::NoRun => None,
            unreadable => panic!("{unreadable:?}"),
        }
    }

    /// Ends a run with results of VMs.
    pub async fn end(&self, agent: &Agent, run_id: &str, status: RunStatus, results: Vec<Value>) {
        let at = self.plane.clock.now();
        let id = WireId::Text(run_id.to_owned());
        let mut update = UpdateRun::ended(id, &agent.caller.program, Ending::new(status, at));
        if status == RunStatus::Failed {
            update.error_summary = "it failed".to_owned();
        }
        update.hyperv_results = results
            .into_iter()
            .map(|result| serde_json::from_value(result).expect("a result"))
            .collect();
        self.call(agent, &update).await.expect("taken");
    }
}

/// Returns who calls as an agent.
pub fn caller(id: &str, token: &str) -> Caller {
    Caller {
        identity: Some(Identity {
            agent: AgentId::Uuid(id.to_owned()),
            token: SecretText::new(token),
        }),
        program: Program {
            version: "1.9.0".to_owned(),
            os: "windows".to_owned(),
            arch: "amd64".to_owned(),
            build: String::new(),
        },
        user_agent: String::new(),
    }
}

/// Returns the headers of an agent.
pub fn headers(agent: &Agent) -> Vec<(&'static str, String)> {
    let identity = agent.caller.identity.as_ref().expect("enrolled");
    vec![
        ("X-Agent-UUID", identity.agent.to_string()),
        ("X-Agent-Token", identity.token.reveal().to_owned()),
    ]
}

/// Returns what is answered; `None` where nobody is there to answer, or goes away meanwhile.
pub async fn received(builder: reqwest::RequestBuilder) -> Option<Response> {
    let response = builder.send().await.ok()?;
    let http_status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = value.to_str().expect("text").to_owned();
            (name.to_string(), value)
        })
        .collect();
    let body = response.bytes().await.ok()?.to_vec();
    Some(Response {
        http_status,
        headers,
        body,
    })
}

fn enveloped(response: Response) -> (u16, Value) {
    let envelope = serde_json::from_slice(&response.body)
        .unwrap_or_else(|_| json!(String::from_utf8_lossy(&response.body).into_owned()));
    (response.http_status, envelope)
}

/// Returns what a refusal says: the status of HTTP and the message.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, NoAnswer>) -> (u16, String) {
    match answer.expect_err("a refusal") {
        NoAnswer::Refused {
            http_status,
            message,
            ..
        }
        | NoAnswer::Retry {
            http_status,
            message,
            ..
        } => (http_status, message),
        NoAnswer::Unauthorized { message } => (401, message),
        other => panic!("{other:?}"),
    }
}
