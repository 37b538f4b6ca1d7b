//! What browsers are told with every answer: load nothing from elsewhere, be framed by nobody, guess no types.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::Next;
use axum::response::Response;

use crate::plane::SharedPlane;

/// Pages run our own scripts and styles, talk to us, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
     form-action 'self'";

const ALWAYS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Heeded over HTTPS alone: elsewhere browsers write into their consoles that they ignore it.
const OF_HTTPS: (HeaderName, &str) = (
    HeaderName::from_static("cross-origin-opener-policy"),
    "same-origin",
);

/// Two years, as the browsers' own lists ask for.
const HTTPS_ALONE: &str = "max-age=63072000";

/// Adds the headers to every answer.
pub async fn add(State(plane): State<SharedPlane>, request: Request, next: Next) -> Response {
    let is_api = !is_page(request.uri().path());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if plane.options.is_secure {
        let (name, value) = OF_HTTPS;
        headers.insert(name, HeaderValue::from_static(value));
    }
    if plane.options.promises_https {
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static(HTTPS_ALONE),
        );
    }
    if is_api {
        // Answers are somebody's: no browser and no proxy keeps them.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Tells whether a path is the dashboard's, which says itself how long its files may be kept.
fn is_page(path: &str) -> bool {
    !["/api/", "/modules/", "/metrics", "/healthz"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}
