//! Commands: handed out, answered (contract 3.6, 3.7, 3.9, 3.10, 3.17 and 7).

use axum::extract::State;
use protocol::WireId;
use protocol::commands::{Command, CommandStatus, JobContext};
use protocol::identifier::CommandId;
use protocol::next_run::Engine;
use protocol::reports::{ReportBrowse, VmDetails, Vms};
use protocol::update_progress::UpdateProgress;

use sea_orm::ActiveValue::Set;
use serde_json::{Map, Value, json};

use crate::agent_api::call::{AgentCall, field, uuid};
use crate::agent_api::destination::destination;
use crate::agent_api::refusal::{Answer, Refusal, success};
use crate::agent_api::update_run::not_the_runs;
use crate::live::What;
use crate::log;
use crate::plane::SharedPlane;
use crate::run_rules::change::object;
use crate::run_rules::finish::sources_of;
use crate::run_rules::{OPEN, is_backup};
use crate::store::commands::{Answered, Claimed, Context};
use crate::store::entity::{agent_event, command};

/// The most of what a command found that is kept.
const RESULT_BYTES_MAX: usize = 8 << 20;

/// Commands whose answer is a report (contract 3.10).
const REPORTED: [&str; 6] = [
    "browse_directory",
    "browse_snapshot",
    "list_disks",
    "list_hyperv_vms",
    "list_hyperv_vm_details",
    "fetch_log_tail",
];

/// Hands out the commands of one run.
pub(super) async fn poll_commands(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let fields = call.fields();
    let run_id = match field(&fields, "run_id") {
        "" => return Err(Refusal::invalid("run_id is required")),
        run_id => uuid(run_id, "run_id")?,
    };
    let run = plane
        .store
        .run_of_host(&run_id, &call.host)
        .await?
        .map_err(not_the_runs)?;
    let mut commands = Vec::new();
    let is_open = OPEN.contains(&run.status.as_str());
    // A restore that was ended here may have been begun there meanwhile.
    let ended_here = !is_backup(&run) && matches!(run.status.as_str(), "cancelled" | "failed");
    if (is_open && run.cancel_requested_at.is_some()) || ended_here {
        commands.push(json!({"type": "cancel"}));
    }
    let claimed = plane
        .store
        .claim_commands_of_run(&run_id, &call.host.id, plane.now_ms())
        .await?;
    for command in hand_out(&plane, claimed).await {
        commands.push(json!(command));
    }
    Ok(success(json!({"commands": commands})))
}

/// Hands out commands that are bound to the host.
pub(super) async fn poll_pending_commands(
    State(plane): State<SharedPlane>,
    call: AgentCall,
) -> Answer {
    let commands = commands_for(&plane, &call).await?;
    Ok(success(json!({"commands": commands})))
}

/// Takes the commands that a host is handed now.
pub(super) async fn commands_for(
    plane: &SharedPlane,
    call: &AgentCall,
) -> Result<Vec<Command>, Refusal> {
    let now = plane.now_ms();
    let claimed = plane.store.claim_commands(&call.host.id, now).await?;
    Ok(hand_out(plane, claimed).await)
}

/// Returns commands as they are sent, with their contexts. One whose context cannot be made has failed; whatever happens
/// to it, the others are handed out, for they are taken.
async fn hand_out(plane: &SharedPlane, claimed: Vec<Claimed>) -> Vec<Command> {
    let mut commands = Vec::new();
    for Claimed { command, context } in claimed {
        match on_the_wire(plane, &command, &context) {
            Ok(sent) => {
                plane
                    .live
                    .tell(&command.tenant_id, What::Command, command.id);
                commands.push(sent);
            }
            Err(why) => {
                let (store, now) = (&plane.store, plane.now_ms());
                let answered = store
                    .answer_command(&command.host_id, command.id, false, &why, None, now)
                    .await;
                match answered {
                    Ok(answered) => tell(plane, &answered),
                    // The watchdog ends it later.
                    Err(error) => log::error(format_args!(
                        "writing down that command {} failed ({why}): {error}",
                        command.id
                    )),
                }
            }
        }
    }
    commands
}

fn on_the_wire(
    plane: &SharedPlane,
    command: &command::Model,
    context: &Context,
) -> Result<Command, String> {
    let id = u64::try_from(command.id).map_err(|_| "its number is out of range".to_owned())?;
    let needs_repository = matches!(
        command.kind.as_str(),
        "restore"
            | "hyperv_restore"
            | "disk_restore"
            | "browse_snapshot"
            | "pin_point"
            | "maintenance_quick"
            | "maintenance_full"
    );
    let job_context = match &context.repository {
        Some(_) => match json!(job_context(plane, command, context)?) {
            Value::Object(members) => members,
            _ => Map::new(),
        },
        None if needs_repository => {
            return Err("the repository does not exist any more".to_owned());
        }
        None => Map::new(),
    };
    let point_job = context.point.as_ref().and_then(|it| it.job_id.clone());
    let job_id = context.job.as_ref().map(|job| job.id.clone()).or(point_job);
    Ok(Command {
        command_id: Some(CommandId(id)),
        name: command.kind.clone(),
        run_id: command.run_id.clone().map(WireId::Text),
        job_id: job_id.map(WireId::Text),
        payload: object(&command.payload_json).into(),
        job_context: job_context.into(),
    })
}

fn job_context(
    plane: &SharedPlane,
    command: &command::Model,
    context: &Context,
) -> Result<JobContext, String> {
    let Some(repository) = &context.repository else {
        return Ok(JobContext::default());
    };
    let (point, job) = (context.point.as_ref(), context.job.as_ref());
    let destination =
        destination(&plane.sealing, repository, job).map_err(|error| error.to_string())?;
    let engine = point
        .map(|point| point.engine.as_str())
        .or(job.map(|job| job.engine.as_str()))
        .unwrap_or_default();
    let run_id = match point {
        Some(point) => Some(point.run_id.clone()),
        None => command.run_id.clone(),
    };
    let sources = job.map(sources_of).unwrap_or_default();
    Ok(JobContext {
        job_id: job.map(|job| WireId::Text(job.id.clone())),
        run_id: run_id.map(WireId::Text),
        engine: match engine {
            "" => Engine::default(),
            engine => Engine::from(engine),
        },
        source_path: sources.into_iter().next().unwrap_or_default(),
        destination,
        manifest_id: point
            .map(|point| point.manifest_id.clone())
            .unwrap_or_default(),
        policy_json: job
            .and_then(|job| serde_json::from_str(&job.policy_json).ok())
            .unwrap_or_default(),
    })
}

/// Takes a command's outcome.
pub(super) async fn complete_command(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let members = call.members()?;
    let command_id = command_id(&members)?;
    let is_done = match members.get("status").and_then(Value::as_str) {
        Some(word) if word == CommandStatus::Completed.as_str() => true,
        Some(word) if word == CommandStatus::Failed.as_str() => false,
        _ => return Err(Refusal::invalid("status must be completed or failed")),
    };
    let message = match members.get("result_message") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let answered = plane
        .store
        .answer_command(
            &call.host.id,
            command_id,
            is_done,
            &message,
            None,
            plane.now_ms(),
        )
        .await?;
    tell(&plane, &answered);
    match answered {
        Answered::Unknown => Err(Refusal::new(404, "Command not found")),
        Answered::OtherHost => Err(Refusal::new(403, "Unauthorized")),
        Answered::Before | Answered::Now { .. } => Ok(success(json!({}))),
    }
}

fn command_id(members: &Map<String, Value>) -> Result<i64, Refusal> {
    let sent = members.get("command_id").cloned().unwrap_or_default();
    let number: Option<CommandId> = serde_json::from_value(sent).ok();
    number
        .and_then(|number| i64::try_from(number.0).ok())
        .ok_or_else(|| Refusal::invalid("command_id is required"))
}

/// Tells whoever watches what came of a command.
fn tell(plane: &SharedPlane, answered: &Answered) {
    if let Answered::Now {
        command,
        failed_run,
    } = answered
    {
        plane
            .live
            .tell(&command.tenant_id, What::Command, command.id);
        if let Some(run) = failed_run {
            plane.live.tell(&run.tenant_id, What::Run, &run.id);
        }
    }
}

/// Takes what a discovery command found.
pub(super) async fn report_browse(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let members = call.members()?;
    let id = command_id(&members)?;
    let Some(command) = plane.store.command_of_host(&call.host, id).await? else {
        return Err(Refusal::new(404, "Command not found"));
    };
    if !REPORTED.contains(&command.kind.as_str()) {
        return Err(Refusal::invalid(
            "The command has another way to be answered",
        ));
    }
    if !matches!(command.status.as_str(), "pending" | "processing") {
        return Ok(success(json!({})));
    }
    let result = result(&call, &members)?;
    let now = plane.now_ms();
    let unreadable =
        |error: serde_json::Error| Refusal::invalid(format!("The result cannot be read: {error}"));
    match command.kind.as_str() {
        "list_hyperv_vms" => {
            let listed: Vms = serde_json::from_value(result.clone()).map_err(unreadable)?;
            plane.store.list_vms(&call.host, &listed.vms, now).await?;
        }
        "list_hyperv_vm_details" => {
            let listed: VmDetails = serde_json::from_value(result.clone()).map_err(unreadable)?;
            plane
                .store
                .detail_vms(&call.host, &listed.details, now)
                .await?;
        }
        _ => {}
    }
    let answered = plane
        .store
        .answer_command(&call.host.id, id, true, "", Some(result.to_string()), now)
        .await?;
    tell(&plane, &answered);
    let host = &call.host;
    plane.live.tell(&host.tenant_id, What::Host, &host.id);
    Ok(success(json!({})))
}

/// Returns what was found, packed or not.
fn result(call: &AgentCall, members: &Map<String, Value>) -> Result<Value, Refusal> {
    let wrong = |what: String| Refusal::invalid(format!("The result cannot be read: {what}"));
    if members.contains_key("result_b64") {
        let report: ReportBrowse = call.read()?;
        let plain = report
            .result_json()
            .map_err(|error| wrong(error.to_string()))?;
        if plain.len() > RESULT_BYTES_MAX {
            return Err(wrong("it is larger than 8 MiB".to_owned()));
        }
        let found: Value =
            serde_json::from_slice(&plain).map_err(|error| wrong(error.to_string()))?;
        return match found {
            Value::Object(_) => Ok(found),
            _ => Err(wrong("it is not an object".to_owned())),
        };
    }
    match members.get("result") {
        Some(Value::Object(found)) => Ok(Value::Object(found.clone())),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(found)) => Ok(Value::Object(found)),
            _ => Err(wrong("it is not an object".to_owned())),
        },
        _ => Err(wrong("there is none".to_owned())),
    }
}

/// Takes the progress of an agent's own update. This server sends none yet, so there is nothing to keep but that the
/// agent lives.
pub(super) async fn update_progress(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let progress: UpdateProgress = call.read()?;
    let host = &call.host;
    let event = agent_event::ActiveModel {
        tenant_id: Set(host.tenant_id.clone()),
        host_id: Set(host.id.clone()),
        at: Set(plane.now_ms()),
        received_at: Set(plane.now_ms()),
        source: Set("agent".to_owned()),
        level: Set("info".to_owned()),
        code: Set("AGENT_UPDATE".to_owned()),
        message_id: Set("AGENT_UPDATE".to_owned()),
        params_json: Set(json!({
            "update_job_id": progress.update_job_id,
            "state": progress.state.as_str(),
            "detail": protocol::limit::shortened(&progress.detail, 700),
        })
        .to_string()),
        dedupe_key: Set(String::new()),
        ..Default::default()
    };
    plane
        .store
        .push_agent_events(vec![event], host, plane.now_ms())
        .await?;
    plane.live.tell(&host.tenant_id, What::Host, &host.id);
    Ok(success(json!({})))
}
