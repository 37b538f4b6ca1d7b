//! What people order in the portal.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::World;
use super::rows::{Command, CommandState, Operation, Run, Vm};

/// A run to queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOrder {
    /// `hyperv`, `kopia`, `disk_image`, `sync`.
    pub engine: String,
    /// The job; a new one is made when it is left out.
    pub job_id: Option<Value>,
    /// The agent it is for; none means whichever asks.
    pub agent: Option<String>,
    /// VMs of the job: name and GUID, with or without a row on the server.
    pub vms: Vec<VmOrder>,
    /// Members of the run object, over those that are made up.
    pub members: Map<String, Value>,
}

/// A VM of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VmOrder {
    /// Its name.
    pub name: String,
    /// Hyper-V's id.
    pub guid: String,
    /// Whether the server has no row for it.
    pub unregistered: bool,
}

impl RunOrder {
    /// Returns the order to back up one VM.
    pub fn hyperv(vm_name: &str) -> Self {
        let guid = format!(
            "5F3B0000-0000-4000-8000-{:012X}",
            vm_name.bytes().map(u64::from).sum::<u64>()
        );
        Self {
            engine: "hyperv".to_owned(),
            vms: vec![VmOrder {
                name: vm_name.to_owned(),
                guid,
                unregistered: false,
            }],
            ..Self::default()
        }
    }

    /// Returns the order to back up a folder.
    pub fn files(path: &str) -> Self {
        Self {
            engine: "kopia".to_owned(),
            ..Self::default()
        }
        .with("source_paths", json!([path]))
    }

    /// Sets a member of the run object.
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.members.insert(member.to_owned(), value);
        self
    }

    /// Makes the run one of a job that exists.
    pub fn of_job(mut self, job_id: &Value) -> Self {
        self.job_id = Some(job_id.clone());
        self
    }
}

/// A command to queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandOrder {
    /// What it orders.
    #[serde(rename = "type")]
    pub name: String,
    /// The agent it is for; none means whichever asks.
    pub agent: Option<String>,
    /// The run it is about.
    pub run_id: Value,
    /// The job it is about.
    pub job_id: Value,
    /// Whether it comes by the run's poll alone.
    pub by_run_poll: bool,
    /// What it says.
    pub payload: Value,
    /// Where the repository rests.
    pub job_context: Value,
}

impl CommandOrder {
    /// Returns a command for the agent itself.
    pub fn new(name: &str, payload: Value) -> Self {
        Self {
            name: name.to_owned(),
            payload,
            ..Self::default()
        }
    }

    /// Makes the command one about a run.
    pub fn about(mut self, run_id: &Value) -> Self {
        self.run_id = run_id.clone();
        self
    }

    /// Says where the repository rests.
    pub fn with_context(mut self, job_context: Value) -> Self {
        self.job_context = job_context;
        self
    }
}

/// An operation to queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationOrder {
    /// What it does.
    pub op_type: String,
    /// The rule.
    pub effective_policy: Value,
    /// The repository's UUID.
    pub repository_id: String,
    /// Members of the operation, over those that are made up.
    pub members: Map<String, Value>,
}

/// Names of members whose values must never be seen again.
const SECRET_MEMBERS: [&str; 5] = [
    "dest_access_key",
    "dest_secret_key",
    "repository_password",
    "password",
    "secret_key",
];

impl World {
    /// Queues a run and returns its name.
    pub fn queue_run(&mut self, order: RunOrder) -> Value {
        let id = self.wire_id();
        let job_id = order.job_id.clone().unwrap_or_else(|| self.wire_id());
        let mut unregistered = Vec::new();
        for vm in &order.vms {
            match vm.unregistered {
                true => unregistered.push(vm.guid.clone()),
                false => self.register(&job_id, &vm.guid, &vm.name),
            }
        }
        let mut members = self.run_members(&id, &job_id, &order.engine);
        if !unregistered.is_empty() {
            members.insert("source_paths".to_owned(), json!(unregistered));
        }
        members.extend(order.members);
        self.note_secrets(&Value::Object(members.clone()));
        self.runs.push(Run {
            id: id.clone(),
            job_id,
            agent: order.agent,
            run_type: String::new(),
            status: "queued".to_owned(),
            order: members,
            claimed: None,
            last_heartbeat: Duration::ZERO,
            last_heartbeat_at: String::new(),
            cancel_requested: None,
            cancelled_by_watchdog: false,
            error_summary: String::new(),
            manifest_id: String::new(),
            columns: Map::new(),
        });
        id
    }

    fn run_members(&self, id: &Value, job_id: &Value, engine: &str) -> Map<String, Value> {
        let mut members = json!({
            "run_id": id, "job_id": job_id, "engine": engine, "source_type": "local_agent",
            "source_paths": [], "dest_type": "s3", "dest_bucket_name": "e3cb-ab12", "dest_prefix": "7d1c",
            "dest_endpoint": "https://s3.example.net", "dest_region": "", "dest_access_key": "AKSCRIPTED0001",
            "dest_secret_key": "scripted-secret-key-0001", "local_bandwidth_limit_kbps": 0,
            "compression_enabled": true, "retention_json": {"keep_last": 7}, "policy_json": null,
            "schedule_json": null, "network_credentials": null, "resume": false, "last_heartbeat_at": null,
        });
        if engine == "hyperv" {
            members["hyperv_config"] = json!({});
        }
        if !self.is_old() {
            members["repository_id"] = json!("5c0e0000-0000-4000-8000-000000000001");
            members["repository_password"] = json!("0123456789abcdef".repeat(4));
            members["repo_password_mode"] = json!("v2");
            members["payload_version"] = json!("v2");
        }
        match members {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// Registers a VM for a job, unless it is.
    pub fn register(&mut self, job_id: &Value, guid: &str, name: &str) {
        let is_known = |vm: &&mut Vm| vm.job_id == *job_id && vm.guid.eq_ignore_ascii_case(guid);
        if let Some(vm) = self.vms.iter_mut().find(is_known) {
            vm.name = name.to_owned();
            return;
        }
        let vm_id = self.row();
        self.vms.push(Vm {
            vm_id,
            job_id: job_id.clone(),
            name: name.to_owned(),
            guid: guid.to_owned(),
            backup_enabled: true,
            rct_ids: json!({}),
            ..Vm::default()
        });
    }

    /// Makes the run to which a restore reports, and returns its name. NextRun never hands it out.
    pub fn queue_restore_run(&mut self, run_type: &str) -> Value {
        let id = self.queue_run(RunOrder::default());
        let run = self.runs.last_mut().expect("it was just queued");
        run.run_type = run_type.to_owned();
        id
    }

    /// Queues a command and returns its number.
    pub fn queue_command(&mut self, order: CommandOrder, now: Duration) -> u64 {
        let id = self.row();
        self.note_secrets(&order.payload);
        self.note_secrets(&order.job_context);
        let is_run_bound = matches!(
            order.name.as_str(),
            "restore" | "hyperv_restore" | "maintenance_quick" | "maintenance_full"
        ) && order.payload["restore_point_id"].is_null();
        self.commands.push(Command {
            id,
            name: order.name,
            agent: order.agent,
            run_id: match order.run_id {
                Value::Null => json!(""),
                run_id => run_id,
            },
            by_run_poll: order.by_run_poll,
            wakes_long_poll: !is_run_bound && !order.by_run_poll,
            payload: order.payload,
            job_context: order.job_context,
            state: CommandState::Pending,
            queued: now,
            delivered: None,
            completed: None,
            result_message: String::new(),
            result: Value::Null,
        });
        id
    }

    /// Queues an operation on a repository and returns its number.
    pub fn queue_operation(&mut self, order: OperationOrder) -> u64 {
        let id = self.row();
        let token = format!("operation-{id}-token");
        let members = json!({
            "operation_id": id, "repo_id": 1, "operation_token": token, "op_type": order.op_type,
            "effective_policy": order.effective_policy, "repository_id": order.repository_id,
            "bucket_id": 1, "bucket_name": "e3cb-ab12", "root_prefix": "", "endpoint": "https://s3.example.net",
            "region": "", "dest_access_key": "AKSCRIPTED0001", "dest_secret_key": "scripted-secret-key-0001",
        });
        self.note_secrets(&members);
        let Value::Object(mut members) = members else {
            return id;
        };
        members.extend(order.members);
        self.operations.push(Operation {
            id,
            token,
            op_type: order.op_type,
            status: "queued".to_owned(),
            order: members,
            result: Value::Null,
            claimed: None,
        });
        id
    }

    fn note_secrets(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let secret = member
                        .as_str()
                        .filter(|_| SECRET_MEMBERS.contains(&name.as_str()));
                    match secret {
                        Some(secret) if secret.len() >= 6 => self.secrets.push(secret.to_owned()),
                        _ => self.note_secrets(member),
                    }
                }
            }
            Value::Array(elements) => elements
                .iter()
                .for_each(|element| self.note_secrets(element)),
            _ => {}
        }
    }
}
