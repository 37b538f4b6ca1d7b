//! What alarms are judged by, read every half minute: what is there and what is newest, never history.
//!
//! VMs and jobs are read a few hundred at a time, with their newest point or run found by an index: SQLite's one
//! connection is never held long, and how many points and runs there are makes no difference.

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, Func, IntoIden, Query, SelectStatement, SubQueryStatement};
use sea_orm::{
    ColumnTrait as _, Condition, DbErr, EntityTrait as _, ExprTrait as _, FromQueryResult, Order,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Select,
};
use serde_json::Value;

use super::Store;
use super::entity::{alarm_channel, delivery, host, job, point, repository, run, run_event, vm};
use super::settings::MIN_AGENT_VERSION;
use crate::chores::upkeep::Upkeep;
use crate::health::AHEAD_MS;
use crate::leftovers;
use crate::run_rules::change::{ENDED_BY_SERVER, STOPPED_BY_SERVER};
use crate::run_rules::finish::is_understood;
use crate::vm_choice::VmRules;
use crate::watch::facts::{
    ChannelFacts, Facts, HostFacts, JobFacts, Leftover, MissedFacts, PointFacts, RepositoryFacts,
    RunFacts, VmFacts, VolumeFacts,
};

const DAY_MS: i64 = 86_400_000;

/// Runs that did not happen count this far back.
const MISSED_DAYS: i64 = 30;

/// How runs end that tell how their job fares, but for those that the server ended or stopped.
const TELLING: [&str; 4] = ["success", "warning", "partial_success", "failed"];

/// So many rows, or rows of so many ids, are read in one query.
const ROWS_PER_QUERY: usize = 500;

/// So many jobs are named in one query with a moment of each: SQLite takes no condition that is deeper than a thousand.
const JOBS_PER_CONDITION: usize = 200;

/// What of a VM is read, with the number of its newest point.
#[derive(FromQueryResult)]
struct VmRow {
    id: i64,
    tenant_id: String,
    host_id: String,
    guid: String,
    name: String,
    state: String,
    objective_hours: Option<i64>,
    is_excused: bool,
    first_seen_at: i64,
    leftovers_json: String,
    newest: Option<i64>,
}

/// What of a point is read.
#[derive(FromQueryResult)]
struct PointRow {
    id: i64,
    vm_id: Option<i64>,
    repository_id: String,
    job_id: Option<String>,
    created_at: i64,
    consistency: String,
    backup_type: String,
    warnings_json: String,
}

/// What of a job is read, with the id of its newest run that took place.
#[derive(FromQueryResult)]
struct JobRow {
    id: String,
    tenant_id: String,
    host_id: String,
    name: String,
    engine: String,
    vms_json: String,
    consistency: String,
    objective_hours: i64,
    created_at: i64,
    newest: Option<String>,
}

/// What runs of a job did not happen.
#[derive(Clone, FromQueryResult)]
struct Missed {
    job_id: String,
    count: i64,
    newest: String,
    first_at: i64,
    last_at: i64,
}

/// What of a run is read.
#[derive(FromQueryResult)]
struct RunRow {
    id: String,
    status: String,
    created_at: i64,
    finished_at: Option<i64>,
    error_summary: String,
}

impl Store {
    /// Returns what alarms are judged by. The number of queries grows with VMs and jobs, by one for some hundreds of them.
    pub async fn facts(&self, now_ms: i64, awake_since: i64) -> Result<Facts, DbErr> {
        Ok(Facts {
            awake_since,
            min_agent_version: self.setting(self.reading(), MIN_AGENT_VERSION).await?,
            hosts: self.host_facts().await?,
            vms: self.vm_facts().await?,
            jobs: self.job_facts(now_ms).await?,
            repositories: self.repository_facts().await?,
            channels: self.channel_facts().await?,
        })
    }

    async fn host_facts(&self) -> Result<Vec<HostFacts>, DbErr> {
        type Row = (
            String,
            String,
            String,
            String,
            String,
            Option<i64>,
            i64,
            String,
        );
        let hosts: Vec<Row> = host::Entity::find()
            .select_only()
            .columns([
                host::Column::Id,
                host::Column::TenantId,
                host::Column::Name,
                host::Column::Hostname,
                host::Column::AgentVersion,
                host::Column::LastSeenAt,
                host::Column::CreatedAt,
                host::Column::VolumesJson,
            ])
            .filter(host::Column::IsDisabled.eq(false))
            .into_tuple()
            .all(self.reading())
            .await?;
        let facts = hosts.into_iter().map(|row| {
            let (id, tenant_id, name, hostname, agent_version, last_seen_at, created_at, json) =
                row;
            HostFacts {
                id,
                tenant_id,
                name: if name.is_empty() { hostname } else { name },
                agent_version,
                last_seen_at,
                created_at,
                volumes: volumes(&json),
            }
        });
        Ok(facts.collect())
    }

    async fn vm_facts(&self) -> Result<Vec<VmFacts>, DbErr> {
        let mut facts = Vec::new();
        let mut behind = i64::MIN;
        loop {
            let rows = vms_behind(behind)
                .into_model::<VmRow>()
                .all(self.reading())
                .await?;
            let is_last = rows.len() < ROWS_PER_QUERY;
            behind = rows.last().map_or(behind, |row| row.id);
            let newest: Vec<i64> = rows.iter().filter_map(|row| row.newest).collect();
            let mut newest = self.points(&newest).await?;
            facts.extend(rows.into_iter().map(|row| VmFacts {
                leftovers: aged(leftovers::read(&row.leftovers_json)),
                newest: newest.remove(&row.id),
                id: row.id,
                tenant_id: row.tenant_id,
                host_id: row.host_id,
                guid: row.guid,
                name: row.name,
                state: row.state,
                objective_hours: row.objective_hours,
                is_excused: row.is_excused,
                first_seen_at: row.first_seen_at,
            }));
            if is_last {
                return Ok(facts);
            }
        }
    }

    /// Returns points, each the newest of its VM, by VM.
    async fn points(&self, ids: &[i64]) -> Result<HashMap<i64, PointFacts>, DbErr> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let points = point::Entity::find()
            .select_only()
            .columns([
                point::Column::Id,
                point::Column::VmId,
                point::Column::RepositoryId,
                point::Column::JobId,
                point::Column::CreatedAt,
                point::Column::Consistency,
                point::Column::BackupType,
                point::Column::WarningsJson,
            ])
            .filter(point::Column::Id.is_in(ids.iter().copied()))
            .into_model::<PointRow>()
            .all(self.reading())
            .await?;
        // What came before matters of full ones alone.
        let full: Vec<&PointRow> = points
            .iter()
            .filter(|it| it.backup_type == "full")
            .collect();
        let before = self.points_before(&full, false).await?;
        let full_before = self.points_before(&full, true).await?;
        let facts = points.into_iter().filter_map(|point| {
            let vm_id = point.vm_id?;
            let key = (vm_id, point.repository_id);
            let facts = PointFacts {
                id: point.id,
                job_id: point.job_id,
                created_at: point.created_at,
                consistency: point.consistency,
                is_full: point.backup_type == "full",
                before_at: before.get(&key).copied(),
                full_before_at: full_before.get(&key).copied(),
                warnings: serde_json::from_str(&point.warnings_json).unwrap_or_default(),
            };
            Some((vm_id, facts))
        });
        Ok(facts.collect())
    }

    /// Returns when the last point before each of these was made, by VM and repository.
    async fn points_before(
        &self,
        points: &[&PointRow],
        only_full: bool,
    ) -> Result<HashMap<(i64, String), i64>, DbErr> {
        if points.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(i64, String, i64)> = point::Entity::find()
            .select_only()
            .columns([point::Column::VmId, point::Column::RepositoryId])
            .column_as(point::Column::CreatedAt.max(), "created_at")
            .filter(point::Column::VmId.is_in(points.iter().filter_map(|point| point.vm_id)))
            .filter(point::Column::Id.is_not_in(points.iter().map(|point| point.id)))
            .apply_if(only_full.then_some("full"), |query, full| {
                query.filter(point::Column::BackupType.eq(full))
            })
            .group_by(point::Column::VmId)
            .group_by(point::Column::RepositoryId)
            .into_tuple()
            .all(self.reading())
            .await?;
        let keyed = rows
            .into_iter()
            .map(|(vm, repository, at)| ((vm, repository), at));
        Ok(keyed.collect())
    }

    async fn job_facts(&self, now_ms: i64) -> Result<Vec<JobFacts>, DbErr> {
        let all_missed = self.all_missed_runs(now_ms).await?;
        let mut facts = Vec::new();
        let mut behind = String::new();
        loop {
            let rows = active_jobs_behind(&behind, now_ms)
                .into_model::<JobRow>()
                .all(self.reading())
                .await?;
            let is_last = rows.len() < ROWS_PER_QUERY;
            if let Some(row) = rows.last() {
                behind.clone_from(&row.id);
            }
            let newest: Vec<&str> = rows
                .iter()
                .filter_map(|row| row.newest.as_deref())
                .collect();
            let mut last = self.last_runs_by_id(&newest).await?;
            let of_files = rows.iter().filter(|row| row.engine != "hyperv");
            let of_files: Vec<&str> = of_files.map(|row| row.id.as_str()).collect();
            let last_good = self.newest_points_of_jobs(&of_files).await?;
            let rows: Vec<(JobRow, Option<RunFacts>)> = rows
                .into_iter()
                .map(|mut row| {
                    let last = row.newest.take().and_then(|id| last.remove(&id));
                    (row, last)
                })
                .collect();
            let since = rows.iter().filter_map(|(row, last)| {
                let since = last.as_ref().map_or(i64::MIN, |run| run.finished_at);
                Some((row.id.as_str(), since, all_missed.get(&row.id)?))
            });
            let mut missed = self.missed_runs(since, now_ms).await?;
            facts.extend(rows.into_iter().map(|(row, last_run)| JobFacts {
                last_good_at: last_good.get(&row.id).copied(),
                last_run,
                missed: missed.remove(&row.id),
                is_hyperv: row.engine == "hyperv",
                vms: VmRules::of_json(&row.vms_json),
                wants_application: row.consistency != "crash",
                id: row.id,
                tenant_id: row.tenant_id,
                host_id: row.host_id,
                name: row.name,
                objective_hours: row.objective_hours,
                created_at: row.created_at,
            }));
            if is_last {
                return Ok(facts);
            }
        }
    }

    /// Returns when the newest point of each of these jobs was made.
    async fn newest_points_of_jobs(&self, ids: &[&str]) -> Result<HashMap<String, i64>, DbErr> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let newest: Vec<(String, i64)> = point::Entity::find()
            .select_only()
            .column(point::Column::JobId)
            .column_as(point::Column::CreatedAt.max(), "created_at")
            .filter(point::Column::JobId.is_in(ids.iter().copied()))
            .filter(point::Column::ExpiredAt.is_null())
            .group_by(point::Column::JobId)
            .into_tuple()
            .all(self.reading())
            .await?;
        Ok(newest.into_iter().collect())
    }

    /// Returns how these runs ended.
    async fn last_runs_by_id(&self, ids: &[&str]) -> Result<HashMap<String, RunFacts>, DbErr> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = run::Entity::find()
            .select_only()
            .columns([
                run::Column::Id,
                run::Column::Status,
                run::Column::CreatedAt,
                run::Column::FinishedAt,
                run::Column::ErrorSummary,
            ])
            .filter(run::Column::Id.is_in(ids.iter().copied()))
            .into_model::<RunRow>()
            .all(self.reading())
            .await?;
        let of_status = |status: &str| -> Vec<String> {
            let those = rows.iter().filter(|row| row.status == status);
            those.map(|row| row.id.clone()).collect()
        };
        let in_part = [of_status("warning"), of_status("partial_success")].concat();
        let failed_vms = self.failed_vms_of(in_part).await?;
        let facts = rows.into_iter().map(|row| {
            let failed_vms = failed_vms.get(&row.id).copied().unwrap_or(0);
            let facts = RunFacts {
                failed_vms,
                finished_at: row.finished_at.unwrap_or(row.created_at),
                // Agents call a run in which some VMs failed a warning (contract 5.2).
                status: match failed_vms {
                    0 => row.status,
                    _ => "partial_success".to_owned(),
                },
                error_summary: row.error_summary,
                id: row.id.clone(),
            };
            (row.id, facts)
        });
        Ok(facts.collect())
    }

    /// Returns in which of these runs VMs failed, and how many.
    async fn failed_vms_of(&self, ids: Vec<String>) -> Result<HashMap<String, i64>, DbErr> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let failed: Vec<(String, i64)> = run_event::Entity::find()
            .select_only()
            .column(run_event::Column::RunId)
            .column_as(run_event::Column::Id.count(), "vms")
            .group_by(run_event::Column::RunId)
            .filter(run_event::Column::RunId.is_in(ids))
            .filter(run_event::Column::MessageId.eq("HYPERV_VM_FAILED"))
            .into_tuple()
            .all(self.reading())
            .await?;
        Ok(failed.into_iter().collect())
    }

    /// Returns of each job what runs there are that did not happen lately. They are counted where they lie: a job that is
    /// due each minute has thousands.
    async fn all_missed_runs(&self, now_ms: i64) -> Result<HashMap<String, Missed>, DbErr> {
        let rows = missed_by_job(now_ms)
            .into_model::<Missed>()
            .all(self.reading())
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.job_id.clone(), row))
            .collect())
    }

    /// Returns which runs of these jobs did not happen since a moment of each. Only those of which a part was before it are
    /// counted again.
    async fn missed_runs(
        &self,
        jobs: impl Iterator<Item = (&str, i64, &Missed)>,
        now_ms: i64,
    ) -> Result<HashMap<String, MissedFacts>, DbErr> {
        let mut counted: Vec<Missed> = Vec::new();
        let mut in_part: Vec<Condition> = Vec::new();
        for (job, since, missed) in jobs.filter(|(_, since, missed)| missed.last_at > *since) {
            if missed.first_at > since {
                counted.push(missed.clone());
                continue;
            }
            let of_job = Condition::all().add(run::Column::JobId.eq(job));
            in_part.push(of_job.add(missed_at().gt(since)));
        }
        for jobs in in_part.chunks(JOBS_PER_CONDITION) {
            let any = jobs.iter().cloned().fold(Condition::any(), Condition::add);
            let rows = missed_by_job(now_ms)
                .filter(any)
                .into_model::<Missed>()
                .all(self.reading())
                .await?;
            counted.extend(rows);
        }
        let mut why: HashMap<String, String> = HashMap::new();
        for missed in counted.chunks(ROWS_PER_QUERY) {
            let ids = missed.iter().map(|it| it.newest.as_str());
            let reasons: Vec<(String, String)> = run::Entity::find()
                .select_only()
                .columns([run::Column::Id, run::Column::ErrorSummary])
                .filter(run::Column::Id.is_in(ids))
                .into_tuple()
                .all(self.reading())
                .await?;
            why.extend(reasons);
        }
        let facts = counted.into_iter().map(|missed| {
            let facts = MissedFacts {
                count: missed.count,
                why: why.remove(&missed.newest).unwrap_or_default(),
                id: missed.newest,
            };
            (missed.job_id, facts)
        });
        Ok(facts.collect())
    }

    async fn repository_facts(&self) -> Result<Vec<RepositoryFacts>, DbErr> {
        let workers = self.workers(None).await?;
        let mut upkeep: HashMap<String, _> = self
            .upkeep_records()
            .await?
            .into_iter()
            .map(|(repository, records)| (repository.id, records))
            .collect();
        let repositories = repository::Entity::find().all(self.reading()).await?;
        let facts = repositories.into_iter().map(|repository| RepositoryFacts {
            upkeep: upkeep.remove(&repository.id).unwrap_or_default(),
            can_be_verified: workers
                .get(&repository.id)
                .into_iter()
                .flatten()
                .any(|(_, version)| is_understood(Upkeep::Verify.kind(), version)),
            id: repository.id,
            tenant_id: repository.tenant_id,
            name: repository.name,
            stored_bytes: repository.stored_bytes,
            limit_bytes: repository.limit_bytes,
            damaged_points: repository.damaged_points,
        });
        Ok(facts.collect())
    }

    async fn channel_facts(&self) -> Result<Vec<ChannelFacts>, DbErr> {
        type Row = (String, String, String, Option<i64>, Option<i64>);
        let channels: Vec<Row> = used_channels().into_tuple().all(self.reading()).await?;
        let newest = channels
            .iter()
            .flat_map(|(.., failed, sent)| [*failed, *sent])
            .flatten()
            .collect::<Vec<i64>>();
        let mut ended: HashMap<i64, (i64, String)> = HashMap::new();
        for ids in newest.chunks(ROWS_PER_QUERY) {
            let messages: Vec<(i64, Option<i64>, i64, String)> = delivery::Entity::find()
                .select_only()
                .columns([
                    delivery::Column::Id,
                    delivery::Column::SentAt,
                    delivery::Column::CreatedAt,
                    delivery::Column::Error,
                ])
                .filter(delivery::Column::Id.is_in(ids.iter().copied()))
                .into_tuple()
                .all(self.reading())
                .await?;
            // Of one that was given up, `sent_at` says when that was.
            ended.extend(
                messages
                    .into_iter()
                    .map(|(id, sent_at, created_at, error)| {
                        (id, (sent_at.unwrap_or(created_at), error))
                    }),
            );
        }
        let facts = channels
            .into_iter()
            .map(|(id, tenant_id, name, failed, sent)| {
                let (failed_at, error) = failed
                    .and_then(|id| ended.remove(&id))
                    .map_or((None, String::new()), |(at, error)| (Some(at), error));
                ChannelFacts {
                    id,
                    tenant_id,
                    name,
                    failed_at,
                    error,
                    sent_at: sent.and_then(|id| ended.get(&id)).map(|(at, _)| *at),
                }
            });
        Ok(facts.collect())
    }
}

/// The next VMs that are there, by their numbers, each with the number of its newest point.
fn vms_behind(id: i64) -> Select<vm::Entity> {
    let newest = Query::select()
        .column(point::Column::Id)
        .from(point::Entity)
        .and_where(is_of_vm())
        .and_where(point::Column::ExpiredAt.is_null())
        .order_by(point::Column::Id, Order::Desc)
        .limit(1)
        .to_owned();
    vm::Entity::find()
        .select_only()
        .columns([
            vm::Column::Id,
            vm::Column::TenantId,
            vm::Column::HostId,
            vm::Column::Guid,
            vm::Column::Name,
            vm::Column::State,
            vm::Column::ObjectiveHours,
            vm::Column::IsExcused,
            vm::Column::FirstSeenAt,
            vm::Column::LeftoversJson,
        ])
        .expr_as(subquery(newest), "newest")
        .filter(vm::Column::GoneAt.is_null())
        .filter(vm::Column::Id.gt(id))
        .order_by_asc(vm::Column::Id)
        .limit(ROWS_PER_QUERY as u64)
}

/// Tells of a run by whose end its job is judged: one that a person stopped says nothing, and what was wrong before it
/// still is. Neither does one that was made while the server's clock was ahead: it would be the job's newest until that
/// time comes, whatever happens till then. `of` names a column of the run.
pub(super) fn tells_how_its_job_fares(now_ms: i64, of: impl Fn(run::Column) -> Expr) -> Condition {
    let by_server = |mark: &str| of(run::Column::StatsJson).like(format!("%\"{mark}\":true%"));
    let by_server = by_server(ENDED_BY_SERVER).or(by_server(STOPPED_BY_SERVER));
    let tells = Condition::any()
        .add(of(run::Column::Status).is_in(TELLING))
        .add(
            Condition::all()
                .add(of(run::Column::Status).eq("cancelled"))
                .add(by_server),
        );
    tells_the_time(of(run::Column::CreatedAt), now_ms).add(tells)
}

/// Tells of a row that it was made by a clock that was not ahead.
pub(super) fn tells_the_time(created_at: Expr, now_ms: i64) -> Condition {
    Condition::all().add(created_at.lte(now_ms.saturating_add(AHEAD_MS)))
}

/// The next active jobs, by their ids, each with the id of its newest run that tells how it fares.
fn active_jobs_behind(id: &str, now_ms: i64) -> Select<job::Entity> {
    let newest = Query::select()
        .column(run::Column::Id)
        .from(run::Entity)
        .and_where(same(
            (run::Entity, run::Column::JobId),
            (job::Entity, job::Column::Id),
        ))
        .and_where(run::Column::Kind.eq("backup"))
        .cond_where(tells_how_its_job_fares(now_ms, |column| {
            Expr::col((run::Entity, column))
        }))
        .order_by(run::Column::Id, Order::Desc)
        .limit(1)
        .to_owned();
    job::Entity::find()
        .select_only()
        .columns([
            job::Column::Id,
            job::Column::TenantId,
            job::Column::HostId,
            job::Column::Name,
            job::Column::Engine,
            job::Column::VmsJson,
            job::Column::Consistency,
            job::Column::ObjectiveHours,
            job::Column::CreatedAt,
        ])
        .expr_as(subquery(newest), "newest")
        .filter(job::Column::Status.eq("active"))
        .filter(job::Column::Id.gt(id))
        .order_by_asc(job::Column::Id)
        .limit(ROWS_PER_QUERY as u64)
}

/// What runs of each job did not happen in the last weeks. What was noted while the server's clock was ahead does not count.
fn missed_by_job(now_ms: i64) -> Select<run::Entity> {
    run::Entity::find()
        .select_only()
        .column(run::Column::JobId)
        .column_as(run::Column::Id.count(), "count")
        .column_as(run::Column::Id.max(), "newest")
        .expr_as(missed_at().min(), "first_at")
        .expr_as(missed_at().max(), "last_at")
        .filter(run::Column::Status.eq("missed"))
        .filter(run::Column::CreatedAt.gt(now_ms.saturating_sub(MISSED_DAYS * DAY_MS)))
        .filter(tells_the_time(run::Column::CreatedAt.into_expr(), now_ms))
        .filter(run::Column::JobId.is_not_null())
        .group_by(run::Column::JobId)
}

/// When a run should have happened.
fn missed_at() -> Expr {
    let at = [run::Column::ScheduledFor, run::Column::CreatedAt];
    Func::coalesce(at.map(|column| Expr::col((run::Entity, column)))).into()
}

/// Channels that are used, each with the numbers of its last message that was given up and of its last that arrived.
fn used_channels() -> Select<alarm_channel::Entity> {
    let newest = |status: &str| {
        Query::select()
            .column(delivery::Column::Id)
            .from(delivery::Entity)
            .and_where(same(
                (delivery::Entity, delivery::Column::ChannelId),
                (alarm_channel::Entity, alarm_channel::Column::Id),
            ))
            .and_where(delivery::Column::Status.eq(status))
            .order_by(delivery::Column::Id, Order::Desc)
            .limit(1)
            .to_owned()
    };
    alarm_channel::Entity::find()
        .select_only()
        .columns([
            alarm_channel::Column::Id,
            alarm_channel::Column::TenantId,
            alarm_channel::Column::Name,
        ])
        .expr_as(subquery(newest("failed")), "failed")
        .expr_as(subquery(newest("sent")), "sent")
        .filter(alarm_channel::Column::IsEnabled.eq(true))
}

/// Tells that two columns of two tables are the same.
fn same<A, B, C, D>(one: (A, B), other: (C, D)) -> Expr
where
    A: IntoIden,
    B: IntoIden,
    C: IntoIden,
    D: IntoIden,
{
    Expr::col(one).eq(Expr::col(other))
}

/// Tells of a point that it is one of the VM at hand.
pub(super) fn is_of_vm() -> Expr {
    same(
        (point::Entity, point::Column::VmId),
        (vm::Entity, vm::Column::Id),
    )
}

pub(super) fn subquery(select: SelectStatement) -> Expr {
    Expr::from(SubQueryStatement::SelectStatement(select))
}

/// Reads the volumes whose free space an agent tells; the contract has no such member, our own agent sends it.
fn volumes(json: &str) -> Vec<VolumeFacts> {
    let list: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    list.iter()
        .filter(|volume| volume["is_network"] != Value::Bool(true))
        .filter_map(|volume| {
            Some(VolumeFacts {
                path: volume["path"].as_str()?.to_owned(),
                size_bytes: volume["size_bytes"].as_i64()?,
                free_bytes: volume["free_bytes"].as_i64()?,
            })
        })
        .collect()
}

/// Of one whose age nobody knows nothing can be said.
fn aged(leftovers: Vec<leftovers::Leftover>) -> Vec<Leftover> {
    let aged = leftovers.into_iter().filter_map(|leftover| {
        Some(Leftover {
            created_at: leftover.created_at?,
            name: match leftover.name.as_str() {
                "" => "unnamed".to_owned(),
                name => name.to_owned(),
            },
        })
    });
    aged.collect()
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait as _, Statement};

    use super::*;
    use crate::store::upkeep::users;

    /// Returns how SQLite goes about a query.
    async fn plan(store: &Store, query: Statement) -> Vec<String> {
        let explained = Statement {
            sql: format!("EXPLAIN QUERY PLAN {}", query.sql),
            ..query
        };
        let rows = store.db().query_all_raw(explained).await.expect("a plan");
        rows.iter()
            .map(|row| row.try_get("", "detail").expect("a step"))
            .collect()
    }

    #[tokio::test]
    async fn history_is_never_read_to_judge_alarms() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::in_folder(folder.path()).await.expect("a database");
        let backend = store.db().get_database_backend();
        for (query, expected) in [
            (vms_behind(7).build(backend), "points_vm_id_id"),
            (active_jobs_behind("a", 7).build(backend), "runs_job_id_id"),
            (missed_by_job(7).build(backend), "runs_status_created_at"),
            (
                used_channels().build(backend),
                "deliveries_channel_id_status_id",
            ),
            (
                store.used_repositories().build(backend),
                "points_repository_id_host_id",
            ),
            (users(None).build(backend), "points_repository_id_host_id"),
        ] {
            let plan = plan(&store, query).await;
            let history = ["SCAN points", "SCAN runs", "SCAN deliveries"];
            assert!(
                !plan
                    .iter()
                    .any(|step| history.iter().any(|it| step.contains(it))),
                "{plan:#?}"
            );
            let index = format!("INDEX {expected} ");
            assert!(plan.iter().any(|step| step.contains(&index)), "{plan:#?}");
        }
    }
}
