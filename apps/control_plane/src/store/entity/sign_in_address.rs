//! An address from which a person has signed in.

use sea_orm::entity::prelude::*;

/// An address from which a person has signed in.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_in_addresses")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The person.
    pub user_id: String,
    /// The address; of IPv6, the network of 64 bits.
    pub network: String,
    /// When the person last signed in from there (milliseconds since 1970, UTC).
    pub last_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
