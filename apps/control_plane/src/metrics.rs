//! What Prometheus reads: calls as they were counted here, and what the database holds at the moment it asks.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::people_api::caller::{Caller, Role, caller};
use crate::people_api::error::{ApiError, ApiResult};
use crate::plane::SharedPlane;
use crate::store::figures::Figure;

/// Seconds; long polls wait for up to 25.
const BUCKETS: [f64; 11] = [
    0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// What one instance counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<Call, Counter>,
    seconds: Family<Route, Histogram>,
    failed_chores: Family<Kind, Counter>,
}

impl Metrics {
    /// Returns one that has counted nothing.
    #[expect(
        clippy::new_without_default,
        reason = "there is one for each instance, made where it is put together"
    )]
    pub fn new() -> Self {
        let calls = Family::<Call, Counter>::default();
        let seconds = Family::<Route, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let mut registry = Registry::with_prefix("e3");
        registry.register(
            "http_requests",
            "Calls by method, route and status",
            calls.clone(),
        );
        registry.register(
            "http_request_seconds",
            "Time until the answer began, by route; long polls wait on purpose",
            seconds.clone(),
        );
        let failed_chores = Family::<Kind, Counter>::default();
        registry.register(
            "chores_failed",
            "Chores of this server that failed, panicked, or were ended for taking too long",
            failed_chores.clone(),
        );
        Self {
            registry,
            calls,
            seconds,
            failed_chores,
        }
    }

    /// Counts a chore that did not end well.
    pub fn count_failed_chore(&self, name: &str) {
        let kind = name.to_owned();
        self.failed_chores.get_or_create(&Kind { kind }).inc();
    }

    #[cfg(test)]
    pub(crate) fn failed_chores(&self, name: &str) -> u64 {
        let kind = name.to_owned();
        self.failed_chores.get_or_create(&Kind { kind }).get()
    }

    fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let route = route.to_owned();
        self.seconds
            .get_or_create(&Route {
                route: route.clone(),
            })
            .observe(took.as_secs_f64());
        self.calls
            .get_or_create(&Call {
                method,
                route,
                status,
            })
            .inc();
    }
}

/// Counts every call by its route, not by its path: paths are without number.
pub async fn count(State(plane): State<SharedPlane>, request: Request, next: Next) -> Response {
    let begun = plane.clock.monotonic();
    let method = known_method(request.method().as_str());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let took = plane.clock.monotonic().saturating_sub(begun);
    plane
        .metrics
        .count(method, &route, response.status().as_u16(), took);
    response
}

/// Whoever calls may make up methods; ours are few.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// Answers Prometheus. It takes an API token of the installation, unless the server was started for everybody.
pub async fn show(State(plane): State<SharedPlane>, parts: Parts) -> ApiResult<Response> {
    if !plane.options.are_metrics_open {
        let caller: Caller = caller(&parts, &plane, Role::Viewer).await?;
        caller.needs_installation()?;
    }
    let mut now = Registry::with_prefix("e3");
    for Figure { name, help, values } in plane.store.figures(plane.now_ms()).await? {
        let family = Family::<Kind, Gauge>::default();
        for (kind, value) in values {
            family.get_or_create(&Kind { kind }).set(value);
        }
        now.register(name, help, family);
    }
    let silence = Gauge::<i64>::default();
    silence.set(i64::try_from(plane.turns.silence().as_secs()).unwrap_or(i64::MAX));
    now.register(
        "chores_last_turn_seconds",
        "Seconds since this server last went through its chores",
        silence,
    );
    let mut text = String::new();
    encode_registry(&mut text, &plane.metrics.registry)
        .and_then(|()| encode_registry(&mut text, &now))
        .and_then(|()| encode_eof(&mut text))
        .map_err(|error| {
            ApiError::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                error.to_string(),
            )
        })?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
