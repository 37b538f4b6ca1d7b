//! Server-sent events: a run as it goes on, and what changes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{Stream, unfold};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::live::{Change, What};
use crate::people_api::caller::{Caller, Viewer};
use crate::people_api::error::ApiResult;
use crate::people_api::input::Params;
use crate::people_api::request::{Id, LookRefusals};
use crate::people_api::runs::{Run, RunEvent, event_view, found, is_going_on, whole};
use crate::plane::SharedPlane;

/// How often a run is read again while nobody tells that it has changed: another instance may have written it.
const REREAD: Duration = Duration::from_secs(2);

/// How often watchers are told to read again where other instances write too.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// A stream ends after so long, and the browser begins another one: so nobody watches whose session has ended.
const LIFE: Duration = Duration::from_secs(15 * 60);

/// How many events are read at a time.
const EVENTS_AT_A_TIME: u64 = 500;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(run_stream))
        .routes(routes!(live))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct After {
    /// Only events with a greater number; the header `Last-Event-ID` says the same, and counts first.
    after: Option<i64>,
}

/// Something that changed.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Changed {
    /// `run`, `alarm`, `host` or `command`; `any`: read again whatever you show.
    what: &'static str,
    /// Which one.
    id: String,
}

/// How the events of a run's stream are described; there is nothing of the kind.
#[derive(Clone, Copy, Debug)]
pub enum RunStream {}

impl PartialSchema for RunStream {
    fn schema() -> RefOr<Schema> {
        let data = OneOfBuilder::new()
            .item(Ref::from_schema_name(Run::name()))
            .item(Ref::from_schema_name(RunEvent::name()));
        sent(&["run", "event"], data.into())
    }
}

impl ToSchema for RunStream {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Run::schemas(schemas);
        RunEvent::schemas(schemas);
    }
}

/// How the events of the stream of changes are described; there is nothing of the kind.
#[derive(Clone, Copy, Debug)]
pub enum ChangeStream {}

impl PartialSchema for ChangeStream {
    fn schema() -> RefOr<Schema> {
        let data = Ref::from_schema_name(Changed::name());
        sent(&["change"], data.into())
    }
}

impl ToSchema for ChangeStream {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Changed::name().into_owned(), Changed::schema()));
    }
}

/// Describes an event by its fields; `data` holds JSON.
fn sent(kinds: &[&str], data: RefOr<Schema>) -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    ObjectBuilder::new()
        .property("event", text().enum_values(Some(kinds.to_vec())))
        .property("id", text())
        .property(
            "data",
            text()
                .content_media_type("application/json")
                .content_schema(Some(data)),
        )
        .required("event")
        .required("data")
        .into()
}

/// Streams a run until it has ended: `event: run` with the run whenever it changes, `event: event` with what happens.
#[utoipa::path(get, path = "/runs/{id}/stream", tag = "runs", params(("id" = String, Path), After),
    responses((status = 200, body = RunStream, content_type = "text/event-stream"), LookRefusals))]
async fn run_stream(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Params(asked): Params<After>,
    headers: HeaderMap,
) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let changes = plane.live.listen();
    found(&plane, caller.tenant_id.as_deref(), &id).await?;
    let resumed = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let watch = RunWatch {
        plane,
        caller,
        run_id: id,
        after: resumed.or(asked.after).unwrap_or(0),
        said: String::new(),
        changes,
        ready: VecDeque::new(),
        is_over: false,
        until: Instant::now() + LIFE,
    };
    let stream = unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok(event), watch))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

struct RunWatch {
    plane: SharedPlane,
    caller: Caller,
    run_id: String,
    after: i64,
    said: String,
    changes: Receiver<Change>,
    ready: VecDeque<Event>,
    is_over: bool,
    until: Instant,
}

impl RunWatch {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            // Without an answer of the store the stream ends, and the browser asks again.
            self.read().await.ok()?;
            if self.ready.is_empty() && !self.is_over {
                self.wait().await?;
            }
        }
    }

    async fn read(&mut self) -> ApiResult<()> {
        // The run first: what is in the store when it has ended is all that there is.
        let run = found(&self.plane, self.caller.tenant_id.as_deref(), &self.run_id).await?;
        let goes_on = is_going_on(&run.status);
        let events = self
            .plane
            .store
            .run_events_after(&self.run_id, self.after, EVENTS_AT_A_TIME)
            .await?;
        let are_all = (events.len() as u64) < EVENTS_AT_A_TIME;
        for event in events {
            self.after = event.id;
            let named = Event::default().event("event").id(event.id.to_string());
            let data = serde_json::to_string(&event_view(event)).unwrap_or_default();
            self.ready.push_back(named.data(data));
        }
        let run = whole(&self.plane, run).await?;
        let run = serde_json::to_string(&run).unwrap_or_default();
        if run != self.said {
            self.ready
                .push_back(Event::default().event("run").data(&run));
            self.said = run;
        }
        self.is_over = !goes_on && are_all;
        Ok(())
    }

    /// Waits until the run may have changed; none: until there is nothing to wait for any more.
    async fn wait(&mut self) -> Option<()> {
        let (changes, run_id) = (&mut self.changes, &self.run_id);
        let told = async {
            loop {
                match changes.recv().await {
                    Ok(change) if change.what == What::Run && change.id == *run_id => break,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        };
        tokio::select! {
            () = told => Some(()),
            () = tokio::time::sleep(REREAD) => Some(()),
            () = tokio::time::sleep_until(self.until) => None,
        }
    }
}

/// Streams what changes: `event: change`.
#[utoipa::path(get, path = "/live", tag = "overview",
    responses((status = 200, body = ChangeStream, content_type = "text/event-stream"), LookRefusals))]
async fn live(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let changes = plane.live.listen();
    let until = Instant::now() + LIFE;
    let stream = unfold(
        (plane, caller, changes),
        move |(plane, caller, mut changes)| async move {
            let changed = loop {
                tokio::select! {
                    change = changes.recv() => match change {
                        Ok(change) if caller.sees(&change.tenant_id) => {
                            if let Some(changed) = told(&change) {
                                break changed;
                            }
                        }
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => break any(),
                        Err(RecvError::Closed) => return None,
                    },
                    () = tokio::time::sleep(READ_AGAIN), if plane.store.is_shared() => break any(),
                    () = tokio::time::sleep_until(until) => return None,
                }
            };
            let data = serde_json::to_string(&changed).unwrap_or_default();
            let event = Event::default().event("change").data(data);
            Some((Ok(event), (plane, caller, changes)))
        },
    );
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn any() -> Changed {
    Changed {
        what: "any",
        id: String::new(),
    }
}

/// Returns what people are told of a change; that a host has work is for its agent.
fn told(change: &Change) -> Option<Changed> {
    let what = match change.what {
        What::Run => "run",
        What::Command => "command",
        What::Alarm => "alarm",
        What::Host => "host",
        What::HostWork => return None,
    };
    Some(Changed {
        what,
        id: change.id.clone(),
    })
}
