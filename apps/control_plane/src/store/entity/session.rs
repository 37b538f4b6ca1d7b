//! A browser in which a person is signed in.

use sea_orm::entity::prelude::*;

/// A browser in which a person is signed in.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// SHA-256 of the cookie's value, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    /// The person.
    pub user_id: String,
    /// What every changing call must repeat in its header.
    pub csrf_token: String,
    /// When the person signed in (milliseconds since 1970, UTC).
    pub created_at: i64,
    /// When it was last used (milliseconds since 1970, UTC).
    pub last_seen_at: i64,
    /// When it ends (milliseconds since 1970, UTC).
    pub expires_at: i64,
    /// Where it was begun from.
    pub address: String,
    /// The browser that it was begun with.
    pub user_agent: String,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
