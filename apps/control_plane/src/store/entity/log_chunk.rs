//! A piece of a run's verbose log (contract 3.5).

use sea_orm::entity::prelude::*;

/// A piece of a run's verbose log (contract 3.5).
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "log_chunks")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The run.
    pub run_id: String,
    /// Its place in the log.
    pub seq: i64,
    /// `agent`, `tray` or `run`.
    pub source: String,
    /// The lines, gzip-compressed.
    pub content: Vec<u8>,
    /// How many they are.
    pub line_count: i64,
    /// The time of the first (milliseconds since 1970, UTC).
    pub first_at: Option<i64>,
    /// The time of the last (milliseconds since 1970, UTC).
    pub last_at: Option<i64>,
    /// When it came here (milliseconds since 1970, UTC): how old it is does not depend on the agent's clock.
    pub received_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
