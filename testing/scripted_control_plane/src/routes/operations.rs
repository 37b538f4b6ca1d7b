//! Operations on repositories: one per call, the oldest first, completed with its token.

use std::time::Duration;

use serde_json::{Value, json};

use crate::record::Call;
use crate::reply::Reply;
use crate::world::{Now, World};

/// How long a repository is locked for an operation.
const LOCK_LASTS: Duration = Duration::from_secs(300);

pub(super) fn poll(world: &mut World, now: Now) -> Reply {
    let again = std::mem::take(&mut world.deliver_again);
    let operation = claim(world, again, now);
    Reply::success(json!({"operation": operation}))
}

pub(super) fn claim(world: &mut World, again: bool, now: Now) -> Value {
    let Some(place) = next(world, now) else {
        return Value::Null;
    };
    let operation = &mut world.operations[place];
    operation.claimed.get_or_insert(now.since);
    if !again {
        operation.status = "running".to_owned();
    }
    Value::Object(operation.order.clone())
}

/// Returns the place of the oldest operation that may be handed out.
pub(super) fn next(world: &World, now: Now) -> Option<usize> {
    (0..world.operations.len())
        .find(|&place| world.operations[place].status == "queued" && !is_locked(world, place, now))
}

/// Tells whether another operation works on the same repository. Nobody renews a lock: it runs out.
fn is_locked(world: &World, place: usize, now: Now) -> bool {
    let repository = &world.operations[place].order["repository_id"];
    world.operations.iter().any(|other| {
        other.status == "running"
            && other.order["repository_id"] == *repository
            && other
                .claimed
                .is_some_and(|claimed| now.since.saturating_sub(claimed) < LOCK_LASTS)
    })
}

pub(super) fn complete(world: &mut World, call: &Call) -> Reply {
    let field = |name: &str| call.body[name].as_str().unwrap_or_default();
    let id = field("operation_id").parse::<u64>().unwrap_or_default();
    let operation = world
        .operations
        .iter_mut()
        .find(|operation| operation.id == id);
    let Some(operation) = operation else {
        return Reply::fail(403, "Operation not found");
    };
    if operation.token != field("operation_token") || operation.status == "queued" {
        return Reply::fail(403, "Invalid operation token");
    }
    if !matches!(field("status"), "success" | "failed") {
        return Reply::fail(200, "Invalid status");
    }
    operation.status = field("status").to_owned();
    operation.result = serde_json::from_str(field("result_json")).unwrap_or_default();
    Reply::success(json!({}))
}
