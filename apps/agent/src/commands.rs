//! Commands: taken once, carried out beside everything else, answered for certain.
//!
//! ```text
//! arrives ─► written down ─► carried out on a thread of its own ─► answered ─► acknowledged
//! ```

pub mod agent_update;
mod browse_directory;
mod browse_snapshot;
mod disk_progress;
mod hyperv_restore;
mod log_tail;
mod maintenance;
mod repo_operation;
mod restore;
mod restoring;
mod verbose_logging;
mod vms;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use protocol::commands::{Command, CommandStatus, CompleteCommand, Order, PollCommands};
use protocol::identifier::{CommandId, OperationId};
use protocol::repo_operations::{
    CompleteRepoOperation, OperationResult, OperationStatus, RepoOperation,
};
use protocol::reports::ReportBrowse;
use protocol::update_run::Ending;
use protocol::{WireId, commands};
use time_and_chance::StopSignal;

use crate::command_journal::{Arrival, Entry, Order as Written, Outcome};
use crate::control_plane::CallError;
use crate::parts::Parts;
use crate::reporter::Reporter;
use crate::supervision::panic_text;
use crate::verbose;
use crate::volumes;

/// What a command is answered with.
pub enum Reply {
    /// It was carried out.
    Done(String),
    /// What was found, which completes it.
    Found(Box<ReportBrowse>),
    /// It was carried out once the service is started anew.
    Restart,
    /// It is answered when it is known how it ended, by whoever knows.
    Later,
    /// From now on the verbose log of a run is pushed.
    Pushes(WireId, String),
}

/// Something that arrived and is to be carried out.
#[derive(Debug)]
pub enum Arrived {
    /// A command; with the run that was asked about, if it came that way.
    Command(Box<Command>, Option<WireId>),
    /// An operation on a repository.
    Operation(Box<RepoOperation>),
}

/// Asks for the commands of a run; returns whether it is to stop. The others wait to be carried out.
pub fn of_run(parts: &Parts, run_id: &WireId, stop: &StopSignal) -> Result<bool, CallError> {
    let call = PollCommands {
        run_id: run_id.clone(),
    };
    let mut is_cancelled = false;
    for command in parts.plane.call(&call, stop)? {
        match (command.order(), command.command_id) {
            (Ok(Order::Cancel), None) => is_cancelled = true,
            (Ok(Order::Cancel), Some(_)) => {
                is_cancelled = true;
                parts.arrives(Arrived::Command(Box::new(command), Some(run_id.clone())));
            }
            _ => parts.arrives(Arrived::Command(Box::new(command), Some(run_id.clone()))),
        }
    }
    Ok(is_cancelled)
}

/// Carries out what arrived, and returns when it is answered or the answer waits.
pub fn carry_out(parts: &Arc<Parts>, arrived: Arrived) {
    match arrived {
        Arrived::Command(command, of_run) => carry_out_command(parts, &command, of_run.as_ref()),
        Arrived::Operation(operation) => carry_out_operation(parts, &operation),
    }
}

fn carry_out_command(parts: &Parts, command: &Command, of_run: Option<&WireId>) {
    let Some(id) = command.command_id else {
        parts
            .log
            .warn("a command without a number arrived, which cannot be answered");
        return;
    };
    let written = Written::Command { id: id.0 };
    let order = command.order();
    match parts
        .journal
        .begin(written.clone(), &command.name, command.restore_run())
    {
        Ok(Arrival::New) => {}
        Ok(Arrival::UnderWay) => return,
        Ok(Arrival::Over(outcome)) => {
            parts.journal.was_asked_again(&written);
            complete(parts, id, &outcome);
            return;
        }
        Err(error) => {
            let why = format!("failed to write the command down before carrying it out: {error}");
            complete(parts, id, &failure(why));
            return;
        }
    }
    parts
        .log
        .info(&format!("command {id} ({}) arrived", command.name));
    parts.health.command_received(id, &command.name);
    let done = catch_unwind(AssertUnwindSafe(|| match order {
        Ok(order) => execute(parts, id, command, &order, of_run),
        Err(wrong) => Err(refused(parts, command, wrong)),
    }));
    let done = done.unwrap_or_else(|panic| {
        Err(format!(
            "a fault of this program ended the command; please report it: {}",
            panic_text(&*panic)
        ))
    });
    let is_restart = matches!(done, Ok(Reply::Restart));
    let pushed = match &done {
        Ok(Reply::Pushes(run_id, _)) => Some(run_id.clone()),
        _ => None,
    };
    answer(parts, id, &command.name, done);
    if is_restart {
        parts
            .log
            .info("the service is started anew, as a command says");
        parts.restart();
    }
    if let Some(run_id) = pushed {
        verbose::push(parts, &run_id);
    }
}

/// Answers a command, and notes how it ended.
fn answer(parts: &Parts, id: CommandId, name: &str, done: Result<Reply, String>) {
    let written = Written::Command { id: id.0 };
    let outcome = match done {
        Ok(Reply::Done(message) | Reply::Pushes(_, message)) => success(message),
        Ok(Reply::Restart) => success("the service is being started anew".to_owned()),
        Ok(Reply::Later) => return,
        Ok(Reply::Found(report)) => match parts.plane.call(&*report, &parts.stop) {
            Ok(()) => {
                let outcome = success("reported".to_owned());
                parts.journal.finish_acknowledged(&written, outcome);
                parts.health.command_ended(id, name, None);
                return;
            }
            Err(error) => failure(format!("failed to report what was found: {error}")),
        },
        Err(why) => failure(why),
    };
    let outcome = Outcome {
        message: parts.log.redacted(&outcome.message),
        ..outcome
    };
    let failure = Some(&*outcome.message).filter(|_| !outcome.is_done);
    if let Some(why) = failure {
        parts
            .log
            .warn(&format!("command {id} ({name}) failed: {why}"));
    }
    parts.health.command_ended(id, name, failure);
    parts.journal.finish(&written, outcome.clone());
    complete(parts, id, &outcome);
}

fn success(message: String) -> Outcome {
    Outcome {
        is_done: true,
        message,
    }
}

fn failure(message: String) -> Outcome {
    Outcome {
        is_done: false,
        message,
    }
}

/// Tells how a command ended; if that fails, it is told again later.
fn complete(parts: &Parts, id: CommandId, outcome: &Outcome) {
    let written = Written::Command { id: id.0 };
    let Some(_telling) = parts.journal.tell(&written) else {
        return;
    };
    let call = CompleteCommand {
        command_id: id,
        status: match outcome.is_done {
            true => CommandStatus::Completed,
            false => CommandStatus::Failed,
        },
        result_message: outcome.message.clone(),
    };
    match parts.plane.call(&call, &parts.stop) {
        Ok(()) => parts.journal.acknowledge(&written),
        Err(error) if error.is_final() => {
            parts.log.error(&format!(
                "the control plane will never take how command {id} ended: {error}"
            ));
            parts.journal.acknowledge(&written);
        }
        Err(error) => parts
            .log
            .debug(&format!("how command {id} ended is told later: {error}")),
    }
}

fn execute(
    parts: &Parts,
    id: CommandId,
    command: &Command,
    order: &Order,
    of_run: Option<&WireId>,
) -> Result<Reply, String> {
    match order {
        // It ends the run it was asked about, which the asker sees to.
        Order::Cancel => Ok(Reply::Done("the run is being stopped".to_owned())),
        Order::Restore(order) => restore::carry_out(parts, command, order),
        Order::HypervRestore(order) => hyperv_restore::carry_out(parts, command, order),
        Order::MaintenanceQuick => maintenance::carry_out(parts, command, of_run, false),
        Order::MaintenanceFull => maintenance::carry_out(parts, command, of_run, true),
        Order::BrowseDirectory(order) => {
            let found = browse_directory::list(order);
            Ok(Reply::Found(Box::new(ReportBrowse::new(id, &found))))
        }
        Order::BrowseSnapshot(order) => {
            let found = browse_snapshot::list(parts, command, order)?;
            Ok(Reply::Found(Box::new(ReportBrowse::new(id, &found))))
        }
        Order::ListHypervVms => {
            let found = vms::list(parts)?;
            Ok(Reply::Found(Box::new(ReportBrowse::new(id, &found))))
        }
        Order::ListHypervVmDetails(order) => {
            let found = vms::details(parts, order)?;
            Ok(Reply::Found(Box::new(ReportBrowse::new(id, &found))))
        }
        Order::FetchLogTail(order) => {
            let found = log_tail::read(parts, order)?;
            Ok(Reply::Found(Box::new(ReportBrowse::new(id, &found))))
        }
        Order::ListDisks => {
            let found = volumes::disks()?;
            Ok(Reply::Found(Box::new(ReportBrowse::new(id, &found))))
        }
        Order::RefreshInventory => {
            let count = volumes::report(parts)
                .map_err(|error| format!("failed to report the volumes: {error}"))?;
            Ok(Reply::Done(format!("{count} volumes reported")))
        }
        Order::ResetAgent => Ok(Reply::Restart),
        Order::AgentUpdate(order) => agent_update::carry_out(parts, id, order),
        Order::EnableVerboseAdminLogging(order) => {
            verbose_logging::enable(parts, of_run.or(command.run_id.as_ref()), order)
        }
        Order::Unsupported => Err(refused(parts, command, unsupported(command))),
    }
}

/// Says why this version does not do what it was ordered.
fn unsupported(command: &Command) -> String {
    match command.name.as_str() {
        "disk_restore" => "engine disk_image is not in this version".to_owned(),
        name if name.starts_with("nas_") => not_here("drives of the cloud"),
        name => format!("{name:?} is no command that this version knows"),
    }
}

/// Ends the restore's run that waits for a command which is not carried out, and returns why.
fn refused(parts: &Parts, command: &Command, why: String) -> String {
    if let Some(run_id) = command.restore_run() {
        end_restore_run(parts, &run_id, &why);
    }
    why
}

fn not_here(what: &str) -> String {
    format!("{what} is not in this version")
}

fn end_restore_run(parts: &Parts, run_id: &WireId, why: &str) {
    let reporter = Reporter::new(parts, run_id.clone());
    reporter.ends(Ending::failed(parts.ports.clock.now(), why));
}

/// Carries out an operation on a repository.
fn carry_out_operation(parts: &Parts, operation: &RepoOperation) {
    let written = Written::Operation {
        id: operation.operation_id.0,
        token: operation.operation_token.clone(),
    };
    let arrival = parts
        .journal
        .begin(written.clone(), &operation.op_type, None);
    let done = match arrival {
        Ok(Arrival::New) => {
            parts.log.info(&format!(
                "operation {} ({}) arrived",
                operation.operation_id, operation.op_type
            ));
            let done = AssertUnwindSafe(|| repo_operation::carry_out(parts, operation));
            catch_unwind(done).unwrap_or_else(|panic| {
                Err(format!(
                    "a fault of this program ended the operation: {}",
                    panic_text(&*panic)
                ))
            })
        }
        Ok(Arrival::UnderWay) => return,
        Ok(Arrival::Over(outcome)) => {
            parts.journal.was_asked_again(&written);
            complete_operation(parts, &written, &outcome);
            return;
        }
        Err(error) => Err(format!("failed to write the operation down: {error}")),
    };
    let outcome = match done {
        Ok(result) => success(serde_json::to_string(&result).unwrap_or_default()),
        Err(why) => {
            let why = parts.log.redacted(&why);
            parts.log.warn(&format!(
                "operation {} ({}) failed: {why}",
                operation.operation_id, operation.op_type
            ));
            failure(why)
        }
    };
    parts.journal.finish(&written, outcome.clone());
    complete_operation(parts, &written, &outcome);
}

fn complete_operation(parts: &Parts, written: &Written, outcome: &Outcome) {
    let Written::Operation { id, token } = written else {
        return;
    };
    let Some(_telling) = parts.journal.tell(written) else {
        return;
    };
    let call = CompleteRepoOperation {
        operation_id: OperationId(*id),
        operation_token: token.clone(),
        status: match outcome.is_done {
            true => OperationStatus::Success,
            false => OperationStatus::Failed,
        },
        result: match outcome.is_done {
            true => serde_json::from_str(&outcome.message).unwrap_or_default(),
            false => OperationResult {
                error: outcome.message.clone(),
                ..OperationResult::default()
            },
        },
    };
    match parts.plane.call(&call, &parts.stop) {
        Ok(()) => parts.journal.acknowledge(written),
        Err(error) if error.is_final() || error.is_missing_endpoint() => {
            parts.log.warn(&format!(
                "the control plane will never take how operation {id} ended: {error}"
            ));
            parts.journal.acknowledge(written);
        }
        Err(error) => parts
            .log
            .debug(&format!("how operation {id} ended is told later: {error}")),
    }
}

/// Ends what a crash left begun: as failed, for nobody knows how far it came.
pub fn settle_interrupted(parts: &Parts) {
    for Entry {
        order, restore_run, ..
    } in parts.journal.interrupted()
    {
        // An update goes over the service's end, and is told by itself.
        let update = parts.updates.current();
        if update.is_some_and(|it| order == Written::Command { id: it.command_id }) {
            continue;
        }
        let why = "the service ended while this was going on, and nobody knows how far it came; order it again";
        if let Some(run_id) = restore_run {
            end_restore_run(parts, &run_id, why);
        }
        parts.journal.finish(&order, failure(why.to_owned()));
    }
}

/// Tells again how commands ended of which the control plane may not know.
pub fn tell_again(parts: &Parts) {
    for entry in parts.journal.unacknowledged() {
        let Some(outcome) = &entry.outcome else {
            continue;
        };
        match &entry.order {
            Written::Command { id } => complete(parts, CommandId(*id), outcome),
            written @ Written::Operation { .. } => complete_operation(parts, written, outcome),
        }
        if parts.stop.is_stopped() {
            return;
        }
    }
}

/// Returns where the repository rests that a command is about.
fn context(command: &Command) -> Result<commands::JobContext, String> {
    let context = command.context()?;
    context.ok_or_else(|| {
        "the control plane does not say where the repository is; order it again, and if it happens again report it".to_owned()
    })
}

/// Returns an error as people read it.
fn failed(error: impl std::fmt::Display) -> String {
    format!("failed to {error}")
}
