//! Jobs whose time has come, and runs that nobody took.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, TransactionTrait as _,
};

use super::Store;
use super::entity::{job, run, tenant};
use super::runs::new_backup;
use crate::chores::fire::{self, Unfinished, Verdict};
use crate::schedule::{Schedule, When};

/// How many jobs are looked at in one turn.
const JOBS_PER_TURN: u64 = 500;

/// Ids in one statement, at most.
const IDS_PER_STATEMENT: usize = 500;

/// The clocks of servers that share a database may differ by so much.
const CLOCKS_DIFFER_MS: i64 = 60_000;

/// How many runs that nobody took are given up in one turn.
const RUNS_PER_TURN: u64 = 500;

/// A run that was queued or recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Its id.
    pub run_id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The host.
    pub host_id: String,
    /// Whether it is to happen; else it is recorded as missed.
    pub is_queued: bool,
}

impl Store {
    /// Returns the zones of all tenants by their ids. One that is not known any more counts as UTC.
    pub async fn tenant_zones(&self) -> Result<HashMap<String, TimeZone>, DbErr> {
        let tenants = tenant::Entity::find().all(self.db()).await?;
        let zones = tenants.into_iter().map(|tenant| {
            let zone = zone_of(&tenant);
            (tenant.id, zone)
        });
        Ok(zones.collect())
    }

    /// Returns the jobs whose next run is due, those that wait longest first.
    pub async fn due_jobs(&self, now_ms: i64) -> Result<Vec<job::Model>, DbErr> {
        job::Entity::find()
            .filter(job::Column::Status.eq("active"))
            .filter(job::Column::NextRunAt.lte(now_ms))
            .order_by_asc(job::Column::NextRunAt)
            .limit(JOBS_PER_TURN)
            .all(self.db())
            .await
    }

    /// Queues a due job's run, or records why there is none, and moves the job's next run, in one transaction.
    ///
    /// Nothing happens when another instance was first, or the job was changed meanwhile. `new_id` makes a run's id
    /// that sorts by a time.
    pub async fn fire_job(
        &self,
        job: &job::Model,
        zone: &TimeZone,
        now: Timestamp,
        new_id: impl Fn(i64) -> String,
    ) -> Result<Vec<Fired>, DbErr> {
        let Some(due) = job
            .next_run_at
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        else {
            return Ok(Vec::new());
        };
        let schedule: Schedule =
            serde_json::from_str(&job.schedule_json).unwrap_or_else(|_| Schedule::manual());
        let judgement = fire::judge(&schedule, zone, &job.id, due, now);
        let txn = self.db().begin().await?;
        // Whoever moves it on is the only one who queues the run.
        let moved = job::Entity::update_many()
            .col_expr(
                job::Column::NextRunAt,
                judgement.next.map(|next| next.as_millisecond()).into(),
            )
            .filter(job::Column::Id.eq(&job.id))
            .filter(job::Column::Status.eq("active"))
            .filter(job::Column::NextRunAt.eq(due.as_millisecond()))
            .filter(job::Column::ScheduleJson.eq(&job.schedule_json))
            .exec(&txn)
            .await?;
        if moved.rows_affected != 1 {
            txn.rollback().await?;
            return Ok(Vec::new());
        }
        // From here on the job is locked, and nobody queues another run of it; it may have been moved since it was read.
        let Some(job) = job::Entity::find_by_id(&job.id).one(&txn).await? else {
            txn.rollback().await?;
            return Ok(Vec::new());
        };
        let unfinished = unfinished_run(&txn, &job.id).await?;
        let mut fired = Vec::new();
        for (moment, verdict) in judgement.beside(unfinished).moments {
            let at = moment.as_millisecond();
            let id = match verdict {
                Verdict::Start => new_id(now.as_millisecond()),
                Verdict::Missed(_) => new_id(at),
            };
            let row = scheduled_run(&job, &id, at, verdict, now.as_millisecond());
            let inserted = run::Entity::insert(row)
                .on_conflict(
                    OnConflict::columns([run::Column::JobId, run::Column::ScheduledFor])
                        .do_nothing()
                        .to_owned(),
                )
                .exec_without_returning(&txn)
                .await?;
            if inserted == 1 {
                fired.push(Fired {
                    run_id: id,
                    tenant_id: job.tenant_id.clone(),
                    host_id: job.host_id.clone(),
                    is_queued: verdict == Verdict::Start,
                });
            }
        }
        txn.commit().await?;
        Ok(fired)
    }

    /// Gives every active job that has a schedule and no next run one.
    pub async fn plan_jobs(
        &self,
        now: Timestamp,
        zones: &HashMap<String, TimeZone>,
    ) -> Result<(), DbErr> {
        let jobs = job::Entity::find()
            .filter(job::Column::Status.eq("active"))
            .filter(job::Column::NextRunAt.is_null())
            .all(self.db())
            .await?;
        for job in jobs {
            let Ok(schedule) = serde_json::from_str::<Schedule>(&job.schedule_json) else {
                continue;
            };
            let zone = zones.get(&job.tenant_id).cloned().unwrap_or(TimeZone::UTC);
            if schedule.when == When::Manual {
                continue;
            }
            let Some(next) = schedule.next_after(now, &zone, &job.id) else {
                continue;
            };
            job::Entity::update_many()
                .col_expr(job::Column::NextRunAt, next.as_millisecond().into())
                .filter(job::Column::Id.eq(&job.id))
                .filter(job::Column::NextRunAt.is_null())
                .filter(job::Column::ScheduleJson.eq(&job.schedule_json))
                .exec(self.db())
                .await?;
        }
        Ok(())
    }

    /// Forgets when jobs of a tenant run next that follow its time zone, which is another now: they are planned anew. A
    /// moment that has come and was not yet taken care of is not passed over.
    pub async fn plan_anew(
        &self,
        txn: &impl ConnectionTrait,
        tenant_id: &str,
        now_ms: i64,
    ) -> Result<(), DbErr> {
        let planned: Vec<(String, String)> = job::Entity::find()
            .select_only()
            .columns([job::Column::Id, job::Column::ScheduleJson])
            .filter(job::Column::TenantId.eq(tenant_id))
            .filter(job::Column::NextRunAt.gt(now_ms))
            .order_by_asc(job::Column::Id)
            .into_tuple()
            .all(txn)
            .await?;
        let follows = |(id, schedule_json): (String, String)| {
            let schedule: Schedule = serde_json::from_str(&schedule_json).ok()?;
            schedule.time_zone.is_none().then_some(id)
        };
        let ids: Vec<String> = planned.into_iter().filter_map(follows).collect();
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            job::Entity::update_many()
                .col_expr(job::Column::NextRunAt, None::<i64>.into())
                .filter(job::Column::Id.is_in(ids))
                .filter(job::Column::NextRunAt.gt(now_ms))
                .exec(txn)
                .await?;
        }
        Ok(())
    }

    /// Mends what a clock that was far ahead left behind, and returns how many rows that were: jobs whose next run is later
    /// than their schedule says from now, and runs that stand for moments which have yet to come: those would keep
    /// another from being queued when their moment comes.
    pub async fn mend_plans(
        &self,
        now: Timestamp,
        zones: &HashMap<String, TimeZone>,
    ) -> Result<u64, DbErr> {
        let mut mended = 0;
        let mut behind = String::new();
        loop {
            let jobs: Vec<(String, String, String, Option<i64>)> = job::Entity::find()
                .select_only()
                .columns([
                    job::Column::Id,
                    job::Column::TenantId,
                    job::Column::ScheduleJson,
                    job::Column::NextRunAt,
                ])
                .filter(job::Column::Status.eq("active"))
                .filter(job::Column::Id.gt(&behind))
                .order_by_asc(job::Column::Id)
                .limit(JOBS_PER_TURN)
                .into_tuple()
                .all(self.reading())
                .await?;
            let Some((last, ..)) = jobs.last() else {
                return Ok(mended);
            };
            behind.clone_from(last);
            let ids: Vec<&str> = jobs.iter().map(|(id, ..)| id.as_str()).collect();
            mended += self.forget_moments_to_come(&ids, now).await?;
            for (id, tenant_id, schedule_json, planned) in &jobs {
                let Some(planned) = planned.filter(|at| *at > now.as_millisecond()) else {
                    continue;
                };
                let Ok(schedule) = serde_json::from_str::<Schedule>(schedule_json) else {
                    continue;
                };
                let zone = zones.get(tenant_id).cloned().unwrap_or(TimeZone::UTC);
                let Some(next) = schedule.next_after(now, &zone, id) else {
                    continue;
                };
                if next.as_millisecond() >= planned {
                    continue;
                }
                mended += job::Entity::update_many()
                    .col_expr(job::Column::NextRunAt, next.as_millisecond().into())
                    .filter(job::Column::Id.eq(id))
                    .filter(job::Column::NextRunAt.eq(planned))
                    .filter(job::Column::ScheduleJson.eq(schedule_json))
                    .exec(self.db())
                    .await?
                    .rows_affected;
            }
        }
    }

    /// Drops records that runs of these jobs were missed at moments which have yet to come, and lets runs that did take
    /// place stand for no such moment.
    async fn forget_moments_to_come(&self, jobs: &[&str], now: Timestamp) -> Result<u64, DbErr> {
        let to_come = Condition::all()
            .add(run::Column::JobId.is_in(jobs.iter().copied()))
            .add(run::Column::ScheduledFor.gt(now.as_millisecond() + CLOCKS_DIFFER_MS));
        let dropped = run::Entity::delete_many()
            .filter(to_come.clone())
            .filter(run::Column::Status.eq("missed"))
            .exec(self.db())
            .await?;
        let changed = run::Entity::update_many()
            .col_expr(run::Column::ScheduledFor, None::<i64>.into())
            .filter(to_come)
            .exec(self.db())
            .await?;
        Ok(dropped.rows_affected + changed.rows_affected)
    }

    /// Records backups as missed that were queued before `before_ms` and that their host never took.
    pub async fn give_up_untaken_runs(
        &self,
        before_ms: i64,
        now_ms: i64,
        why: &str,
    ) -> Result<Vec<Fired>, DbErr> {
        let runs = run::Entity::find()
            .filter(run::Column::Status.eq("queued"))
            .filter(run::Column::Kind.eq("backup"))
            .filter(run::Column::CreatedAt.lt(before_ms))
            .limit(RUNS_PER_TURN)
            .all(self.reading())
            .await?;
        self.record_as_missed(runs, now_ms, why).await
    }

    /// Records backups as missed whose host did not take them before their job's window closed.
    pub async fn give_up_runs_out_of_window(
        &self,
        now: Timestamp,
        zones: &HashMap<String, TimeZone>,
        why: &str,
    ) -> Result<Vec<Fired>, DbErr> {
        let waits = Condition::all()
            .add(run::Column::Status.eq("queued"))
            .add(run::Column::Kind.eq("backup"))
            .add(run::Column::ScheduledFor.is_not_null());
        let of_those = run::Entity::find()
            .select_only()
            .column(run::Column::JobId)
            .filter(waits.clone())
            .into_query();
        let schedules: HashMap<String, String> = job::Entity::find()
            .select_only()
            .columns([job::Column::Id, job::Column::ScheduleJson])
            .filter(job::Column::Id.in_subquery(of_those))
            .into_tuple::<(String, String)>()
            .all(self.reading())
            .await?
            .into_iter()
            .collect();
        let waiting = run::Entity::find()
            .filter(waits)
            .all(self.reading())
            .await?;
        let too_late = waiting.into_iter().filter(|run| {
            let schedule = run.job_id.as_ref().and_then(|id| schedules.get(id));
            let zone = zones.get(&run.tenant_id).cloned();
            let zone = zone.unwrap_or(TimeZone::UTC);
            schedule.is_some_and(|schedule| !is_in_its_window(run, schedule, &zone, now))
        });
        let too_late = too_late.take(RUNS_PER_TURN as usize).collect();
        self.record_as_missed(too_late, now.as_millisecond(), why)
            .await
    }

    /// Tells whether a run that waits may still be handed out: what a schedule started, only in the window it started in.
    pub(super) async fn may_start(
        &self,
        run: &run::Model,
        job: &job::Model,
        now_ms: i64,
    ) -> Result<bool, DbErr> {
        if run.scheduled_for.is_none() {
            return Ok(true);
        }
        let tenant = tenant::Entity::find_by_id(&run.tenant_id)
            .one(&self.db)
            .await?;
        let zone = tenant.as_ref().map(zone_of);
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::MAX);
        Ok(is_in_its_window(
            run,
            &job.schedule_json,
            &zone.unwrap_or(TimeZone::UTC),
            now,
        ))
    }

    async fn record_as_missed(
        &self,
        runs: Vec<run::Model>,
        now_ms: i64,
        why: &str,
    ) -> Result<Vec<Fired>, DbErr> {
        let mut given_up = Vec::new();
        for run in runs {
            let changed = run::Entity::update_many()
                .col_expr(run::Column::Status, "missed".into())
                .col_expr(run::Column::FinishedAt, now_ms.into())
                .col_expr(run::Column::ErrorSummary, why.into())
                .filter(run::Column::Id.eq(&run.id))
                .filter(run::Column::Status.eq("queued"))
                .exec(self.db())
                .await?;
            if changed.rows_affected == 1 {
                given_up.push(Fired {
                    run_id: run.id,
                    tenant_id: run.tenant_id,
                    host_id: run.host_id,
                    is_queued: false,
                });
            }
        }
        Ok(given_up)
    }
}

/// Returns a tenant's zone. One that is not known any more counts as UTC.
fn zone_of(tenant: &tenant::Model) -> TimeZone {
    TimeZone::get(&tenant.time_zone).unwrap_or(TimeZone::UTC)
}

/// Tells whether a schedule's run that waits has not outlived the window that it was to start in; one without a window
/// may start whenever its host takes it.
fn is_in_its_window(
    run: &run::Model,
    schedule_json: &str,
    zone: &TimeZone,
    now: Timestamp,
) -> bool {
    let moment = run
        .scheduled_for
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match (moment, serde_json::from_str::<Schedule>(schedule_json)) {
        (Some(moment), Ok(schedule)) => schedule.may_still_start(moment, now, zone, i64::MAX),
        _ => true,
    }
}

async fn unfinished_run(
    txn: &impl ConnectionTrait,
    job_id: &str,
) -> Result<Option<Unfinished>, DbErr> {
    let statuses: Vec<String> = run::Entity::find()
        .select_only()
        .column(run::Column::Status)
        .filter(run::Column::JobId.eq(job_id))
        .filter(run::Column::Kind.eq("backup"))
        .filter(run::Column::Status.is_in(["queued", "starting", "running"]))
        .into_tuple()
        .all(txn)
        .await?;
    Ok(if statuses.iter().any(|status| status != "queued") {
        Some(Unfinished::GoingOn)
    } else {
        (!statuses.is_empty()).then_some(Unfinished::Queued)
    })
}

fn scheduled_run(
    job: &job::Model,
    id: &str,
    scheduled_for: i64,
    verdict: Verdict,
    now_ms: i64,
) -> run::ActiveModel {
    let (status, finished_at, why) = match verdict {
        Verdict::Start => ("queued", None, ""),
        Verdict::Missed(why) => ("missed", Some(now_ms), why),
    };
    run::ActiveModel {
        status: Set(status.to_owned()),
        scheduled_for: Set(Some(scheduled_for)),
        finished_at: Set(finished_at),
        error_summary: Set(why.to_owned()),
        ..new_backup(job, id.to_owned(), "schedule", "the schedule", now_ms)
    }
}
