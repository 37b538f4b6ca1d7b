//! How much a repository held on a day.

use sea_orm::entity::prelude::*;

/// How much a repository held on a day.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "repository_sizes")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The repository.
    pub repository_id: String,
    /// The day, in UTC: `2026-03-01`.
    pub day: String,
    /// How much it held when last measured on that day.
    pub stored_bytes: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
