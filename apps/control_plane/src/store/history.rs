//! Points, events and what can be told of VMs from them. Queries here serve people; agents write elsewhere.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, LikeExpr, Query, SelectStatement};
use sea_orm::{
    ColumnTrait as _, Condition, DbErr, EntityTrait as _, FromQueryResult, Order, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _, Select,
};

use crate::store::Store;
use crate::store::entity::{agent_event, alarm, job, point, run, run_event, run_log, vm};
use crate::store::facts::{is_of_vm, subquery};

/// Which points are wanted.
#[derive(Clone, Debug, Default)]
pub struct PointFilter<'a> {
    /// Of this tenant alone.
    pub tenant_id: Option<&'a str>,
    /// Of this VM.
    pub vm_id: Option<i64>,
    /// Of this job.
    pub job_id: Option<&'a str>,
    /// Made by this host.
    pub host_id: Option<&'a str>,
    /// Made by this engine.
    pub engine: Option<&'a str>,
    /// Made by this run.
    pub run_id: Option<&'a str>,
    /// Not before.
    pub from: Option<i64>,
    /// Before.
    pub to: Option<i64>,
    /// Whose name holds this, in any case.
    pub name_part: Option<&'a str>,
    /// Found to be removed, or not.
    pub is_removed: Option<bool>,
    /// With a smaller number.
    pub below: Option<i64>,
}

/// What of a point of the last weeks is needed to tell how its VM fares.
#[derive(Clone, Debug, FromQueryResult)]
pub struct RecentPoint {
    /// The VM.
    pub vm_id: i64,
    /// The run.
    pub run_id: String,
    /// `full` or `incremental`.
    pub backup_type: String,
    /// `application`, `crash` or `crash-no-checkpoint`.
    pub consistency: String,
    /// What had changed.
    pub changed_bytes: i64,
    /// What it warns of.
    pub warnings_json: String,
    /// When it was made.
    pub created_at: i64,
}

/// What of a run of the last weeks is needed for the same.
#[derive(Clone, Debug, FromQueryResult)]
pub struct RecentRun {
    /// The run.
    pub id: String,
    /// The job.
    pub job_id: Option<String>,
    /// How it ended.
    pub status: String,
    /// The moment of the schedule that it stands for.
    pub scheduled_for: Option<i64>,
    /// When it was queued.
    pub created_at: i64,
}

impl RecentRun {
    /// Returns the moment that it counts for: when it should have begun, else when it was asked for.
    pub fn counts_for(&self) -> i64 {
        self.scheduled_for.unwrap_or(self.created_at)
    }
}

/// Of which VMs history is wanted, and how much of it.
#[derive(Clone, Copy, Debug)]
pub enum HistoryOf<'a> {
    /// All that happened to these VMs.
    Vms(&'a [i64]),
    /// Of every VM that a tenant has, or of every tenant's, the newest point, and of every job the newest run of each
    /// outcome: what a VM is judged by, whatever else there is.
    Newest(Option<&'a str>),
}

/// What happened to VMs in the last weeks.
#[derive(Clone, Debug, Default)]
pub struct VmHistory {
    /// The last point of each VM that is still there, however old.
    pub last: HashMap<i64, point::Model>,
    /// When a point of each VM was last proven.
    pub proven: HashMap<i64, i64>,
    /// Points since then.
    pub points: Vec<RecentPoint>,
    /// Backup runs of VMs since then.
    pub runs: Vec<RecentRun>,
    /// Which VMs failed in which of those runs.
    pub failed: HashMap<String, HashSet<String>>,
}

/// What of a point is needed to tell how much was backed up on a day.
#[derive(Clone, Debug, FromQueryResult)]
pub struct SizedPoint {
    /// The VM.
    pub vm_id: Option<i64>,
    /// The job.
    pub job_id: Option<String>,
    /// The VM's name, or the sources.
    pub name: String,
    /// The size of what it holds.
    pub total_bytes: i64,
    /// When it was made.
    pub created_at: i64,
    /// When it was found to be removed.
    pub expired_at: Option<i64>,
}

impl HistoryOf<'_> {
    fn vms(self) -> Select<vm::Entity> {
        use vm::Column;
        let vms = vm::Entity::find();
        match self {
            Self::Vms(ids) => vms.filter(Column::Id.is_in(ids.iter().copied())),
            Self::Newest(tenant_id) => vms
                .filter(Column::GoneAt.is_null())
                .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it))),
        }
    }

    /// The numbers of the newest points of the VMs, one each, of those that are like this: an index finds each.
    fn newest_points(self, which: Expr) -> SelectStatement {
        let newest = Query::select()
            .column(point::Column::Id)
            .from(point::Entity)
            .and_where(is_of_vm())
            .and_where(which)
            .order_by(point::Column::Id, Order::Desc)
            .limit(1)
            .to_owned();
        let vms = self.vms().select_only();
        vms.expr_as(subquery(newest), "newest").into_query()
    }

    /// The backup runs since `since` that tell how the VMs fared: those of their hosts' jobs.
    fn runs(self, since: i64) -> Condition {
        use run::Column;
        let backups = Condition::all()
            .add(Column::CreatedAt.gte(since))
            .add(Column::Kind.eq("backup"))
            .add(Column::Engine.eq("hyperv"));
        match self {
            Self::Vms(_) => {
                let hosts = self.vms().select_only().column(vm::Column::HostId);
                let jobs = job::Entity::find()
                    .filter(job::Column::HostId.in_subquery(hosts.into_query()))
                    .select_only()
                    .column(job::Column::Id);
                backups.add(Column::JobId.in_subquery(jobs.into_query()))
            }
            Self::Newest(tenant_id) => {
                let newest = run::Entity::find()
                    .filter(backups)
                    .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
                    .select_only()
                    .column_as(Column::Id.max(), "newest")
                    .group_by(Column::JobId)
                    .group_by(Column::Status);
                Condition::all().add(Column::Id.in_subquery(newest.into_query()))
            }
        }
    }
}

/// When a point of the VM at hand was last proven.
fn last_proof() -> Expr {
    let proof = Query::select()
        .expr(point::Column::ProvenAt.max())
        .from(point::Entity)
        .and_where(is_of_vm())
        .to_owned();
    subquery(proof)
}

/// Tells whether a column holds a text, in any case: of letters beyond ASCII, SQLite knows the case as it was typed alone.
fn contains(column: (point::Entity, point::Column), text: &str) -> Condition {
    let pattern = |text: &str| {
        let mut pattern = String::from("%");
        for letter in text.chars() {
            if ['%', '_', '\\'].contains(&letter) {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        LikeExpr::new(pattern + "%").escape('\\')
    };
    Condition::any()
        .add(Expr::col(column).like(pattern(text)))
        .add(Expr::expr(Func::lower(Expr::col(column))).like(pattern(&text.to_lowercase())))
}

impl Store {
    /// Returns points, newest first, `limit` at most.
    pub async fn points_of(
        &self,
        wanted: &PointFilter<'_>,
        limit: u64,
    ) -> Result<Vec<point::Model>, DbErr> {
        use point::Column;
        point::Entity::find()
            .apply_if(wanted.tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .apply_if(wanted.vm_id, |q, it| q.filter(Column::VmId.eq(it)))
            .apply_if(wanted.job_id, |q, it| q.filter(Column::JobId.eq(it)))
            .apply_if(wanted.host_id, |q, it| q.filter(Column::HostId.eq(it)))
            .apply_if(wanted.engine, |q, it| q.filter(Column::Engine.eq(it)))
            .apply_if(wanted.run_id, |q, it| q.filter(Column::RunId.eq(it)))
            .apply_if(wanted.from, |q, it| q.filter(Column::CreatedAt.gte(it)))
            .apply_if(wanted.to, |q, it| q.filter(Column::CreatedAt.lt(it)))
            .apply_if(wanted.name_part, |q, it| {
                q.filter(contains((point::Entity, Column::Name), it))
            })
            .apply_if(wanted.is_removed, |q, it| match it {
                true => q.filter(Column::ExpiredAt.is_not_null()),
                false => q.filter(Column::ExpiredAt.is_null()),
            })
            .apply_if(wanted.below, |q, it| q.filter(Column::Id.lt(it)))
            .order_by_desc(Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns the points of an engine that a host made in a repository and that are pinned, oldest first.
    pub async fn pinned_points(
        &self,
        (host_id, repository_id, engine): (&str, &str, &str),
    ) -> Result<Vec<point::Model>, DbErr> {
        use point::Column;
        point::Entity::find()
            .filter(Column::RepositoryId.eq(repository_id))
            .filter(Column::HostId.eq(host_id))
            .filter(Column::Engine.eq(engine))
            .filter(Column::IsPinned.eq(true))
            .filter(Column::ExpiredAt.is_null())
            .order_by_asc(Column::Id)
            .limit(1_000)
            .all(self.reading())
            .await
    }

    /// Returns a point, if it is of the tenant.
    pub async fn point_of(
        &self,
        tenant_id: Option<&str>,
        id: i64,
    ) -> Result<Option<point::Model>, DbErr> {
        point::Entity::find_by_id(id)
            .apply_if(tenant_id, |q, it| q.filter(point::Column::TenantId.eq(it)))
            .one(self.reading())
            .await
    }

    /// Returns the points of a VM from its last full one to `target`, oldest first: the chain that a restore names.
    pub async fn chain_to(&self, target: &point::Model) -> Result<Vec<point::Model>, DbErr> {
        use point::Column;
        if target.backup_type == "full" || target.vm_id.is_none() {
            return Ok(vec![target.clone()]);
        }
        let of_vm = || {
            point::Entity::find()
                .filter(Column::TenantId.eq(&target.tenant_id))
                .filter(Column::VmId.eq(target.vm_id))
                .filter(Column::RepositoryId.eq(&target.repository_id))
                .filter(Column::Id.lte(target.id))
        };
        let full = of_vm()
            .filter(Column::BackupType.eq("full"))
            .order_by_desc(Column::Id)
            .one(self.reading())
            .await?;
        // Retention removed the full one long ago, and the record of it is gone too.
        let Some(full) = full else {
            return Ok(vec![target.clone()]);
        };
        of_vm()
            .filter(Column::Id.gte(full.id))
            .order_by_asc(Column::Id)
            .all(self.reading())
            .await
    }

    /// Returns what happened to VMs since `since`. The number of statements does not depend on how many VMs there are, and
    /// of [`HistoryOf::Newest`] nothing depends on how many points there are.
    pub async fn vm_history(&self, of: HistoryOf<'_>, since: i64) -> Result<VmHistory, DbErr> {
        use point::Column;
        let last = point::Entity::find()
            .filter(Column::Id.in_subquery(of.newest_points(Column::ExpiredAt.is_null())))
            .all(self.reading())
            .await?;
        let proven: Vec<(i64, Option<i64>)> = of
            .vms()
            .select_only()
            .column(vm::Column::Id)
            .expr_as(last_proof(), "proven")
            .into_tuple()
            .all(self.reading())
            .await?;
        let is_recent = Column::CreatedAt.gte(since);
        let points = point::Entity::find()
            .filter(match of {
                HistoryOf::Vms(ids) => Column::VmId.is_in(ids.iter().copied()).and(is_recent),
                HistoryOf::Newest(_) => Column::Id.in_subquery(of.newest_points(is_recent)),
            })
            .select_only()
            .columns([
                Column::VmId,
                Column::RunId,
                Column::BackupType,
                Column::Consistency,
                Column::ChangedBytes,
                Column::WarningsJson,
                Column::CreatedAt,
            ])
            .into_model::<RecentPoint>()
            .all(self.reading())
            .await?;
        Ok(VmHistory {
            last: last
                .into_iter()
                .filter_map(|point| Some((point.vm_id?, point)))
                .collect(),
            proven: proven
                .into_iter()
                .filter_map(|(vm_id, proven)| Some((vm_id, proven?)))
                .collect(),
            points,
            runs: self.recent_runs(of, since).await?,
            failed: self.failed_vms(of, since).await?,
        })
    }

    async fn recent_runs(&self, of: HistoryOf<'_>, since: i64) -> Result<Vec<RecentRun>, DbErr> {
        use run::Column;
        run::Entity::find()
            .filter(of.runs(since))
            .select_only()
            .columns([
                Column::Id,
                Column::JobId,
                Column::Status,
                Column::ScheduledFor,
                Column::CreatedAt,
            ])
            .order_by_asc(Column::Id)
            .into_model::<RecentRun>()
            .all(self.reading())
            .await
    }

    async fn failed_vms(
        &self,
        of: HistoryOf<'_>,
        since: i64,
    ) -> Result<HashMap<String, HashSet<String>>, DbErr> {
        use run_event::Column;
        let runs: SelectStatement = run::Entity::find()
            .filter(of.runs(since))
            .filter(run::Column::Status.is_in([
                "failed",
                "partial_success",
                "warning",
                "cancelled",
            ]))
            .select_only()
            .column(run::Column::Id)
            .into_query();
        let events: Vec<(String, String)> = run_event::Entity::find()
            .filter(Column::RunId.in_subquery(runs))
            .filter(Column::MessageId.eq("HYPERV_VM_FAILED"))
            .select_only()
            .columns([Column::RunId, Column::ParamsJson])
            .into_tuple()
            .all(self.reading())
            .await?;
        let mut failed: HashMap<String, HashSet<String>> = HashMap::new();
        for (run_id, params) in events {
            let params: serde_json::Value = serde_json::from_str(&params).unwrap_or_default();
            if let Some(name) = params.get("vm_name").and_then(|name| name.as_str()) {
                failed.entry(run_id).or_default().insert(name.to_owned());
            }
        }
        Ok(failed)
    }

    /// Hands out what is needed to tell how much was backed up on the days since `since`: the points made since then,
    /// and of each VM, or each name of a job, the last one before; in the order in which they were made, one by one.
    pub async fn each_sized_point(
        &self,
        tenant_id: Option<&str>,
        since: i64,
        mut take: impl FnMut(SizedPoint),
    ) -> Result<(), DbErr> {
        use point::Column;
        let of_tenant =
            || point::Entity::find().apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)));
        let before: SelectStatement = of_tenant()
            .filter(Column::CreatedAt.lt(since))
            .select_only()
            .column_as(Column::Id.max(), "newest")
            .group_by(Column::JobId)
            .group_by(Column::VmId)
            .group_by(Column::Name)
            .into_query();
        let mut points = of_tenant()
            .filter(
                Condition::any()
                    .add(Column::CreatedAt.gte(since))
                    .add(Column::Id.in_subquery(before)),
            )
            .select_only()
            .columns([
                Column::VmId,
                Column::JobId,
                Column::Name,
                Column::TotalBytes,
                Column::CreatedAt,
                Column::ExpiredAt,
            ])
            .order_by_asc(Column::Id)
            .into_model::<SizedPoint>()
            .stream(self.reading())
            .await?;
        while let Some(point) = points.try_next().await? {
            take(point);
        }
        Ok(())
    }

    /// Returns alarms that are open and not snoozed.
    pub async fn open_alarms_of(
        &self,
        tenant_id: Option<&str>,
        now: i64,
    ) -> Result<Vec<alarm::Model>, DbErr> {
        use alarm::Column;
        alarm::Entity::find()
            .filter(Column::ResolvedAt.is_null())
            .filter(
                Condition::any()
                    .add(Column::SnoozedUntil.is_null())
                    .add(Column::SnoozedUntil.lte(now)),
            )
            .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .order_by_asc(Column::Id)
            .limit(1_000)
            .all(self.reading())
            .await
    }

    /// Tells whether the tenant has a point.
    pub async fn has_point(&self, tenant_id: Option<&str>) -> Result<bool, DbErr> {
        let one: Option<i64> = point::Entity::find()
            .apply_if(tenant_id, |q, it| q.filter(point::Column::TenantId.eq(it)))
            .select_only()
            .column(point::Column::Id)
            .into_tuple()
            .one(self.reading())
            .await?;
        Ok(one.is_some())
    }

    /// Returns events of a run behind `after`, oldest first, `limit` at most.
    pub async fn run_events_after(
        &self,
        run_id: &str,
        after: i64,
        limit: u64,
    ) -> Result<Vec<run_event::Model>, DbErr> {
        use run_event::Column;
        run_event::Entity::find()
            .filter(Column::RunId.eq(run_id))
            .filter(Column::Id.gt(after))
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns the structured log of a run, oldest first, `limit` lines at most.
    pub async fn run_log_lines(
        &self,
        run_id: &str,
        limit: u64,
    ) -> Result<Vec<run_log::Model>, DbErr> {
        run_log::Entity::find()
            .filter(run_log::Column::RunId.eq(run_id))
            .order_by_asc(run_log::Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns events of a host's agent, newest first, `limit` at most, with numbers below `below`.
    pub async fn host_events_of(
        &self,
        host_id: &str,
        below: Option<i64>,
        limit: u64,
    ) -> Result<Vec<agent_event::Model>, DbErr> {
        use agent_event::Column;
        agent_event::Entity::find()
            .filter(Column::HostId.eq(host_id))
            .apply_if(below, |q, it| q.filter(Column::Id.lt(it)))
            .order_by_desc(Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns how many points each repository holds that retention has not removed.
    pub async fn point_counts(
        &self,
        repository_ids: &[String],
    ) -> Result<HashMap<String, i64>, DbErr> {
        use point::Column;
        let rows: Vec<(String, i64)> = point::Entity::find()
            .filter(Column::RepositoryId.is_in(repository_ids))
            .filter(Column::ExpiredAt.is_null())
            .select_only()
            .column(Column::RepositoryId)
            .column_as(Column::Id.count(), "points")
            .group_by(Column::RepositoryId)
            .into_tuple()
            .all(self.reading())
            .await?;
        Ok(rows.into_iter().collect())
    }
}

/// Returns the ids of runs that made a point of a VM, as a condition's part.
pub(super) fn runs_with_points_of(vm_id: i64) -> SelectStatement {
    of_points(vm_id, point::Column::RunId)
}

/// Returns the numbers of the points of a VM, as a condition's part.
pub(super) fn points_of_vm(vm_id: i64) -> SelectStatement {
    of_points(vm_id, point::Column::Id)
}

fn of_points(vm_id: i64, column: point::Column) -> SelectStatement {
    point::Entity::find()
        .filter(point::Column::VmId.eq(vm_id))
        .select_only()
        .column(column)
        .into_query()
}
