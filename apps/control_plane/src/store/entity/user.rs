//! A person who may sign in.

use sea_orm::entity::prelude::*;

/// A person who may sign in.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// Its id, a UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The tenant that the person belongs to; none for people of the installation, who see every tenant.
    pub tenant_id: Option<String>,
    /// The address that the person signs in with, in lower case.
    pub email: String,
    /// What the person is called.
    pub name: String,
    /// `owner`, `operator` or `viewer`.
    pub role: String,
    /// The password, by Argon2id, as a PHC string.
    pub password_hash: String,
    /// The sealed secret of the second factor, once the person has confirmed it.
    pub totp_secret_sealed: Option<Vec<u8>>,
    /// The sealed secret of a second factor that was shown and not yet confirmed.
    pub totp_pending_sealed: Option<Vec<u8>>,
    /// The last time step whose code was taken, so that none is taken twice.
    pub totp_last_step: i64,
    /// Whether the person may not sign in.
    pub is_disabled: bool,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
