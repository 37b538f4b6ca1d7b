//! The people's API: what the dashboard and programs call, under `/api/v1`, documented by OpenAPI.
//!
//! A file for each kind of thing. Every handler takes a [`caller::Viewer`], [`caller::Operator`] or
//! [`caller::Owner`] (or is named in the table of open routes in the tests), filters by its scope, and describes
//! itself and every answer for the document.

#![expect(
    unused_qualifications,
    reason = "what utoipa's macros expand to writes paths out in full"
)]

pub mod alarms;
pub mod api_tokens;
pub mod audit;
pub mod caller;
pub mod channels;
pub mod commands;
mod document;
pub mod enrolment_tokens;
pub mod error;
pub mod event_text;
pub mod hosts;
pub mod input;
pub mod jobs;
pub mod overview;
pub mod paging;
pub mod points;
pub mod repositories;
pub mod request;
pub mod restores;
pub mod runs;
pub mod session;
pub mod settings;
pub mod setup;
pub mod stream;
pub mod tenant_choice;
pub mod tenants;
pub mod users;
mod vm_row;
pub mod vms;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

use crate::plane::SharedPlane;

/// Returns the routes, below `/api/v1`, and the document that describes them.
pub fn routes() -> (Router<SharedPlane>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::new()
        .merge(setup::routes())
        .merge(session::routes())
        .merge(tenants::routes())
        .merge(users::routes())
        .merge(api_tokens::routes())
        .merge(enrolment_tokens::routes())
        .merge(audit::routes())
        .merge(settings::routes())
        .merge(commands::routes())
        .merge(hosts::routes())
        .merge(jobs::routes())
        .merge(overview::routes())
        .merge(points::routes())
        .merge(repositories::routes())
        .merge(restores::routes())
        .merge(runs::routes())
        .merge(stream::routes())
        .merge(vms::routes())
        .merge(alarms::routes())
        .merge(channels::routes())
        .split_for_parts();
    document::complete(&mut document);
    (router, document)
}
