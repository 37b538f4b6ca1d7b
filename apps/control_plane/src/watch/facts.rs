//! What alarms are judged by: the state of everything, as values.

use crate::chores::upkeep::{Record, Upkeep};
use crate::vm_choice::VmRules;

/// The state of all tenants' things. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Since when the server has been running without a gap: what it did not hear before, it could not.
    pub awake_since: i64,
    /// The least version that agents must have; empty: any.
    pub min_agent_version: String,
    /// Hosts that are not disabled.
    pub hosts: Vec<HostFacts>,
    /// VMs that exist.
    pub vms: Vec<VmFacts>,
    /// Active jobs.
    pub jobs: Vec<JobFacts>,
    /// Repositories.
    pub repositories: Vec<RepositoryFacts>,
    /// Channels that are used.
    pub channels: Vec<ChannelFacts>,
}

/// A host.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// What people call it.
    pub name: String,
    /// The version of its agent; empty when unknown.
    pub agent_version: String,
    /// When it last called.
    pub last_seen_at: Option<i64>,
    /// When it was enrolled.
    pub created_at: i64,
    /// Its volumes whose free space is known.
    pub volumes: Vec<VolumeFacts>,
}

/// A volume whose free space is known.
#[derive(Clone, Debug, Default)]
pub struct VolumeFacts {
    /// Where it is.
    pub path: String,
    /// How large it is.
    pub size_bytes: i64,
    /// How much is free.
    pub free_bytes: i64,
}

/// A VM.
#[derive(Clone, Debug, Default)]
pub struct VmFacts {
    /// Its number.
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// Its host.
    pub host_id: String,
    /// Hyper-V's id.
    pub guid: String,
    /// Its name.
    pub name: String,
    /// Its state in Hyper-V's words; empty when unknown.
    pub state: String,
    /// How old its last good point may be; none: what its jobs say.
    pub objective_hours: Option<i64>,
    /// Whether somebody decided that it needs no backup.
    pub is_excused: bool,
    /// When it was first listed.
    pub first_seen_at: i64,
    /// Checkpoints that were left on it.
    pub leftovers: Vec<Leftover>,
    /// Its newest point.
    pub newest: Option<PointFacts>,
}

/// A checkpoint that was left on a VM.
#[derive(Clone, Debug, Default)]
pub struct Leftover {
    /// What it is called.
    pub name: String,
    /// When it was made.
    pub created_at: i64,
}

/// A VM's newest point.
#[derive(Clone, Debug, Default)]
pub struct PointFacts {
    /// Its number.
    pub id: i64,
    /// The job that made it.
    pub job_id: Option<String>,
    /// When it was made.
    pub created_at: i64,
    /// `application`, `crash` or `crash-no-checkpoint`.
    pub consistency: String,
    /// Whether its disks were read in full.
    pub is_full: bool,
    /// When the VM's last point before it was made in this repository, if there is one.
    pub before_at: Option<i64>,
    /// When the VM's last full point before it was made in this repository, if there is one.
    pub full_before_at: Option<i64>,
    /// What it warns of.
    pub warnings: Vec<String>,
}

/// An active job.
#[derive(Clone, Debug, Default)]
pub struct JobFacts {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The host.
    pub host_id: String,
    /// What people call it.
    pub name: String,
    /// Whether it backs up VMs.
    pub is_hyperv: bool,
    /// Which VMs.
    pub vms: VmRules,
    /// Whether points are to be application-consistent.
    pub wants_application: bool,
    /// How old the last good point may be; 0: no objective.
    pub objective_hours: i64,
    /// When it was made.
    pub created_at: i64,
    /// The newest run that has ended and that did happen.
    pub last_run: Option<RunFacts>,
    /// When its newest point was made, if there is one; told of jobs of files and disks alone.
    pub last_good_at: Option<i64>,
    /// Runs that did not happen since then, of the last weeks.
    pub missed: Option<MissedFacts>,
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: String,
    /// When it ended.
    pub finished_at: i64,
    /// Why it failed.
    pub error_summary: String,
    /// How many of its VMs failed, as far as it told.
    pub failed_vms: i64,
}

/// Runs that did not happen.
#[derive(Clone, Debug, Default)]
pub struct MissedFacts {
    /// How many there are.
    pub count: i64,
    /// The id of the newest.
    pub id: String,
    /// Why that one did not happen.
    pub why: String,
}

/// A repository.
#[derive(Clone, Debug, Default)]
pub struct RepositoryFacts {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// What people call it.
    pub name: String,
    /// How much is stored in it.
    pub stored_bytes: Option<i64>,
    /// How much may be.
    pub limit_bytes: Option<i64>,
    /// Points that a verification found damaged.
    pub damaged_points: i64,
    /// Its recurring work; none while it holds no point.
    pub upkeep: Vec<(Upkeep, Record)>,
    /// Whether an agent that works for it knows how to verify.
    pub can_be_verified: bool,
}

/// A channel that is used.
#[derive(Clone, Debug, Default)]
pub struct ChannelFacts {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// What people call it.
    pub name: String,
    /// When a message through it was last given up.
    pub failed_at: Option<i64>,
    /// What went wrong then.
    pub error: String,
    /// When a message last went through it.
    pub sent_at: Option<i64>,
}
