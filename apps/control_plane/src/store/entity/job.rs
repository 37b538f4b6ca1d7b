//! What is backed up, when, to where, and for how long it is kept.

use sea_orm::entity::prelude::*;

/// What is backed up, when, to where, and for how long it is kept.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    /// Its id, a UUID of version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The host that carries it out.
    pub host_id: String,
    /// Where it stores.
    pub repository_id: String,
    /// What people call it.
    pub name: String,
    /// `hyperv`, `kopia`, `disk_image` or `sync`.
    pub engine: String,
    /// `active`, `paused` or `deleted`.
    pub status: String,
    /// Paths to back up.
    pub sources_json: String,
    /// Which VMs: rules by name and id.
    pub vms_json: String,
    /// `application`, `require-application` or `crash`.
    pub consistency: String,
    /// When it runs.
    pub schedule_json: String,
    /// What is kept.
    pub retention_json: String,
    /// How it runs: compression, parallelism (contract 4.2).
    pub policy_json: String,
    /// The upload limit in KiB/s; 0: none.
    pub bandwidth_kib_s: i64,
    /// How old the last good point of what it protects may be.
    pub objective_hours: i64,
    /// When it runs next; none while it has no schedule or is paused (milliseconds since 1970, UTC).
    pub next_run_at: Option<i64>,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
    /// When it was last changed (milliseconds since 1970, UTC).
    pub updated_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
