//! The real agent against the real server: it enrols, backs up a VM of a simulated host into a folder, in full and then
//! by what changed, and restores it byte for byte.

#[path = "agent_api/rows.rs"]
mod rows;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use agent::Afterwards;
use agent::config::ConfigFile;
use agent::http::Https;
use agent::log::{Level, Log};
use agent::ports::{Cadence, Places, Ports};
use agent::service::serve;
use agent::update::ReleaseKeys;
use control_plane::agent_api::BASE;
use control_plane::live::What;
use control_plane::plane::{Options, Plane, SharedPlane, token_hash};
use control_plane::sealing::Sealing;
use control_plane::serve::routes;
use control_plane::store::Store;
use control_plane::store::commands::NewCommand;
use control_plane::store::entity::{
    command, enrolment_token, host, job, point, repo_operation, repository, run, run_event, tenant,
    vm,
};
use control_plane::store::runs::new_backup;
use hyperv::sim::{SimDisk, SimHost, SimOptions, SimVm};
use hyperv::{HypervHost as _, SharedHypervHost, VmId};
use protocol::identity::Program;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _,
    QueryOrder as _,
};
use secrets::PrivateFiles;
use serde_json::json;
use tempfile::TempDir;
use time_and_chance::{Chance, SharedClock, StopSignal, SystemClock, TimeZone};
use tokio::net::TcpListener;
use volume::{Disk, StorageLayout, Volume, VolumeError};

/// The password of the repository.
const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Nothing that is waited for takes longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_mins(10);

#[derive(Debug)]
struct NoVolumes;

impl StorageLayout for NoVolumes {
    fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        Ok(Vec::new())
    }

    fn disks(&self) -> Result<Vec<Disk>, VolumeError> {
        Ok(Vec::new())
    }
}

/// A server, and a machine with an agent.
struct World {
    folder: TempDir,
    plane: SharedPlane,
    url: String,
    clock: SharedClock,
    service: Option<(StopSignal, JoinHandle<Afterwards>)>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("server");
        fs::create_dir(&data).expect("a folder");
        let clock = SystemClock::new();
        let chance = Chance::from_seed(1);
        let plane = Plane::new(
            Store::in_folder(&data).await.expect("a database"),
            clock.clone(),
            chance.clone(),
            Sealing::in_folder(&data, &chance).expect("a key"),
            Options::default(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let service = routes(plane.clone()).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            folder,
            plane,
            url: format!("http://{address}{BASE}"),
            clock,
            service: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn host(&self) -> SimHost {
        let chance = Chance::from_system();
        SimHost::open(&self.path("host"), self.clock.clone(), chance).expect("the host")
    }

    /// Makes the simulated host with a VM.
    fn with_vm(&self, name: &str) -> VmId {
        let host = SimHost::create(
            &self.path("host"),
            SimOptions::default(),
            self.clock.clone(),
            Chance::from_seed(3),
        )
        .expect("a host");
        let disks = vec![SimDisk::new(24 << 20), SimDisk::new(8 << 20)];
        let vm = host.add_vm(&SimVm::new(name, disks)).expect("a VM");
        host.write_random(vm, 0, 4 << 20, 7).expect("written");
        host.write_random(vm, 1, 1 << 20, 8).expect("written");
        vm
    }

    /// Begins the agent's service.
    fn begin(&mut self, enrolment_token: &str) {
        let often = "poll_interval_secs: 1\ncommand_poll_interval_secs: 1\n";
        fs::write(self.path("agent.conf"), often).expect("written");
        let file = ConfigFile::at(self.path("agent.conf"));
        file.change(&[
            ("api_base_url", &self.url),
            ("enrollment_token", enrolment_token),
            ("hyperv_host", "sim"),
        ])
        .expect("configured");
        let (clock, host) = (self.clock.clone(), self.path("host"));
        let line = Arc::new(Https::new().expect("a line"));
        let ports = Ports {
            clock: self.clock.clone(),
            chance: Chance::from_seed(2),
            transport: line.clone(),
            downloads: line,
            executable: None,
            enumerating: agent::volumes::Turn::default(),
            release_keys: ReleaseKeys::parse("").expect("none"),
            open_host: Arc::new(move |_| {
                let opened = SimHost::open(&host, clock.clone(), Chance::from_system());
                let opened = opened.map_err(|error| error.to_string())?;
                Ok(Arc::new(opened) as SharedHypervHost)
            }),
            storage: Arc::new(NoVolumes),
            connect_share: Arc::new(|share, _, _| Err(format!("no {share} here"))),
            secrets: Arc::new(PrivateFiles::new(self.path("state/credentials"))),
            host_name: "testhost".to_owned(),
            program: Program {
                version: "2.0.0".to_owned(),
                os: "linux".to_owned(),
                arch: "amd64".to_owned(),
                build: String::new(),
            },
            places: Places {
                state: self.path("state"),
                cache: self.path("cache"),
                logs: self.path("logs"),
            },
            time_zone: TimeZone::UTC,
            pulse: agent::pulse::Pulse::default(),
            // As it is in the field, but for what only tells people.
            cadence: Cadence {
                progress: Duration::from_secs(1),
                health: Duration::from_secs(1),
                events: Duration::from_millis(200),
                look: Duration::from_millis(50),
                grace: Duration::from_millis(100),
                ..Cadence::default()
            },
        };
        let log = Log::in_folder(&ports.places.logs, Level::Debug, false, self.clock.clone());
        let (log, stop) = (Arc::new(log), StopSignal::new());
        let heard = stop.clone();
        let thread =
            std::thread::spawn(move || serve(&ports, &file, &log, &heard).expect("served"));
        self.service = Some((stop, thread));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("logs/agent.log")).unwrap_or_default()
    }

    /// Waits until something is there.
    async fn wait_for<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        look: impl Fn() -> F,
    ) -> T {
        let begun = self.clock.monotonic();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            let waited = self.clock.monotonic() - begun;
            assert!(
                waited < PATIENCE,
                "{what} does not come; log:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end_of(&self, run_id: &str) -> run::Model {
        let db = self.plane.store.db();
        self.wait_for("the end of a run", || async {
            let run = run::Entity::find_by_id(run_id).one(db).await;
            let run = run.expect("read").expect("a run");
            run.finished_at.is_some().then_some(run)
        })
        .await
    }

    /// Makes what the agent enrols with, and returns the tenant and the token.
    async fn token(&self) -> (String, String) {
        let (db, now) = (self.plane.store.db(), self.plane.now_ms());
        let tenant_id = self.plane.new_id();
        let row = tenant::ActiveModel {
            id: Set(tenant_id.clone()),
            name: Set("one".to_owned()),
            time_zone: Set("UTC".to_owned()),
            created_at: Set(now),
        };
        row.insert(db).await.expect("a tenant");
        let token = self.plane.new_token();
        let row = enrolment_token::ActiveModel {
            id: Set(self.plane.new_id()),
            tenant_id: Set(tenant_id.clone()),
            token_hash: Set(token_hash(&token)),
            description: Set("a test".to_owned()),
            max_uses: Set(Some(1)),
            use_count: Set(0),
            expires_at: Set(None),
            revoked_at: Set(None),
            created_at: Set(now),
        };
        row.insert(db).await.expect("a token");
        (tenant_id, token)
    }

    /// Makes a job that backs the host's VMs up into a folder.
    async fn job(&self, host: &host::Model) -> job::Model {
        let db = self.plane.store.db();
        let row = repository::ActiveModel {
            path: Set(self.path("repository").display().to_string()),
            ..rows::repository(&self.plane, &host.tenant_id, PASSWORD)
        };
        let repository = row.insert(db).await.expect("a repository");
        let row = rows::job(&self.plane, &repository, &host.id);
        row.insert(db).await.expect("a job")
    }

    async fn back_up(&self, job: &job::Model) -> (run::Model, point::Model) {
        let db = self.plane.store.db();
        let id = self.plane.new_id();
        let row = new_backup(job, id.clone(), "manual", "a test", self.plane.now_ms());
        row.insert(db).await.expect("queued");
        let run = self.end_of(&id).await;
        assert_eq!(
            run.status,
            "success",
            "{}\n{}",
            run.error_summary,
            self.log()
        );
        let points = point::Entity::find()
            .filter(point::Column::RunId.eq(&id))
            .all(db)
            .await
            .expect("read");
        assert_eq!(points.len(), 1);
        (run, points.into_iter().next().expect("one"))
    }

    /// Restores a point into a folder, as the people's API orders it.
    async fn restore(&self, point: &point::Model, host: &host::Model) -> run::Model {
        let db = self.plane.store.db();
        let now = self.plane.now_ms();
        let id = self.plane.new_id();
        let backup = run::Entity::find_by_id(&point.run_id).one(db).await;
        let backup = backup.expect("read").expect("the backup");
        let mut row = run::ActiveModel::from(backup).reset_all();
        row.id = Set(id.clone());
        row.kind = Set("hyperv_restore".to_owned());
        row.status = Set("queued".to_owned());
        row.point_id = Set(Some(point.id));
        row.created_at = Set(now);
        row.started_at = Set(None);
        row.finished_at = Set(None);
        row.heartbeat_at = Set(None);
        row.insert(db).await.expect("a restore");
        let disks: serde_json::Value =
            serde_json::from_str(&point.disk_manifests_json).expect("a map");
        let payload = json!({
            "target_path": self.path("restored"), "backup_type": "Full", "restore_run_id": id,
            "restore_run_uuid": id,
            "vms": [{
                "backup_point_id": point.id, "vm_name": "web01", "subfolder": "",
                "disk_manifests": disks, "restore_chain": [point.manifest_id], "backup_type": "Full",
            }],
        });
        let new = NewCommand {
            tenant_id: host.tenant_id.clone(),
            host_id: host.id.clone(),
            run_id: Some(id.clone()),
            kind: "hyperv_restore".to_owned(),
            payload_json: payload.to_string(),
            context_json: json!({"point_id": point.id}).to_string(),
            requested_by: "a test".to_owned(),
        };
        let queued = self.plane.store.queue_command(db, new, now).await;
        let queued = queued.expect("queued");
        self.plane
            .live
            .tell(&host.tenant_id, What::HostWork, &host.id);
        let run = self.end_of(&id).await;
        self.wait_for("the restore's answer", || async {
            let row = command::Entity::find_by_id(queued.id).one(db).await;
            let row = row.expect("read").expect("the command");
            (row.status == "completed").then_some(())
        })
        .await;
        run
    }

    /// Compares what the server shows with what the repository holds.
    async fn assert_figures(&self, made: &[(run::Model, point::Model)]) {
        let db = self.plane.store.db();
        let shown = repository::Entity::find().one(db).await;
        let shown = shown.expect("read").expect("the repository");
        let bytes = folder_bytes(&self.path("repository"));
        let measured = shown.stored_bytes.expect("measured");
        let measured = u64::try_from(measured).expect("a size");
        // Lists of points and restores came after maintenance, and wrote little.
        assert!(
            measured <= bytes && bytes - measured < 1 << 20,
            "{measured} of {bytes}"
        );
        assert!(shown.last_listed_at.is_some());
        for (run, point) in made {
            let point = point::Entity::find_by_id(point.id).one(db).await;
            let point = point.expect("read").expect("a point");
            assert_eq!(point.expired_at, None);
            let stats: serde_json::Value = serde_json::from_str(&run.stats_json).expect("JSON");
            let vm = &stats["vms"][0];
            let frozen: time_and_chance::Timestamp = vm["frozen_at"]
                .as_str()
                .expect("told")
                .parse()
                .expect("a moment");
            let end = run.finished_at.expect("it has ended");
            let begun = run.started_at.expect("it has begun");
            // Moments on the wire are of whole seconds.
            assert!((begun..=end).contains(&point.created_at), "{point:?}");
            assert!(
                (point.created_at - frozen.as_millisecond()).abs() <= 2_000,
                "{frozen} {point:?}"
            );
            let disks = vm["disks"].as_array().expect("disks");
            let sum = |name: &str| {
                disks
                    .iter()
                    .map(|it| it[name].as_i64().expect("a figure"))
                    .sum::<i64>()
            };
            assert_eq!(point.changed_bytes, sum("changed_bytes"));
            assert_eq!(point.total_bytes, 32 << 20, "what the guest sees");
            assert!(
                run.bytes_processed > 0 && run.bytes_processed <= run.bytes_total,
                "{run:?}"
            );
            assert!(run.bytes_transferred >= sum("uploaded_bytes"), "{run:?}");
        }
    }

    fn assert_restored(&self, vm: VmId, disk: u32) {
        let host = self.host();
        let original = &host.vm(vm).expect("the VM").disks[disk as usize].original_path;
        let name = original.file_name().expect("a name");
        let copy = SimDisk::copy_of(self.path("restored").join(Path::new(name)));
        let copy = SimVm::new(format!("copy {disk}"), vec![copy]);
        let copy = host.add_vm(&copy).expect("a VM of what was restored");
        let (before, after) = (self.path("before"), self.path("after"));
        host.dump(vm, disk, &before).expect("read");
        host.dump(copy, 0, &after).expect("read");
        let same = fs::read(before).expect("read") == fs::read(after).expect("read");
        assert!(same, "disk {disk}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.service.take() {
            stop.stop();
            self.plane.live.stop();
            // A failed test has said what it had to say.
            let _ended = thread.join();
        }
    }
}

/// Returns what the files below a folder take.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder");
    let sizes = entries.map(|entry| {
        let entry = entry.expect("read");
        match entry.file_type().expect("read").is_dir() {
            true => folder_bytes(&entry.path()),
            false => entry.metadata().expect("read").len(),
        }
    });
    sizes.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_enrols_backs_up_a_vm_and_restores_it() {
    let mut world = World::new().await;
    let vm_id = world.with_vm("web01");
    let (tenant_id, token) = world.token().await;
    world.begin(&token);
    let db = world.plane.store.db().clone();
    let host = world
        .wait_for("the host", || async {
            host::Entity::find().one(&db).await.expect("read")
        })
        .await;
    assert_eq!(host.tenant_id, tenant_id);
    // It lists its VMs by itself.
    let listed = world
        .wait_for("its VMs", || async {
            vm::Entity::find().one(&db).await.expect("read")
        })
        .await;
    assert_eq!(listed.name, "web01");
    let job = world.job(&host).await;
    let (first, full) = world.back_up(&job).await;
    assert_eq!(full.backup_type, "full");
    assert_eq!(full.vm_id, Some(listed.id));
    // How much was read is told on the way, and a quick run is over before that.
    assert!(first.bytes_transferred > 0 && first.started_at.is_some());
    world
        .host()
        .write_random(vm_id, 0, 256 << 10, 9)
        .expect("written");
    let (second, incremental) = world.back_up(&job).await;
    assert_eq!(incremental.backup_type, "incremental");
    assert!(incremental.changed_bytes < full.total_bytes);
    let restore = world.restore(&incremental, &host).await;
    assert_eq!(
        restore.status,
        "success",
        "{}\n{}",
        restore.error_summary,
        world.log()
    );
    for disk in [0, 1] {
        world.assert_restored(vm_id, disk);
    }
    let proven = point::Entity::find_by_id(incremental.id).one(&db).await;
    assert_eq!(proven.expect("read").expect("it").proven_how, "restore");
    // What each run left to be done is done.
    let operations = world
        .wait_for("the work on the repository", || async {
            let all = repo_operation::Entity::find()
                .order_by_asc(repo_operation::Column::Id)
                .all(&db)
                .await
                .expect("read");
            let is_done = all.iter().all(|it| it.finished_at.is_some());
            is_done.then_some(all)
        })
        .await;
    let mut kinds: Vec<&str> = operations.iter().map(|it| it.kind.as_str()).collect();
    kinds.sort_unstable();
    let expected = [
        "list_points",
        "maintenance_quick",
        "retention_apply",
        "retention_apply",
    ];
    assert_eq!(kinds, expected);
    for operation in operations {
        assert_eq!(
            operation.status,
            "success",
            "{operation:?}\n{}",
            world.log()
        );
    }
    let told = run_event::Entity::find()
        .filter(run_event::Column::RunId.eq(&first.id))
        .filter(run_event::Column::MessageId.eq("HYPERV_BACKUP_COMPLETE"))
        .one(&db)
        .await
        .expect("read");
    assert!(told.is_some(), "events arrive");
    world
        .assert_figures(&[(first, full), (second, incremental)])
        .await;
    assert!(!world.log().contains(PASSWORD));
}
