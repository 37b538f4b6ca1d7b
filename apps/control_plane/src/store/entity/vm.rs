//! A VM on a host.

use sea_orm::entity::prelude::*;

/// A VM on a host.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "vms")]
pub struct Model {
    /// Its number, `vm_id` on the wire.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The host that it was last seen on.
    pub host_id: String,
    /// Hyper-V's id, in upper case without braces.
    pub guid: String,
    /// Its name.
    pub name: String,
    /// 1 or 2; 0 when unknown.
    pub generation: i64,
    /// Whether its guest is Linux.
    pub is_linux: bool,
    /// Its state in Hyper-V's words; empty when unknown.
    pub state: String,
    /// Whether changes of its disks are tracked.
    pub is_tracked: bool,
    /// Its processors; 0 when unknown.
    pub cpu_count: i64,
    /// Its memory in MiB; 0 when unknown.
    pub memory_mb: i64,
    /// Its disks, as the agent lists them.
    pub disks_json: String,
    /// Checkpoints that somebody left on it.
    pub leftovers_json: String,
    /// The pointer that the newest complete result carried.
    pub last_checkpoint_id: Option<String>,
    /// The change-tracking ids that came with it.
    pub last_rct_ids_json: String,
    /// How old its last good point may be; none: what its job says.
    pub objective_hours: Option<i64>,
    /// Whether somebody decided that it needs no backup.
    pub is_excused: bool,
    /// When it was first listed (milliseconds since 1970, UTC).
    pub first_seen_at: i64,
    /// When its host first listed it, where it was elsewhere or gone before (milliseconds since 1970, UTC).
    pub came_at: Option<i64>,
    /// When it was last listed (milliseconds since 1970, UTC).
    pub last_seen_at: i64,
    /// When a full list no longer had it (milliseconds since 1970, UTC).
    pub gone_at: Option<i64>,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
