//! Who may do a periodic chore, so that one instance of several does it.

use sea_orm::entity::prelude::*;

/// Who may do a periodic chore, so that one instance of several does it.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "leases")]
pub struct Model {
    /// The chore.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The instance.
    pub holder: String,
    /// Until when (milliseconds since 1970, UTC).
    pub until: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
