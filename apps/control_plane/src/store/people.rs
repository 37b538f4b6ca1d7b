//! People, their sessions and their tries to sign in.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QuerySelect as _,
};

use super::Store;
use super::entity::{api_token, session, user};
use crate::sign_in::{TRIES_MAX, Tries};

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

    /// Counts a try as wrong before it is looked at; returns what was remembered before and what is now. The inner
    /// error says until when nobody may try. Tries at the same moment are counted one by one.
    pub async fn count_try(
        &self,
        user_id: &str,
        now_ms: i64,
    ) -> Result<Result<(Tries, Tries), i64>, DbErr> {
        // Each time it does not fit, another try was counted; after ten of them the person is locked.
        for _ in 0..=2 * TRIES_MAX {
            let row = user::Entity::find_by_id(user_id).one(self.db()).await?;
            let before = row.map_or_else(Tries::default, |row| Tries {
                failed: row.failed_logins,
                locked_until: row.locked_until,
            });
            let next = match before.begin(now_ms) {
                Ok(next) => next,
                Err(until_ms) => return Ok(Err(until_ms)),
            };
            if self.replace_tries(user_id, before, next).await? {
                return Ok(Ok((before, next)));
            }
        }
        Ok(Err(now_ms + 1_000))
    }

    /// Takes back what [`Self::count_try`] counted, unless something else was counted since.
    pub async fn take_back_try(
        &self,
        user_id: &str,
        counted: Tries,
        before: Tries,
    ) -> Result<(), DbErr> {
        self.replace_tries(user_id, counted, before).await?;
        Ok(())
    }

    async fn replace_tries(&self, user_id: &str, old: Tries, new: Tries) -> Result<bool, DbErr> {
        let locked = user::Column::LockedUntil;
        let done = user::Entity::update_many()
            .col_expr(user::Column::FailedLogins, Expr::value(new.failed))
            .col_expr(locked, Expr::value(new.locked_until))
            .filter(user::Column::Id.eq(user_id))
            .filter(user::Column::FailedLogins.eq(old.failed))
            .filter(match old.locked_until {
                Some(until) => locked.eq(until),
                None => locked.is_null(),
            })
            .exec(self.db())
            .await?;
        Ok(done.rows_affected == 1)
    }

    /// Forgets wrong tries, once one was right.
    pub async fn forget_tries(&self, user_id: &str) -> Result<(), DbErr> {
        user::Entity::update_many()
            .col_expr(user::Column::FailedLogins, Expr::value(0_i64))
            .col_expr(user::Column::LockedUntil, Expr::value(None::<i64>))
            .filter(user::Column::Id.eq(user_id))
            .exec(self.db())
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

    /// Ends a person's sessions, but for the one whose hash is `except`.
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
        Ok(())
    }

    /// Takes back every API token that a person made.
    pub async fn revoke_tokens_of(
        &self,
        txn: &impl ConnectionTrait,
        user_id: &str,
        now_ms: i64,
    ) -> Result<(), DbErr> {
        api_token::Entity::update_many()
            .col_expr(api_token::Column::RevokedAt, Expr::value(Some(now_ms)))
            .filter(api_token::Column::UserId.eq(user_id))
            .filter(api_token::Column::RevokedAt.is_null())
            .exec(txn)
            .await?;
        Ok(())
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
