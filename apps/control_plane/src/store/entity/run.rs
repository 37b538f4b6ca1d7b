//! One execution of a job, or one restore.

use sea_orm::entity::prelude::*;

/// One execution of a job, or one restore.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "runs")]
pub struct Model {
    /// Its id, a UUID of version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The job; none for restores of what no job has any more.
    pub job_id: Option<String>,
    /// The host that carries it out.
    pub host_id: String,
    /// The repository.
    pub repository_id: Option<String>,
    /// `backup`, `restore`, `hyperv_restore` or `disk_restore`.
    pub kind: String,
    /// The engine.
    pub engine: String,
    /// `manual`, `schedule`, `retry`.
    pub trigger: String,
    /// `queued`, `starting`, `running`, `success`, `warning`, `partial_success`, `failed`, `cancelled` or `missed`.
    pub status: String,
    /// The moment of the schedule that it stands for (milliseconds since 1970, UTC).
    pub scheduled_for: Option<i64>,
    /// What a restore restores.
    pub point_id: Option<i64>,
    /// Where to, of a restore.
    pub target_json: String,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was queued (milliseconds since 1970, UTC).
    pub created_at: i64,
    /// When the agent took it (milliseconds since 1970, UTC).
    pub started_at: Option<i64>,
    /// When it ended (milliseconds since 1970, UTC).
    pub finished_at: Option<i64>,
    /// When the agent last said something of it (milliseconds since 1970, UTC).
    pub heartbeat_at: Option<i64>,
    /// When somebody asked for its end (milliseconds since 1970, UTC).
    pub cancel_requested_at: Option<i64>,
    /// How much is done, in percent.
    pub progress_pct: f64,
    /// Bytes read from the source.
    pub bytes_processed: i64,
    /// Bytes uploaded; of a restore, written.
    pub bytes_transferred: i64,
    /// An estimate of the bytes to read.
    pub bytes_total: i64,
    /// Files, or VMs, done.
    pub objects_transferred: i64,
    /// Files, or VMs, in all.
    pub objects_total: i64,
    /// Its speed now.
    pub speed_bytes_per_sec: i64,
    /// The seconds it will still take.
    pub eta_seconds: i64,
    /// What it is at.
    pub current_item: String,
    /// Why it failed, or what it warns of.
    pub error_summary: String,
    /// Its primary manifest.
    pub manifest_id: String,
    /// Figures that the agent sent, merged.
    pub stats_json: String,
    /// Progress in detail, as last sent.
    pub progress_json: String,
    /// Disk path to manifest id.
    pub disk_manifests_json: String,
    /// The end of its log.
    pub log_excerpt: String,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
