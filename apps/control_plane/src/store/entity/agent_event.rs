//! Something of an agent's health (contract 3.4).

use sea_orm::entity::prelude::*;

/// Something of an agent's health (contract 3.4).
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_events")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The host.
    pub host_id: String,
    /// When it happened there (milliseconds since 1970, UTC).
    pub at: i64,
    /// When it was received (milliseconds since 1970, UTC).
    pub received_at: i64,
    /// `agent` or `tray`.
    pub source: String,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// Its code.
    pub code: String,
    /// What happened.
    pub message_id: String,
    /// With what.
    pub params_json: String,
    /// What a repetition is known by.
    pub dedupe_key: String,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
