//! Something that an agent is told to do outside of runs (contract 7).

use sea_orm::entity::prelude::*;

/// Something that an agent is told to do outside of runs (contract 7).
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The host.
    pub host_id: String,
    /// The run that it belongs to.
    pub run_id: Option<String>,
    /// Its type on the wire.
    pub kind: String,
    /// What it says; secrets are put in when it is handed out.
    pub payload_json: String,
    /// `{"repository_id","point_id","job_id"}`: what its `job_context` is made from when it is handed out.
    pub context_json: String,
    /// `pending`, `processing`, `completed` or `failed`.
    pub status: String,
    /// How it ended, in words.
    pub result_message: String,
    /// What it found.
    pub result_json: String,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was queued (milliseconds since 1970, UTC).
    pub created_at: i64,
    /// When it was handed out (milliseconds since 1970, UTC).
    pub delivered_at: Option<i64>,
    /// When it ended (milliseconds since 1970, UTC).
    pub finished_at: Option<i64>,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
