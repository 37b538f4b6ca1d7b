//! A secret with which a program calls the people's API.

use sea_orm::entity::prelude::*;

/// A secret with which a program calls the people's API.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_tokens")]
pub struct Model {
    /// Its id, a UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The tenant that it may see; none: all.
    pub tenant_id: Option<String>,
    /// Who made it.
    pub user_id: String,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the token, in hex.
    pub token_hash: String,
    /// `owner`, `operator` or `viewer`.
    pub role: String,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
    /// When it was last used (milliseconds since 1970, UTC).
    pub last_used_at: Option<i64>,
    /// When it ends (milliseconds since 1970, UTC).
    pub expires_at: Option<i64>,
    /// When it was taken back (milliseconds since 1970, UTC).
    pub revoked_at: Option<i64>,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
