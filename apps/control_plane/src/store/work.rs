//! Jobs, runs, commands and operations, as people order and see them. What agents take and report stands elsewhere.

use std::collections::HashMap;

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _,
};

use crate::store::entity::{command, job, repo_operation, run, run_event};
use crate::store::facts::tells_the_time;
use crate::store::history::{points_of_vm, runs_with_points_of};
use crate::store::{Store, behind};

/// The states of a run that has not ended.
pub const GOING_ON: [&str; 3] = ["queued", "starting", "running"];

/// Which runs are wanted.
#[derive(Clone, Debug, Default)]
pub struct RunFilter<'a> {
    /// Of this tenant alone.
    pub tenant_id: Option<&'a str>,
    /// Of this job.
    pub job_id: Option<&'a str>,
    /// Carried out by this host.
    pub host_id: Option<&'a str>,
    /// With a point of this VM, restoring one, or of one of these jobs.
    pub vm: Option<(i64, Vec<String>)>,
    /// In this state.
    pub status: Option<&'a str>,
    /// Of this kind.
    pub kind: Option<&'a str>,
    /// Not before.
    pub from: Option<i64>,
    /// Before.
    pub to: Option<i64>,
    /// Older than this one.
    pub below: Option<String>,
}

/// Something that a host is to do outside of runs.
#[derive(Clone, Debug)]
pub struct CommandOrder<'a> {
    /// The tenant.
    pub tenant_id: &'a str,
    /// The host.
    pub host_id: &'a str,
    /// The restore that it carries out.
    pub run_id: Option<&'a str>,
    /// Its type on the wire.
    pub kind: &'a str,
    /// What it says.
    pub payload: serde_json::Value,
    /// What its context is made from; `Null`: it has none.
    pub context: serde_json::Value,
    /// Who asks for it.
    pub requested_by: &'a str,
}

/// What became of the wish to end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It had not begun, and is over.
    Ended,
    /// Its agent is told.
    Asked,
    /// It had ended before.
    WasOver,
}

impl Store {
    /// Returns jobs that are not deleted by name, behind the one with this name and id, `limit` at most.
    pub async fn jobs_of(
        &self,
        tenant_id: Option<&str>,
        after: Option<(String, String)>,
        limit: u64,
    ) -> Result<Vec<job::Model>, DbErr> {
        use job::Column;
        job::Entity::find()
            .filter(Column::Status.ne("deleted"))
            .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .apply_if(after, |q, row| {
                q.filter(behind(Column::Name, Column::Id, row))
            })
            .order_by_asc(Column::Name)
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns a job that is not deleted, if it is of the tenant.
    pub async fn job_of(
        &self,
        db: &impl ConnectionTrait,
        tenant_id: Option<&str>,
        id: &str,
    ) -> Result<Option<job::Model>, DbErr> {
        job::Entity::find_by_id(id)
            .filter(job::Column::Status.ne("deleted"))
            .apply_if(tenant_id, |q, it| q.filter(job::Column::TenantId.eq(it)))
            .one(db)
            .await
    }

    /// Returns the jobs that protect VMs, those that are paused included.
    pub async fn vm_jobs(&self, tenant_id: Option<&str>) -> Result<Vec<job::Model>, DbErr> {
        use job::Column;
        job::Entity::find()
            .filter(Column::Engine.eq("hyperv"))
            .filter(Column::Status.is_in(["active", "paused"]))
            .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .order_by_asc(Column::Id)
            .all(self.reading())
            .await
    }

    /// Returns how many jobs that are not deleted each host, and each repository, has.
    pub async fn job_counts(
        &self,
        of: job::Column,
        ids: &[String],
    ) -> Result<HashMap<String, i64>, DbErr> {
        let rows: Vec<(String, i64)> = job::Entity::find()
            .filter(of.is_in(ids))
            .filter(job::Column::Status.ne("deleted"))
            .select_only()
            .column(of)
            .column_as(job::Column::Id.count(), "jobs")
            .group_by(of)
            .into_tuple()
            .all(self.reading())
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Returns the last backup run of each job. What was made while the server's clock was ahead is not the last.
    pub async fn last_runs(
        &self,
        job_ids: &[String],
        now_ms: i64,
    ) -> Result<HashMap<String, run::Model>, DbErr> {
        use run::Column;
        let newest = run::Entity::find()
            .filter(Column::JobId.is_in(job_ids))
            .filter(Column::Kind.eq("backup"))
            .filter(tells_the_time(Column::CreatedAt.into_expr(), now_ms))
            .select_only()
            .column_as(Column::Id.max(), "newest")
            .group_by(Column::JobId)
            .into_query();
        let rows = run::Entity::find()
            .filter(Column::Id.in_subquery(newest))
            .all(self.reading())
            .await?;
        Ok(rows
            .into_iter()
            .filter_map(|run| Some((run.job_id.clone()?, run)))
            .collect())
    }

    /// Returns the backup run of a job that is going on.
    pub async fn run_going_on(
        &self,
        db: &impl ConnectionTrait,
        job_id: &str,
    ) -> Result<Option<run::Model>, DbErr> {
        run::Entity::find()
            .filter(run::Column::JobId.eq(job_id))
            .filter(run::Column::Kind.eq("backup"))
            .filter(run::Column::Status.is_in(GOING_ON))
            .order_by_desc(run::Column::Id)
            .one(db)
            .await
    }

    /// Locks a job until the transaction ends, so that of two callers one sees what the other did.
    pub async fn lock_job(&self, txn: &DatabaseTransaction, id: &str) -> Result<(), DbErr> {
        if self.is_shared() {
            job::Entity::find_by_id(id)
                .lock_exclusive()
                .one(txn)
                .await?;
        }
        Ok(())
    }

    /// Returns runs, newest first, `limit` at most.
    pub async fn runs_of(
        &self,
        wanted: &RunFilter<'_>,
        limit: u64,
    ) -> Result<Vec<run::Model>, DbErr> {
        use run::Column;
        run::Entity::find()
            .apply_if(wanted.tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .apply_if(wanted.job_id, |q, it| q.filter(Column::JobId.eq(it)))
            .apply_if(wanted.host_id, |q, it| q.filter(Column::HostId.eq(it)))
            .apply_if(wanted.vm.as_ref(), |q, (vm_id, jobs)| {
                q.filter(
                    Condition::any()
                        .add(Column::Id.in_subquery(runs_with_points_of(*vm_id)))
                        .add(Column::PointId.in_subquery(points_of_vm(*vm_id)))
                        .add(
                            Condition::all()
                                .add(Column::JobId.is_in(jobs))
                                .add(Column::Kind.eq("backup")),
                        ),
                )
            })
            .apply_if(wanted.status, |q, it| q.filter(Column::Status.eq(it)))
            .apply_if(wanted.kind, |q, it| q.filter(Column::Kind.eq(it)))
            .apply_if(wanted.from, |q, it| q.filter(Column::CreatedAt.gte(it)))
            .apply_if(wanted.to, |q, it| q.filter(Column::CreatedAt.lt(it)))
            .apply_if(wanted.below.as_ref(), |q, it| q.filter(Column::Id.lt(it)))
            .order_by_desc(Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns the runs that are going on.
    pub async fn runs_going_on(&self, tenant_id: Option<&str>) -> Result<Vec<run::Model>, DbErr> {
        run::Entity::find()
            .filter(run::Column::Status.is_in(GOING_ON))
            .apply_if(tenant_id, |q, it| q.filter(run::Column::TenantId.eq(it)))
            .order_by_desc(run::Column::Id)
            .limit(500)
            .all(self.reading())
            .await
    }

    /// Returns the hosts of which a run has begun and not ended, with such a run each.
    pub async fn busy_hosts(&self, host_ids: &[String]) -> Result<HashMap<String, String>, DbErr> {
        let rows: Vec<(String, String)> = run::Entity::find()
            .filter(run::Column::HostId.is_in(host_ids))
            .filter(run::Column::Status.is_in(["starting", "running"]))
            .select_only()
            .columns([run::Column::HostId, run::Column::Id])
            .into_tuple()
            .all(self.reading())
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Returns a run, if it is of the tenant.
    pub async fn run_of(
        &self,
        tenant_id: Option<&str>,
        id: &str,
    ) -> Result<Option<run::Model>, DbErr> {
        run::Entity::find_by_id(id)
            .apply_if(tenant_id, |q, it| q.filter(run::Column::TenantId.eq(it)))
            .one(self.db())
            .await
    }

    /// Ends a run that nobody has taken, or asks the agent that has to end it.
    pub async fn end_run(
        &self,
        txn: &DatabaseTransaction,
        run: &run::Model,
        by: &str,
        now: i64,
    ) -> Result<Ending, DbErr> {
        use run::Column;
        self.lock_run(txn, &run.id).await?;
        // A restore is the host's once its command was handed out, whatever the run says.
        let is_restore = run.kind != "backup";
        let command_taken_back = is_restore
            && command::Entity::update_many()
                .col_expr(command::Column::Status, Expr::value("failed"))
                .col_expr(
                    command::Column::ResultMessage,
                    Expr::value("cancelled before the host took it"),
                )
                .col_expr(command::Column::FinishedAt, Expr::value(Some(now)))
                .filter(command::Column::RunId.eq(&run.id))
                .filter(command::Column::Status.eq("pending"))
                .exec(txn)
                .await?
                .rows_affected
                > 0;
        if !is_restore || command_taken_back {
            let ended = run::Entity::update_many()
                .col_expr(Column::Status, Expr::value("cancelled"))
                .col_expr(Column::FinishedAt, Expr::value(Some(now)))
                .col_expr(Column::CancelRequestedAt, Expr::value(Some(now)))
                .col_expr(
                    Column::ErrorSummary,
                    Expr::value(format!("cancelled by {by}")),
                )
                .filter(Column::Id.eq(&run.id))
                .filter(Column::Status.eq("queued"))
                .exec(txn)
                .await?;
            if ended.rows_affected > 0 {
                self.add_run_event(txn, &run.id, "cancelled", "warn", "CANCELLED", by, now)
                    .await?;
                return Ok(Ending::Ended);
            }
        }
        let asked = run::Entity::update_many()
            .col_expr(Column::CancelRequestedAt, Expr::value(Some(now)))
            .filter(Column::Id.eq(&run.id))
            .filter(Column::Status.is_in(GOING_ON))
            .filter(Column::CancelRequestedAt.is_null())
            .exec(txn)
            .await?;
        if asked.rows_affected > 0 {
            self.add_run_event(
                txn,
                &run.id,
                "cancelled",
                "warn",
                "CANCEL_REQUESTED",
                by,
                now,
            )
            .await?;
            return Ok(Ending::Asked);
        }
        let now_is = run::Entity::find_by_id(&run.id).one(txn).await?;
        let goes_on = now_is.is_some_and(|run| GOING_ON.contains(&&*run.status));
        Ok(if goes_on {
            Ending::Asked
        } else {
            Ending::WasOver
        })
    }

    #[expect(clippy::too_many_arguments, reason = "each is a column of the event")]
    async fn add_run_event(
        &self,
        txn: &DatabaseTransaction,
        run_id: &str,
        kind: &str,
        level: &str,
        message_id: &str,
        by: &str,
        now: i64,
    ) -> Result<(), DbErr> {
        let event = run_event::ActiveModel {
            id: NotSet,
            run_id: Set(run_id.to_owned()),
            at: Set(now),
            kind: Set(kind.to_owned()),
            level: Set(level.to_owned()),
            code: Set(message_id.to_owned()),
            message_id: Set(message_id.to_owned()),
            params_json: Set(
                serde_json::json!({"message": format!("asked for by {by}")}).to_string()
            ),
        };
        run_event::Entity::insert(event)
            .exec_without_returning(txn)
            .await?;
        Ok(())
    }

    /// Ends the runs of a job that nobody has taken.
    pub async fn end_queued_runs(
        &self,
        txn: &DatabaseTransaction,
        job_id: &str,
        why: &str,
        now: i64,
    ) -> Result<(), DbErr> {
        use run::Column;
        run::Entity::update_many()
            .col_expr(Column::Status, Expr::value("cancelled"))
            .col_expr(Column::FinishedAt, Expr::value(Some(now)))
            .col_expr(Column::ErrorSummary, Expr::value(why))
            .filter(Column::JobId.eq(job_id))
            .filter(Column::Kind.eq("backup"))
            .filter(Column::Status.eq("queued"))
            .exec(txn)
            .await?;
        Ok(())
    }

    /// Queues a command for a host.
    pub async fn order_command(
        &self,
        txn: &DatabaseTransaction,
        order: CommandOrder<'_>,
        now: i64,
    ) -> Result<command::Model, DbErr> {
        let context = match order.context {
            serde_json::Value::Null => String::new(),
            context => context.to_string(),
        };
        let row = command::ActiveModel {
            id: NotSet,
            tenant_id: Set(order.tenant_id.to_owned()),
            host_id: Set(order.host_id.to_owned()),
            run_id: Set(order.run_id.map(str::to_owned)),
            kind: Set(order.kind.to_owned()),
            payload_json: Set(order.payload.to_string()),
            context_json: Set(context),
            status: Set("pending".to_owned()),
            result_message: Set(String::new()),
            result_json: Set(String::new()),
            requested_by: Set(order.requested_by.to_owned()),
            created_at: Set(now),
            delivered_at: Set(None),
            finished_at: Set(None),
        };
        command::Entity::insert(row).exec_with_returning(txn).await
    }

    /// Returns the commands of a host that it has not taken yet.
    pub async fn pending_commands_of(
        &self,
        txn: &DatabaseTransaction,
        host_id: &str,
    ) -> Result<Vec<command::Model>, DbErr> {
        command::Entity::find()
            .filter(command::Column::HostId.eq(host_id))
            .filter(command::Column::Status.eq("pending"))
            .order_by_asc(command::Column::Id)
            .limit(500)
            .all(txn)
            .await
    }

    /// Returns a command, if it is of the tenant.
    pub async fn command_of(
        &self,
        tenant_id: Option<&str>,
        id: i64,
    ) -> Result<Option<command::Model>, DbErr> {
        command::Entity::find_by_id(id)
            .apply_if(tenant_id, |q, it| {
                q.filter(command::Column::TenantId.eq(it))
            })
            .one(self.db())
            .await
    }

    /// Returns operations on a repository, newest first, `limit` at most, with numbers below `below`.
    pub async fn operations_of(
        &self,
        repository_id: &str,
        below: Option<i64>,
        limit: u64,
    ) -> Result<Vec<repo_operation::Model>, DbErr> {
        use repo_operation::Column;
        repo_operation::Entity::find()
            .filter(Column::RepositoryId.eq(repository_id))
            .apply_if(below, |q, it| q.filter(Column::Id.lt(it)))
            .order_by_desc(Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns the operation of a kind on a repository that has not ended.
    pub async fn operation_going_on(
        &self,
        txn: &DatabaseTransaction,
        repository_id: &str,
        kind: &str,
    ) -> Result<Option<repo_operation::Model>, DbErr> {
        use repo_operation::Column;
        repo_operation::Entity::find()
            .filter(Column::RepositoryId.eq(repository_id))
            .filter(Column::Kind.eq(kind))
            .filter(Column::Status.is_in(["queued", "running"]))
            .one(txn)
            .await
    }

    /// Tells how many jobs that are not deleted use a repository.
    pub async fn jobs_in_repository(
        &self,
        db: &impl ConnectionTrait,
        repository_id: &str,
    ) -> Result<u64, DbErr> {
        job::Entity::find()
            .filter(job::Column::RepositoryId.eq(repository_id))
            .filter(job::Column::Status.ne("deleted"))
            .count(db)
            .await
    }
}
