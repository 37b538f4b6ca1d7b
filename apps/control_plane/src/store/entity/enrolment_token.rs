//! A secret with which agents make themselves known.

use sea_orm::entity::prelude::*;

/// A secret with which agents make themselves known.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "enrolment_tokens")]
pub struct Model {
    /// Its id, a UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The tenant that the agents will belong to.
    pub tenant_id: String,
    /// SHA-256 of the token, in hex.
    pub token_hash: String,
    /// What it is for.
    pub description: String,
    /// How often it may be used; none: without limit.
    pub max_uses: Option<i64>,
    /// How often it was used.
    pub use_count: i64,
    /// When it ends (milliseconds since 1970, UTC).
    pub expires_at: Option<i64>,
    /// When it was taken back (milliseconds since 1970, UTC).
    pub revoked_at: Option<i64>,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
