//! Something that needs a decision.

use sea_orm::entity::prelude::*;

/// Something that needs a decision.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "alarms")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// What is wrong, such as `run_failed`, `run_missed`, `vm_unprotected`.
    pub kind: String,
    /// What kind of thing it is about: `vm`, `job`, `host`, `repository`.
    pub subject_kind: String,
    /// Which one.
    pub subject_id: String,
    /// What people call it.
    pub subject_name: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// How bad it is within its severity and beyond: what is told anew when it rises (`watch::Finding::grade`).
    pub grade: i64,
    /// When the grade last rose (milliseconds since 1970, UTC).
    pub graded_at: i64,
    /// What is wrong and what to do next.
    pub message: String,
    /// Figures, links.
    pub detail_json: String,
    /// `tenant/kind/subject` while it is open, so that one thing has one open alarm.
    pub open_key: Option<String>,
    /// When it began (milliseconds since 1970, UTC).
    pub opened_at: i64,
    /// When it was last found true (milliseconds since 1970, UTC).
    pub last_seen_at: i64,
    /// When somebody said to take care of it (milliseconds since 1970, UTC).
    pub acknowledged_at: Option<i64>,
    /// Who.
    pub acknowledged_by: String,
    /// Until when it is kept quiet (milliseconds since 1970, UTC).
    pub snoozed_until: Option<i64>,
    /// When it was over (milliseconds since 1970, UTC).
    pub resolved_at: Option<i64>,
    /// Who said so, or `system`.
    pub resolved_by: String,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
