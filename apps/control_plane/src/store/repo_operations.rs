//! Work on repositories: handed to one host at a time, reported once.
//!
//! It goes to hosts that have stored points in the repository: an agent knows the place and the password of a repository from
//! its own runs, and what is handed out here names neither.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _,
    Select, TransactionTrait as _,
    sea_query::{Expr, ExprTrait as _, LockBehavior, LockType},
};

use serde_json::json;

use crate::run_rules::change::object;
use crate::run_rules::finish::{Work, is_understood};
use crate::run_rules::listing::{LIST_POINTS, Listed};
use crate::run_rules::told::ToldOfPoints;
use crate::store::Store;
use crate::store::commands::OF_RUNS_ALONE;
use crate::store::entity::{command, host, point, repo_operation, repository};

/// While work on a repository goes on, nobody else gets any for so long (contract 3.15).
pub const LOCK_MS: i64 = 300_000;
/// What is kept of work that was handed out and given up. Who did it all the same may still say how it ended.
pub(super) const GIVEN_UP: &str = r#"{"error":"the agent took it and never reported"}"#;
/// Ids in one query, at most.
const REPOSITORIES_PER_QUERY: usize = 500;
/// So much work is looked at in one poll.
const LOOK_MAX: u64 = 20;

/// What came of the report of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Reported {
    /// There is none of this number and token that this host took.
    NotYours,
    /// It was reported before.
    Before,
    /// It is.
    Now(Box<repo_operation::Model>),
}

impl Store {
    /// Takes the oldest work on a repository in which this very host has stored points, and on which nobody works.
    pub async fn claim_operation(
        &self,
        host: &host::Model,
        now: i64,
    ) -> Result<Option<(repo_operation::Model, repository::Model)>, DbErr> {
        let stored = point::Entity::find()
            .select_only()
            .column(point::Column::Id)
            .filter(point::Column::HostId.eq(&host.id))
            .filter(
                Expr::col((point::Entity, point::Column::RepositoryId))
                    .equals((repo_operation::Entity, repo_operation::Column::RepositoryId)),
            );
        let queued = repo_operation::Entity::find()
            .filter(repo_operation::Column::Status.eq("queued"))
            .filter(repo_operation::Column::NotBefore.lte(now))
            .filter(repo_operation::Column::TenantId.eq(&host.tenant_id))
            .filter(Expr::exists(stored.into_query()))
            .order_by_asc(repo_operation::Column::Id)
            .limit(LOOK_MAX)
            .all(&self.db)
            .await?;
        for operation in queued {
            if !is_understood(&operation.kind, &host.agent_version) {
                continue;
            }
            if let Some(claimed) = self.claim_one(operation, host, now).await? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    async fn claim_one(
        &self,
        mut operation: repo_operation::Model,
        host: &host::Model,
        now: i64,
    ) -> Result<Option<(repo_operation::Model, repository::Model)>, DbErr> {
        let txn = self.db.begin().await?;
        let select = repository::Entity::find_by_id(&operation.repository_id);
        // Who holds the repository's row claims; whoever else comes goes away without.
        let select = match self.is_shared() {
            true => select.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked),
            false => select,
        };
        let Some(repository) = select.one(&txn).await? else {
            txn.rollback().await?;
            return Ok(None);
        };
        // A folder that was moved away is out of reach.
        let owner = repository.host_id.as_ref();
        if owner.is_some_and(|owner| *owner != host.id) {
            txn.rollback().await?;
            return Ok(None);
        }
        if is_locked(&txn, &repository.id, now).await? {
            txn.rollback().await?;
            return Ok(None);
        }
        let claimed = repo_operation::Entity::update_many()
            .set(repo_operation::ActiveModel {
                status: Set("running".to_owned()),
                host_id: Set(Some(host.id.clone())),
                attempts: Set(operation.attempts + 1),
                locked_until: Set(Some(now + LOCK_MS)),
                ..Default::default()
            })
            .filter(repo_operation::Column::Id.eq(operation.id))
            .filter(repo_operation::Column::Status.eq("queued"))
            .exec(&txn)
            .await?;
        if claimed.rows_affected == 0 {
            txn.rollback().await?;
            return Ok(None);
        }
        txn.commit().await?;
        operation.status = "running".to_owned();
        operation.host_id = Some(host.id.clone());
        operation.attempts += 1;
        operation.locked_until = Some(now + LOCK_MS);
        Ok(Some((operation, repository)))
    }

    /// Takes the report of an operation, and with it what is known of the repository's upkeep.
    pub async fn report_operation(
        &self,
        host: &host::Model,
        operation_id: i64,
        token: &str,
        is_done: bool,
        result_json: String,
        now: i64,
    ) -> Result<Reported, DbErr> {
        let stored_bytes = stored_bytes_of(&result_json);
        let told = ToldOfPoints::read(&serde_json::from_str(&result_json).unwrap_or_default());
        let txn = self.db.begin().await?;
        let operation = repo_operation::Entity::find_by_id(operation_id)
            .one(&txn)
            .await?
            .filter(|it| it.token == token && it.host_id.as_deref() == Some(&host.id));
        let Some(operation) = operation else {
            txn.rollback().await?;
            return Ok(Reported::NotYours);
        };
        if self.is_shared() {
            repository::Entity::find_by_id(&operation.repository_id)
                .lock_exclusive()
                .one(&txn)
                .await?;
        }
        let was_given_up = Condition::all()
            .add(repo_operation::Column::Status.eq("failed"))
            .add(repo_operation::Column::ResultJson.eq(GIVEN_UP));
        let reported = repo_operation::Entity::update_many()
            .set(repo_operation::ActiveModel {
                status: Set(if is_done { "success" } else { "failed" }.to_owned()),
                result_json: Set(result_json),
                locked_until: Set(None),
                finished_at: Set(Some(now)),
                ..Default::default()
            })
            .filter(repo_operation::Column::Id.eq(operation_id))
            .filter(
                Condition::any()
                    .add(repo_operation::Column::Status.eq("running"))
                    .add(was_given_up),
            )
            .exec(&txn)
            .await?;
        if reported.rows_affected == 0 {
            txn.commit().await?;
            return Ok(Reported::Before);
        }
        self.note_told(&txn, &operation.repository_id, &told, now)
            .await?;
        let is_list = operation.kind == LIST_POINTS;
        if is_done && !is_list {
            let order = (told.leaves_out(), format!("after-{operation_id}-list"));
            self.queue_listing(&txn, &operation.repository_id, &host.id, order, now)
                .await?;
        }
        if is_done {
            let repository = repository::Entity::find_by_id(&operation.repository_id)
                .one(&txn)
                .await?;
            if let Some(repository) = repository {
                if let Some(bytes) = stored_bytes {
                    self.note_stored_bytes(&txn, &repository, bytes, now)
                        .await?;
                }
                let mut is_listed = false;
                if is_list && let Some(listed) = &told.listed {
                    is_listed = self
                        .take_page(&txn, &repository, &operation, listed, now)
                        .await?;
                }
                let mut changed = repository.into_active_model();
                match operation.kind.as_str() {
                    "maintenance_quick" => changed.last_quick_at = Set(Some(now)),
                    "maintenance_full" => {
                        changed.last_quick_at = Set(Some(now));
                        changed.last_full_at = Set(Some(now));
                    }
                    "verify" => changed.last_verified_at = Set(Some(now)),
                    LIST_POINTS if is_listed => changed.last_listed_at = Set(Some(now)),
                    _ => {}
                }
                if changed.is_changed() {
                    changed.update(&txn).await?;
                }
            }
        }
        let operation = repo_operation::Entity::find_by_id(operation_id)
            .one(&txn)
            .await?;
        txn.commit().await?;
        Ok(operation.map_or(Reported::NotYours, |it| Reported::Now(Box::new(it))))
    }

    /// Takes a page of a repository's list of points and asks for the next one. Returns whether it was the last.
    async fn take_page<C: ConnectionTrait>(
        &self,
        txn: &C,
        repository: &repository::Model,
        operation: &repo_operation::Model,
        listed: &Listed,
        now: i64,
    ) -> Result<bool, DbErr> {
        let payload = object(&operation.payload_json);
        let after = payload.get("after").and_then(|it| it.as_str());
        let after = after.unwrap_or_default();
        let times = (operation.created_at, now);
        self.note_listed(txn, &repository.id, after, listed, times)
            .await?;
        // A page that does not go on from where it began would be asked for again and again.
        if listed.next.as_str() <= after {
            return Ok(true);
        }
        let work = Work {
            kind: LIST_POINTS,
            token: format!("after-{}-list", operation.id),
            payload: json!({"after": listed.next}),
        };
        self.queue_work(txn, repository, work, now).await?;
        Ok(false)
    }

    /// Returns the hosts that can work on a repository.
    pub async fn hosts_working_on(
        &self,
        db: &impl ConnectionTrait,
        repository: &repository::Model,
    ) -> Result<Vec<String>, DbErr> {
        let stored = point::Entity::find()
            .select_only()
            .column(point::Column::HostId)
            .filter(point::Column::RepositoryId.eq(&repository.id));
        host::Entity::find()
            .filter(host::Column::Id.in_subquery(stored.into_query()))
            .filter(host::Column::IsDisabled.eq(false))
            .apply_if(repository.host_id.as_ref(), |q, owner| {
                q.filter(host::Column::Id.eq(owner))
            })
            .select_only()
            .column(host::Column::Id)
            .into_tuple()
            .all(db)
            .await
    }

    /// Returns for which hosts something waits that they would be handed now: what long polls are woken by when nobody
    /// told them.
    pub async fn hosts_with_work(&self, now: i64) -> Result<Waiting, DbErr> {
        let each: Vec<String> = command::Entity::find()
            .select_only()
            .column(command::Column::HostId)
            .distinct()
            .filter(command::Column::Status.eq("pending"))
            .filter(command::Column::Kind.is_not_in(OF_RUNS_ALONE))
            .into_tuple()
            .all(self.reading())
            .await?;
        let queued: Vec<(String, String)> = repo_operation::Entity::find()
            .select_only()
            .columns([
                repo_operation::Column::RepositoryId,
                repo_operation::Column::Kind,
            ])
            .distinct()
            .filter(repo_operation::Column::Status.eq("queued"))
            .filter(repo_operation::Column::NotBefore.lte(now))
            .filter(
                repo_operation::Column::RepositoryId.not_in_subquery(worked_on(now).into_query()),
            )
            .into_tuple()
            .all(self.reading())
            .await?;
        if queued.is_empty() {
            return Ok(Waiting {
                each,
                one_of: Vec::new(),
            });
        }
        let mut kinds: HashMap<String, Vec<String>> = HashMap::new();
        for (repository, kind) in queued {
            kinds.entry(repository).or_default().push(kind);
        }
        let mut one_of = Vec::new();
        let repositories: Vec<&String> = kinds.keys().collect();
        for repositories in repositories.chunks(REPOSITORIES_PER_QUERY) {
            for (repository, hosts) in self.workers(Some(repositories)).await? {
                let kinds = &kinds[&repository];
                let able = hosts
                    .into_iter()
                    .filter(|(_, version)| kinds.iter().any(|kind| is_understood(kind, version)));
                let able: Vec<String> = able.map(|(host, _)| host).collect();
                if !able.is_empty() {
                    one_of.push(able);
                }
            }
        }
        Ok(Waiting { each, one_of })
    }
}

/// For which hosts something waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// For each of these, a command.
    pub each: Vec<String>,
    /// For one of each of these lists, work on a repository: whoever comes first takes it, and the others go without.
    pub one_of: Vec<Vec<String>>,
}

/// The repositories on which somebody works.
fn worked_on(now: i64) -> Select<repo_operation::Entity> {
    repo_operation::Entity::find()
        .select_only()
        .column(repo_operation::Column::RepositoryId)
        .filter(repo_operation::Column::Status.eq("running"))
        .filter(
            Condition::any()
                .add(repo_operation::Column::LockedUntil.gt(now))
                .add(repo_operation::Column::LockedUntil.is_null()),
        )
}

/// Tells whether somebody works on a repository.
async fn is_locked<C: ConnectionTrait>(
    txn: &C,
    repository_id: &str,
    now: i64,
) -> Result<bool, DbErr> {
    let going_on = worked_on(now)
        .filter(repo_operation::Column::RepositoryId.eq(repository_id))
        .count(txn)
        .await?;
    Ok(going_on > 0)
}
/// Returns how much the repository held when the operation ended, where the agent measured it.
fn stored_bytes_of(result_json: &str) -> Option<i64> {
    let result: serde_json::Value = serde_json::from_str(result_json).ok()?;
    result
        .get("stored_bytes")?
        .as_i64()
        .filter(|bytes| *bytes >= 0)
}
