//! Work on a repository: retention, maintenance, verification, lists of points (contract 3.15).

use sea_orm::entity::prelude::*;

/// Work on a repository: retention, maintenance, verification, lists of points (contract 3.15).
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "repo_operations")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The repository.
    pub repository_id: String,
    /// `retention_apply`, `maintenance_quick`, `maintenance_full`; of our own `verify`, `list_points`.
    pub kind: String,
    /// What its completion must repeat, and what keeps it from being queued twice.
    pub token: String,
    /// The policy, or other details.
    pub payload_json: String,
    /// `queued`, `running`, `success` or `failed`.
    pub status: String,
    /// The host that took it.
    pub host_id: Option<String>,
    /// How often it was handed out.
    pub attempts: i64,
    /// When it may be handed out (milliseconds since 1970, UTC).
    pub not_before: i64,
    /// Until when nobody else may take work on its repository (milliseconds since 1970, UTC).
    pub locked_until: Option<i64>,
    /// How it ended.
    pub result_json: String,
    /// When it was queued (milliseconds since 1970, UTC).
    pub created_at: i64,
    /// When it ended (milliseconds since 1970, UTC).
    pub finished_at: Option<i64>,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
