//! Commands: taken once, carried out beside everything else, answered for certain.
//!
//! ```text
//! arrives ─► written down ─► carried out on a thread of its own ─► answered ─► acknowledged
//! ```
//!
//! A command is handed out once, so the thread that receives it writes it down before it lets go of it.

pub mod agent_update;
mod browse_directory;
mod browse_snapshot;
mod disk_progress;
mod hyperv_register;
mod hyperv_restore;
mod list_points;
mod log_tail;
mod maintenance;
mod pin_point;
mod repo_operation;
mod restore;
mod restoring;
mod verbose_logging;
mod verify_points;
mod vms;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use protocol::commands::{Command, CommandStatus, CompleteCommand, Order};
use protocol::identifier::{CommandId, OperationId};
use protocol::repo_operations::{
    CompleteRepoOperation, OperationResult, OperationStatus, RepoOperation,
};
use protocol::reports::ReportBrowse;
use protocol::update_run::Ending;
use protocol::{Call, WireId, commands};

use crate::arrived::{Arrived, What};
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

/// What is not begun any more fails with these words.
const ENDING: &str = "the service was ending when this arrived; order it again";

/// Carries out what arrived, and returns when it is answered or the answer waits.
pub fn carry_out(parts: &Arc<Parts>, arrived: Arrived) {
    let Arrived { what, arrival } = arrived;
    match what {
        What::Command(id, command, of_run) => {
            carry_out_command(parts, id, &command, of_run.as_ref(), arrival);
        }
        What::Operation(operation) => carry_out_operation(parts, &operation, arrival),
    }
}

fn carry_out_command(
    parts: &Parts,
    id: CommandId,
    command: &Command,
    of_run: Option<&WireId>,
    arrival: Result<Arrival, String>,
) {
    let done = match arrival {
        Ok(Arrival::Known) => return,
        Ok(Arrival::Over(outcome)) => {
            complete(parts, id, &outcome);
            return;
        }
        Ok(Arrival::New) => execute(parts, id, command, of_run),
        Err(why) => Err(refused(parts, command, why)),
    };
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

/// Does what a command orders. One that arrives while the service ends is not begun.
fn execute(
    parts: &Parts,
    id: CommandId,
    command: &Command,
    of_run: Option<&WireId>,
) -> Result<Reply, String> {
    parts
        .log
        .info(&format!("command {id} ({}) arrived", command.name));
    parts.health.command_received(id, &command.name);
    if parts.stop.is_stopped() {
        return Err(refused(parts, command, ENDING.to_owned()));
    }
    let done = catch_unwind(AssertUnwindSafe(|| match command.order() {
        Ok(order) => obey(parts, id, command, &order, of_run),
        Err(wrong) => Err(refused(parts, command, wrong)),
    }));
    done.unwrap_or_else(|panic| {
        Err(format!(
            "a fault of this program ended the command; please report it: {}",
            panic_text(&*panic)
        ))
    })
}

/// Answers a command, and notes how it ended.
fn answer(parts: &Parts, id: CommandId, name: &str, done: Result<Reply, String>) {
    let written = Written::Command { id: id.0 };
    let outcome = match done {
        Ok(Reply::Done(message) | Reply::Pushes(_, message)) => success(message),
        Ok(Reply::Restart) => success("the service is being started anew".to_owned()),
        Ok(Reply::Later) => return,
        Ok(Reply::Found(report)) => match parts.plane.call(&*report, &parts.cut) {
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

/// Tells how a command ended, and returns whether the control plane listens; what it did not take is told
/// again later.
fn complete(parts: &Parts, id: CommandId, outcome: &Outcome) -> bool {
    let call = CompleteCommand {
        command_id: id,
        status: match outcome.is_done {
            true => CommandStatus::Completed,
            false => CommandStatus::Failed,
        },
        result_message: outcome.message.clone(),
    };
    let written = Written::Command { id: id.0 };
    tell_end(parts, &written, &format!("command {id}"), &call)
}

/// Tells how something ended by `call`, unless somebody else is at it; likewise.
fn tell_end<C: Call<Answer = ()>>(parts: &Parts, written: &Written, what: &str, call: &C) -> bool {
    let Some(_telling) = parts.journal.tell(written) else {
        return true;
    };
    // Servers without operations have commands.
    let is_missing = |error: &CallError| {
        error.is_missing_endpoint() && matches!(written, Written::Operation { .. })
    };
    match parts.plane.call(call, &parts.cut) {
        Ok(()) => {}
        Err(error) if error.is_final() || is_missing(&error) => parts.log.error(&format!(
            "the control plane will never take how {what} ended: {error}"
        )),
        Err(error) => {
            parts
                .log
                .debug(&format!("how {what} ended is told later: {error}"));
            return listens(&error);
        }
    }
    parts.journal.acknowledge(written);
    true
}

fn obey(
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
        Order::PinPoint(order) => pin_point::carry_out(parts, command, order),
        Order::FetchLogTail(order) => {
            let found = log_tail::read(parts, order)?;
            Ok(Reply::Found(Box::new(ReportBrowse::new(id, &found))))
        }
        Order::ListDisks => {
            let found = volumes::disks(parts)?;
            Ok(Reply::Found(Box::new(ReportBrowse::new(id, &found))))
        }
        Order::RefreshInventory => {
            let count = volumes::report(parts)?;
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
    if parts.outbox.knows(run_id) {
        return;
    }
    let reporter = Reporter::new(parts, run_id.clone());
    let ending = Ending::failed(parts.ports.clock.now(), why);
    reporter.ends(ending, Vec::new());
}

/// Carries out an operation on a repository.
fn carry_out_operation(parts: &Parts, operation: &RepoOperation, arrival: Result<Arrival, String>) {
    let (id, token) = (operation.operation_id.0, &operation.operation_token);
    let done = match arrival {
        Ok(Arrival::Known) => return,
        Ok(Arrival::Over(outcome)) => {
            complete_operation(parts, id, token, &outcome);
            return;
        }
        Ok(Arrival::New) if parts.stop.is_stopped() => Err(ENDING.to_owned()),
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
        Err(why) => Err(why),
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
    let written = Written::of(operation);
    parts.journal.finish(&written, outcome.clone());
    complete_operation(parts, id, token, &outcome);
}

/// Tells how an operation ended, likewise.
fn complete_operation(parts: &Parts, id: u64, token: &str, outcome: &Outcome) -> bool {
    let call = CompleteRepoOperation {
        operation_id: OperationId(id),
        operation_token: token.to_owned(),
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
    let written = Written::Operation {
        id,
        token: token.to_owned(),
    };
    tell_end(parts, &written, &format!("operation {id}"), &call)
}

/// Says whether the control plane would hear something else now: what it does not take of one thing, a
/// firewall that minds one body, must not hold up the rest.
fn listens(error: &CallError) -> bool {
    let is_away = matches!(error, CallError::Line(_));
    !is_away && !error.is_unauthorized() && error.after().is_none()
}

/// Ends what a crash left begun: as failed, for nobody knows how far it came.
pub fn settle_interrupted(parts: &Parts) {
    for Entry {
        order, restore_run, ..
    } in parts.journal.interrupted()
    {
        // An update goes over the service's end, and is told by itself.
        let update = parts.updates.current();
        if update.is_some_and(|it| {
            it.identity == parts.identity && order == Written::Command { id: it.command_id }
        }) {
            continue;
        }
        let why = "the service ended while this was going on, and nobody knows how far it came; order it again";
        if let Some(run_id) = restore_run {
            end_restore_run(parts, &run_id, why);
        }
        parts.journal.finish(&order, failure(why.to_owned()));
    }
}

/// Tells again how commands ended of which the control plane may not know, as long as it listens.
pub fn tell_again(parts: &Parts) {
    for entry in parts.journal.unacknowledged() {
        let Some(outcome) = &entry.outcome else {
            continue;
        };
        let listens = match &entry.order {
            Written::Command { id } => complete(parts, CommandId(*id), outcome),
            Written::Operation { id, token } => complete_operation(parts, *id, token, outcome),
        };
        if !listens || parts.stop.is_stopped() {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use protocol::endpoint::Endpoint;

    use time_and_chance::StopSignal;

    use super::*;
    use crate::http::LineErrorKind;
    use crate::receiving::{of_run, receive};
    use crate::test_parts::{TestLine, clock, no_answer, parts, success};

    const ORDERED: &str = r#"{"commands": [{"command_id": 311, "type": "restore",
        "payload": {"restore_run_id": 8, "target_path": "/srv", "manifest_id": "aa"}}]}"#;

    fn journal_files(folder: &Path) -> usize {
        let of_identity = std::fs::read_dir(folder.join("commands")).unwrap();
        let files = of_identity.map(|it| std::fs::read_dir(it.unwrap().path()).unwrap().count());
        files.sum()
    }

    #[test]
    fn what_a_run_receives_is_written_down_before_anybody_carries_it_out() {
        let folder = tempfile::tempdir().unwrap();
        let line = TestLine::new(|request, _| match request.endpoint {
            Endpoint::PollCommands => success(ORDERED),
            _ => success("{}"),
        });
        let clock = clock();
        let first = parts(folder.path(), &line, clock.clone());
        let never = StopSignal::new();
        assert!(!of_run(&first, &WireId::Number(7), &never).unwrap());
        assert_eq!(journal_files(folder.path()), 1);
        // The service dies before anybody looks at it.
        drop(first);
        let second = parts(folder.path(), &line, clock.clone());
        settle_interrupted(&second);
        tell_again(&second);
        let told = line.documents(Endpoint::CompleteCommand);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["command_id"], 311);
        assert_eq!(told[0]["status"], "failed");
        assert!(second.outbox.holds(&WireId::Number(8)), "its run ends too");
        assert!(second.journal.unacknowledged().is_empty());
    }

    #[test]
    fn what_is_handed_out_just_as_a_run_ends_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (line, there, go_on) = TestLine::held(ORDERED);
        let parts = parts(folder.path(), &line, clock());
        let is_over = StopSignal::new();
        std::thread::scope(|scope| {
            let polled = scope.spawn(|| of_run(&parts, &WireId::Number(7), &is_over));
            there.recv().unwrap();
            is_over.stop();
            parts.stop.stop();
            go_on.send(()).unwrap();
            assert!(!polled.join().unwrap().unwrap());
        });
        assert_eq!(parts.journal.interrupted().len(), 1);
        assert_eq!(parts.take_arrived().len(), 1);
    }

    #[test]
    fn a_late_copy_of_a_command_whose_outcome_is_known_is_not_answered_again() {
        let folder = tempfile::tempdir().unwrap();
        let line = TestLine::quiet();
        let parts = Arc::new(parts(folder.path(), &line, clock()));
        let command = || Command {
            command_id: Some(CommandId(5)),
            name: "brew_coffee".to_owned(),
            run_id: None,
            job_id: None,
            payload: Default::default(),
            job_context: Default::default(),
        };
        for _ in 0..3 {
            let arrived = receive(&parts, command(), None).unwrap();
            carry_out(&parts, arrived);
        }
        assert_eq!(line.bodies(Endpoint::CompleteCommand).len(), 1);
    }

    #[test]
    fn leftovers_are_told_no_further_when_the_control_plane_does_not_listen() {
        let folder = tempfile::tempdir().unwrap();
        let line = TestLine::new(|_, _| no_answer(LineErrorKind::Line));
        let parts = parts(folder.path(), &line, clock());
        for id in 0..5 {
            let order = Written::Command { id };
            let journal = &parts.journal;
            journal.arrives(order.clone(), "list_disks", None).unwrap();
            journal.finish(&order, failure("because".to_owned()));
        }
        tell_again(&parts);
        assert_eq!(line.bodies(Endpoint::CompleteCommand).len(), 1);
    }

    #[test]
    fn what_is_not_taken_of_one_command_does_not_hold_up_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let line = TestLine::new(|request, _| {
            let body = String::from_utf8_lossy(&request.body);
            match body.contains("\"command_id\":1,") {
                true => Ok(protocol::Response {
                    http_status: 403,
                    headers: Vec::new(),
                    body: b"<html>blocked</html>".to_vec(),
                }),
                false => success("{}"),
            }
        });
        let parts = parts(folder.path(), &line, clock());
        for id in 1..=2 {
            let order = Written::Command { id };
            let journal = &parts.journal;
            journal.arrives(order.clone(), "list_disks", None).unwrap();
            journal.finish(&order, failure("because".to_owned()));
        }
        tell_again(&parts);
        let left = parts.journal.unacknowledged();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].order, Written::Command { id: 1 });
    }
}
