//! The dashboard: a client of the people's API, embedded as files that were built before (`web/dist`).
//!
//! It knows nothing of what the API says. Addresses of its screens are all answered with the one page; the client
//! decides what they show.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

/// The page that every screen's address is answered with.
const PAGE: &str = "index.html";

/// Where files lie whose names change with their content.
const HASHED: &str = "assets/";

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Files;

/// Answers whatever no other route does: it stands last, as the fallback.
pub async fn answer(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    match file_for(uri.path().trim_start_matches('/')) {
        Some((name, file)) => file_answer(name, file, &headers),
        None => (StatusCode::NOT_FOUND, "there is nothing at this address\n").into_response(),
    }
}

/// Returns the file that a path (without its first slash) is answered with: its own, or the page if it is a
/// screen's address. Files have an extension, screens have none; what is missing is not answered with a page.
fn file_for(path: &str) -> Option<(&str, EmbeddedFile)> {
    if let Some(file) = Files::get(path) {
        return Some((path, file));
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_screen = !last.contains('.') && !is_of_programs(path);
    is_screen.then(|| Files::get(PAGE).map(|file| (PAGE, file)))?
}

/// Tells whether a path lies where programs call, who are better served with 404 than with a page.
fn is_of_programs(path: &str) -> bool {
    ["api", "modules", "assets"]
        .iter()
        .any(|place| path.split('/').next() == Some(place))
}

fn file_answer(name: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    let caching = if name.starts_with(HASHED) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let is_known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| has_tag(known, &tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = match file.data {
            Cow::Borrowed(bytes) => Body::from(bytes),
            Cow::Owned(bytes) => Body::from(bytes),
        };
        ([(CONTENT_TYPE, content_type(name))], body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Tells whether an `If-None-Match` header names a tag. What compresses answers on the way makes tags weak.
fn has_tag(header: &str, tag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Returns the type of a file of ours.
fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(path: &'static str, known: Option<&str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(known) = known {
            headers.insert(IF_NONE_MATCH, known.parse().expect("a tag is a header"));
        }
        answer(Method::GET, Uri::from_static(path), headers).await
    }

    #[tokio::test]
    async fn every_screen_is_answered_with_the_page() {
        for path in ["/", "/guide", "/vms/7", "/jobs/0195e3/edit"] {
            let response = get(path, None).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-cache", "{path}");
        }
    }

    #[tokio::test]
    async fn what_programs_call_or_what_is_missing_is_not_answered_with_the_page() {
        for path in [
            "/api/v1/nothing",
            "/modules/x",
            "/assets/old.js",
            "/favicon.ico",
        ] {
            assert_eq!(
                get(path, None).await.status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn every_file_that_the_page_names_is_there_and_hashed_ones_are_kept_for_ever() {
        let page = Files::get(PAGE).expect("the page is embedded");
        let page = String::from_utf8(page.data.into_owned()).expect("the page is UTF-8");
        let named: Vec<&str> = page
            .split(['"', '\''])
            .filter(|text| text.starts_with('/'))
            .collect();
        assert!(named.iter().any(|name| name.ends_with(".css")));
        for name in named {
            let file = name.trim_start_matches('/');
            let (found, file) = file_for(file).expect("a file that the page names is embedded");
            let response = file_answer(found, file, &HeaderMap::new());
            assert_ne!(response.headers()[CONTENT_TYPE], "application/octet-stream");
            assert_eq!(
                name.starts_with("/assets/"),
                response.headers()[CACHE_CONTROL]
                    .to_str()
                    .expect("text")
                    .contains("immutable"),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn a_page_that_is_known_is_not_sent_again() {
        let first = get("/", None).await;
        let tag = first.headers()[ETAG].to_str().expect("text").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            assert_eq!(
                get("/", Some(&known)).await.status(),
                StatusCode::NOT_MODIFIED
            );
        }
        assert_eq!(get("/", Some("\"other\"")).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn nothing_is_changed_here() {
        let response = answer(Method::POST, Uri::from_static("/"), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn the_page_carries_no_script_or_style_of_its_own() {
        let page = Files::get(PAGE).expect("the page is embedded");
        let page = String::from_utf8(page.data.into_owned()).expect("the page is UTF-8");
        assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("://"));
        for script in page.split("<script").skip(1) {
            assert!(script.contains("src=") && script.contains("></script>"));
        }
    }
}
