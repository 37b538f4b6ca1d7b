//! The first step of an agent's sign-in with e-mail and password (contract 2.2).

use sea_orm::entity::prelude::*;

/// The first step of an agent's sign-in with e-mail and password (contract 2.2).
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "login_sessions")]
pub struct Model {
    /// SHA-256 of the session token, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    /// The person who signed in.
    pub user_id: String,
    /// What the agent said of its machine.
    pub machine_json: String,
    /// When it ends (milliseconds since 1970, UTC).
    pub expires_at: i64,
    /// When it was used (milliseconds since 1970, UTC).
    pub consumed_at: Option<i64>,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
