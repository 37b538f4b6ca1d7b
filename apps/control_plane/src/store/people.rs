//! People, their sessions, and where they sign in from.

use std::net::IpAddr;

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveValue::NotSet, ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QuerySelect as _,
};

use super::Store;
use super::entity::{api_token, login_session, session, sign_in_address, user};

/// An address from which a person did not sign in for so long is as good as new.
const ADDRESS_KNOWN_MS: i64 = 90 * 86_400_000;

impl Store {
    /// Returns the person with an e-mail address, which is in lower case.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<user::Model>, DbErr> {
        user::Entity::find()
            .filter(user::Column::Email.eq(email))
            .one(self.db())
            .await
    }

    /// Returns a person.
    pub async fn user(&self, id: &str) -> Result<Option<user::Model>, DbErr> {
        user::Entity::find_by_id(id).one(self.db()).await
    }

    /// Tells whether anybody has an account.
    pub async fn has_users(&self, db: &impl ConnectionTrait) -> Result<bool, DbErr> {
        Ok(user::Entity::find().limit(1).count(db).await? > 0)
    }

    /// Tells whether a person has signed in from an address (or its network) within the last months.
    pub async fn has_signed_in_from(&self, user_id: &str, from: IpAddr) -> Result<bool, DbErr> {
        let found = sign_in_address::Entity::find()
            .filter(sign_in_address::Column::UserId.eq(user_id))
            .filter(sign_in_address::Column::Network.eq(from.to_string()))
            .limit(1)
            .count(self.db())
            .await?;
        Ok(found > 0)
    }

    /// Writes down that a person signed in from an address (or its network), and forgets those of long ago.
    pub async fn note_signed_in_from(
        &self,
        txn: &impl ConnectionTrait,
        user_id: &str,
        from: IpAddr,
        now_ms: i64,
    ) -> Result<(), DbErr> {
        sign_in_address::Entity::delete_many()
            .filter(sign_in_address::Column::UserId.eq(user_id))
            .filter(sign_in_address::Column::LastAt.lt(now_ms - ADDRESS_KNOWN_MS))
            .exec(txn)
            .await?;
        let row = sign_in_address::ActiveModel {
            id: NotSet,
            user_id: Set(user_id.to_owned()),
            network: Set(from.to_string()),
            last_at: Set(now_ms),
        };
        let replace = OnConflict::columns([
            sign_in_address::Column::UserId,
            sign_in_address::Column::Network,
        ])
        .update_column(sign_in_address::Column::LastAt)
        .to_owned();
        sign_in_address::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(txn)
            .await?;
        Ok(())
    }

    /// Forgets where a person has signed in from.
    pub async fn forget_addresses(
        &self,
        txn: &impl ConnectionTrait,
        user_id: &str,
    ) -> Result<(), DbErr> {
        sign_in_address::Entity::delete_many()
            .filter(sign_in_address::Column::UserId.eq(user_id))
            .exec(txn)
            .await?;
        Ok(())
    }

    /// Takes the code of a time step; no if it, or a later one, was taken before.
    pub async fn take_step(&self, user_id: &str, step: i64) -> Result<bool, DbErr> {
        let done = user::Entity::update_many()
            .col_expr(user::Column::TotpLastStep, Expr::value(step))
            .filter(user::Column::Id.eq(user_id))
            .filter(user::Column::TotpLastStep.lt(step))
            .exec(self.db())
            .await?;
        Ok(done.rows_affected == 1)
    }

    /// Ends a person's sessions, but for the one whose hash is `except`, and agents' sign-ins that are half done.
    pub async fn end_sessions(
        &self,
        txn: &impl ConnectionTrait,
        user_id: &str,
        except: Option<&str>,
    ) -> Result<(), DbErr> {
        let mut sessions =
            session::Entity::delete_many().filter(session::Column::UserId.eq(user_id));
        if let Some(except) = except {
            sessions = sessions.filter(session::Column::TokenHash.ne(except));
        }
        sessions.exec(txn).await?;
        login_session::Entity::delete_many()
            .filter(login_session::Column::UserId.eq(user_id))
            .exec(txn)
            .await?;
        Ok(())
    }

    /// Takes back every API token that a person made; returns how many.
    pub async fn revoke_tokens_of(
        &self,
        txn: &impl ConnectionTrait,
        user_id: &str,
        now_ms: i64,
    ) -> Result<u64, DbErr> {
        let done = api_token::Entity::update_many()
            .col_expr(api_token::Column::RevokedAt, Expr::value(Some(now_ms)))
            .filter(api_token::Column::UserId.eq(user_id))
            .filter(api_token::Column::RevokedAt.is_null())
            .exec(txn)
            .await?;
        Ok(done.rows_affected)
    }

    /// Tells whether somebody else than `user_id` is an owner of the same tenant, or of the installation, and may
    /// sign in. Holds them as they are until the transaction ends, so that two owners cannot remove each other.
    pub async fn has_other_owner(
        &self,
        txn: &impl ConnectionTrait,
        tenant_id: Option<&str>,
        user_id: &str,
    ) -> Result<bool, DbErr> {
        let mut owners = user::Entity::find()
            .filter(user::Column::Role.eq("owner"))
            .filter(user::Column::IsDisabled.eq(false))
            .filter(match tenant_id {
                Some(tenant) => user::Column::TenantId.eq(tenant),
                None => user::Column::TenantId.is_null(),
            });
        if self.is_shared() {
            owners = owners.lock_exclusive();
        }
        Ok(owners.all(txn).await?.iter().any(|row| row.id != user_id))
    }

    /// Removes sessions that have ended; returns how many.
    pub async fn remove_ended_sessions(&self, now_ms: i64, idle_ms: i64) -> Result<u64, DbErr> {
        let done = session::Entity::delete_many()
            .filter(
                Condition::any()
                    .add(session::Column::ExpiresAt.lte(now_ms))
                    .add(session::Column::LastSeenAt.lte(now_ms - idle_ms)),
            )
            .exec(self.db())
            .await?;
        Ok(done.rows_affected)
    }
}
