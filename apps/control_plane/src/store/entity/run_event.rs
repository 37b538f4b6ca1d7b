//! Something that happened in a run.

use sea_orm::entity::prelude::*;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "run_events")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The run.
    pub run_id: String,
    /// When it was received (milliseconds since 1970, UTC).
    pub at: i64,
    /// Its type: `info`, `progress`, `summary`, `warning`, `error`, `cancelled`.
    pub kind: String,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// A code; mostly the message's id.
    pub code: String,
    /// What happened.
    pub message_id: String,
    /// With what.
    pub params_json: String,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
