//! Which change of an alarm a channel has been told.

use sea_orm::entity::prelude::*;

/// Which change of an alarm a channel has been told.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "notices")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The alarm.
    pub alarm_id: i64,
    /// The channel.
    pub channel_id: String,
    /// `opened` or `resolved`.
    pub what: String,
    /// Of `opened`: the grade that the alarm had.
    pub grade: i64,
    /// Whether the message was given up, so that it was told to nobody.
    pub is_given_up: bool,
    /// The message it went out with.
    pub delivery_id: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
