//! A restore point.

use sea_orm::entity::prelude::*;

/// A restore point.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "points")]
pub struct Model {
    /// Its number, `restore_point_id` and `backup_point_id` on the wire.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The host that made it.
    pub host_id: String,
    /// The repository that holds it.
    pub repository_id: String,
    /// The job that made it.
    pub job_id: Option<String>,
    /// The run that made it.
    pub run_id: String,
    /// The engine.
    pub engine: String,
    /// The VM.
    pub vm_id: Option<i64>,
    /// The VM's name, or the sources.
    pub name: String,
    /// Its primary manifest.
    pub manifest_id: String,
    /// `full` or `incremental`; empty for files.
    pub backup_type: String,
    /// `application`, `crash` or `crash-no-checkpoint`; empty for files.
    pub consistency: String,
    /// The size of what it holds.
    pub total_bytes: i64,
    /// What had changed.
    pub changed_bytes: i64,
    /// How long it took.
    pub duration_seconds: i64,
    /// Disk path to manifest id.
    pub disk_manifests_json: String,
    /// What it warns of.
    pub warnings_json: String,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
    /// When it was last proven (milliseconds since 1970, UTC).
    pub proven_at: Option<i64>,
    /// How: `structure`, `content`, `restore`; empty when never.
    pub proven_how: String,
    /// Whether retention leaves it alone.
    pub is_pinned: bool,
    /// When it was last known to be in the repository (milliseconds since 1970, UTC).
    pub confirmed_at: i64,
    /// When it was found to be removed, by retention or by whomever (milliseconds since 1970, UTC).
    pub expired_at: Option<i64>,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
