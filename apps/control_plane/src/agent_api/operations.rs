//! Work on repositories: handed out, reported (contract 3.15 and 3.16).

use axum::extract::State;
use protocol::identifier::OperationId;
use protocol::repo_operations::{EffectivePolicy, OperationStatus, RepoOperation};
use serde_json::{Value, json};

use crate::agent_api::call::{AgentCall, field};
use crate::agent_api::destination::destination;
use crate::agent_api::refusal::{Answer, Refusal, success};
use crate::live::What;
use crate::plane::SharedPlane;
use crate::run_rules::change::object;
use crate::store::entity::{repo_operation, repository};
use crate::store::repo_operations::Reported;

/// The most of what came of an operation that is kept.
const RESULT_BYTES_MAX: usize = 64 << 10;

/// Hands out an operation.
pub(super) async fn poll_repo_operations(
    State(plane): State<SharedPlane>,
    call: AgentCall,
) -> Answer {
    let operation = operation_for(&plane, &call).await?;
    Ok(success(json!({"operation": operation})))
}

/// Takes the operation that a host is handed now. One whose repository cannot be opened has failed.
pub(super) async fn operation_for(
    plane: &SharedPlane,
    call: &AgentCall,
) -> Result<Option<Value>, Refusal> {
    let now = plane.now_ms();
    let Some((operation, repository)) = plane.store.claim_operation(&call.host, now).await? else {
        return Ok(None);
    };
    match on_the_wire(plane, &operation, &repository) {
        Ok(sent) => Ok(Some(sent)),
        Err(why) => {
            let (id, token) = (operation.id, &operation.token);
            let result = json!({"error": why}).to_string();
            plane
                .store
                .report_operation(&call.host, id, token, false, result, now)
                .await?;
            Ok(None)
        }
    }
}

fn on_the_wire(
    plane: &SharedPlane,
    operation: &repo_operation::Model,
    repository: &repository::Model,
) -> Result<Value, String> {
    let id = u64::try_from(operation.id).map_err(|_| "its number is out of range".to_owned())?;
    let destination =
        destination(&plane.sealing, repository, None).map_err(|error| error.to_string())?;
    let mut sent = json!(RepoOperation {
        operation_id: OperationId(id),
        repo_id: None,
        operation_token: operation.token.clone(),
        op_type: operation.kind.clone(),
        effective_policy: EffectivePolicy::default(),
        repository_id: repository.id.clone(),
        bucket_name: destination.dest_bucket_name,
        root_prefix: destination.dest_prefix,
        endpoint: destination.dest_endpoint,
        region: destination.dest_region,
        dest_access_key: destination.dest_access_key,
        dest_secret_key: destination.dest_secret_key,
    });
    sent["effective_policy"] = Value::Object(object(&operation.payload_json));
    Ok(sent)
}

/// Takes an operation's outcome.
pub(super) async fn complete_repo_operation(
    State(plane): State<SharedPlane>,
    call: AgentCall,
) -> Answer {
    let fields = call.fields();
    let id: i64 = field(&fields, "operation_id")
        .parse()
        .map_err(|_| Refusal::invalid("operation_id is required"))?;
    let token = match field(&fields, "operation_token") {
        "" => return Err(Refusal::invalid("operation_token is required")),
        token => token,
    };
    let is_done = match field(&fields, "status") {
        word if word == OperationStatus::Success.as_str() => true,
        word if word == OperationStatus::Failed.as_str() => false,
        _ => return Err(Refusal::invalid("status must be success or failed")),
    };
    let result = match field(&fields, "result_json") {
        "" => "{}".to_owned(),
        text if text.len() > RESULT_BYTES_MAX => {
            return Err(Refusal::invalid("result_json is larger than 64 KiB"));
        }
        text => match serde_json::from_str(text) {
            Ok(Value::Object(members)) => Value::Object(members).to_string(),
            _ => return Err(Refusal::invalid("result_json is not a JSON object")),
        },
    };
    let reported = plane
        .store
        .report_operation(&call.host, id, token, is_done, result, plane.now_ms())
        .await?;
    match reported {
        Reported::NotYours => Err(Refusal::new(403, "Unauthorized operation or token")),
        Reported::Before => Ok(success(json!({}))),
        Reported::Now(operation) => {
            let host = &call.host;
            // What waited for the repository goes on.
            plane
                .live
                .tell(&operation.tenant_id, What::HostWork, &host.id);
            Ok(success(json!({})))
        }
    }
}
