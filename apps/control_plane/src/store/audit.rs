//! The log of who changed what.

use sea_orm::{ActiveValue::NotSet, ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait as _};

use super::Store;
use super::entity::audit_entry;

/// Something that somebody changed, to be written down in the transaction that changes it.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The tenant whose thing it was; none: the installation's.
    pub tenant_id: Option<&'a str>,
    /// The person, if one did it.
    pub user_id: Option<&'a str>,
    /// Who, in words.
    pub actor: &'a str,
    /// What was done, such as `job.update`.
    pub action: &'a str,
    /// What kind of thing was changed, such as `job`.
    pub object_kind: &'a str,
    /// Which one.
    pub object_id: &'a str,
    /// What was changed, without secrets.
    pub detail: serde_json::Value,
    /// Where the call came from.
    pub address: &'a str,
}

impl<'a> Entry<'a> {
    /// Says whose thing it was.
    #[must_use]
    pub fn of_tenant(self, tenant_id: Option<&'a str>) -> Self {
        Self { tenant_id, ..self }
    }

    /// Says what was changed. No secret belongs here.
    #[must_use]
    pub fn with(self, detail: serde_json::Value) -> Self {
        Self { detail, ..self }
    }
}

impl Store {
    /// Writes an entry at `at_ms`, within the transaction that makes the change.
    pub async fn audit(
        &self,
        txn: &impl ConnectionTrait,
        at_ms: i64,
        entry: Entry<'_>,
    ) -> Result<(), DbErr> {
        let row = audit_entry::ActiveModel {
            id: NotSet,
            at: Set(at_ms),
            tenant_id: Set(entry.tenant_id.map(str::to_owned)),
            user_id: Set(entry.user_id.map(str::to_owned)),
            actor: Set(entry.actor.to_owned()),
            action: Set(entry.action.to_owned()),
            object_kind: Set(entry.object_kind.to_owned()),
            object_id: Set(entry.object_id.to_owned()),
            detail_json: Set(match entry.detail {
                serde_json::Value::Null => "{}".to_owned(),
                detail => detail.to_string(),
            }),
            address: Set(entry.address.to_owned()),
        };
        audit_entry::Entity::insert(row).exec(txn).await?;
        Ok(())
    }
}
