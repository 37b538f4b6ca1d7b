//! A line of a run's structured log.

use sea_orm::entity::prelude::*;

/// A line of a run's structured log.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "run_logs")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The run.
    pub run_id: String,
    /// When it was received (milliseconds since 1970, UTC).
    pub at: i64,
    /// Its level.
    pub level: String,
    /// A code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// With what.
    pub details_json: String,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
