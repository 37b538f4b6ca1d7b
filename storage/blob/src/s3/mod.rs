//! A store in a bucket of Amazon's S3 or of any server that speaks its protocol
//! (Kopia spec 1.4).
//!
//! A blob's key is the prefix and its name. Async lives inside this store alone, on a runtime of
//! its own; its methods must be called from ordinary threads, never from within a runtime.
//!
//! ```text
//! S3Store ─ object_store (signs, repeats, understands) ─ Service (sends, bounds times) ─ reqwest
//! ```

mod credentials;
mod limits;
mod location;
mod refusal;
mod resolver;
mod service;
mod storage_class;

use std::fmt;
use std::fs;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, GetOptions, GetRange, GetResult,
    ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
};
use time_and_chance::{StopSignal, Stopped, Timestamp};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub use self::credentials::{Environment, S3Credentials, S3Identity};
pub use self::limits::S3Limits;
pub use self::location::{S3Location, S3Style, SCHEME};
pub use self::refusal::{Refusal, Untrusted};
use self::refusal::{blob_error, is_beyond_end, is_missing_blob, lacks_a_right};
use self::resolver::Resolver;
pub use self::resolver::Unresolved;
pub use self::service::Silent;
use self::service::{ObjectLock, Service};
use self::storage_class::StorageClasses;
use crate::{BlobError, BlobErrorKind, BlobMetadata, BlobStore, PutOptions, Space, name};

/// What every blob is uploaded as.
const CONTENT_TYPE: &str = "application/x-kopia";

/// The region that requests are signed for where nobody names one.
const REGION_DEFAULT: &str = "us-east-1";

/// Fetching keys of a role: elsewhere than on a cloud's machines nobody answers at all.
const ROLE_WAIT_MAX: Duration = Duration::from_secs(8);

/// How often a request under way looks whether the work was told to stop.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// A store in a bucket.
pub struct S3Store {
    location: S3Location,
    store: AmazonS3,
    service: Service,
    runtime: Option<Runtime>,
    requests: Semaphore,
    after_stop_max: Duration,
    stop: StopSignal,
    storage_classes: StorageClasses,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3Store")
            .field(&self.location.to_string())
            .finish()
    }
}

impl Drop for S3Store {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting would panic inside another runtime, and there is nothing to wait for.
            runtime.shutdown_background();
        }
    }
}

impl S3Store {
    /// Opens a place in a bucket that exists, and asks the server once whether it may be listed.
    ///
    /// After `stop` requests are still made, since cleaning up needs them, but no longer waited
    /// for with patience.
    ///
    /// # Errors
    /// `NotFound` if there is no such bucket, `Denied` if the keys are wrong or may not list it,
    /// `Unavailable` if the server does not answer.
    pub fn open(
        location: S3Location,
        identity: &S3Identity,
        limits: S3Limits,
        stop: StopSignal,
    ) -> Result<Self, BlobError> {
        let region = [&location.region, &identity.region]
            .into_iter()
            .flatten()
            .next();
        let region = region.map_or(REGION_DEFAULT, String::as_str).to_owned();
        let service = Service::new(
            connections(&location, &limits)?,
            limits,
            region.clone(),
            bucket_address(&location, &region),
        );
        let built = builder(
            &location,
            &identity.credentials,
            region,
            &limits,
            service.clone(),
        )
        .build();
        let store =
            built.map_err(|error| blob_error("set up the S3 client", &location.bucket, error))?;
        service.set_credentials(store.credentials());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3")
            .enable_all()
            .build()
            .map_err(|error| {
                BlobError::new(BlobErrorKind::Unavailable, "start threads for S3").caused_by(error)
            })?;
        let mut opened = Self {
            location,
            store,
            service,
            runtime: Some(runtime),
            requests: Semaphore::new(limits.requests_max.clamp(1, Semaphore::MAX_PERMITS)),
            after_stop_max: limits.after_stop_max,
            stop,
            storage_classes: StorageClasses::default(),
        };
        if identity.credentials == S3Credentials::MachineRole {
            opened.check_role()?;
        }
        opened.page("", None, 1)?;
        opened.storage_classes = opened.read_storage_classes()?;
        Ok(opened)
    }

    fn check_role(&self) -> Result<(), BlobError> {
        let fetched = self.wait(async {
            let fetching = self.store.credentials().get_credential();
            tokio::time::timeout(ROLE_WAIT_MAX, fetching).await
        });
        let denied = || {
            BlobError::new(
                BlobErrorKind::Denied,
                "find credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or fill ~/.aws/credentials; this machine has no role either",
            )
        };
        match fetched {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(denied().caused_by(error)),
            Err(late) => Err(denied().caused_by(late)),
        }
    }

    /// Reads `.storageconfig`, if there is one (Kopia spec 1.4).
    fn read_storage_classes(&self) -> Result<StorageClasses, BlobError> {
        let what = format!("read {}", storage_class::FILE);
        let path = self.path(storage_class::FILE)?;
        let read = self.request(async {
            let found = self.store.get_opts(&path, GetOptions::default()).await?;
            found.bytes().await
        });
        match read {
            Ok(text) => StorageClasses::parse(&text),
            Err(error) if is_missing_blob(&error) => Ok(StorageClasses::default()),
            Err(error) => Err(self.failed(&what, error)),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.location.prefix)
    }

    fn path(&self, name: &str) -> Result<Path, BlobError> {
        let key = self.key(name);
        Path::parse(&key).map_err(|error| {
            BlobError::new(BlobErrorKind::Invalid, format!("use key {key:?}")).caused_by(error)
        })
    }

    fn blob_path(&self, name: &str) -> Result<Path, BlobError> {
        name::check(name)?;
        self.path(name)
    }

    /// Does one request when it is its turn.
    fn request<T>(
        &self,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        self.wait(self.patiently(async {
            let _turn = self
                .requests
                .acquire()
                .await
                .expect("nobody closes the semaphore");
            work.await
        }))
    }

    /// Waits for a request as long as it takes, but not much longer once told to stop.
    async fn patiently<T>(
        &self,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let mut work = std::pin::pin!(work);
        let mut since_stop = Duration::ZERO;
        while since_stop < self.after_stop_max {
            match tokio::time::timeout(STOP_LOOK, work.as_mut()).await {
                Ok(done) => return done,
                Err(_) if self.stop.is_stopped() => since_stop += STOP_LOOK,
                Err(_) => {}
            }
        }
        Err(object_store::Error::Generic {
            store: "S3",
            source: Box::new(Stopped),
        })
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = self
            .runtime
            .as_ref()
            .expect("it is taken only when the store is dropped");
        runtime.block_on(work)
    }

    fn failed(&self, what: &str, error: object_store::Error) -> BlobError {
        blob_error(what, &self.location.bucket, error)
    }

    fn failed_for(&self, what: &str, name: &str, error: object_store::Error) -> BlobError {
        if is_missing_blob(&error) {
            return BlobError::new(BlobErrorKind::NotFound, format!("find blob {name}"));
        }
        self.failed(&format!("{what} blob {name}"), error)
    }

    fn read(&self, name: &str, range: Option<GetRange>) -> Result<(u64, Vec<u8>), BlobError> {
        let path = self.blob_path(name)?;
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let read = self.request(async {
            let found = self.store.get_opts(&path, options).await?;
            let (e_tag, size) = (found.meta.e_tag.clone(), found.meta.size);
            Ok((e_tag, size, found.bytes().await?))
        });
        let (e_tag, size, content) = read.map_err(|error| match is_beyond_end(&error) {
            true => BlobError::new(
                BlobErrorKind::Invalid,
                format!("read blob {name}: it ends before"),
            )
            .caused_by(error),
            false => self.failed_for("read", name, error),
        })?;
        if e_tag.is_none() {
            // Every S3 server sends one; a page of a proxy's must not pass for a blob.
            return Err(BlobError::new(
                BlobErrorKind::Invalid,
                format!(
                    "read blob {name}: the answer has no ETag; is this the address of an S3 server?"
                ),
            ));
        }
        Ok((size, content.into()))
    }

    fn head(&self, name: &str) -> Result<GetResult, BlobError> {
        let path = self.blob_path(name)?;
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = self.request(async { self.store.get_opts(&path, options).await });
        found.map_err(|error| self.failed_for("look at", name, error))
    }

    /// Returns a page of the listing, and where the next one begins.
    fn page(
        &self,
        prefix: &str,
        page_token: Option<String>,
        blobs_max: usize,
    ) -> Result<(Vec<ObjectMeta>, Option<String>), BlobError> {
        let key = self.key(prefix);
        let options = PaginatedListOptions {
            delimiter: Some("/".into()),
            max_keys: Some(blobs_max),
            page_token,
            ..PaginatedListOptions::default()
        };
        let listed = self.request(self.store.list_paginated(Some(&key), options));
        let listed = listed.map_err(|error| {
            let bucket = &self.location.bucket;
            let what = match lacks_a_right(&error) {
                true => {
                    format!("list bucket {bucket}, for which the right s3:ListBucket is needed")
                }
                false => format!("list bucket {bucket}"),
            };
            self.failed(&what, error)
        })?;
        Ok((listed.result.objects, listed.page_token))
    }

    fn put_options(
        &self,
        name: &str,
        parts: &[&[u8]],
        options: &PutOptions,
    ) -> Result<object_store::PutOptions, BlobError> {
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, CONTENT_TYPE.into());
        if let Some(class) = self.storage_classes.of(name) {
            attributes.insert(Attribute::StorageClass, class.to_owned().into());
        }
        let mut put = object_store::PutOptions::from(attributes);
        if options.if_absent {
            put.mode = PutMode::Create;
        }
        if let Some((mode, until)) = &options.retention {
            check_mode(name, mode)?;
            let md5 = parts
                .iter()
                .fold(Md5::new(), |md5, part| md5.chain_update(part));
            let lock = ObjectLock {
                mode: mode.clone(),
                until: *until,
                md5: BASE64_STANDARD.encode(md5.finalize()),
            };
            put.extensions.insert(lock);
        }
        Ok(put)
    }
}

impl BlobStore for S3Store {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        let path = self.blob_path(name)?;
        let put = self.put_options(name, parts, options)?;
        let sent = self.request(async {
            // Copied only when it is this request's turn, so that waiting ones hold nothing.
            let payload =
                PutPayload::from_iter(parts.iter().map(|part| Bytes::copy_from_slice(part)));
            self.store.put_opts(&path, payload, put).await
        });
        sent.map_err(|error| self.failed(&format!("write blob {name}"), error))?;
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        let (size, content) = self.read(name, None)?;
        if content.len() as u64 == size {
            return Ok(content);
        }
        let message = format!("read blob {name}: {} of {size} bytes came", content.len());
        Err(BlobError::new(BlobErrorKind::Unavailable, message))
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        let too_short = || {
            let message = format!("read {bytes} bytes at {offset} of blob {name}: it has fewer");
            BlobError::new(BlobErrorKind::Invalid, message)
        };
        let content = match offset.checked_add(bytes) {
            Some(end) if bytes > 0 => self.read(name, Some(GetRange::Bounded(offset..end)))?.1,
            // No range of S3's is empty, and none passes the end of numbers.
            end => match self.head(name)?.meta.size {
                size if end.is_some_and(|end| end <= size) => Vec::new(),
                _ => return Err(too_short()),
            },
        };
        if content.len() as u64 == bytes {
            return Ok(content);
        }
        Err(too_short())
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        metadata(name, &self.head(name)?.meta)
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        let mut page_token = None;
        loop {
            let (objects, next) = self.page(prefix, page_token.clone(), 1000)?;
            for object in objects {
                // What has another `/` or begins with a dot is no blob.
                let name = object.location.as_ref().strip_prefix(&self.location.prefix);
                if let Some(name) = name.filter(|name| name::is_valid(name)) {
                    each(metadata(name, &object)?)?;
                }
            }
            if next.is_some() && next == page_token {
                let message = "list the bucket: the server gives the same page again and again";
                return Err(BlobError::new(BlobErrorKind::Invalid, message));
            }
            match next {
                Some(_) => page_token = next,
                None => return Ok(()),
            }
        }
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let path = self.blob_path(name)?;
        match self.request(async { self.store.delete(&path).await }) {
            Err(error) if !is_missing_blob(&error) => {
                Err(self.failed(&format!("delete blob {name}"), error))
            }
            _ => Ok(()),
        }
    }

    fn extend_lock(&self, name: &str, mode: &str, until: Timestamp) -> Result<(), BlobError> {
        name::check(name)?;
        check_mode(name, mode)?;
        let key = encoded(&self.key(name));
        let sent = self.request(async {
            let sent = self.service.extend_lock(&key, mode, until).await;
            sent.map_err(|error| object_store::Error::Generic {
                store: "S3",
                source: Box::new(error),
            })
        });
        sent.map_err(|error| self.failed_for("lock", name, error))
    }

    fn time(&self) -> Result<Option<Timestamp>, BlobError> {
        self.page("", None, 1)?;
        Ok(self.service.time())
    }

    fn location(&self) -> String {
        self.location.to_string()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        Ok(None)
    }
}

fn check_mode(name: &str, mode: &str) -> Result<(), BlobError> {
    if matches!(mode, "GOVERNANCE" | "COMPLIANCE") {
        return Ok(());
    }
    let message = format!("lock blob {name}: {mode:?} is no mode of object locks");
    Err(BlobError::new(BlobErrorKind::Unsupported, message))
}

/// Writes a key as it stands in a request that is signed: all but these letters by their codes.
fn encoded(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn metadata(name: &str, object: &ObjectMeta) -> Result<BlobMetadata, BlobError> {
    // Listings tell milliseconds, single answers seconds: kept equal, and never in the future.
    let seconds = object.last_modified.timestamp();
    let modified = Timestamp::from_second(seconds)
        .ok()
        .filter(|_| seconds != 0);
    let modified = modified.ok_or_else(|| {
        let message = format!("look at blob {name}: the server does not say when it was written");
        BlobError::new(BlobErrorKind::Invalid, message)
    })?;
    Ok(BlobMetadata {
        name: name.to_owned(),
        bytes: object.size,
        modified,
    })
}

/// Returns the maker of connections, which all requests share.
fn connections(location: &S3Location, limits: &S3Limits) -> Result<reqwest::Client, BlobError> {
    // Fails if some provider was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let invalid = |what: String| {
        move |error: reqwest::Error| BlobError::new(BlobErrorKind::Invalid, what).caused_by(error)
    };
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(limits.connect_max)
        .tcp_keepalive(Duration::from_secs(30))
        .pool_idle_timeout(Duration::from_secs(60))
        .tls_danger_accept_invalid_certs(location.insecure)
        .dns_resolver(Resolver);
    if let Some(host) = name_below_localhost(location) {
        // Such names are this machine's (RFC 6761), and not every resolver knows it.
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let addresses = addresses.map(|address: IpAddr| SocketAddr::new(address, 0));
        builder = builder.resolve_to_addrs(&host, &addresses);
    }
    if let Some(path) = &location.ca {
        let what = format!("read the certificates in {}", path.display());
        let pem = fs::read(path).map_err(|error| {
            BlobError::new(BlobErrorKind::Invalid, what.clone()).caused_by(error)
        })?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(invalid(what.clone()))?;
        if certificates.is_empty() {
            return Err(BlobError::new(
                BlobErrorKind::Invalid,
                format!("{what}: there are none"),
            ));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(invalid("set up connections for S3".to_owned()))
}

/// Returns the host that a bucket by the name of the host has, if that lies below `localhost`.
fn name_below_localhost(location: &S3Location) -> Option<String> {
    let address = bucket_address(location, "");
    let (_, host) = address.split_once("://")?;
    let name = host.split([':', '/']).next()?;
    name.ends_with(".localhost").then(|| name.to_owned())
}

fn builder(
    location: &S3Location,
    credentials: &S3Credentials,
    region: String,
    limits: &S3Limits,
    service: Service,
) -> AmazonS3Builder {
    let is_virtual = location.style() == S3Style::Virtual;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&location.bucket)
        .with_region(region)
        .with_virtual_hosted_style_request(is_virtual)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_disable_bulk_delete(true)
        .with_disable_tagging(true)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_http_connector(service)
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: limits.first_wait,
                max_backoff: Duration::from_secs(15).max(limits.first_wait),
                base: 2.0,
            },
            max_retries: limits.retries_max,
            retry_timeout: limits.retry_total_max,
        });
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(match is_virtual {
            true => bucket_address(location, ""),
            false => endpoint.clone(),
        });
    }
    if let S3Credentials::Keys {
        key_id,
        secret,
        token,
    } = credentials
    {
        builder = builder
            .with_access_key_id(key_id)
            .with_secret_access_key(secret);
        if let Some(token) = token {
            builder = builder.with_token(token);
        }
    }
    builder
}

/// Returns the bucket's own address, in the style that requests name it by.
fn bucket_address(location: &S3Location, region: &str) -> String {
    let bucket = &location.bucket;
    let amazons = || format!("https://s3.{region}.amazonaws.com");
    let endpoint = location.endpoint.clone().unwrap_or_else(amazons);
    match (location.style(), endpoint.split_once("://")) {
        (S3Style::Virtual, Some((scheme, host))) => format!("{scheme}://{bucket}.{host}"),
        _ => format!("{endpoint}/{bucket}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_an_address_in_either_style() {
        for (text, address) in [
            ("s3://b", "https://b.s3.eu-west-1.amazonaws.com"),
            ("s3://b?style=path", "https://s3.eu-west-1.amazonaws.com/b"),
            ("s3://b?endpoint=http://h:9", "http://h:9/b"),
            ("s3://b?endpoint=h:9&style=virtual", "https://b.h:9"),
        ] {
            let location: S3Location = text.parse().expect(text);
            assert_eq!(bucket_address(&location, "eu-west-1"), address);
        }
    }
}
