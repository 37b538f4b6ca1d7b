//! The connection under `object_store`: sends one request and takes its whole answer.
//!
//! `object_store` signs, repeats and understands; this bounds the time of each step, tells
//! refusals apart, corrects one known slip of gateways, and adds object locks, which
//! `object_store` has no option for (docs/decisions/dependencies.md).

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use md5::{Digest as _, Md5};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, HeaderValue};
use time_and_chance::Timestamp;

use super::limits::S3Limits;
use super::refusal::{Refusal, WithoutLocks, is_page, untrusted};

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
    /// `Content-MD5` of the content, which servers ask for with a lock.
    pub md5: String,
}

/// Sends requests. Clones share connections.
#[derive(Debug, Clone)]
pub struct Service {
    client: reqwest::Client,
    limits: S3Limits,
    region: String,
    /// Known only when the store is built on this service.
    credentials: Arc<OnceLock<AwsCredentialProvider>>,
    bucket_address: String,
    /// Whether the server has said that the bucket has locks.
    has_locks: Arc<AtomicBool>,
    /// What the server's last answer said the time was.
    time: Arc<Mutex<Option<Timestamp>>>,
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
    /// Returns a service that signs locks for `region`, and finds the bucket at an address.
    pub fn new(
        client: reqwest::Client,
        limits: S3Limits,
        region: String,
        bucket_address: String,
    ) -> Self {
        Self {
            client,
            limits,
            region,
            credentials: Arc::default(),
            bucket_address,
            has_locks: Arc::default(),
            time: Arc::default(),
        }
    }

    /// Says who signs object locks.
    pub fn set_credentials(&self, credentials: &AwsCredentialProvider) {
        // The first one stays; a store is built once.
        let _ = self.credentials.set(Arc::clone(credentials));
    }

    /// Returns what the server's last answer said the time was.
    pub fn time(&self) -> Option<Timestamp> {
        *self.locked_time()
    }

    fn locked_time(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.time
            .lock()
            .expect("no thread panics while it looks at a time")
    }

    /// Lets the object with an encoded key be locked for longer.
    pub async fn extend_lock(
        &self,
        key: &str,
        mode: &str,
        until: Timestamp,
    ) -> Result<(), HttpError> {
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
            lock_time(until)
        );
        let md5 = BASE64_STANDARD.encode(Md5::digest(body.as_bytes()));
        let mut request = HttpRequest::new(HttpRequestBody::from(Bytes::from(body)));
        *request.method_mut() = "PUT".try_into().map_err(unsignable)?;
        let address = format!("{}/{key}?retention", self.bucket_address);
        *request.uri_mut() = address.parse().map_err(unsignable)?;
        let md5 = HeaderValue::from_str(&md5).map_err(unsignable)?;
        request.headers_mut().insert("content-md5", md5);
        self.sign(&mut request, None).await?;
        self.send(request).await.map(drop)
    }

    async fn answer(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(lock) = request.extensions().get::<ObjectLock>().cloned() else {
            return self.send(request).await;
        };
        if !self.has_locks.load(Ordering::Relaxed) {
            self.check_locks().await?;
            self.has_locks.store(true, Ordering::Relaxed);
        }
        self.add_lock(&mut request, &lock).await?;
        self.send(request).await
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_delete = request.method() == "DELETE";
        let is_listing = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("list-type=2"));
        let bytes = request.body().content_length() as u64;
        let sending = Duration::from_secs(bytes / self.limits.upload_bytes_per_second_min.max(1));
        let limit = self.limits.answer_max.saturating_add(sending);
        let sent = self.client.execute(into_reqwest(request)?);
        let mut response = within(limit, sent).await?.map_err(transport)?;
        if let Some(time) = response.headers().get("date").and_then(http_time) {
            *self.locked_time() = Some(time);
        }

        let status = response.status().as_u16();
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let body = self.body(&mut response, ANSWER_BYTES_MAX).await?;
        // A proxy's page must not pass for a deletion or for an empty bucket.
        let is_odd = (is_delete && is_page(&body)) || (is_listing && !is_listing_whole(&body));
        if is_odd {
            return Err(HttpError::new(
                HttpErrorKind::Unknown,
                Refusal::new(status, None, &body),
            ));
        }
        // Some gateways answer a range with the right bytes and the wrong status.
        let is_mislabelled = status == 200 && response.headers().contains_key("content-range");
        let length = body.len();
        let mut answer = HttpResponse::new(HttpResponseBody::from(body));
        *answer.status_mut() = response.status();
        std::mem::swap(answer.headers_mut(), response.headers_mut());
        // Missing where the server sent the body in chunks.
        let headers = answer.headers_mut();
        if !headers.contains_key("content-length") {
            headers.insert("content-length", HeaderValue::from(length));
        }
        if is_mislabelled && let Ok(partial) = 206_u16.try_into() {
            *answer.status_mut() = partial;
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
        let value = |text: &str| HeaderValue::from_str(text).map_err(unsignable);
        let until = lock_time(lock.until);
        let headers = request.headers_mut();
        headers.insert("content-md5", value(&lock.md5)?);
        headers.insert("x-amz-object-lock-mode", value(&lock.mode)?);
        headers.insert("x-amz-object-lock-retain-until-date", value(&until)?);
        let digest = headers
            .get("x-amz-content-sha256")
            .and_then(|value| unhex(value.as_bytes()));
        let digest = digest.ok_or_else(|| unsignable("the body has no digest to sign"))?;
        self.sign(request, Some(&digest)).await
    }

    /// Asks whether the bucket has locks: some servers take the headers and forget them.
    async fn check_locks(&self) -> Result<(), HttpError> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let address = format!("{}?object-lock", self.bucket_address);
        *request.uri_mut() = address.parse().map_err(unsignable)?;
        self.sign(&mut request, None).await?;
        let without = || HttpError::new(HttpErrorKind::Unknown, WithoutLocks);
        let shown = match self.send(request).await {
            // A server that has no such request has no locks; other troubles may pass.
            Err(error) if error.kind() != HttpErrorKind::Request => return Err(without()),
            other => other?.into_body().bytes().await?,
        };
        match String::from_utf8_lossy(&shown).contains("<ObjectLockEnabled>Enabled<") {
            true => Ok(()),
            false => Err(without()),
        }
    }

    async fn sign(
        &self,
        request: &mut HttpRequest,
        digest: Option<&[u8]>,
    ) -> Result<(), HttpError> {
        let provider = self
            .credentials
            .get()
            .ok_or_else(|| unsignable("no one signs yet"))?;
        let credential = provider.get_credential().await.map_err(unsignable)?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(request, digest)
            .map_err(unsignable)
    }
}

/// Returns a time as locks have it.
fn lock_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads the time in an answer's head, which is always in Greenwich's zone.
fn http_time(value: &HeaderValue) -> Option<Timestamp> {
    let text = value.to_str().ok()?.strip_suffix("GMT")?;
    Timestamp::strptime("%a, %d %b %Y %H:%M:%S %z", format!("{text}+0000")).ok()
}

fn unsignable(error: impl Into<Box<dyn Error + Send + Sync>>) -> HttpError {
    HttpError::new_boxed(HttpErrorKind::Unknown, error.into())
}

/// Returns whether a body is a listing, to its end, that says where it goes on if it does.
fn is_listing_whole(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let is_closed =
        text.contains("<ListBucketResult") && text.trim_end().ends_with("</ListBucketResult>");
    let goes_on = text.contains("<IsTruncated>true<");
    is_closed && (!goes_on || text.contains("<NextContinuationToken>"))
}

/// The server sends more than any blob holds.
#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than any blob")]
struct Endless;

/// The server took too long.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs_f32())]
pub struct Silent(Duration);

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
