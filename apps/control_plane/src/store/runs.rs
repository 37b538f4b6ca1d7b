//! Runs: handed out, reported, ended.

use std::collections::HashSet;

use protocol::hyperv_results::HypervResult;
use protocol::update_run::UpdateRun;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr,
    EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TransactionTrait as _,
};
use serde_json::{Value, json};

use crate::run_rules::change::{ENDED_BY_SERVER, STOPPED_BY_SERVER, apply, mark};
use crate::run_rules::claim::offers;
use crate::run_rules::told::ToldOfPoints;
use crate::run_rules::watchdog::{OfRun, is_command_lost, is_operation_lost, of_run};
use crate::run_rules::{Happened, OPEN, is_backup};
use crate::store::Store;
use crate::store::entity::{
    command, host, job, log_chunk, repo_operation, repository, run, run_event, run_log, vm,
};
use crate::store::repo_operations::GIVEN_UP;

/// A run keeps so many events (contract 3.3).
pub const EVENTS_MAX: u64 = 5_000;
/// And so many errors beyond them: by those that tell which VMs failed, alarms are judged.
const ERRORS_MAX: u64 = 500;
/// So many events of a run are kept at most, with the one that says that there were more.
pub const EVENT_ROWS_MAX: u64 = EVENTS_MAX + ERRORS_MAX + 1;
/// A run keeps so many lines of its structured log.
const LOGS_MAX: u64 = 5_000;

/// A run that is handed out.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The run, as it is now.
    pub run: run::Model,
    /// Its job.
    pub job: job::Model,
    /// Where it stores.
    pub repository: Option<repository::Model>,
    /// Whether it was handed out before.
    pub is_resumed: bool,
}

/// Why an agent may not speak of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTheRuns {
    /// There is none, or it is another tenant's.
    Unknown,
    /// It is another host's.
    OtherHost,
}

/// What came of an update.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The run as it is now.
    pub run: run::Model,
    /// Whether it ended by this update.
    pub has_ended: bool,
    /// How many points were recorded.
    pub recorded: usize,
    /// Whether work on its repository was queued.
    pub has_work: bool,
}

/// What an agent reports of a run.
#[derive(Debug)]
pub struct Report<'a> {
    /// Everything but the results of VMs.
    pub update: &'a UpdateRun,
    /// The results of VMs that can be read.
    pub results: &'a [HypervResult],
    /// Why others cannot.
    pub unreadable: &'a [String],
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Its type.
    pub kind: String,
    /// Its level.
    pub level: String,
    /// Its code.
    pub code: String,
    /// What happened.
    pub message_id: String,
    /// With what, as JSON.
    pub params_json: String,
}

/// A line of the structured log as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewLog {
    /// Its level.
    pub level: String,
    /// A code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// With what, as JSON.
    pub details_json: String,
}

/// What was taken of a batch of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Events that are kept.
    pub inserted: u64,
    /// Events beyond the limit.
    pub dropped: u64,
    /// Lines of the log that are kept.
    pub logs_inserted: u64,
}

/// What came of a piece of a verbose log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkTaken {
    /// It is kept; so many more are taken.
    Kept(u64),
    /// It was there.
    Duplicate(u64),
    /// The run has as many as are taken.
    Full,
}

/// Why a run is not queued.
#[derive(Clone, Debug, PartialEq)]
pub enum NotQueued {
    /// There is no such job, or it is of another host.
    NoJob,
    /// The job is paused or deleted.
    NotActive,
    /// A run of it goes on.
    AlreadyRunning(Box<run::Model>),
}

impl Store {
    /// Returns a run that an agent may speak of.
    pub async fn run_of_host(
        &self,
        run_id: &str,
        host: &host::Model,
    ) -> Result<Result<run::Model, NotTheRuns>, DbErr> {
        let run = run::Entity::find_by_id(run_id).one(&self.db).await?;
        Ok(checked(run, host))
    }

    /// Returns the hosts that have a run which is not over.
    pub async fn hosts_with_open_runs(&self) -> Result<HashSet<String>, DbErr> {
        let hosts = run::Entity::find()
            .select_only()
            .column(run::Column::HostId)
            .distinct()
            .filter(run::Column::Status.is_in(OPEN))
            .into_tuple::<String>()
            .all(self.reading())
            .await?;
        Ok(hosts.into_iter().collect())
    }

    /// Hands out a run to a host, if there is one: one whose agent was silent first, as it is, else the oldest that
    /// waits, which is taken by this. However many ask at once, a waiting run is taken once.
    pub async fn offer_run(&self, host_id: &str, now: i64) -> Result<Option<Offer>, DbErr> {
        let open = run::Entity::find()
            .filter(run::Column::HostId.eq(host_id))
            .filter(run::Column::Status.is_in(OPEN))
            .order_by_asc(run::Column::CreatedAt)
            .order_by_asc(run::Column::Id)
            .all(self.reading())
            .await?;
        if open.is_empty() {
            return Ok(None);
        }
        let offers = offers(&open, now);
        if let Some(run) = offers.reclaimed
            && let Some(offer) = self.offer(run.clone(), true).await?
        {
            return Ok(Some(offer));
        }
        for run in offers.waiting {
            let Some(mut offer) = self.offer(run.clone(), false).await? else {
                continue;
            };
            if offer.job.status != "active" || !self.may_start(run, &offer.job, now).await? {
                continue;
            }
            let claimed = run::Entity::update_many()
                .set(run::ActiveModel {
                    status: Set("starting".to_owned()),
                    started_at: Set(Some(now)),
                    heartbeat_at: Set(Some(now)),
                    ..Default::default()
                })
                .filter(run::Column::Id.eq(&run.id))
                .filter(run::Column::Status.eq("queued"))
                .filter(run::Column::CancelRequestedAt.is_null())
                .exec(&self.db)
                .await?;
            if claimed.rows_affected == 1 {
                offer.run.status = "starting".to_owned();
                offer.run.started_at = Some(now);
                offer.run.heartbeat_at = Some(now);
                return Ok(Some(offer));
            }
        }
        Ok(None)
    }

    async fn offer(&self, run: run::Model, is_resumed: bool) -> Result<Option<Offer>, DbErr> {
        let Some(job_id) = &run.job_id else {
            return Ok(None);
        };
        let job = job::Entity::find_by_id(job_id).one(&self.db).await?;
        let Some(job) = job else { return Ok(None) };
        let repository_id = run.repository_id.as_ref().unwrap_or(&job.repository_id);
        let repository = repository::Entity::find_by_id(repository_id)
            .one(&self.db)
            .await?;
        Ok(Some(Offer {
            run,
            job,
            repository,
            is_resumed,
        }))
    }

    /// Ends a run that cannot be handed out, or whose restore was refused, as failed, unless it is over.
    pub async fn fail_run(
        &self,
        run_id: &str,
        why: &str,
        now: i64,
    ) -> Result<Option<run::Model>, DbErr> {
        let txn = self.db.begin().await?;
        let failed = fail_run_in(&txn, run_id, why, now).await?;
        txn.commit().await?;
        Ok(failed)
    }

    /// Takes what an agent reports of a run: its state, its points and what follows from its end, in one transaction.
    pub async fn update_run(
        &self,
        run_id: &str,
        host: &host::Model,
        report: &Report<'_>,
        now: i64,
    ) -> Result<Result<Updated, NotTheRuns>, DbErr> {
        let txn = self.db.begin().await?;
        let before = match checked(self.lock_run(&txn, run_id).await?, host) {
            Ok(run) => run,
            Err(not) => {
                txn.rollback().await?;
                return Ok(Err(not));
            }
        };
        let change = apply(&before, report.update, now);
        save(&txn, &before, &change.run).await?;
        for happened in &change.happened {
            insert_happened(&txn, run_id, happened, now).await?;
        }
        let mut updated = Updated {
            recorded: 0,
            has_work: false,
            has_ended: change.has_ended,
            run: change.run,
        };
        let run = &updated.run;
        if change.records_points && is_backup(run) {
            updated.recorded = self
                .record_points(&txn, run, report, updated.has_ended, now)
                .await?;
        }
        let mut leaves_out = false;
        if change.has_ended
            && let Some(repository_id) = &run.repository_id
            && let Some(retention) = report.update.stats_json.get("retention")
        {
            let told = ToldOfPoints::read(retention);
            self.note_told(&txn, repository_id, &told, now).await?;
            leaves_out = told.leaves_out();
        }
        if change.has_ended && run.status == "success" && !is_backup(run) {
            self.prove_by_restore(&txn, run, now).await?;
        }
        let ended_well = matches!(run.status.as_str(), "success" | "warning");
        if change.has_ended && ended_well && is_backup(run) {
            let has_work = self.queue_work_after(&txn, run, now).await?;
            let token = format!("run-finish-{}-list", run.id);
            let repository_id = run.repository_id.as_deref().unwrap_or_default();
            let order = (leaves_out, token);
            let has_list = self
                .queue_listing(&txn, repository_id, &run.host_id, order, now)
                .await?;
            updated.has_work = has_work || has_list;
        }
        txn.commit().await?;
        Ok(Ok(updated))
    }

    /// Reads a run, and where others may write at the same time, keeps them from it until the transaction ends.
    pub(super) async fn lock_run<C: ConnectionTrait>(
        &self,
        txn: &C,
        run_id: &str,
    ) -> Result<Option<run::Model>, DbErr> {
        let select = run::Entity::find_by_id(run_id);
        match self.is_shared() {
            true => select.lock_exclusive().one(txn).await,
            false => select.one(txn).await,
        }
    }

    /// Takes a batch of events and lines of the structured log, up to what a run keeps.
    pub async fn push_run_events(
        &self,
        run_id: &str,
        host: &host::Model,
        events: Vec<NewEvent>,
        logs: Vec<NewLog>,
        manifest_id: &str,
        now: i64,
    ) -> Result<Result<(run::Model, Taken), NotTheRuns>, DbErr> {
        let txn = self.db.begin().await?;
        let run = match checked(self.lock_run(&txn, run_id).await?, host) {
            Ok(run) => run,
            Err(not) => {
                txn.rollback().await?;
                return Ok(Err(not));
            }
        };
        let mut taken = Taken::default();
        if !events.is_empty() {
            let of_run = run_event::Entity::find().filter(run_event::Column::RunId.eq(run_id));
            let kept = of_run.clone().count(&txn).await?;
            let sent = events.len() as u64;
            let fitting = fitting(events, kept);
            taken.inserted = fitting.len() as u64;
            taken.dropped = sent - taken.inserted;
            insert_events(&txn, run_id, fitting.into_iter(), now).await?;
            // A row says so once, when the limit is passed.
            if kept + sent > EVENTS_MAX && kept <= EVENTS_MAX {
                let truncated = Happened {
                    kind: "info",
                    level: "warn",
                    message_id: "EVENTS_TRUNCATED",
                    params: json!({
                        "cap": EVENTS_MAX,
                        "note": "this run has more events than are kept; of later ones only errors are",
                    }),
                };
                insert_happened(&txn, run_id, &truncated, now).await?;
            }
        }
        if !logs.is_empty() {
            let room = room_for_logs(&txn, run_id).await?;
            let logs: Vec<_> = logs.into_iter().take(room).collect();
            taken.logs_inserted = logs.len() as u64;
            insert_logs(&txn, run_id, logs, now).await?;
        }
        if !manifest_id.is_empty() && OPEN.contains(&run.status.as_str()) {
            let mut changed = run.clone().into_active_model();
            changed.manifest_id = Set(manifest_id.to_owned());
            changed.heartbeat_at = Set(Some(now));
            changed.update(&txn).await?;
        }
        txn.commit().await?;
        Ok(Ok((run, taken)))
    }

    /// Takes a piece of a run's verbose log, up to `chunks_max` of them.
    pub async fn push_log_chunk(
        &self,
        run_id: &str,
        host: &host::Model,
        chunk: log_chunk::ActiveModel,
        seq: i64,
        chunks_max: u64,
    ) -> Result<Result<ChunkTaken, NotTheRuns>, DbErr> {
        let txn = self.db.begin().await?;
        if let Err(not) = checked(self.lock_run(&txn, run_id).await?, host) {
            txn.rollback().await?;
            return Ok(Err(not));
        }
        let of_run = log_chunk::Entity::find().filter(log_chunk::Column::RunId.eq(run_id));
        let kept = of_run.clone().count(&txn).await?;
        let same = of_run.filter(log_chunk::Column::Seq.eq(seq));
        if same.count(&txn).await? > 0 {
            txn.rollback().await?;
            return Ok(Ok(ChunkTaken::Duplicate(chunks_max.saturating_sub(kept))));
        }
        if kept >= chunks_max {
            txn.rollback().await?;
            return Ok(Ok(ChunkTaken::Full));
        }
        chunk.insert(&txn).await?;
        txn.commit().await?;
        Ok(Ok(ChunkTaken::Kept(chunks_max - kept - 1)))
    }

    /// Queues a run of a host's job, unless one goes on. However many ask at once, one is queued.
    pub async fn start_run(
        &self,
        job_id: &str,
        host_id: &str,
        run_id: String,
        requested_by: &str,
        now: i64,
    ) -> Result<Result<run::Model, NotQueued>, DbErr> {
        let txn = self.db.begin().await?;
        let select = job::Entity::find_by_id(job_id).filter(job::Column::HostId.eq(host_id));
        let job = match self.is_shared() {
            true => select.lock_exclusive().one(&txn).await?,
            false => select.one(&txn).await?,
        };
        let Some(job) = job.filter(|job| job.status != "deleted") else {
            txn.rollback().await?;
            return Ok(Err(NotQueued::NoJob));
        };
        if job.status != "active" {
            txn.rollback().await?;
            return Ok(Err(NotQueued::NotActive));
        }
        let going_on = run::Entity::find()
            .filter(run::Column::JobId.eq(job_id))
            .filter(run::Column::Kind.eq("backup"))
            .filter(run::Column::Status.is_in(OPEN))
            .one(&txn)
            .await?;
        if let Some(run) = going_on {
            txn.rollback().await?;
            return Ok(Err(NotQueued::AlreadyRunning(Box::new(run))));
        }
        let run = new_backup(&job, run_id, "manual", requested_by, now)
            .insert(&txn)
            .await?;
        txn.commit().await?;
        Ok(Ok(run))
    }

    /// Ends what nobody speaks of any more: silent runs, restores that nobody begins, commands and operations without
    /// an answer. Returns the runs that changed. Several instances may do it at once.
    pub async fn watchdog(&self, now: i64, awake_since: i64) -> Result<Vec<run::Model>, DbErr> {
        let open = run::Entity::find()
            .filter(run::Column::Status.is_in(OPEN))
            .all(self.reading())
            .await?;
        let mut changed = Vec::new();
        for run in open {
            let verdict = of_run(&run, now, awake_since);
            if verdict != OfRun::Leave
                && let Some(run) = self.carry_out(&run, verdict, now).await?
            {
                changed.push(run);
            }
        }
        self.end_lost_commands(now, awake_since).await?;
        self.end_lost_operations(now, awake_since).await?;
        Ok(changed)
    }

    async fn carry_out(
        &self,
        run: &run::Model,
        verdict: OfRun,
        now: i64,
    ) -> Result<Option<run::Model>, DbErr> {
        let mut after = run.clone();
        let end = |after: &mut run::Model, status: &str, why: &str| {
            after.status = status.to_owned();
            after.finished_at = Some(now);
            after.error_summary = why.to_owned();
            after.current_item = String::new();
            after.speed_bytes_per_sec = 0;
            after.eta_seconds = 0;
        };
        let cancelled = |message_id, message: &str| Happened {
            kind: "cancelled",
            level: "warn",
            message_id,
            params: json!({"message": message}),
        };
        let happened = match verdict {
            OfRun::Leave => return Ok(None),
            OfRun::AskToStop => {
                after.cancel_requested_at = Some(now);
                mark(&mut after, STOPPED_BY_SERVER);
                let why = "the agent has been silent for more than 12 minutes; it is told to stop this run when \
                           it comes back";
                cancelled("CANCEL_REQUESTED", why)
            }
            OfRun::End => {
                let why = "the agent is offline: it has been silent for more than 12 minutes; look at the host, \
                           its service and its network";
                end(&mut after, "cancelled", why);
                mark(&mut after, ENDED_BY_SERVER);
                cancelled("CANCELLED", why)
            }
            OfRun::Stop => {
                let why = "it was stopped before it began";
                end(&mut after, "cancelled", why);
                cancelled("CANCELLED", why)
            }
            OfRun::FailRestore => {
                let why = "no agent began this restore within a day; see that the target host is online, and \
                           start it again";
                end(&mut after, "failed", why);
                Happened {
                    kind: "error",
                    level: "error",
                    message_id: "RESTORE_FAILED",
                    params: json!({"error": why}),
                }
            }
        };
        let txn = self.db.begin().await?;
        let mut update = run::Entity::update_many()
            .set(differences(run, &after))
            .filter(run::Column::Id.eq(&run.id))
            .filter(run::Column::Status.eq(&run.status));
        // Whoever was faster, the agent or another instance, has changed one of these.
        update = update.filter(match run.heartbeat_at {
            Some(at) => run::Column::HeartbeatAt.eq(at),
            None => run::Column::HeartbeatAt.is_null(),
        });
        update = update.filter(match run.cancel_requested_at {
            Some(at) => run::Column::CancelRequestedAt.eq(at),
            None => run::Column::CancelRequestedAt.is_null(),
        });
        if update.exec(&txn).await?.rows_affected == 0 {
            txn.rollback().await?;
            return Ok(None);
        }
        insert_happened(&txn, &run.id, &happened, now).await?;
        if after.status != run.status {
            fail_commands_of(&txn, &run.id, &after.error_summary, now).await?;
        }
        txn.commit().await?;
        Ok(Some(after))
    }

    async fn end_lost_commands(&self, now: i64, awake_since: i64) -> Result<(), DbErr> {
        let handed_out = command::Entity::find()
            .filter(command::Column::Status.eq("processing"))
            .all(self.reading())
            .await?;
        for command in handed_out {
            if !is_command_lost(&command, false, now, awake_since) {
                continue;
            }
            let run = match &command.run_id {
                Some(run_id) => run::Entity::find_by_id(run_id).one(&self.db).await?,
                None => None,
            };
            let is_run_open = run.is_some_and(|run| OPEN.contains(&run.status.as_str()));
            if !is_command_lost(&command, is_run_open, now, awake_since) {
                continue;
            }
            command::Entity::update_many()
                .set(command::ActiveModel {
                    status: Set("failed".to_owned()),
                    result_message: Set(
                        "the agent took it and never answered; see whether it is online, and try again"
                            .to_owned(),
                    ),
                    finished_at: Set(Some(now)),
                    ..Default::default()
                })
                .filter(command::Column::Id.eq(command.id))
                .filter(command::Column::Status.eq("processing"))
                .exec(&self.db)
                .await?;
        }
        Ok(())
    }

    async fn end_lost_operations(&self, now: i64, awake_since: i64) -> Result<(), DbErr> {
        let handed_out = repo_operation::Entity::find()
            .filter(repo_operation::Column::Status.eq("running"))
            .all(self.reading())
            .await?;
        for operation in handed_out {
            if !is_operation_lost(&operation, now, awake_since) {
                continue;
            }
            repo_operation::Entity::update_many()
                .set(repo_operation::ActiveModel {
                    status: Set("failed".to_owned()),
                    result_json: Set(GIVEN_UP.to_owned()),
                    locked_until: Set(None),
                    finished_at: Set(Some(now)),
                    ..Default::default()
                })
                .filter(repo_operation::Column::Id.eq(operation.id))
                .filter(repo_operation::Column::Status.eq("running"))
                .exec(&self.db)
                .await?;
        }
        Ok(())
    }

    /// Returns the VMs of a host, those that are gone included.
    pub async fn all_vms_of_host(&self, host_id: &str) -> Result<Vec<vm::Model>, DbErr> {
        vm::Entity::find()
            .filter(vm::Column::HostId.eq(host_id))
            .order_by_asc(vm::Column::Id)
            .all(&self.db)
            .await
    }

    /// Returns the jobs of a host that are not deleted.
    pub async fn jobs_of_host(&self, host_id: &str) -> Result<Vec<job::Model>, DbErr> {
        job::Entity::find()
            .filter(job::Column::HostId.eq(host_id))
            .filter(job::Column::Status.ne("deleted"))
            .order_by_asc(job::Column::CreatedAt)
            .all(&self.db)
            .await
    }

    /// Returns a job of a host.
    pub async fn job_of_host(
        &self,
        job_id: &str,
        host_id: &str,
    ) -> Result<Option<job::Model>, DbErr> {
        job::Entity::find_by_id(job_id)
            .filter(job::Column::HostId.eq(host_id))
            .filter(job::Column::Status.ne("deleted"))
            .one(&self.db)
            .await
    }

    /// Returns where a run stores.
    pub async fn repository_of(
        &self,
        run: &run::Model,
    ) -> Result<Option<repository::Model>, DbErr> {
        match &run.repository_id {
            Some(id) => repository::Entity::find_by_id(id).one(&self.db).await,
            None => Ok(None),
        }
    }
}

/// What a new run is made from.
pub struct NewRun<'a> {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: &'a str,
    /// The job.
    pub job_id: Option<&'a str>,
    /// The host that carries it out.
    pub host_id: &'a str,
    /// The repository.
    pub repository_id: &'a str,
    /// `backup`, `restore` or `hyperv_restore`.
    pub kind: &'a str,
    /// The engine.
    pub engine: &'a str,
    /// `manual`, `schedule` or `retry`.
    pub trigger: &'a str,
    /// What a restore restores.
    pub point_id: Option<i64>,
    /// Where to, of a restore.
    pub target: Value,
    /// Who asks for it.
    pub requested_by: &'a str,
}

/// Returns the row of a run that waits for its host, to be inserted.
pub fn new_run(new: NewRun<'_>, now: i64) -> run::ActiveModel {
    run::ActiveModel {
        id: Set(new.id),
        tenant_id: Set(new.tenant_id.to_owned()),
        job_id: Set(new.job_id.map(str::to_owned)),
        host_id: Set(new.host_id.to_owned()),
        repository_id: Set(Some(new.repository_id.to_owned())),
        kind: Set(new.kind.to_owned()),
        engine: Set(new.engine.to_owned()),
        trigger: Set(new.trigger.to_owned()),
        status: Set("queued".to_owned()),
        scheduled_for: Set(None),
        point_id: Set(new.point_id),
        target_json: Set(match new.target {
            Value::Null => String::new(),
            target => target.to_string(),
        }),
        requested_by: Set(new.requested_by.to_owned()),
        created_at: Set(now),
        started_at: Set(None),
        finished_at: Set(None),
        heartbeat_at: Set(None),
        cancel_requested_at: Set(None),
        progress_pct: Set(0.0),
        bytes_processed: Set(0),
        bytes_transferred: Set(0),
        bytes_total: Set(0),
        objects_transferred: Set(0),
        objects_total: Set(0),
        speed_bytes_per_sec: Set(0),
        eta_seconds: Set(0),
        current_item: Set(String::new()),
        error_summary: Set(String::new()),
        manifest_id: Set(String::new()),
        stats_json: Set("{}".to_owned()),
        progress_json: Set("{}".to_owned()),
        disk_manifests_json: Set("{}".to_owned()),
        log_excerpt: Set(String::new()),
    }
}

/// Returns the row of a run of a job that waits for its host, to be inserted.
pub fn new_backup(
    job: &job::Model,
    id: String,
    trigger: &str,
    requested_by: &str,
    now: i64,
) -> run::ActiveModel {
    let new = NewRun {
        id,
        tenant_id: &job.tenant_id,
        job_id: Some(&job.id),
        host_id: &job.host_id,
        repository_id: &job.repository_id,
        kind: "backup",
        engine: &job.engine,
        trigger,
        point_id: None,
        target: json!({}),
        requested_by,
    };
    new_run(new, now)
}

fn checked(run: Option<run::Model>, host: &host::Model) -> Result<run::Model, NotTheRuns> {
    match run {
        Some(run) if run.tenant_id != host.tenant_id => Err(NotTheRuns::Unknown),
        Some(run) if run.host_id != host.id => Err(NotTheRuns::OtherHost),
        Some(run) => Ok(run),
        None => Err(NotTheRuns::Unknown),
    }
}

/// Returns what of a run is different, to be written.
fn differences(before: &run::Model, after: &run::Model) -> run::ActiveModel {
    let mut changed = run::ActiveModel {
        ..Default::default()
    };
    macro_rules! compare {
        ($($column:ident)*) => {
            $(if before.$column != after.$column {
                changed.$column = Set(after.$column.clone());
            })*
        };
    }
    compare!(
        status started_at finished_at heartbeat_at cancel_requested_at progress_pct bytes_processed
        bytes_transferred bytes_total objects_transferred objects_total speed_bytes_per_sec eta_seconds
        current_item error_summary manifest_id stats_json progress_json disk_manifests_json log_excerpt
    );
    changed
}

async fn save<C: ConnectionTrait>(
    txn: &C,
    before: &run::Model,
    after: &run::Model,
) -> Result<(), DbErr> {
    if before == after {
        return Ok(());
    }
    run::Entity::update_many()
        .set(differences(before, after))
        .filter(run::Column::Id.eq(&after.id))
        .exec(txn)
        .await?;
    Ok(())
}

/// Ends a run as failed within a transaction, unless it is over.
pub(super) async fn fail_run_in<C: ConnectionTrait>(
    txn: &C,
    run_id: &str,
    why: &str,
    now: i64,
) -> Result<Option<run::Model>, DbErr> {
    let failed = run::Entity::update_many()
        .set(run::ActiveModel {
            status: Set("failed".to_owned()),
            finished_at: Set(Some(now)),
            error_summary: Set(protocol::limit::shortened(why, 700)),
            current_item: Set(String::new()),
            ..Default::default()
        })
        .filter(run::Column::Id.eq(run_id))
        .filter(run::Column::Status.is_in(OPEN))
        .exec(txn)
        .await?;
    if failed.rows_affected == 0 {
        return Ok(None);
    }
    let happened = Happened {
        kind: "summary",
        level: "error",
        message_id: "AGENT_START_FAILURE",
        params: json!({"message": why}),
    };
    insert_happened(txn, run_id, &happened, now).await?;
    run::Entity::find_by_id(run_id).one(txn).await
}

/// Ends the commands of a run that nobody has taken yet.
async fn fail_commands_of<C: ConnectionTrait>(
    txn: &C,
    run_id: &str,
    why: &str,
    now: i64,
) -> Result<(), DbErr> {
    command::Entity::update_many()
        .set(command::ActiveModel {
            status: Set("failed".to_owned()),
            result_message: Set(why.to_owned()),
            finished_at: Set(Some(now)),
            ..Default::default()
        })
        .filter(command::Column::RunId.eq(run_id))
        .filter(
            Condition::any()
                .add(command::Column::Status.eq("pending"))
                .add(command::Column::Status.eq("processing")),
        )
        .exec(txn)
        .await?;
    Ok(())
}

/// Writes an event of the server's own.
pub(super) async fn insert_happened<C: ConnectionTrait>(
    txn: &C,
    run_id: &str,
    happened: &Happened,
    now: i64,
) -> Result<(), DbErr> {
    let event = NewEvent {
        kind: happened.kind.to_owned(),
        level: happened.level.to_owned(),
        code: happened.message_id.to_owned(),
        message_id: happened.message_id.to_owned(),
        params_json: happened.params.to_string(),
    };
    insert_events(txn, run_id, std::iter::once(event), now).await
}

/// Returns those of a call's events that are kept, where the run has `kept` already.
fn fitting(events: Vec<NewEvent>, kept: u64) -> Vec<NewEvent> {
    let mut room = EVENTS_MAX.saturating_sub(kept);
    let mut room_for_errors = (EVENTS_MAX + ERRORS_MAX).saturating_sub(kept.max(EVENTS_MAX));
    let fits = |event: &NewEvent| {
        let left = match room {
            0 if event.level == "error" => &mut room_for_errors,
            _ => &mut room,
        };
        let fits = *left > 0;
        *left -= u64::from(fits);
        fits
    };
    events.into_iter().filter(fits).collect()
}

async fn insert_events<C: ConnectionTrait>(
    txn: &C,
    run_id: &str,
    events: impl Iterator<Item = NewEvent>,
    now: i64,
) -> Result<(), DbErr> {
    let rows: Vec<_> = events
        .map(|event| run_event::ActiveModel {
            run_id: Set(run_id.to_owned()),
            at: Set(now),
            kind: Set(event.kind),
            level: Set(event.level),
            code: Set(event.code),
            message_id: Set(event.message_id),
            params_json: Set(event.params_json),
            ..Default::default()
        })
        .collect();
    // Databases limit how many values one statement has.
    for rows in rows.chunks(500) {
        run_event::Entity::insert_many(rows.to_vec())
            .exec_without_returning(txn)
            .await?;
    }
    Ok(())
}

/// Returns how many more lines of the structured log a run keeps.
pub(super) async fn room_for_logs<C: ConnectionTrait>(
    txn: &C,
    run_id: &str,
) -> Result<usize, DbErr> {
    let of_run = run_log::Entity::find().filter(run_log::Column::RunId.eq(run_id));
    let room = LOGS_MAX.saturating_sub(of_run.count(txn).await?);
    Ok(usize::try_from(room).unwrap_or(usize::MAX))
}

/// Writes lines of a run's structured log.
pub(super) async fn insert_logs<C: ConnectionTrait>(
    txn: &C,
    run_id: &str,
    logs: Vec<NewLog>,
    now: i64,
) -> Result<(), DbErr> {
    let rows: Vec<_> = logs
        .into_iter()
        .map(|log| run_log::ActiveModel {
            run_id: Set(run_id.to_owned()),
            at: Set(now),
            level: Set(log.level),
            code: Set(log.code),
            message: Set(log.message),
            details_json: Set(log.details_json),
            ..Default::default()
        })
        .collect();
    for rows in rows.chunks(500) {
        run_log::Entity::insert_many(rows.to_vec())
            .exec_without_returning(txn)
            .await?;
    }
    Ok(())
}
