//! Where alarms are sent.

use sea_orm::entity::prelude::*;

/// Where alarms are sent.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "alarm_channels")]
pub struct Model {
    /// Its id, a UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// What people call it.
    pub name: String,
    /// `email` or `webhook`.
    pub kind: String,
    /// Addresses, the URL without its secret, or the like.
    pub config_json: String,
    /// A sealed secret: the key that signs webhooks.
    pub secret_sealed: Option<Vec<u8>>,
    /// From which severity on.
    pub min_severity: String,
    /// When only what is critical is sent.
    pub quiet_hours_json: String,
    /// When the daily summary goes out, `HH:MM`; empty: never.
    pub summary_at: String,
    /// The day of the last summary, so that there is one a day.
    pub last_summary_on: String,
    /// Whether it is used.
    pub is_enabled: bool,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
