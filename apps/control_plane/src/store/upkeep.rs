//! What the server does by itself to keep things in order: work on repositories, and fresh lists of VMs.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::{Expr, OnConflict, Query};
use sea_orm::{
    ActiveValue::NotSet, ActiveValue::Set, ColumnTrait as _, Condition, DbErr, EntityTrait as _,
    ExprTrait as _, JoinType, QueryFilter as _, QuerySelect as _, QueryTrait as _, Select,
};

use super::Store;
use super::entity::{command, host, job, point, repo_operation, repository, vm};
use crate::chores::inventory::{self, Asked, Question};
use crate::chores::upkeep::{Record, Upkeep, still_failed};
use crate::run_rules::finish::is_understood;

const DAY_MS: i64 = 86_400_000;

/// A repository whose last verification failed.
#[derive(Clone, Debug)]
pub struct FailedVerification {
    /// What people call the repository.
    pub name: String,
    /// When it failed (milliseconds since 1970).
    pub at: i64,
}

impl Store {
    /// Returns what is known of the recurring work on every repository that holds points.
    pub async fn upkeep_records(
        &self,
    ) -> Result<Vec<(repository::Model, Vec<(Upkeep, Record)>)>, DbErr> {
        let db = self.reading();
        let repositories = self.used_repositories().all(db).await?;
        let kinds = Upkeep::ALL.map(Upkeep::kind);
        let open: HashSet<(String, String)> = repo_operation::Entity::find()
            .select_only()
            .columns([
                repo_operation::Column::RepositoryId,
                repo_operation::Column::Kind,
            ])
            .filter(repo_operation::Column::Kind.is_in(kinds))
            .filter(repo_operation::Column::Status.is_in(["queued", "running"]))
            .into_tuple::<(String, String)>()
            .all(db)
            .await?
            .into_iter()
            .collect();
        let failed = self.failures(None, &kinds).await?;
        let records = |repository: &repository::Model| {
            Upkeep::ALL.map(|upkeep| {
                let (every_hours, last_at) = match upkeep {
                    Upkeep::Quick => (repository.quick_every_hours, repository.last_quick_at),
                    Upkeep::Full => (repository.full_every_hours, repository.last_full_at),
                    Upkeep::Verify => (repository.verify_every_hours, repository.last_verified_at),
                };
                let key = (repository.id.clone(), upkeep.kind().to_owned());
                let record = Record {
                    every_hours,
                    last_at,
                    created_at: repository.created_at,
                    is_under_way: open.contains(&key),
                    failed_at: still_failed(failed.get(&key).copied(), last_at),
                };
                (upkeep, record)
            })
        };
        Ok(repositories
            .into_iter()
            .map(|repository| {
                let records = records(&repository).to_vec();
                (repository, records)
            })
            .collect())
    }

    /// Returns the repositories whose last verification failed, by their ids.
    pub async fn failed_verifications(
        &self,
        tenant_id: Option<&str>,
    ) -> Result<HashMap<String, FailedVerification>, DbErr> {
        let kind = Upkeep::Verify.kind();
        let failed = self.failures(tenant_id, &[kind]).await?;
        if failed.is_empty() {
            return Ok(HashMap::new());
        }
        let repositories: Vec<(String, String, Option<i64>)> = repository::Entity::find()
            .select_only()
            .columns([
                repository::Column::Id,
                repository::Column::Name,
                repository::Column::LastVerifiedAt,
            ])
            .filter(repository::Column::Id.is_in(failed.keys().map(|(id, _)| id)))
            .into_tuple()
            .all(self.reading())
            .await?;
        let failures = repositories.into_iter().filter_map(|(id, name, last_at)| {
            let key = (id, kind.to_owned());
            let at = still_failed(failed.get(&key).copied(), last_at)?;
            Some((key.0, FailedVerification { name, at }))
        });
        Ok(failures.collect())
    }

    /// Returns when work of these kinds on each repository last failed, by its id and the kind.
    async fn failures(
        &self,
        tenant_id: Option<&str>,
        kinds: &[&str],
    ) -> Result<HashMap<(String, String), i64>, DbErr> {
        use repo_operation::Column;
        let failures = repo_operation::Entity::find()
            .select_only()
            .columns([Column::RepositoryId, Column::Kind])
            .column_as(Column::FinishedAt.max(), "failed_at")
            .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .filter(Column::Kind.is_in(kinds.iter().copied()))
            .filter(Column::Status.eq("failed"))
            .filter(Column::FinishedAt.is_not_null())
            .group_by(Column::RepositoryId)
            .group_by(Column::Kind)
            .into_tuple::<(String, String, i64)>()
            .all(self.reading())
            .await?;
        let keyed = failures
            .into_iter()
            .map(|(repository, kind, at)| ((repository, kind), at));
        Ok(keyed.collect())
    }

    /// The repositories that hold points, or held some whose record is kept.
    pub(super) fn used_repositories(&self) -> Select<repository::Entity> {
        let points = Query::select()
            .expr(Expr::val(1))
            .from(point::Entity)
            .and_where(
                Expr::col((point::Entity, point::Column::RepositoryId))
                    .eq(Expr::col((repository::Entity, repository::Column::Id))),
            )
            .to_owned();
        repository::Entity::find().filter(Expr::exists(points))
    }

    /// Returns the hosts that can work on each repository, or on each of these, with the version of their agent: those
    /// that have stored points in it, and are where it lies. How many points there are makes no difference.
    pub async fn workers(
        &self,
        among: Option<&[&String]>,
    ) -> Result<HashMap<String, Vec<(String, String)>>, DbErr> {
        let mut workers: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for (repository, host, version) in users(among).into_tuple().all(self.reading()).await? {
            workers.entry(repository).or_default().push((host, version));
        }
        Ok(workers)
    }

    /// Tells whether an agent that works on a repository knows how to verify it.
    pub async fn can_be_verified(&self, repository_id: &String) -> Result<bool, DbErr> {
        let workers = self.workers(Some(&[repository_id])).await?;
        let mut versions = workers.values().flatten().map(|(_, version)| version);
        Ok(versions.any(|version| is_understood(Upkeep::Verify.kind(), version)))
    }

    /// Queues work on repositories that is due, and returns the tenants and hosts that may take it.
    pub async fn queue_due_upkeep(&self, now_ms: i64) -> Result<Vec<(String, String)>, DbErr> {
        let workers = self.workers(None).await?;
        let mut told = Vec::new();
        for (repository, records) in self.upkeep_records().await? {
            for (upkeep, record) in records {
                if !record.is_due(now_ms) {
                    continue;
                }
                let able: Vec<&String> = workers
                    .get(&repository.id)
                    .into_iter()
                    .flatten()
                    .filter(|(_, version)| is_understood(upkeep.kind(), version))
                    .map(|(host, _)| host)
                    .collect();
                if able.is_empty() {
                    continue;
                }
                // Whoever comes second makes the same token.
                let token = format!(
                    "due-{}-{}-{}-{}",
                    upkeep.kind(),
                    repository.id,
                    record.counts_from(),
                    record.failed_at.unwrap_or(0)
                );
                let payload = match upkeep {
                    Upkeep::Verify => {
                        serde_json::json!({"percent": repository.verify_percent}).to_string()
                    }
                    Upkeep::Quick | Upkeep::Full => "{}".to_owned(),
                };
                let row = repo_operation::ActiveModel {
                    id: NotSet,
                    tenant_id: Set(repository.tenant_id.clone()),
                    repository_id: Set(repository.id.clone()),
                    kind: Set(upkeep.kind().to_owned()),
                    token: Set(token),
                    payload_json: Set(payload),
                    status: Set("queued".to_owned()),
                    host_id: Set(None),
                    attempts: Set(0),
                    not_before: Set(now_ms),
                    locked_until: Set(None),
                    result_json: Set("{}".to_owned()),
                    created_at: Set(now_ms),
                    finished_at: Set(None),
                };
                let inserted = repo_operation::Entity::insert(row)
                    .on_conflict(
                        OnConflict::column(repo_operation::Column::Token)
                            .do_nothing()
                            .to_owned(),
                    )
                    .exec_without_returning(self.db())
                    .await?;
                if inserted == 1 {
                    told.extend(
                        able.into_iter()
                            .map(|host| (repository.tenant_id.clone(), host.clone())),
                    );
                }
            }
        }
        Ok(told)
    }

    /// Asks hosts for their VMs where that is due, and returns the tenants and hosts that were asked.
    pub async fn queue_due_inventories(&self, now_ms: i64) -> Result<Vec<(String, String)>, DbErr> {
        let hosts = self.inventory_records(now_ms).await?;
        let mut asked = Vec::new();
        for (tenant_id, host_id, record) in hosts {
            let Some(question) = inventory::next(&record, now_ms) else {
                continue;
            };
            let (kind, payload) = match question {
                Question::List => (inventory::LIST, serde_json::json!({})),
                Question::Details => {
                    let guids: Vec<String> = vm::Entity::find()
                        .select_only()
                        .column(vm::Column::Guid)
                        .filter(vm::Column::HostId.eq(&host_id))
                        .filter(vm::Column::GoneAt.is_null())
                        .into_tuple()
                        .all(self.reading())
                        .await?;
                    if guids.is_empty() {
                        continue;
                    }
                    (inventory::DETAILS, serde_json::json!({"vm_ids": guids}))
                }
            };
            let row = command::ActiveModel {
                id: NotSet,
                tenant_id: Set(tenant_id.clone()),
                host_id: Set(host_id.clone()),
                run_id: Set(None),
                kind: Set(kind.to_owned()),
                payload_json: Set(payload.to_string()),
                context_json: Set("{}".to_owned()),
                status: Set("pending".to_owned()),
                result_message: Set(String::new()),
                result_json: Set("{}".to_owned()),
                requested_by: Set("the server".to_owned()),
                created_at: Set(now_ms),
                delivered_at: Set(None),
                finished_at: Set(None),
            };
            command::Entity::insert(row)
                .exec_without_returning(self.db())
                .await?;
            asked.push((tenant_id, host_id));
        }
        Ok(asked)
    }

    async fn inventory_records(
        &self,
        now_ms: i64,
    ) -> Result<Vec<(String, String, inventory::Record)>, DbErr> {
        let db = self.reading();
        let hosts: Vec<(String, String, Option<i64>)> = host::Entity::find()
            .select_only()
            .columns([
                host::Column::TenantId,
                host::Column::Id,
                host::Column::LastSeenAt,
            ])
            .filter(host::Column::IsDisabled.eq(false))
            .filter(host::Column::LastSeenAt.gt(now_ms - DAY_MS))
            .into_tuple()
            .all(db)
            .await?;
        let mut with_vms: HashSet<String> = vm::Entity::find()
            .select_only()
            .column(vm::Column::HostId)
            .distinct()
            .filter(vm::Column::GoneAt.is_null())
            .into_tuple::<String>()
            .all(db)
            .await?
            .into_iter()
            .collect();
        with_vms.extend(
            job::Entity::find()
                .select_only()
                .column(job::Column::HostId)
                .distinct()
                .filter(job::Column::Engine.eq("hyperv"))
                .filter(job::Column::Status.ne("deleted"))
                .into_tuple::<String>()
                .all(db)
                .await?,
        );
        let newest = command::Entity::find()
            .select_only()
            .column_as(command::Column::Id.max(), "id")
            .filter(command::Column::Kind.is_in([inventory::LIST, inventory::DETAILS]))
            .filter(command::Column::CreatedAt.gt(now_ms - 2 * DAY_MS))
            .group_by(command::Column::HostId)
            .group_by(command::Column::Kind)
            .into_tuple::<i64>()
            .all(db)
            .await?;
        let mut asked: HashMap<(String, String), Asked> = HashMap::new();
        for ids in newest.chunks(500) {
            let commands: Vec<(String, String, i64, String)> = command::Entity::find()
                .select_only()
                .columns([
                    command::Column::HostId,
                    command::Column::Kind,
                    command::Column::CreatedAt,
                    command::Column::Status,
                ])
                .filter(command::Column::Id.is_in(ids.iter().copied()))
                .into_tuple()
                .all(db)
                .await?;
            asked.extend(commands.into_iter().map(|(host, kind, at, status)| {
                let asked = Asked {
                    at,
                    is_open: matches!(status.as_str(), "pending" | "processing"),
                    is_answered: status == "completed",
                };
                ((host, kind), asked)
            }));
        }
        let newest_of =
            |host: &str, kind: &str| asked.get(&(host.to_owned(), kind.to_owned())).copied();
        Ok(hosts
            .into_iter()
            .map(|(tenant, host, last_seen_at)| {
                let record = inventory::Record {
                    last_seen_at,
                    has_vms: with_vms.contains(&host),
                    list: newest_of(&host, inventory::LIST),
                    details: newest_of(&host, inventory::DETAILS),
                };
                (tenant, host, record)
            })
            .collect())
    }
}

/// Each repository, or each of these, with each host that has stored points in it and is where it lies, and the version of
/// its agent.
pub(super) fn users(among: Option<&[&String]>) -> Select<repository::Entity> {
    use repository::Column;
    let stored = Query::select()
        .expr(Expr::val(1))
        .from(point::Entity)
        .and_where(
            Expr::col((point::Entity, point::Column::RepositoryId))
                .equals((repository::Entity, Column::Id)),
        )
        .and_where(
            Expr::col((point::Entity, point::Column::HostId))
                .equals((host::Entity, host::Column::Id)),
        )
        .to_owned();
    let is_reached = Condition::any().add(Column::HostId.is_null()).add(
        Expr::col((repository::Entity, Column::HostId)).equals((host::Entity, host::Column::Id)),
    );
    repository::Entity::find()
        .select_only()
        .column(Column::Id)
        .column_as(host::Column::Id, "user_id")
        .column(host::Column::AgentVersion)
        .join(
            JoinType::InnerJoin,
            repository::Entity::belongs_to(host::Entity)
                .from(Column::TenantId)
                .to(host::Column::TenantId)
                .into(),
        )
        .apply_if(among, |q, ids| {
            q.filter(Column::Id.is_in(ids.iter().copied()))
        })
        .filter(host::Column::IsDisabled.eq(false))
        .filter(is_reached)
        .filter(Expr::exists(stored))
}
