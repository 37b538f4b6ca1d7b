//! Dropping rows of history that are older than the settings say.
//!
//! Every statement touches a few hundred rows and finds them by an index, and nothing is held between two of them:
//! SQLite has one connection, and agents wait behind whatever holds it. What is left over is for the next turn.
//!
//! What still says something stays, however old: a run while one of its points is on record or it is the last that its
//! job made, the last message of each channel that arrived and that did not. Jobs, VMs, hosts, and how much each
//! repository held on each day stay for good.

use sea_orm::sea_query::{Alias, Expr, Query, SelectStatement};
use sea_orm::{
    ColumnTrait as _, Condition, DbErr, EntityTrait, ExprTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _, TransactionTrait as _,
};

use super::Store;
use super::entity::{
    agent_event, alarm, audit_entry, command, delivery, log_chunk, login_session, notice, point,
    repo_operation, run, run_event, run_log,
};
use super::facts::tells_how_its_job_fares;
use crate::chores::inventory;
use crate::run_rules::OPEN;

const DAY_MS: i64 = 86_400_000;

/// How many rows go in one statement.
const ROWS_PER_STATEMENT: usize = 500;

/// How many rows of one table go in one turn, in statements.
const STATEMENTS_PER_TURN: usize = 40;

/// Lists of VMs that were asked for stay this long: what they say lies elsewhere.
const LISTS_DAYS: i64 = 1;

impl Store {
    /// Drops what is older than the settings want it kept, and returns how many rows went.
    pub async fn drop_old_rows(&self, now_ms: i64) -> Result<u64, DbErr> {
        let kept = self.history(self.db()).await?;
        let before = |days: i64| now_ms.saturating_sub(days.saturating_mul(DAY_MS));
        let any = Condition::all;
        let mut count = 0;
        macro_rules! drop_old {
            ($table:ident, $at:ident, $days:expr, $which:expr) => {
                count += self
                    .drop_rows::<$table::Entity>(
                        ($table::Column::Id, $table::Column::$at),
                        before($days),
                        $which,
                    )
                    .await?;
            };
        }
        drop_old!(run_event, At, kept.events_days, any());
        drop_old!(run_log, At, kept.events_days, any());
        drop_old!(log_chunk, ReceivedAt, kept.events_days, any());
        drop_old!(agent_event, ReceivedAt, kept.events_days, any());
        for kind in [inventory::LIST, inventory::DETAILS] {
            let is_list = any().add(command::Column::Kind.eq(kind));
            drop_old!(command, FinishedAt, LISTS_DAYS, is_list);
        }
        drop_old!(command, FinishedAt, kept.commands_days, any());
        drop_old!(repo_operation, FinishedAt, kept.runs_days, any());
        drop_old!(point, ExpiredAt, kept.gone_points_days, any());
        let newest = Query::select()
            .expr(delivery::Column::Id.max())
            .from(delivery::Entity)
            .group_by_col(delivery::Column::ChannelId)
            .group_by_col(delivery::Column::Status)
            .to_owned();
        let is_over = any()
            .add(delivery::Column::Status.ne("due"))
            .add(delivery::Column::Id.not_in_subquery(newest));
        drop_old!(delivery, CreatedAt, kept.messages_days, is_over);
        drop_old!(audit_entry, At, kept.audit_days, any());
        count += self.drop_alarms(before(kept.alarms_days)).await?;
        count += self.drop_runs(before(kept.runs_days), now_ms).await?;
        count += login_session::Entity::delete_many()
            .filter(login_session::Column::ExpiresAt.lt(now_ms))
            .exec(self.db())
            .await?
            .rows_affected;
        Ok(count)
    }

    /// Drops rows of before a moment that fulfil a condition, the oldest first, a part at a time.
    async fn drop_rows<E: EntityTrait>(
        &self,
        (id, at): (E::Column, E::Column),
        before_ms: i64,
        which: Condition,
    ) -> Result<u64, DbErr> {
        let mut count = 0;
        for _ in 0..STATEMENTS_PER_TURN {
            let ids: Vec<i64> = E::find()
                .select_only()
                .column(id)
                .filter(at.lt(before_ms))
                .filter(which.clone())
                .order_by_asc(at)
                .limit(ROWS_PER_STATEMENT as u64)
                .into_tuple()
                .all(self.reading())
                .await?;
            let is_last = ids.len() < ROWS_PER_STATEMENT;
            if !ids.is_empty() {
                count += E::delete_many()
                    .filter(id.is_in(ids))
                    .exec(self.db())
                    .await?
                    .rows_affected;
            }
            if is_last {
                break;
            }
        }
        Ok(count)
    }

    /// Drops alarms that were over before a moment, with the notes of who was told of them.
    async fn drop_alarms(&self, before_ms: i64) -> Result<u64, DbErr> {
        let mut count = 0;
        for _ in 0..STATEMENTS_PER_TURN {
            let ids: Vec<i64> = alarm::Entity::find()
                .select_only()
                .column(alarm::Column::Id)
                .filter(alarm::Column::ResolvedAt.lt(before_ms))
                .order_by_asc(alarm::Column::ResolvedAt)
                .limit(ROWS_PER_STATEMENT as u64)
                .into_tuple()
                .all(self.reading())
                .await?;
            if ids.is_empty() {
                break;
            }
            let txn = self.db().begin().await?;
            notice::Entity::delete_many()
                .filter(notice::Column::AlarmId.is_in(ids.iter().copied()))
                .exec(&txn)
                .await?;
            count += alarm::Entity::delete_many()
                .filter(alarm::Column::Id.is_in(ids))
                .exec(&txn)
                .await?
                .rows_affected;
            txn.commit().await?;
        }
        Ok(count)
    }

    /// Drops runs that were made before a moment and of which nothing is left to say. Those that stay are looked at each
    /// time, a few at once.
    async fn drop_runs(&self, before_ms: i64, now_ms: i64) -> Result<u64, DbErr> {
        use run::Column;
        let mut behind: Option<(i64, String)> = None;
        let mut count = 0;
        loop {
            let looked_at: Vec<(i64, String)> = run::Entity::find()
                .select_only()
                .columns([Column::CreatedAt, Column::Id])
                .filter(Column::CreatedAt.lt(before_ms))
                .apply_if(behind.take(), |query, (at, id)| {
                    let same = Column::CreatedAt.eq(at).and(Column::Id.gt(id));
                    query
                        .filter(Column::CreatedAt.gte(at))
                        .filter(Column::CreatedAt.gt(at).or(same))
                })
                .order_by_asc(Column::CreatedAt)
                .order_by_asc(Column::Id)
                .limit(ROWS_PER_STATEMENT as u64)
                .into_tuple()
                .all(self.reading())
                .await?;
            let is_last = looked_at.len() < ROWS_PER_STATEMENT;
            behind = looked_at.last().cloned();
            let ids: Vec<String> = run::Entity::find()
                .select_only()
                .column(Column::Id)
                .filter(Column::Id.is_in(looked_at.into_iter().map(|(_, id)| id)))
                .filter(says_nothing_more(now_ms))
                .into_tuple()
                .all(self.reading())
                .await?;
            if !ids.is_empty() {
                count += run::Entity::delete_many()
                    .filter(Column::Id.is_in(ids))
                    .exec(self.db())
                    .await?
                    .rows_affected;
            }
            if is_last || count >= (ROWS_PER_STATEMENT * STATEMENTS_PER_TURN) as u64 {
                return Ok(count);
            }
        }
    }
}

/// Tells of a run that it is over, nothing of it is on record, and it is not the last that its job made: by that one
/// alarms are judged.
fn says_nothing_more(now_ms: i64) -> Condition {
    use run::Column;
    let of_run = |column: Expr| column.eq(Expr::col((run::Entity, Column::Id)));
    let newer = Alias::new("newer");
    let of_newer = |column: Column| Expr::col((newer.clone(), column));
    let newer_of_job: SelectStatement = Query::select()
        .expr(Expr::val(1))
        .from_as(run::Entity, newer.clone())
        .and_where(of_newer(Column::JobId).eq(Expr::col((run::Entity, Column::JobId))))
        .and_where(of_newer(Column::Id).gt(Expr::col((run::Entity, Column::Id))))
        .and_where(of_newer(Column::Kind).eq("backup"))
        .cond_where(tells_how_its_job_fares(now_ms, of_newer))
        .to_owned();
    let mut says_nothing = Condition::all().add(Column::Status.is_not_in(OPEN)).add(
        Condition::any()
            .add(Column::JobId.is_null())
            .add(Column::Kind.ne("backup"))
            .add(Column::Status.eq("missed"))
            .add(Expr::exists(newer_of_job)),
    );
    macro_rules! none_of {
        ($($table:ident)*) => {
            $(says_nothing = says_nothing.add(
                Expr::exists(
                    Query::select()
                        .expr(Expr::val(1))
                        .from($table::Entity)
                        .and_where(of_run(Expr::col(($table::Entity, $table::Column::RunId))))
                        .to_owned(),
                )
                .not(),
            );)*
        };
    }
    none_of!(point run_event run_log log_chunk);
    says_nothing
}
