//! A tenant with a host, a repository and people, and a second tenant that must see nothing of it.

use control_plane::store::entity::{host, point, run, run_event, tenant, vm};
use sea_orm::{ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set, EntityTrait as _};
use serde_json::{Value, json};

use crate::server::{Client, World};

pub const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;

pub struct Ground {
    pub world: World,
    pub tenant: String,
    pub owner: Client,
    pub operator: Client,
    pub viewer: Client,
    /// An owner of another tenant.
    pub foreigner: Client,
    pub host: String,
    pub repository: String,
}

impl Ground {
    pub async fn new() -> Self {
        let world = World::new().await;
        let tenant = world.tenant("Example").await;
        let other = world.tenant("Other").await;
        let owner = world.person("owner", Some(&tenant)).await;
        let operator = world.person("operator", Some(&tenant)).await;
        let viewer = world.person("viewer", Some(&tenant)).await;
        let foreigner = world.person("owner", Some(&other)).await;
        let host = host(&world, &tenant, "hv01").await;
        let repository = owner.post("/repositories", local("Vault")).await;
        let repository = text(&repository.expect(201)["id"]);
        Self {
            world,
            tenant,
            owner,
            operator,
            viewer,
            foreigner,
            host,
            repository,
        }
    }

    pub fn now(&self) -> i64 {
        self.world.plane.now_ms()
    }

    /// Returns a job's body: all VMs, each night.
    pub fn wish(&self) -> Value {
        json!({
            "host_id": self.host, "repository_id": self.repository, "name": "Nightly", "engine": "hyperv",
            "vms": {"all": true}, "schedule": {"kind": "daily", "at": "22:00"},
            "retention": {"daily": 30, "weekly": 8},
        })
    }

    /// Makes a job through the API and returns it.
    pub async fn job(&self, wish: Value) -> Value {
        self.operator.post("/jobs", wish).await.expect(201)
    }

    pub async fn vm(&self, name: &str) -> i64 {
        let guid = uuid::Uuid::from_u128(u128::from(name.len() as u64) << 64 | digits(name));
        vm_of(
            &self.world,
            &self.tenant,
            &self.host,
            name,
            &guid.to_string(),
        )
        .await
    }

    /// Brings the agents of all hosts to a version that knows what only ours do.
    pub async fn update_agents(&self) {
        host::Entity::update_many()
            .col_expr(host::Column::AgentVersion, "2.0.0".into())
            .exec(self.world.plane.store.db())
            .await
            .expect("updated");
    }

    /// Makes a run that ended, `hours` ago.
    pub async fn run(&self, job: &str, status: &str, hours: i64) -> String {
        let at = self.now() - hours * HOUR;
        // Ids are sorted by when runs were made, by which a job's last one is known.
        let made = u64::try_from(at).expect("after 1970");
        let id = uuid::Builder::from_unix_timestamp_millis(made, &self.world.plane.chance.bytes())
            .into_uuid()
            .to_string();
        run::ActiveModel {
            id: Set(id.clone()),
            tenant_id: Set(self.tenant.clone()),
            job_id: Set(Some(job.to_owned())),
            host_id: Set(self.host.clone()),
            repository_id: Set(Some(self.repository.clone())),
            kind: Set("backup".to_owned()),
            engine: Set("hyperv".to_owned()),
            trigger: Set("schedule".to_owned()),
            status: Set(status.to_owned()),
            scheduled_for: Set((status == "missed").then_some(at)),
            point_id: Set(None),
            target_json: Set("{}".to_owned()),
            requested_by: Set(String::new()),
            created_at: Set(at),
            started_at: Set(Some(at)),
            finished_at: Set((status != "running").then_some(at)),
            heartbeat_at: Set(Some(at)),
            cancel_requested_at: Set(None),
            progress_pct: Set(0.0),
            bytes_processed: Set(0),
            bytes_transferred: Set(0),
            bytes_total: Set(0),
            objects_transferred: Set(0),
            objects_total: Set(0),
            speed_bytes_per_sec: Set(0),
            eta_seconds: Set(0),
            current_item: Set(String::new()),
            error_summary: Set(String::new()),
            manifest_id: Set(String::new()),
            stats_json: Set("{}".to_owned()),
            progress_json: Set("{}".to_owned()),
            disk_manifests_json: Set("{}".to_owned()),
            log_excerpt: Set(String::new()),
        }
        .insert(self.world.plane.store.db())
        .await
        .expect("a run");
        id
    }

    pub async fn event(&self, run: &str, message_id: &str, params: Value) -> i64 {
        run_event::ActiveModel {
            id: NotSet,
            run_id: Set(run.to_owned()),
            at: Set(self.now()),
            kind: Set("info".to_owned()),
            level: Set("info".to_owned()),
            code: Set(message_id.to_owned()),
            message_id: Set(message_id.to_owned()),
            params_json: Set(params.to_string()),
        }
        .insert(self.world.plane.store.db())
        .await
        .expect("an event")
        .id
    }

    /// Makes a point, as its run would.
    pub async fn point(&self, of: PointOf<'_>) -> i64 {
        point::ActiveModel {
            id: NotSet,
            tenant_id: Set(self.tenant.clone()),
            host_id: Set(self.host.clone()),
            repository_id: Set(self.repository.clone()),
            job_id: Set(of.job.map(str::to_owned)),
            run_id: Set(of.run.to_owned()),
            engine: Set(if of.vm.is_some() { "hyperv" } else { "kopia" }.to_owned()),
            vm_id: Set(of.vm),
            name: Set(of.name.to_owned()),
            manifest_id: Set(of.manifest.to_owned()),
            backup_type: Set(of.backup_type.to_owned()),
            consistency: Set(if of.vm.is_some() { of.consistency } else { "" }.to_owned()),
            total_bytes: Set(1_000),
            changed_bytes: Set(of.changed_bytes),
            duration_seconds: Set(60),
            disk_manifests_json: Set(of.disks.to_string()),
            warnings_json: Set("[]".to_owned()),
            created_at: Set(self.now() - of.hours_ago * HOUR),
            proven_at: Set(None),
            proven_how: Set(String::new()),
            is_pinned: Set(false),
            confirmed_at: Set(self.now() - of.hours_ago * HOUR),
            expired_at: Set(None),
        }
        .insert(self.world.plane.store.db())
        .await
        .expect("a point")
        .id
    }
}

/// What a point is made of.
pub struct PointOf<'a> {
    pub job: Option<&'a str>,
    pub run: &'a str,
    pub vm: Option<i64>,
    pub name: &'a str,
    pub manifest: &'a str,
    pub backup_type: &'a str,
    pub consistency: &'a str,
    pub changed_bytes: i64,
    pub hours_ago: i64,
    pub disks: Value,
}

impl Default for PointOf<'_> {
    fn default() -> Self {
        Self {
            job: None,
            run: "0195d2a4-0000-7000-8000-000000000001",
            vm: None,
            name: "files",
            manifest: "9c41f09c41f09c41f09c41f09c41f09c",
            backup_type: "full",
            consistency: "application",
            changed_bytes: 100,
            hours_ago: 1,
            disks: json!({}),
        }
    }
}

pub fn local(name: &str) -> Value {
    json!({"name": name, "kind": "local", "path": r"E:\Vault"})
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

fn digits(name: &str) -> u128 {
    name.bytes().fold(0_u128, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u128::from(byte))
    }) & 0xffff_ffff_ffff
}

pub async fn host(world: &World, tenant: &str, name: &str) -> String {
    let id = world.plane.new_id();
    host::ActiveModel {
        id: Set(id.clone()),
        tenant_id: Set(tenant.to_owned()),
        token_hash: Set(format!("hash of {id}")),
        hostname: Set(name.to_uppercase()),
        device_id: Set(String::new()),
        install_id: Set(String::new()),
        name: Set(name.to_owned()),
        agent_version: Set("1.9.0".to_owned()),
        os: Set("windows".to_owned()),
        arch: Set("amd64".to_owned()),
        build: Set(String::new()),
        is_disabled: Set(false),
        last_seen_at: Set(Some(world.plane.now_ms())),
        volumes_json: Set(
            json!([{"path": "C:\\", "label": "System", "size_bytes": 100, "filesystem": "NTFS", "type": "fixed",
                    "unc_path": "", "is_network": false}])
            .to_string(),
        ),
        volumes_at: Set(Some(world.plane.now_ms())),
        inventory_at: Set(None),
        created_at: Set(world.plane.now_ms()),
    }
    .insert(world.plane.store.db())
    .await
    .expect("a host");
    id
}

pub async fn vm_of(world: &World, tenant: &str, host: &str, name: &str, guid: &str) -> i64 {
    let now = world.plane.now_ms();
    vm::ActiveModel {
        id: NotSet,
        tenant_id: Set(tenant.to_owned()),
        host_id: Set(host.to_owned()),
        guid: Set(guid.to_uppercase()),
        name: Set(name.to_owned()),
        generation: Set(2),
        is_linux: Set(false),
        state: Set("Running".to_owned()),
        is_tracked: Set(true),
        cpu_count: Set(4),
        memory_mb: Set(8_192),
        disks_json: Set(
            json!([{"path": "D:\\VM\\a.vhdx", "size_bytes": 4_096, "used_bytes": 512, "vhd_format": "VHDX",
                    "rct_enabled": true, "controller_type": "SCSI"}])
            .to_string(),
        ),
        leftovers_json: Set("[]".to_owned()),
        last_checkpoint_id: Set(None),
        last_rct_ids_json: Set("{}".to_owned()),
        objective_hours: Set(None),
        is_excused: Set(false),
        first_seen_at: Set(now - 100 * DAY),
        came_at: Set(None),
        last_seen_at: Set(now),
        gone_at: Set(None),
    }
    .insert(world.plane.store.db())
    .await
    .expect("a VM")
    .id
}

/// Makes a tenant of that time zone the one that days follow.
pub async fn set_zone(ground: &Ground, zone: &str) {
    tenant::ActiveModel {
        id: Set(ground.tenant.clone()),
        time_zone: Set(zone.to_owned()),
        ..Default::default()
    }
    .update(ground.world.plane.store.db())
    .await
    .expect("a tenant");
}
