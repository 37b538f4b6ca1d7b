//! What a clock that was ahead left behind: times that have yet to come, by which nothing would be due until then.

use sea_orm::{ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter as _, QuerySelect as _};

use super::Store;
use super::entity::{alarm, command, delivery, host, job, repo_operation, repository, run, vm};
use crate::deliver::grouping::PAUSE_MAX_MS;
use crate::health::AHEAD_MS;
use crate::run_rules::OPEN;

const DAY_MS: i64 = 86_400_000;

/// Runs that are over are looked at when they were made so lately: few last longer, and no index finds their end.
const RUNS_MS: i64 = 2 * DAY_MS;

impl Store {
    /// Sets times that lie in the future back to now, and returns how many there were. Ids that sort by time stay, and so
    /// does when a run was made: by both it is known as one that speaks for nothing.
    pub async fn pull_back_times(&self, now_ms: i64) -> Result<u64, DbErr> {
        let limit_ms = now_ms.saturating_add(AHEAD_MS);
        let all = Condition::all;
        let mut count = 0;
        macro_rules! pull_back {
            ($table:ident: $($at:ident)*, $limit:expr, $which:expr) => {
                $(count += self
                    .pull_back::<$table::Entity>($table::Column::$at, $limit, $which, now_ms)
                    .await?;)*
            };
        }
        pull_back!(host: LastSeenAt, limit_ms, all());
        pull_back!(vm: FirstSeenAt, limit_ms, all());
        pull_back!(job: CreatedAt, limit_ms, all());
        pull_back!(
            repository: LastQuickAt LastFullAt LastVerifiedAt LastListedAt CreatedAt,
            limit_ms,
            all()
        );
        let is_open = all().add(repo_operation::Column::Status.is_in(["queued", "running"]));
        pull_back!(repo_operation: NotBefore LockedUntil CreatedAt, limit_ms, is_open.clone());
        pull_back!(repo_operation: FinishedAt, limit_ms, all());
        // Before their end, by which an index finds them, is said anew.
        let is_open = command::Column::Status.is_in(["pending", "processing"]);
        let is_ahead = command::Column::FinishedAt.gt(limit_ms);
        let is_known = Condition::any().add(is_open).add(is_ahead);
        pull_back!(command: CreatedAt DeliveredAt, limit_ms, is_known.clone());
        pull_back!(command: FinishedAt, limit_ms, all());
        let is_known = Condition::any()
            .add(run::Column::Status.is_in(OPEN))
            .add(run::Column::CreatedAt.gt(now_ms.saturating_sub(RUNS_MS)));
        pull_back!(
            run: StartedAt HeartbeatAt CancelRequestedAt FinishedAt,
            limit_ms,
            is_known.clone()
        );
        let is_open = all().add(alarm::Column::OpenKey.is_not_null());
        pull_back!(alarm: OpenedAt GradedAt, limit_ms, is_open.clone());
        pull_back!(alarm: ResolvedAt, limit_ms, all());
        let is_due = all().add(delivery::Column::Status.eq("due"));
        // What failed waits for its next try.
        pull_back!(delivery: DueAt, limit_ms + PAUSE_MAX_MS, is_due.clone());
        pull_back!(delivery: CreatedAt, limit_ms, is_due.clone());
        Ok(count)
    }

    /// Sets a time back to now where it is later than `limit_ms`. Mostly there is nothing to write, and nobody who writes
    /// waits for the look.
    async fn pull_back<E: EntityTrait>(
        &self,
        at: E::Column,
        limit_ms: i64,
        which: Condition,
        now_ms: i64,
    ) -> Result<u64, DbErr> {
        let is_ahead = Condition::all().add(at.gt(limit_ms)).add(which);
        let any: Option<i64> = E::find()
            .select_only()
            .column(at)
            .filter(is_ahead.clone())
            .into_tuple()
            .one(self.reading())
            .await?;
        if any.is_none() {
            return Ok(0);
        }
        let changed = E::update_many()
            .col_expr(at, now_ms.into())
            .filter(is_ahead)
            .exec(self.db())
            .await?;
        Ok(changed.rows_affected)
    }
}
