//! The connection under `object_store`: sends one request and takes its whole answer.
//!
//! `object_store` signs, repeats and understands; this bounds the time of each step, tells
//! refusals apart, corrects one known slip of gateways, and adds object locks, which
//! `object_store` has no option for (docs/decisions/dependencies.md).

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, HeaderValue};
use time_and_chance::Timestamp;

use super::limits::S3Limits;
use super::refusal::{Refusal, untrusted};

/// An answer longer than this is none of a blob's or a page's.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Of a refusal only this much is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Travels with a request: lock the object against deletion.
#[derive(Debug, Clone)]
pub struct ObjectLock {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// How long.
    pub until: Timestamp,
}

/// Travels with an answer: the server shows a lock on the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShowsLock;

/// Sends requests. Clones share connections.
#[derive(Debug, Clone)]
pub struct Service {
    client: reqwest::Client,
    limits: S3Limits,
    region: String,
    /// Known only when the store is built on this service.
    credentials: Arc<OnceLock<AwsCredentialProvider>>,
}

impl HttpConnector for Service {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Service {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.answer(request))
    }
}

impl Service {
    /// Returns a service that signs locks for `region`.
    pub fn new(client: reqwest::Client, limits: S3Limits, region: String) -> Self {
        Self {
            client,
            limits,
            region,
            credentials: Arc::default(),
        }
    }

    /// Says who signs object locks.
    pub fn set_credentials(&self, credentials: &AwsCredentialProvider) {
        // The first one stays; a store is built once.
        let _ = self.credentials.set(Arc::clone(credentials));
    }

    async fn answer(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(lock) = request.extensions().get::<ObjectLock>().cloned() {
            self.add_lock(&mut request, &lock).await?;
        }
        let is_delete = request.method() == "DELETE";
        let sending = Duration::from_secs(
            request.body().content_length() as u64 / self.limits.upload_bytes_per_second_min.max(1),
        );
        let limit = self.limits.answer_max.saturating_add(sending);
        let sent = self.client.execute(into_reqwest(request)?);
        let mut response = within(limit, sent).await?.map_err(transport)?;

        let status = response.status().as_u16();
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let is_page = header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if is_delete && status == 200 && is_page && header("content-length") != Some("0") {
            // Deleting is answered by nothing; a proxy's page would pass for success.
            return Err(HttpError::new(
                HttpErrorKind::Unknown,
                Refusal::new(status, None, b""),
            ));
        }
        // Some gateways answer a range with the right bytes and the wrong status.
        let is_mislabelled = status == 200 && header("content-range").is_some();
        let shows_lock = header("x-amz-object-lock-mode").is_some();
        let body = self.body(&mut response, ANSWER_BYTES_MAX).await?;

        let mut answer = HttpResponse::new(HttpResponseBody::from(body));
        *answer.status_mut() = response.status();
        std::mem::swap(answer.headers_mut(), response.headers_mut());
        if is_mislabelled && let Ok(partial) = 206_u16.try_into() {
            *answer.status_mut() = partial;
        }
        if shows_lock {
            answer.extensions_mut().insert(ShowsLock);
        }
        Ok(answer)
    }

    async fn refusal(&self, mut response: reqwest::Response) -> HttpError {
        let region = response.headers().get("x-amz-bucket-region");
        let region = region
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        // Without its body a refusal still has a status.
        let body = self
            .body(&mut response, REFUSAL_BYTES_MAX)
            .await
            .unwrap_or_default();
        let refusal = Refusal::new(response.status().as_u16(), region, &body);
        let kind = match refusal.is_passing() {
            true => HttpErrorKind::Request,
            false => HttpErrorKind::Unknown,
        };
        HttpError::new(kind, refusal)
    }

    /// Reads all of the body; every piece of it must come in time.
    async fn body(
        &self,
        response: &mut reqwest::Response,
        bytes_max: usize,
    ) -> Result<Bytes, HttpError> {
        let mut first = None;
        let mut rest = BytesMut::new();
        while let Some(piece) = within(self.limits.answer_max, response.chunk())
            .await?
            .map_err(transport)?
        {
            if rest.len().saturating_add(piece.len()) > bytes_max {
                return Err(HttpError::new(HttpErrorKind::Decode, Endless));
            }
            match first.take() {
                // Most answers come in one piece, which then needs no copy.
                None if rest.is_empty() => first = Some(piece),
                earlier => {
                    rest.extend_from_slice(&earlier.unwrap_or_default());
                    rest.extend_from_slice(&piece);
                }
            }
        }
        Ok(first.unwrap_or_else(|| rest.freeze()))
    }

    /// Adds the headers and signs anew: those of Amazon's must be among what is signed.
    async fn add_lock(
        &self,
        request: &mut HttpRequest,
        lock: &ObjectLock,
    ) -> Result<(), HttpError> {
        let unsignable = |error: Box<dyn Error + Send + Sync>| {
            HttpError::new_boxed(HttpErrorKind::Unknown, error)
        };
        let provider = self
            .credentials
            .get()
            .ok_or_else(|| unsignable("no one to sign the lock".into()))?;
        let credential = provider
            .get_credential()
            .await
            .map_err(|error| unsignable(error.into()))?;
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|error| unsignable(error.into()));
        let until = lock.until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let headers = request.headers_mut();
        headers.insert("x-amz-object-lock-mode", value(&lock.mode)?);
        headers.insert("x-amz-object-lock-retain-until-date", value(&until)?);
        let digest = headers
            .get("x-amz-content-sha256")
            .and_then(|value| unhex(value.as_bytes()));
        let digest = digest.ok_or_else(|| unsignable("the body has no digest to sign".into()))?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(request, Some(&digest))
            .map_err(|error| unsignable(error.into()))
    }
}

/// The server sends more than any blob holds.
#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than any blob")]
struct Endless;

/// The server took too long.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs_f32())]
struct Silent(Duration);

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, HttpError> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| HttpError::new(HttpErrorKind::Request, Silent(limit)))
}

fn into_reqwest(request: HttpRequest) -> Result<reqwest::Request, HttpError> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.to_string();
    let url = url
        .parse()
        .map_err(|error: <reqwest::Url as FromStr>::Err| {
            HttpError::new(HttpErrorKind::Unknown, error)
        })?;
    let mut request = reqwest::Request::new(parts.method, url);
    *request.headers_mut() = parts.headers;
    *request.body_mut() = Some(match body.as_bytes() {
        Some(bytes) => bytes.clone().into(),
        None => reqwest::Body::wrap(body),
    });
    Ok(request)
}

/// Says whether an error of the connection may pass. All requests here may be repeated.
fn transport(error: reqwest::Error) -> HttpError {
    if let Some(untrusted) = untrusted(&error) {
        return HttpError::new(HttpErrorKind::Unknown, untrusted);
    }
    let kind = match error.is_builder() {
        true => HttpErrorKind::Unknown,
        false => HttpErrorKind::Request,
    };
    HttpError::new(kind, error.without_url())
}

fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let text = str::from_utf8(text)
        .ok()
        .filter(|text| text.is_ascii() && text.len() == 64)?;
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
