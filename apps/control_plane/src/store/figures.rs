//! How much there is of everything, for `/metrics`.

use sea_orm::{
    ColumnTrait as _, DbErr, EntityTrait, PaginatorTrait as _, QueryFilter as _, QuerySelect as _,
    Select,
};

use super::Store;
use super::agents::ONLINE_MS;
use super::entity::{alarm, command, delivery, host, repo_operation, run};

/// How far back runs that have ended are counted.
const DAY_MS: i64 = 86_400_000;

/// Some numbers of one kind.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What they are called.
    pub name: &'static str,
    /// What they say.
    pub help: &'static str,
    /// Each with what it is of.
    pub values: Vec<(String, i64)>,
}

impl Store {
    /// Counts hosts, runs, alarms and queues, by a fixed number of queries.
    pub async fn figures(&self, now_ms: i64) -> Result<Vec<Figure>, DbErr> {
        let db = self.reading();
        let enabled = || host::Entity::find().filter(host::Column::IsDisabled.eq(false));
        let online = host::Column::LastSeenAt.gt(now_ms - ONLINE_MS);
        let all = count(enabled().count(db).await?);
        let online = count(enabled().filter(online).count(db).await?);
        let hosts = vec![
            ("online".to_owned(), online),
            ("offline".to_owned(), all - online),
        ];
        let active = run::Column::Status.is_in(["queued", "starting", "running"]);
        let active = run::Entity::find().filter(active);
        let ended = run::Entity::find().filter(run::Column::FinishedAt.gt(now_ms - DAY_MS));
        let open = alarm::Entity::find().filter(alarm::Column::ResolvedAt.is_null());
        let pending = command::Entity::find().filter(command::Column::Status.eq("pending"));
        let queued =
            repo_operation::Entity::find().filter(repo_operation::Column::Status.eq("queued"));
        let due = delivery::Entity::find().filter(delivery::Column::Status.eq("due"));
        let queues = vec![
            ("commands".to_owned(), count(pending.count(db).await?)),
            ("repo_operations".to_owned(), count(queued.count(db).await?)),
            ("deliveries".to_owned(), count(due.count(db).await?)),
        ];
        let figure = |name, help, values| Figure { name, help, values };
        Ok(vec![
            figure("hosts", "Hosts that are not disabled", hosts),
            figure(
                "runs_active",
                "Runs that have not ended, by status",
                self.by_kind(active, run::Column::Status).await?,
            ),
            figure(
                "runs_ended_last_day",
                "Runs that ended within 24 hours, by status",
                self.by_kind(ended, run::Column::Status).await?,
            ),
            figure(
                "alarms_open",
                "Alarms that are not resolved, by severity",
                self.by_kind(open, alarm::Column::Severity).await?,
            ),
            figure("queue_length", "What waits to be taken", queues),
        ])
    }

    async fn by_kind<E: EntityTrait>(
        &self,
        rows: Select<E>,
        kind: E::Column,
    ) -> Result<Vec<(String, i64)>, DbErr> {
        rows.select_only()
            .column(kind)
            .column_as(kind.count(), "count")
            .group_by(kind)
            .into_tuple::<(String, i64)>()
            .all(self.reading())
            .await
    }
}

fn count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
