//! A customer, or a department: everything but the installation's own settings belongs to one.

use sea_orm::entity::prelude::*;

/// A customer, or a department: everything but the installation's own settings belongs to one.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tenants")]
pub struct Model {
    /// Its id, a UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The IANA name of the zone that its days, quiet hours and summaries follow.
    pub time_zone: String,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
