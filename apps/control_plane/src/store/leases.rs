//! Leases: of several instances, one does a chore.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DbErr, EntityTrait as _, ExprTrait as _, QueryFilter as _,
    TransactionTrait as _,
};

use super::Store;
use super::entity::lease;

impl Store {
    /// Claims chores for an instance until `until`, renewing what it holds, and returns those that it holds now.
    ///
    /// What another instance holds stays its own until its time is over, so an instance that died loses them.
    pub async fn claim_leases(
        &self,
        chores: &[&str],
        holder: &str,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<String>, DbErr> {
        let txn = self.db().begin().await?;
        lease::Entity::update_many()
            .col_expr(lease::Column::Holder, holder.into())
            .col_expr(lease::Column::Until, until_ms.into())
            .filter(lease::Column::Name.is_in(chores.iter().copied()))
            .filter(
                lease::Column::Holder
                    .eq(holder)
                    .or(lease::Column::Until.lte(now_ms))
                    // Nobody can have claimed it for so long by a clock that was right.
                    .or(lease::Column::Until.gt(now_ms + 2 * (until_ms - now_ms))),
            )
            .exec(&txn)
            .await?;
        let mut known = lease::Entity::find().all(&txn).await?;
        for chore in chores {
            if known.iter().any(|lease| lease.name == *chore) {
                continue;
            }
            let row = lease::ActiveModel {
                name: Set((*chore).to_owned()),
                holder: Set(holder.to_owned()),
                until: Set(until_ms),
            };
            let inserted = lease::Entity::insert(row)
                .on_conflict(
                    OnConflict::column(lease::Column::Name)
                        .do_nothing()
                        .to_owned(),
                )
                .exec_without_returning(&txn)
                .await?;
            if inserted == 1 {
                known.push(lease::Model {
                    name: (*chore).to_owned(),
                    holder: holder.to_owned(),
                    until: until_ms,
                });
            }
        }
        txn.commit().await?;
        Ok(known
            .into_iter()
            .filter(|lease| lease.holder == holder && chores.contains(&lease.name.as_str()))
            .map(|lease| lease.name)
            .collect())
    }

    /// Gives up what an instance holds, when it stops.
    pub async fn give_up_leases(&self, holder: &str) -> Result<(), DbErr> {
        lease::Entity::update_many()
            .col_expr(lease::Column::Until, 0_i64.into())
            .filter(lease::Column::Holder.eq(holder))
            .exec(self.db())
            .await?;
        Ok(())
    }
}
