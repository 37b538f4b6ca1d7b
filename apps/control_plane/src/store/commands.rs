//! Commands: queued, handed out once, answered.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait,
    DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TransactionTrait as _,
};
use serde::Deserialize;

use crate::log;
use crate::run_rules::pin::{PIN_POINT, Pin, in_turn};
use crate::run_rules::{OPEN, change::object};
use crate::store::Store;
use crate::store::entity::{command, host, job, point, repository, run};
use crate::store::runs::fail_run_in;

/// So many commands of a group are handed out at once (contract 3.7).
const GROUP_MAX: usize = 5;
/// Commands of which only the run that they belong to is told.
pub(super) const OF_RUNS_ALONE: [&str; 2] = ["enable_verbose_admin_logging", "cancel"];
/// So many commands are looked at in one poll.
const LOOK_MAX: u64 = 100;

/// A command that is to be queued.
#[derive(Clone, Debug, Default)]
pub struct NewCommand {
    /// The tenant.
    pub tenant_id: String,
    /// The host.
    pub host_id: String,
    /// The run that it belongs to: of a restore, the restore's.
    pub run_id: Option<String>,
    /// Its type on the wire.
    pub kind: String,
    /// What it says, as JSON.
    pub payload_json: String,
    /// What its context is made from, as JSON.
    pub context_json: String,
    /// Who asked for it.
    pub requested_by: String,
}

/// What a command's `job_context` is made from when it is handed out.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The repository.
    pub repository: Option<repository::Model>,
    /// The restore point.
    pub point: Option<point::Model>,
    /// The job.
    pub job: Option<job::Model>,
}

/// A command that is handed out.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The command.
    pub command: command::Model,
    /// What its context is made from.
    pub context: Context,
}

/// Which rows a context names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    repository_id: Option<String>,
    point_id: Option<i64>,
    job_id: Option<String>,
}

/// What came of a command's answer.
#[derive(Clone, Debug)]
pub enum Answered {
    /// There is no such command.
    Unknown,
    /// It is another host's.
    OtherHost,
    /// It was answered before.
    Before,
    /// It is answered; with it a run may have failed.
    Now {
        /// The command.
        command: Box<command::Model>,
        /// The run, if it ended with the command.
        failed_run: Option<Box<run::Model>>,
    },
}

/// Commands that are handed out by groups, each with a share of its own (contract 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Questions about the host, and orders to the agent itself.
    Agent,
    /// Work on restore points and repositories.
    Work,
}

/// Returns a command's group; `None` if only the run that it belongs to is told of it.
fn group(kind: &str) -> Option<Group> {
    match kind {
        "restore" | "hyperv_restore" | "disk_restore" | "browse_snapshot" | "pin_point"
        | "maintenance_quick" | "maintenance_full" => Some(Group::Work),
        of_run if OF_RUNS_ALONE.contains(&of_run) => None,
        _ => Some(Group::Agent),
    }
}

/// Tells whether a command restores: it is of no use once its run is over.
pub fn is_restore(kind: &str) -> bool {
    matches!(kind, "restore" | "hyperv_restore" | "disk_restore")
}

/// Returns which of a host's pending commands, the oldest first, are handed out now.
fn choose(pending: Vec<command::Model>) -> Vec<command::Model> {
    let mut left = [(Group::Agent, GROUP_MAX), (Group::Work, GROUP_MAX)];
    pending
        .into_iter()
        .filter(|command| {
            let group = group(&command.kind);
            let share = left.iter_mut().find(|(of, _)| Some(*of) == group);
            match share {
                Some((_, left)) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            }
        })
        .collect()
}

impl Store {
    /// Queues a command, within a transaction or by itself, and returns its number. Tell `live` of the host's work
    /// once it is committed.
    pub async fn queue_command<C: ConnectionTrait>(
        &self,
        on: &C,
        new: NewCommand,
        now: i64,
    ) -> Result<command::Model, DbErr> {
        command::ActiveModel {
            tenant_id: Set(new.tenant_id),
            host_id: Set(new.host_id),
            run_id: Set(new.run_id),
            kind: Set(new.kind),
            payload_json: Set(new.payload_json),
            context_json: Set(new.context_json),
            status: Set("pending".to_owned()),
            result_message: Set(String::new()),
            result_json: Set(String::new()),
            requested_by: Set(new.requested_by),
            created_at: Set(now),
            delivered_at: Set(None),
            finished_at: Set(None),
            ..Default::default()
        }
        .insert(on)
        .await
    }

    /// Takes the commands that a host is handed now, with what their contexts are made from. However many ask at once, each
    /// is handed out once, and orders for the pins of one point one after the other.
    pub async fn claim_commands(&self, host_id: &str, now: i64) -> Result<Vec<Claimed>, DbErr> {
        let pending = command::Entity::find()
            .filter(command::Column::HostId.eq(host_id))
            .filter(command::Column::Status.eq("pending"))
            .filter(command::Column::Kind.is_not_in(OF_RUNS_ALONE))
            .order_by_asc(command::Column::Id)
            .limit(LOOK_MAX)
            .all(&self.db)
            .await?;
        let unanswered = match pending.iter().find(|it| it.kind == PIN_POINT) {
            Some(one) => unanswered_pins(&self.db, &one.tenant_id).await?,
            None => Vec::new(),
        };
        self.claim(choose(in_turn(pending, &unanswered)), now).await
    }

    /// Withdraws the orders to pin a point, or to take its pins away, that no host has taken and that say something else
    /// than the one which `host` is to be given now.
    pub async fn withdraw_pins(
        &self,
        txn: &DatabaseTransaction,
        host: &host::Model,
        pin: Pin,
        now: i64,
    ) -> Result<(), DbErr> {
        let unanswered = unanswered_pins(txn, &host.tenant_id).await?;
        let others = unanswered.iter().filter(|it| {
            let said = Pin::of(it);
            let is_same = it.host_id == host.id && said == Some(pin);
            !is_same && said.is_some_and(|said| said.restore_point_id == pin.restore_point_id)
        });
        command::Entity::update_many()
            .set(command::ActiveModel {
                status: Set("failed".to_owned()),
                result_message: Set("a later order for the point took its place".to_owned()),
                finished_at: Set(Some(now)),
                ..Default::default()
            })
            .filter(command::Column::Id.is_in(others.map(|it| it.id)))
            .filter(command::Column::Status.eq("pending"))
            .exec(txn)
            .await?;
        Ok(())
    }

    /// Takes the commands of a run that its agent is handed now, likewise.
    pub async fn claim_commands_of_run(
        &self,
        run_id: &str,
        host_id: &str,
        now: i64,
    ) -> Result<Vec<Claimed>, DbErr> {
        let pending = command::Entity::find()
            .filter(command::Column::RunId.eq(run_id))
            .filter(command::Column::HostId.eq(host_id))
            .filter(command::Column::Status.eq("pending"))
            .order_by_asc(command::Column::Id)
            .limit(GROUP_MAX as u64)
            .all(&self.db)
            .await?;
        self.claim(pending, now).await
    }

    /// Takes these, one after the other. After trouble with one, those before it are handed out all the same, and the
    /// others wait for the next time.
    async fn claim(&self, wanted: Vec<command::Model>, now: i64) -> Result<Vec<Claimed>, DbErr> {
        let mut claimed = Vec::new();
        for command in wanted {
            match self.claim_one_command(command, now).await {
                Ok(one) => claimed.extend(one),
                Err(error) if claimed.is_empty() => return Err(error),
                Err(error) => {
                    log::error(format_args!("handing out commands: {error}"));
                    break;
                }
            }
        }
        Ok(claimed)
    }

    async fn claim_one_command(
        &self,
        mut command: command::Model,
        now: i64,
    ) -> Result<Option<Claimed>, DbErr> {
        if let Some(why) = self.why_useless(&command).await? {
            self.answer_command(&command.host_id, command.id, false, &why, None, now)
                .await?;
            return Ok(None);
        }
        // Everything that can fail comes first: what is taken is handed out.
        let context = self.command_context(&command).await?;
        let taken = command::Entity::update_many()
            .set(command::ActiveModel {
                status: Set("processing".to_owned()),
                delivered_at: Set(Some(now)),
                ..Default::default()
            })
            .filter(command::Column::Id.eq(command.id))
            .filter(command::Column::Status.eq("pending"))
            .exec(&self.db)
            .await?;
        if taken.rows_affected == 0 {
            return Ok(None);
        }
        command.status = "processing".to_owned();
        command.delivered_at = Some(now);
        Ok(Some(Claimed { command, context }))
    }

    /// Returns why a command is not handed out any more, if it is not: the restore that it begins is over, or is to
    /// be stopped.
    async fn why_useless(&self, command: &command::Model) -> Result<Option<String>, DbErr> {
        let (true, Some(run_id)) = (is_restore(&command.kind), &command.run_id) else {
            return Ok(None);
        };
        let run = run::Entity::find_by_id(run_id).one(&self.db).await?;
        let is_over = run.is_none_or(|run| {
            !OPEN.contains(&run.status.as_str()) || run.cancel_requested_at.is_some()
        });
        Ok(is_over.then(|| "the restore was stopped before it began".to_owned()))
    }

    /// Returns what a command's context is made from.
    async fn command_context(&self, command: &command::Model) -> Result<Context, DbErr> {
        let named: Named = serde_json::from_str(&command.context_json).unwrap_or_default();
        let mut context = Context::default();
        if let Some(id) = named.point_id {
            context.point = point::Entity::find_by_id(id)
                .filter(point::Column::TenantId.eq(&command.tenant_id))
                .one(&self.db)
                .await?;
        }
        let point = context.point.as_ref();
        let of_point = point.map(|point| point.repository_id.clone());
        if let Some(id) = named.repository_id.or(of_point) {
            context.repository = repository::Entity::find_by_id(id)
                .filter(repository::Column::TenantId.eq(&command.tenant_id))
                .one(&self.db)
                .await?;
        }
        let of_point = point.and_then(|point| point.job_id.clone());
        if let Some(id) = named.job_id.or(of_point) {
            context.job = job::Entity::find_by_id(id)
                .filter(job::Column::TenantId.eq(&command.tenant_id))
                .one(&self.db)
                .await?;
        }
        Ok(context)
    }

    /// Returns a command of a host.
    pub async fn command_of_host(
        &self,
        host: &host::Model,
        command_id: i64,
    ) -> Result<Option<command::Model>, DbErr> {
        command::Entity::find_by_id(command_id)
            .filter(command::Column::HostId.eq(&host.id))
            .one(&self.db)
            .await
    }

    /// Takes a command's answer. A restore that failed before its run began, or without saying so, fails its run too.
    pub async fn answer_command(
        &self,
        host_id: &str,
        command_id: i64,
        is_done: bool,
        message: &str,
        result_json: Option<String>,
        now: i64,
    ) -> Result<Answered, DbErr> {
        let txn = self.db.begin().await?;
        let command = command::Entity::find_by_id(command_id).one(&txn).await?;
        let Some(mut command) = command else {
            txn.rollback().await?;
            return Ok(Answered::Unknown);
        };
        if command.host_id != host_id {
            txn.rollback().await?;
            return Ok(Answered::OtherHost);
        }
        let status = if is_done { "completed" } else { "failed" };
        let message = protocol::limit::shortened(message, 4_000);
        let restore = match !is_done && is_restore(&command.kind) {
            true => {
                let payload = object(&command.payload_json);
                let named = payload.get("restore_run_id").and_then(|id| id.as_str());
                named.map(str::to_owned).or(command.run_id.clone())
            }
            false => None,
        };
        if let Some(run_id) = &restore {
            self.lock_run(&txn, run_id).await?;
        }
        let mut changed = command::ActiveModel {
            status: Set(status.to_owned()),
            result_message: Set(message.clone()),
            finished_at: Set(Some(now)),
            ..Default::default()
        };
        if let Some(result_json) = &result_json {
            changed.result_json = Set(result_json.clone());
        }
        let answered = command::Entity::update_many()
            .set(changed)
            .filter(command::Column::Id.eq(command_id))
            .filter(command::Column::Status.is_in(["pending", "processing"]))
            .exec(&txn)
            .await?;
        if answered.rows_affected == 0 {
            txn.rollback().await?;
            return Ok(Answered::Before);
        }
        let failed_run = match &restore {
            Some(run_id) => fail_run_in(&txn, run_id, &message, now).await?,
            None => None,
        };
        if is_done {
            self.note_pinned(&txn, &command, now).await?;
        }
        txn.commit().await?;
        command.status = status.to_owned();
        command.result_message = message;
        command.result_json = result_json.unwrap_or_default();
        command.finished_at = Some(now);
        Ok(Answered::Now {
            command: Box::new(command),
            failed_run: failed_run.map(Box::new),
        })
    }
}

/// Returns the orders to pin points, or to take their pins away, that have no answer yet.
async fn unanswered_pins<C: ConnectionTrait>(
    on: &C,
    tenant_id: &str,
) -> Result<Vec<command::Model>, DbErr> {
    command::Entity::find()
        .filter(command::Column::TenantId.eq(tenant_id))
        .filter(command::Column::Status.is_in(["pending", "processing"]))
        .filter(command::Column::Kind.eq(PIN_POINT))
        .all(on)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(id: i64, kind: &str) -> command::Model {
        command::Model {
            id,
            tenant_id: String::new(),
            host_id: String::new(),
            run_id: None,
            kind: kind.to_owned(),
            payload_json: "{}".to_owned(),
            context_json: "{}".to_owned(),
            status: "pending".to_owned(),
            result_message: String::new(),
            result_json: String::new(),
            requested_by: String::new(),
            created_at: 0,
            delivered_at: None,
            finished_at: None,
        }
    }

    #[test]
    fn each_group_has_a_share_of_its_own() {
        let mut pending: Vec<_> = (0..7).map(|id| command(id, "browse_directory")).collect();
        pending.extend((7..14).map(|id| command(id, "restore")));
        pending.push(command(14, "enable_verbose_admin_logging"));
        let chosen: Vec<_> = choose(pending).iter().map(|it| it.id).collect();
        assert_eq!(chosen, [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]);
    }
}
