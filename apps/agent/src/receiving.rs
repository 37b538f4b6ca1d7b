//! Taking what the control plane hands out: it hands it out once, so it is written down before anything
//! else is done with it.

use std::io;

use protocol::WireId;
use protocol::commands::{Command, Order, PollCommands};
use protocol::repo_operations::RepoOperation;
use time_and_chance::StopSignal;

use crate::arrived::{Arrived, What};
use crate::command_journal::Order as Written;
use crate::control_plane::{CallError, Ends};
use crate::parts::Parts;

/// Writes a command down that arrived; `of_run` is the run that was asked about, if it came that way.
/// Nothing but a cancel comes without a number, and is told by the poll itself.
pub fn receive(parts: &Parts, command: Command, of_run: Option<&WireId>) -> Option<Arrived> {
    let Some(id) = command.command_id else {
        parts
            .log
            .warn("a command without a number arrived, which cannot be answered");
        return None;
    };
    let written = Written::Command { id: id.0 };
    let restore_run = command.restore_run();
    let arrival = parts.journal.arrives(written, &command.name, restore_run);
    Some(Arrived {
        what: What::Command(id, Box::new(command), of_run.cloned()),
        arrival: arrival.map_err(|error| unwritten(&error)),
    })
}

/// Writes an operation down that arrived.
pub fn receive_operation(parts: &Parts, operation: RepoOperation) -> Arrived {
    let written = Written::of(&operation);
    let arrival = parts.journal.arrives(written, &operation.op_type, None);
    Arrived {
        what: What::Operation(Box::new(operation)),
        arrival: arrival.map_err(|error| unwritten(&error)),
    }
}

fn unwritten(error: &io::Error) -> String {
    format!("failed to write the order down before carrying it out: {error}")
}

/// Asks for the commands of a run; returns whether it is to stop. The others are written down and wait to
/// be carried out. `stop` keeps it from being asked; an answer that is on its way is waited for, since
/// nobody else is handed what is in it.
pub fn of_run(parts: &Parts, run_id: &WireId, stop: &StopSignal) -> Result<bool, CallError> {
    let call = PollCommands {
        run_id: run_id.clone(),
    };
    let cut = &parts.cut;
    let mut is_cancelled = false;
    for command in parts.plane.call_through(&call, Ends { stop, cut })? {
        let is_cancel = matches!(command.order(), Ok(Order::Cancel));
        is_cancelled |= is_cancel;
        if is_cancel && command.command_id.is_none() {
            continue;
        }
        if let Some(arrived) = receive(parts, command, Some(run_id)) {
            parts.arrives(arrived);
        }
    }
    Ok(is_cancelled)
}
