//! What somebody changed.

use sea_orm::entity::prelude::*;

/// What somebody changed.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_entries")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// When (milliseconds since 1970, UTC).
    pub at: i64,
    /// The tenant whose thing it was.
    pub tenant_id: Option<String>,
    /// Who, if a person did.
    pub user_id: Option<String>,
    /// Who, in words: an address, a token's name, an agent, the server itself.
    pub actor: String,
    /// What was done, such as `job.update`.
    pub action: String,
    /// What kind of thing was changed.
    pub object_kind: String,
    /// Which one.
    pub object_id: String,
    /// What was changed, without secrets.
    pub detail_json: String,
    /// Where the call came from.
    pub address: String,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
