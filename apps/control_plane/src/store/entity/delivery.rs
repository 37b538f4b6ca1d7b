//! A message that is or was sent through a channel.

use sea_orm::entity::prelude::*;

/// A message that is or was sent through a channel.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "deliveries")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The channel.
    pub channel_id: String,
    /// Its subject.
    pub subject: String,
    /// What it says.
    pub body_json: String,
    /// `due`, `sent` or `failed`.
    pub status: String,
    /// When it is to be sent, at the earliest (milliseconds since 1970, UTC).
    pub due_at: i64,
    /// How often it was tried.
    pub attempts: i64,
    /// What went wrong the last time.
    pub error: String,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
    /// When it was taken (milliseconds since 1970, UTC).
    pub sent_at: Option<i64>,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
