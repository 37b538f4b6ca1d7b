//! The routes of an instance, put together, with what every answer has in common.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use http_body::{Frame, SizeHint};
use sea_orm::ConnectionTrait as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::people_api::error::ApiError;
use crate::plane::SharedPlane;
use crate::{agent_api, dashboard, headers, log, metrics, people_api};

/// What people may send at once.
const PEOPLE_BYTES_MAX: usize = 1 << 20;

/// What agents may send at once: lists of folders, pieces of logs.
const AGENT_BYTES_MAX: usize = 16 << 20;

/// How long an answer may take to begin. Long polls wait for less; a stream of events begins at once.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// How long the database may take to answer a health check: those who check wait for seconds.
const HEALTH_MAX: Duration = Duration::from_secs(4);

/// Returns everything that the server answers.
pub fn routes(plane: SharedPlane) -> Router {
    let (people, document) = people_api::routes();
    let people = people
        .route(
            "/openapi.json",
            get(move || async move { Json(document.clone()) }),
        )
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(PEOPLE_BYTES_MAX));
    let agents = agent_api::routes().layer(DefaultBodyLimit::max(AGENT_BYTES_MAX));
    Router::new()
        .nest(agent_api::BASE, agents)
        .nest("/api/v1", people)
        .route("/api/{*rest}", any(no_such_route))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics::show))
        .fallback(dashboard::answer)
        .layer(from_fn(in_own_words))
        .layer(from_fn_with_state(plane.clone(), in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(plane.clone(), metrics::count))
        .layer(from_fn_with_state(plane.clone(), headers::add))
        .with_state(plane)
}

async fn health(State(plane): State<SharedPlane>) -> (StatusCode, String) {
    let asking = plane.store.db().execute_unprepared("SELECT 1");
    let trouble = match tokio::time::timeout(HEALTH_MAX, asking).await {
        Ok(Ok(_)) => plane.turns.trouble(),
        Ok(Err(_)) | Err(_) => Some("the database does not answer".to_owned()),
    };
    match trouble {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn no_such_route() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such route; /api/v1/openapi.json names them",
    )
}

async fn no_such_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this route has no such method; /api/v1/openapi.json names them",
    )
}

/// Turns what the framework refuses in plain text (parameters, paths, bodies) into the people's API's own form.
async fn in_own_words(request: Request, next: Next) -> Response {
    let is_people = request.uri().path().starts_with("/api/");
    // No text that we know of holds a NUL, and PostgreSQL takes none.
    let holds_nul = [Some(request.uri().path()), request.uri().query()]
        .into_iter()
        .flatten()
        .any(|part| part.contains("%00"));
    if is_people && holds_nul {
        return ApiError::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "the address holds the character U+0000",
        )
        .into_response();
    }
    let response = next.run(request).await;
    let status = response.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    let is_ours = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_people || !is_failure || is_ours {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, PEOPLE_BYTES_MAX)
        .await
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNPROCESSABLE_ENTITY => "invalid",
        _ => "malformed",
    };
    let mut own = ApiError::new(status, code, text).into_response();
    for (name, value) in &parts.headers {
        if !own.headers().contains_key(name) {
            own.headers_mut().insert(name, value.clone());
        }
    }
    own
}

/// Ends calls that take too long to begin, and streams of events when the server stops.
async fn in_time(State(plane): State<SharedPlane>, request: Request, next: Next) -> Response {
    let Ok(response) = tokio::time::timeout(ANSWER_MAX, next.run(request)).await else {
        return ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_slow",
            "the server is too busy to answer in time; try again",
        )
        .into_response();
    };
    let is_stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return response;
    }
    let stopped = Box::pin(plane.live.stopped());
    response.map(|inner| Body::new(UntilStopped { inner, stopped }))
}

/// A body that ends when the server stops.
struct UntilStopped {
    inner: Body,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for UntilStopped {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    let text = log::panic_text(&*cause);
    ApiError::internal(&format_args!("a call panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Live;

    /// A stream on which nothing ever happens.
    struct Silent;

    impl HttpBody for Silent {
        type Data = axum::body::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_server_stops() {
        let live = Live::new();
        let body = Body::new(UntilStopped {
            inner: Body::new(Silent),
            stopped: Box::pin(live.stopped()),
        });
        let reading = tokio::spawn(axum::body::to_bytes(body, 10));
        live.stop();
        let read = reading.await.expect("no panic").expect("an end");
        assert!(read.is_empty());
    }
}
