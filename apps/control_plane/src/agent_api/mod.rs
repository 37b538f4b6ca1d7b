//! The agents' API, exactly as the contract says (`docs/spec/control-plane-api.md`); the wire is `protocol`'s.
//!
//! ```text
//! request ─► call (who calls, how often, what was sent) ─► handler (thin) ─► run_rules, store ─► envelope
//! ```
//!
//! It knows the contract's current form alone: UUIDs, two steps to sign in, version 2 of payloads.

mod call;
mod commands;
mod destination;
mod discovery;
mod enrolment;
mod events;
mod idle;
mod jobs;
mod memory;
mod next_run;
mod operations;
mod pace;
mod poll;
mod refusal;
mod update_run;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Extension, Router};

use crate::agent_api::idle::Idle;
use crate::agent_api::pace::Paces;
use crate::agent_api::poll::Wakers;
use crate::agent_api::refusal::Refusal;
use crate::plane::SharedPlane;

/// The path under which the addon serves it, and so do we.
pub const BASE: &str = "/modules/addons/cloudstorage/api";

/// What the calls of one instance share.
#[derive(Debug, Default)]
struct Shared {
    paces: Paces,
    idle: Idle,
    wakers: Arc<Wakers>,
}

/// Returns the routes, below [`BASE`].
pub fn routes() -> Router<SharedPlane> {
    Router::new()
        .route("/agent_enroll.php", post(enrolment::enroll))
        .route("/agent_login.php", post(enrolment::login))
        .route("/agent_next_run.php", get(next_run::next_run))
        .route("/agent_update_run.php", post(update_run::update_run))
        .route("/agent_push_events.php", post(events::push_events))
        .route(
            "/agent_push_agent_events.php",
            post(events::push_agent_events),
        )
        .route("/agent_push_log_chunk.php", post(events::push_log_chunk))
        .route(
            "/agent_poll_commands.php",
            post(commands::poll_commands).get(commands::poll_commands),
        )
        .route(
            "/agent_poll_pending_commands.php",
            get(commands::poll_pending_commands),
        )
        .route("/agent_poll.php", get(poll::poll))
        .route(
            "/agent_complete_command.php",
            post(commands::complete_command),
        )
        .route("/agent_report_browse.php", post(commands::report_browse))
        .route("/agent_report_volumes.php", post(discovery::report_volumes))
        .route(
            "/agent_hyperv_discover.php",
            post(discovery::hyperv_discover),
        )
        .route("/agent_fetch_jobs.php", get(jobs::fetch_jobs))
        .route("/agent_start_run.php", post(jobs::start_run))
        .route(
            "/agent_poll_repo_operations.php",
            get(operations::poll_repo_operations),
        )
        .route(
            "/agent_complete_repo_operation.php",
            post(operations::complete_repo_operation),
        )
        .route(
            "/agent_update_progress.php",
            post(commands::update_progress),
        )
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(no_such_method)
        .layer(Extension(Arc::new(Shared::default())))
}

/// Network drives, recovery media and driver bundles are none of ours.
async fn no_such_endpoint() -> Refusal {
    Refusal::new(404, "This server does not have the endpoint")
}

async fn no_such_method() -> Refusal {
    Refusal::new(405, "The endpoint does not have the method")
}
