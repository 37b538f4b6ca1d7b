//! A machine with an agent.

use sea_orm::entity::prelude::*;

/// A machine with an agent.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "hosts")]
pub struct Model {
    /// The agent's UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// SHA-256 of the agent's token, in hex.
    pub token_hash: String,
    /// What the machine calls itself.
    pub hostname: String,
    /// The machine's own UUID; empty when it sent none.
    pub device_id: String,
    /// The installation's UUID; empty when it sent none.
    pub install_id: String,
    /// What people call it.
    pub name: String,
    /// The agent's version; empty when unknown.
    pub agent_version: String,
    /// `windows` or `linux`; empty when unknown.
    pub os: String,
    /// `amd64`, `arm64`, …; empty when unknown.
    pub arch: String,
    /// The agent's build.
    pub build: String,
    /// Whether its calls are refused.
    pub is_disabled: bool,
    /// When it last called (milliseconds since 1970, UTC).
    pub last_seen_at: Option<i64>,
    /// Its volumes, as it reports them.
    pub volumes_json: String,
    /// When it reported them (milliseconds since 1970, UTC).
    pub volumes_at: Option<i64>,
    /// When its VMs were last listed (milliseconds since 1970, UTC).
    pub inventory_at: Option<i64>,
    /// When it was enrolled (milliseconds since 1970, UTC).
    pub created_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
