//! Restore points: recorded with the end of their run, and what they leave to be done.

use std::collections::{HashMap, HashSet};

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr,
    EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _,
    QuerySelect as _,
};
use serde_json::{Value, json};

use crate::run_rules::change::object;
use crate::run_rules::finish::{Work, is_understood, sources_of, work_after};
use crate::run_rules::listing::{Known, LIST_POINTS, Listed, is_list_due, reconcile};
use crate::run_rules::pin::Pin;
use crate::run_rules::points::{
    DAMAGED, NewPoint, Recorded, disks_in_full, frozen_before_end, made_at, of_files, of_vms,
};
use crate::run_rules::told::ToldOfPoints;
use crate::store::Store;
use crate::store::entity::{command, host, job, point, repo_operation, repository, run, vm};
use crate::store::runs::{NewLog, Report, insert_logs, room_for_logs};
use crate::vm_choice::VmRules;

/// Ids in one query, at most.
const IDS_MAX: usize = 500;

/// Counts the damaged points of a repository anew, if there were some or `may_be_more`.
async fn count_damaged(
    txn: &impl ConnectionTrait,
    repository_id: &str,
    may_be_more: bool,
) -> Result<(), DbErr> {
    let known = repository::Entity::find_by_id(repository_id)
        .select_only()
        .column(repository::Column::DamagedPoints)
        .into_tuple::<i64>()
        .one(txn)
        .await?;
    if !may_be_more && known.unwrap_or(0) == 0 {
        return Ok(());
    }
    let damaged = point::Entity::find()
        .filter(point::Column::RepositoryId.eq(repository_id))
        .filter(point::Column::ExpiredAt.is_null())
        .filter(point::Column::WarningsJson.contains(DAMAGED))
        .count(txn)
        .await?;
    let damaged = i64::try_from(damaged).unwrap_or(i64::MAX);
    repository::Entity::update_many()
        .col_expr(repository::Column::DamagedPoints, damaged.into())
        .filter(repository::Column::Id.eq(repository_id))
        .exec(txn)
        .await?;
    Ok(())
}

impl Store {
    /// Records the points of a run that ended well, and what its VMs are handed back the next time. What is there
    /// already is left alone. What is not recorded is logged when the run `has_just_ended`, and not each time that its end
    /// is told again. Returns how many points are new.
    pub(super) async fn record_points<C: ConnectionTrait>(
        &self,
        txn: &C,
        run: &run::Model,
        report: &Report<'_>,
        has_just_ended: bool,
        now: i64,
    ) -> Result<usize, DbErr> {
        let Some(repository_id) = &run.repository_id else {
            return Ok(0);
        };
        let there = point::Entity::find()
            .filter(point::Column::RunId.eq(&run.id))
            .all(txn)
            .await?;
        let mut vms = Vec::new();
        let recorded = if run.engine == "hyperv" {
            vms = vms_for(txn, run, report).await?;
            let mut recorded = of_vms(run, report.results, &vms, &there);
            recorded
                .logged
                .splice(..0, report.unreadable.iter().cloned());
            recorded
        } else {
            let job = match &run.job_id {
                Some(job_id) => job::Entity::find_by_id(job_id).one(txn).await?,
                None => None,
            };
            let sources = job.as_ref().map(sources_of).unwrap_or_default().join(", ");
            Recorded {
                points: of_files(run, report.update, &sources, &there)
                    .into_iter()
                    .collect(),
                ..Recorded::default()
            }
        };
        let frozen = frozen_before_end(report.update);
        let in_full = disks_in_full(report.update);
        let guids: HashMap<i64, &str> = vms.iter().map(|vm| (vm.id, vm.guid.as_str())).collect();
        let count = recorded.points.len();
        for mut new in recorded.points {
            let guid = new.vm_id.and_then(|id| guids.get(&id));
            if let Some(said) = guid.and_then(|guid| in_full.get(*guid)) {
                new.warn(said);
            }
            let before_end = guid.and_then(|guid| frozen.get(*guid)).copied();
            let mut row = row(run, repository_id, &new, now);
            row.created_at = Set(made_at(run, before_end.unwrap_or(0), now));
            row.insert(txn).await?;
        }
        let mut pointers = recorded.pointers;
        pointers.sort_unstable_by_key(|pointer| pointer.vm_id);
        for pointer in pointers {
            let mut changed = vm::ActiveModel {
                ..Default::default()
            };
            if let Some(checkpoint_id) = pointer.checkpoint_id {
                changed.last_checkpoint_id = Set(Some(checkpoint_id));
                changed.last_rct_ids_json = Set(pointer.rct_ids_json);
            }
            if pointer.is_tracked {
                changed.is_tracked = Set(true);
            }
            if changed.last_checkpoint_id.is_set() || changed.is_tracked.is_set() {
                vm::Entity::update_many()
                    .set(changed)
                    .filter(vm::Column::Id.eq(pointer.vm_id))
                    .exec(txn)
                    .await?;
            }
        }
        if !has_just_ended {
            return Ok(count);
        }
        let room = room_for_logs(txn, &run.id).await?;
        let logs = recorded
            .logged
            .into_iter()
            .take(room)
            .map(|message| NewLog {
                level: "warn".to_owned(),
                code: "RESULT_NOT_RECORDED".to_owned(),
                message: protocol::limit::shortened(&message, 1_000),
                details_json: "{}".to_owned(),
            });
        insert_logs(txn, &run.id, logs.collect(), now).await?;
        Ok(count)
    }

    /// Writes down that a point was proven, when all of it was restored.
    pub(super) async fn prove_by_restore<C: ConnectionTrait>(
        &self,
        txn: &C,
        run: &run::Model,
        now: i64,
    ) -> Result<(), DbErr> {
        let target = object(&run.target_json);
        let was_whole = target.get("disks").is_none_or(Value::is_null);
        let Some(point_id) = run.point_id else {
            return Ok(());
        };
        if run.kind != "hyperv_restore" || !was_whole {
            return Ok(());
        }
        point::Entity::update_many()
            .set(point::ActiveModel {
                confirmed_at: Set(now),
                proven_at: Set(Some(now)),
                proven_how: Set("restore".to_owned()),
                ..Default::default()
            })
            .filter(point::Column::Id.eq(point_id))
            .filter(point::Column::TenantId.eq(&run.tenant_id))
            .exec(txn)
            .await?;
        Ok(())
    }

    /// Writes down what work on a repository says of points in it: agents of ours name those that retention removed and
    /// those that a verification looked at.
    pub(super) async fn note_told<C: ConnectionTrait>(
        &self,
        txn: &C,
        repository_id: &str,
        told: &ToldOfPoints,
        now: i64,
    ) -> Result<(), DbErr> {
        let among = |manifests: &[String]| {
            Condition::all()
                .add(point::Column::RepositoryId.eq(repository_id))
                .add(point::Column::ManifestId.is_in(manifests))
        };
        for removed in told.removed_points.chunks(IDS_MAX) {
            point::Entity::update_many()
                .set(point::ActiveModel {
                    expired_at: Set(Some(now)),
                    ..Default::default()
                })
                .filter(among(removed))
                .filter(point::Column::ExpiredAt.is_null())
                .exec(txn)
                .await?;
        }
        for verified in told.verified_points.chunks(IDS_MAX) {
            // What was found damaged may have been repaired.
            let hurt = point::Entity::find()
                .filter(among(verified))
                .filter(point::Column::WarningsJson.contains(DAMAGED))
                .all(txn)
                .await?;
            for row in hurt {
                let mut warnings: Vec<String> =
                    serde_json::from_str(&row.warnings_json).unwrap_or_default();
                warnings.retain(|warning| warning != DAMAGED);
                let mut row = row.into_active_model();
                row.warnings_json = Set(json!(warnings).to_string());
                row.update(txn).await?;
            }
            point::Entity::update_many()
                .set(point::ActiveModel {
                    confirmed_at: Set(now),
                    proven_at: Set(Some(now)),
                    proven_how: Set(told.how.clone().unwrap_or_default()),
                    ..Default::default()
                })
                .filter(among(verified))
                .exec(txn)
                .await?;
        }
        for damaged in told.damaged_points.chunks(IDS_MAX) {
            let rows = point::Entity::find()
                .filter(among(damaged))
                .all(txn)
                .await?;
            for row in rows {
                let mut warnings: Vec<String> =
                    serde_json::from_str(&row.warnings_json).unwrap_or_default();
                if !warnings.iter().any(|warning| warning == DAMAGED) {
                    warnings.insert(0, DAMAGED.to_owned());
                }
                let mut row = row.into_active_model();
                row.proven_at = Set(None);
                row.proven_how = Set(String::new());
                row.warnings_json = Set(json!(warnings).to_string());
                row.update(txn).await?;
            }
        }
        count_damaged(txn, repository_id, !told.damaged_points.is_empty()).await
    }

    /// Brings the points of a repository in line with a page of its list, which was asked for and came at `times`: those
    /// that are not in it are gone, whoever removed them.
    pub(super) async fn note_listed<C: ConnectionTrait>(
        &self,
        txn: &C,
        repository_id: &str,
        after: &str,
        listed: &Listed,
        times: (i64, i64),
    ) -> Result<(), DbErr> {
        use point::Column;
        let known: Vec<Known> = point::Entity::find()
            .filter(Column::RepositoryId.eq(repository_id))
            .select_only()
            .columns([
                Column::Id,
                Column::ManifestId,
                Column::IsPinned,
                Column::ConfirmedAt,
                Column::ExpiredAt,
            ])
            .into_model::<Known>()
            .all(txn)
            .await?;
        let (_, now) = times;
        let changes = reconcile(&known, after, listed, times);
        let set = |ids: Vec<i64>, row: point::ActiveModel| async move {
            for ids in ids.chunks(IDS_MAX) {
                point::Entity::update_many()
                    .set(row.clone())
                    .filter(Column::Id.is_in(ids.iter().copied()))
                    .exec(txn)
                    .await?;
            }
            Ok::<(), DbErr>(())
        };
        let there = point::ActiveModel {
            confirmed_at: Set(now),
            expired_at: Set(None),
            ..Default::default()
        };
        set(changes.there, there).await?;
        let gone = point::ActiveModel {
            expired_at: Set(Some(now)),
            ..Default::default()
        };
        set(changes.gone, gone).await?;
        let pinned = |is_pinned| point::ActiveModel {
            is_pinned: Set(is_pinned),
            ..Default::default()
        };
        set(changes.pinned, pinned(true)).await?;
        set(changes.unpinned, pinned(false)).await?;
        count_damaged(txn, repository_id, false).await
    }

    /// Writes down what a command has done that ended well, if it was to pin a point or to take its pins away.
    pub(super) async fn note_pinned<C: ConnectionTrait>(
        &self,
        txn: &C,
        command: &command::Model,
        now: i64,
    ) -> Result<(), DbErr> {
        let Some(pin) = Pin::of(command) else {
            return Ok(());
        };
        point::Entity::update_many()
            .set(point::ActiveModel {
                is_pinned: Set(pin.is_pinned),
                confirmed_at: Set(now),
                ..Default::default()
            })
            .filter(point::Column::Id.eq(pin.restore_point_id))
            .filter(point::Column::TenantId.eq(&command.tenant_id))
            .exec(txn)
            .await?;
        Ok(())
    }

    /// Queues a list of a repository's points if it is due, or if `is_needed` for more went than were named; on a
    /// repository of hosts that do not know how, nothing. `token` keeps it from being queued twice. Returns whether it
    /// is queued.
    pub(super) async fn queue_listing<C: ConnectionTrait>(
        &self,
        txn: &C,
        repository_id: &str,
        host_id: &str,
        (is_needed, token): (bool, String),
        now: i64,
    ) -> Result<bool, DbErr> {
        let repository = repository::Entity::find_by_id(repository_id)
            .one(txn)
            .await?;
        let host = host::Entity::find_by_id(host_id).one(txn).await?;
        let (Some(repository), Some(host)) = (repository, host) else {
            return Ok(false);
        };
        let is_able = is_understood(LIST_POINTS, &host.agent_version);
        if !is_able || !(is_needed || is_list_due(repository.last_listed_at, now)) {
            return Ok(false);
        }
        let is_queued = repo_operation::Entity::find()
            .filter(repo_operation::Column::RepositoryId.eq(repository_id))
            .filter(repo_operation::Column::Kind.eq(LIST_POINTS))
            .filter(repo_operation::Column::Status.eq("queued"))
            // A later page says nothing of those before it.
            .filter(repo_operation::Column::PayloadJson.eq("{}"))
            .count(txn)
            .await?
            > 0;
        if is_queued {
            return Ok(false);
        }
        let work = Work {
            kind: LIST_POINTS,
            token,
            payload: json!({}),
        };
        self.queue_work(txn, &repository, work, now).await?;
        Ok(true)
    }

    /// Tells whether a repository holds points, or is used by jobs, other than one job's on one host.
    pub async fn holds_others<C: ConnectionTrait>(
        &self,
        db: &C,
        repository_id: &str,
        job_id: &str,
        host_id: &str,
    ) -> Result<bool, DbErr> {
        // Jobs that were deleted count too: their points stay.
        let jobs = job::Entity::find()
            .filter(job::Column::RepositoryId.eq(repository_id))
            .filter(job::Column::Id.ne(job_id));
        if jobs.count(db).await? > 0 {
            return Ok(true);
        }
        let foreign = Condition::any()
            .add(point::Column::JobId.is_null())
            .add(point::Column::JobId.ne(job_id))
            .add(point::Column::HostId.ne(host_id));
        let points = point::Entity::find()
            .filter(point::Column::RepositoryId.eq(repository_id))
            .filter(foreign);
        Ok(points.count(db).await? > 0)
    }

    /// Queues what a run that ended well leaves to be done in its repository. Returns whether there is something.
    pub(super) async fn queue_work_after<C: ConnectionTrait>(
        &self,
        txn: &C,
        run: &run::Model,
        now: i64,
    ) -> Result<bool, DbErr> {
        let (Some(job_id), Some(repository_id)) = (&run.job_id, &run.repository_id) else {
            return Ok(false);
        };
        let job = job::Entity::find_by_id(job_id).one(txn).await?;
        let repository = repository::Entity::find_by_id(repository_id)
            .one(txn)
            .await?;
        let (Some(job), Some(repository)) = (job, repository) else {
            return Ok(false);
        };
        if job.engine == "sync" {
            return Ok(false);
        }
        let vms = vm::Entity::find()
            .filter(vm::Column::HostId.eq(&run.host_id))
            .all(txn)
            .await?;
        let rules = VmRules::of_json(&job.vms_json);
        let guids: Vec<String> = vms
            .into_iter()
            .filter(|vm| rules.is_chosen(&vm.guid, &vm.name))
            .map(|vm| vm.guid)
            .collect();
        let is_maintained = repo_operation::Entity::find()
            .filter(repo_operation::Column::RepositoryId.eq(repository_id))
            .filter(repo_operation::Column::Kind.is_in(["maintenance_quick", "maintenance_full"]))
            .filter(repo_operation::Column::Status.is_in(["queued", "running"]))
            .count(txn)
            .await?
            > 0;
        let mut work = work_after(run, &job, &repository, &guids, is_maintained, now);
        if self
            .holds_others(txn, repository_id, job_id, &run.host_id)
            .await?
        {
            // An operation names sources by their paths alone, and others may have the same. Agents of ours keep to the
            // job's rule at the end of its run by themselves.
            work.retain(|it| it.kind != "retention_apply");
        }
        let has_work = !work.is_empty();
        for work in work {
            self.queue_work(txn, &repository, work, now).await?;
        }
        Ok(has_work)
    }

    /// Queues work on a repository, once for each token.
    pub(super) async fn queue_work<C: ConnectionTrait>(
        &self,
        txn: &C,
        repository: &repository::Model,
        work: Work,
        now: i64,
    ) -> Result<(), DbErr> {
        let row = repo_operation::ActiveModel {
            tenant_id: Set(repository.tenant_id.clone()),
            repository_id: Set(repository.id.clone()),
            kind: Set(work.kind.to_owned()),
            token: Set(work.token),
            payload_json: Set(work.payload.to_string()),
            status: Set("queued".to_owned()),
            host_id: Set(None),
            attempts: Set(0),
            not_before: Set(now),
            locked_until: Set(None),
            result_json: Set(json!({}).to_string()),
            created_at: Set(now),
            finished_at: Set(None),
            ..Default::default()
        };
        // A run that ends once more, after the server had given it up, has queued its work already.
        repo_operation::Entity::insert(row)
            .on_conflict_do_nothing_on([repo_operation::Column::Token])
            .exec_without_returning(txn)
            .await?;
        Ok(())
    }
}

/// Returns the VMs that results may be of: those of the run's host, and those of the tenant that they name by number.
async fn vms_for<C: ConnectionTrait>(
    txn: &C,
    run: &run::Model,
    report: &Report<'_>,
) -> Result<Vec<vm::Model>, DbErr> {
    let numbers: HashSet<i64> = report
        .results
        .iter()
        .filter_map(|result| i64::try_from(result.vm_id.0).ok())
        .collect();
    vm::Entity::find()
        .filter(vm::Column::TenantId.eq(&run.tenant_id))
        .filter(
            Condition::any()
                .add(vm::Column::HostId.eq(&run.host_id))
                .add(vm::Column::Id.is_in(numbers)),
        )
        .all(txn)
        .await
}

fn row(run: &run::Model, repository_id: &str, new: &NewPoint, now: i64) -> point::ActiveModel {
    let text = |text: &str| Set(text.to_owned());
    point::ActiveModel {
        tenant_id: text(&run.tenant_id),
        host_id: text(&run.host_id),
        repository_id: text(repository_id),
        job_id: Set(run.job_id.clone()),
        run_id: text(&run.id),
        engine: text(&run.engine),
        vm_id: Set(new.vm_id),
        name: text(&new.name),
        manifest_id: text(&new.manifest_id),
        backup_type: text(new.backup_type),
        consistency: text(new.consistency),
        total_bytes: Set(new.total_bytes),
        changed_bytes: Set(new.changed_bytes),
        duration_seconds: Set(new.duration_seconds),
        disk_manifests_json: text(&new.disk_manifests_json),
        warnings_json: text(&new.warnings_json),
        proven_at: Set(None),
        proven_how: text(""),
        is_pinned: Set(false),
        confirmed_at: Set(now),
        expired_at: Set(None),
        ..Default::default()
    }
}
